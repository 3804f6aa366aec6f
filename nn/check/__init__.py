"""Proof that backward passes are right. ``nn check`` on the command line prints it.

from nn.check import check_gradients
check_gradients(nn.REGISTRY["Conv2d"], nn.REGISTRY["Conv2d"].samples[0])
"""

from nn.check.case import Case, describe, make_case
from nn.check.complex_step import (
    TOLERANCE,
    TensorCheck,
    check_all,
    check_case,
    check_gradients,
    complex_step_gradients,
)

__all__ = [
    "TOLERANCE",
    "Case",
    "TensorCheck",
    "check_all",
    "check_case",
    "check_gradients",
    "complex_step_gradients",
    "describe",
    "make_case",
]
