"""Proof that backward passes are right. ``nn check`` on the command line prints it.

from nn.check import check_gradients
check_gradients(nn.REGISTRY["Conv2d"], nn.REGISTRY["Conv2d"].samples[0])
"""

from nn.check.case import Case, describe, make_case
from nn.check.complex_step import (
    TOLERANCE,
    check_case,
    check_directions,
    check_gradients,
    complex_step_gradients,
)
from nn.check.engine import CHECKS, Check, Row, checks_of, first_failure, run_check
from nn.check.finding import Finding, compare, identical
from nn.check.mine import Answer, mine

__all__ = [
    "CHECKS",
    "TOLERANCE",
    "Answer",
    "Case",
    "Check",
    "Finding",
    "Row",
    "check_case",
    "check_directions",
    "check_gradients",
    "checks_of",
    "compare",
    "complex_step_gradients",
    "describe",
    "first_failure",
    "identical",
    "make_case",
    "mine",
    "run_check",
]
