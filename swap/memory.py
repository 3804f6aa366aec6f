"""How much memory training takes, said before the first step.

    weights, gradients and Adam's two moments    4 arrays of P parameters
    activations   every layer keeps its output for the way back; the gradients that run back are as large
                  as the layers they pass, and live for two layers at a time
    workspace     the largest weight matrix twice, rearranged for the product (forward or backward), and
                  the blocks of each thread
    faces         both sets, uint8
    program       the libraries with their compiled code

``tests/swap/test_memory.py`` compares the estimate with what a process really takes.
"""

from dataclasses import dataclass

import nn
from swap.model import FACE_SIZE, SwapModel

MIB = 2**20
PROGRAM = 330 * MIB  # Python, NumPy, Numba's compiler, OpenCV, PyAV, Matplotlib
KEPT_IDLE = 96 * MIB  # memory of arrays between two uses, beyond the largest layer


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by use."""

    state: int
    activations: int
    workspace: int
    faces: int
    program: int

    @property
    def total(self) -> int:
        return self.state + self.activations + self.workspace + self.faces + self.program

    def __str__(self) -> str:
        parts = (
            ("weights and optimizer", self.state),
            ("activations", self.activations),
            ("workspace", self.workspace),
            ("faces", self.faces),
            ("program", self.program),
        )
        listed = ", ".join(f"{name} {size / MIB:,.0f}" for name, size in parts)
        return f"about {self.total / 2**30:.2f} GiB of memory (MiB: {listed})"


def estimate_memory(
    model: SwapModel, batch_size: int, faces_bytes: int = 0, returns: int = 0
) -> MemoryEstimate:
    """What training ``model`` with ``batch_size`` faces a side and so many bytes of faces takes; returns: faces a side
    that make a round trip beside them."""
    sides = len(model.decoders)
    c = model.preset.width
    encoder = nn.summary(model.encoder, (sides * (batch_size + returns), FACE_SIZE, FACE_SIZE, 3))
    decoders = [nn.summary(d, (batch_size + returns, 8, 8, 4 * c)) for d in model.decoders.values()]
    rows = [*encoder.rows, *decoders[0].rows]
    parameters = encoder.parameters + sum(d.parameters for d in decoders)
    # One decoder's activations are freed before the next one runs.
    kept = encoder.activation_bytes + decoders[0].activation_bytes
    largest_layer = max(row.activation_bytes for row in rows)
    largest_weight = max(row.parameters for row in rows) * 4
    return MemoryEstimate(
        state=4 * parameters * 4,
        activations=kept + 3 * largest_layer,
        workspace=2 * largest_weight + KEPT_IDLE,
        faces=faces_bytes,
        program=PROGRAM,
    )
