"""One training step of the swapper as chains of layers, to be looked at: ``nn.trace`` and ``swap trace``.

    a -> encoder -> decoder_a -> + prior of a -> sigmoid -> mean |y - a|
    b -> encoder -> decoder_b -> + prior of b -> sigmoid -> mean |y - b|        L = L_a + L_b

Each of the encoder's parameters gets its gradient from a and its gradient from b, added. This is the step itself,
without what a recipe adds to it: the weight of each pixel, round trips, matched codes, the warp.
"""

import numpy as np

import nn
from nn.layer import Saved
from nn.trace.record import Call
from nn.trace.terms import Index, Term, Terms, at_index, cell, explains, name_of
from swap.model import SwapModel


class Shift(nn.Layer):
    """y = x + constant, the same for every item; dx = dy."""

    def __init__(self, constant: np.ndarray) -> None:
        self.constant = constant

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        return x + self.constant.astype(x.dtype), None

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray | None:
        return dy.copy() if need_dx else None

    def out_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if shape[1:] != self.constant.shape:
            raise ValueError(f"{self!r} takes (N, {self.constant.shape}), found {shape}")
        return shape

    def __repr__(self) -> str:
        return f"Shift({'x'.join(map(str, self.constant.shape))})"


@explains(Shift)
def _shift(call: Call, tensor: str, index: Index) -> Terms:
    name = name_of(call, tensor, index)
    if tensor == "dx":
        term = Term(*cell("dy", call.dy, *index), "1", 1.0)
        return Terms(name, "dx = dy", at_index(call.dx, index), terms=(term,))
    start = cell("constant", call.layer.constant, *index[1:])
    term = Term(*cell("x", call.x, *index), "1", 1.0)
    return Terms(name, "y = x + constant", at_index(call.y, index), start, (term,))


def chains(model: SwapModel) -> dict[str, nn.Sequential]:
    """For each side its chain, from what the encoder is shown to the picture; the encoder stands in all of them."""
    of = {}
    for side, decoder in model.decoders.items():
        prior = model.looks[side].prior
        shift = [(f"prior_{side}", Shift(prior).to(model.backend))] if prior.any() else []
        parts = [("encoder", model.encoder), (f"decoder_{side}", decoder), *shift]
        of[side] = nn.Sequential(*parts, (f"sigmoid_{side}", nn.Sigmoid().to(model.backend)))
    return of


def trace_step(model: SwapModel, faces: dict[str, np.ndarray]) -> nn.Trace:
    """One step on faces (N, 64, 64, 3) in [0, 1] of each side, recorded; the model is left as it was."""
    shown = {side: model.show(faces[side], side) for side in faces}
    return nn.trace(chains(model), shown, model.loss, faces)
