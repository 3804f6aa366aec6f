"""Whether training still is training: numbers that are none, a loss that explodes, a decoder that draws one colour.

A run that has gone wrong overnight costs a night, and its saves overwrite those from before. So each step is looked
at, and what is wrong stops the run at that step, with its layer and tensor named; what was saved before stays.

    no number     The loss of every step, and the gradients of all biases: a bias sums the gradient of its layer's whole
                  output, so what is no number there shows. (One in the gradient of a weight alone shows in the next
                  step's loss.) Then the tensor is looked for: weights, pictures, the layers
                  one by one, gradients.
    explosion     A loss (in steps, of one side) that is
                    ten times that of the beginning, or
                    for FEW steps five times the median of the RECENT steps before, and one and a half times that of
                    the beginning, or
                    in the median of RECENT steps three times the lowest such median, and a quarter above the beginning.
                  The beginning is the median of the first RECENT steps: an untrained network that draws the mean
                  picture. So no harder batch, no cooldown that ends and no new face can be taken for an explosion.
    one colour    A decoder whose own reconstructions vary less over their pixels than FLAT of what the pictures
                  themselves do, and which drew more than LIVELY before, or should have learnt to: after SHOULD steps.
"""

from collections import deque
from collections.abc import Iterator
from statistics import median

import numpy as np

import nn
from nn.backend import host
from nn.train import DivergenceError
from swap.model import SwapModel

RECENT, FEW = 50, 5
LEAST = 0.01  # of the beginning: a loss below a hundredth of black to white is no trouble
FLAT, LIVELY, SHOULD = 0.02, 0.1, 2000
LOOK_EVERY = 200  # steps between two looks at what the decoders draw


class LossGuard:
    """Watches the loss of one side; ``history``: those of the steps before, for a run that goes on."""

    def __init__(self, side: str, history: list[float]) -> None:
        self.side = side
        self._first: list[float] = []
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._lowest = np.inf
        self._high = 0  # steps in a row that were far above those before
        self._since = 0
        for loss in history:
            self._take(loss)

    def _take(self, loss: float) -> None:
        if len(self._first) < RECENT:
            self._first.append(loss)
        self._recent.append(loss)
        self._since += 1
        if len(self._recent) == RECENT and self._since % 10 == 0:
            self._lowest = min(self._lowest, median(self._recent))

    def check(self, loss: float, step: int) -> None:
        """DivergenceError where the loss of step ``step`` (1, 2, ...) shows an explosion."""
        if len(self._first) >= FEW:
            begin, usual = max(median(self._first), LEAST), median(self._recent)
            far = loss > 5 * usual and loss > 1.5 * begin
            self._high = self._high + 1 if far else 0
            why = ""
            if loss > 10 * begin:
                why = f"{loss / begin:,.0f} times that of the beginning ({begin:.4g})"
            elif self._high >= FEW:
                why = f"for {FEW} steps more than five times as high as before ({usual:.4g})"
            elif len(self._recent) == RECENT and usual > 1.25 * begin and usual > 3 * self._lowest:
                why = (
                    f"for {RECENT} steps three times its best ({self._lowest:.4g}) "
                    f"and above the beginning ({begin:.4g})"
                )
            if why:
                raise DivergenceError(
                    f"the loss of {self.side.upper()} explodes at step {step}: it is {loss:.4g}, {why}"
                )
            if far:
                return  # not part of what is usual
        self._take(loss)


def biases(arena: nn.Arena) -> list[np.ndarray]:
    """The gradients that are looked at in every step: views, small ones."""
    return [p.grad for p in arena.parameters.values() if p.value.ndim == 1]


def all_finite(arrays: list[np.ndarray]) -> bool:
    """Whether all numbers of small arrays are numbers."""
    return bool(np.isfinite(sum(np.add.reduce(array) for array in arrays)))


def check_weights(arena: nn.Arena, step: int) -> None:
    """DivergenceError where a weight is no number after step ``step``."""
    if not np.isfinite(float(arena.values.sum())):  # a loss may be finite for one step more
        name = _first_bad(arena, arena.values)
        if name:
            raise DivergenceError(f"{name} after step {step}: the weights are not finite")


def explain(
    model: SwapModel,
    arena: nn.Arena,
    inputs: dict[str, np.ndarray],
    losses: dict[str, float],
    step: int,
) -> DivergenceError:
    """What to raise where step ``step`` (1, 2, ...) made a loss or a gradient that is no number, before the weights
    were changed by it: names the tensor where it began."""
    bad = [side for side, loss in losses.items() if not np.isfinite(loss)]
    shown = (
        f"the loss of {bad[0].upper()} is {losses[bad[0]]}" if bad else "a gradient is no number"
    )
    where = (
        _first_bad(
            arena,
            arena.values,
            f"the weights of layer {{layer}} hold {{what}} since step {step - 1} (tensor {{name}})",
        )
        or _first_bad_activation(model, inputs)
        or _first_bad(
            arena,
            arena.grads,
            "the gradient of layer {layer} holds {what} (tensor {name})",
            backwards=True,
        )
        or "every weight, activation and gradient is a number, so it is the loss itself"
    )
    return DivergenceError(f"{shown} at step {step}: {where}")


def _what(array: np.ndarray) -> str:
    """ "NaN", "Inf", or "" where all are numbers."""
    if np.isfinite(array).all():
        return ""
    return "NaN" if np.isnan(array).any() else "Inf"


def _first_bad(
    arena: nn.Arena,
    flat: np.ndarray,
    text: str = "layer {layer} holds {what} (tensor {name})",
    *,
    backwards: bool = False,
) -> str:
    """``text`` filled in for the first parameter, in the order of the network, of which ``flat`` holds what is no
    number; "" where there is none."""
    names = list(arena.parameters)
    for name in reversed(names) if backwards else names:
        what = _what(host(arena.view(flat, name)))
        if what:
            return text.format(layer=name.rpartition(".")[0], what=what, name=name)
    return ""


def _activations(
    model: SwapModel, faces: np.ndarray, side: str
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, output) of every layer in turn, from what the encoder is shown to the picture's logits."""
    x = model.show(faces, side)
    yield "what the encoder is shown", host(x)
    for network, chain in (("encoder", model.encoder), (f"decoder_{side}", model.decoders[side])):
        for name, layer in chain.layers:
            x = layer.forward(x, train=False)[0]
            yield f"{network}.{name}", host(x)


def _first_bad_activation(model: SwapModel, inputs: dict[str, np.ndarray]) -> str:
    for side, faces in inputs.items():
        what = _what(faces)
        if what:
            return f"the pictures of {side.upper()} hold {what} (tensor input_{side})"
        for name, output in _activations(model, faces, side):
            what = _what(output)
            if what:
                return f"the output of layer {name} for {side.upper()} holds {what}"
    return ""


class ColourGuard:
    """Watches whether each decoder still draws pictures of its own person ``faces`` (n, 64, 64, 3)."""

    def __init__(self, faces: dict[str, np.ndarray]) -> None:
        self._faces = faces
        self._lively: set[str] = set()

    def check(self, model: SwapModel, step: int) -> None:
        """DivergenceError where a decoder draws one colour after step ``step``."""
        for side, faces in self._faces.items():
            varies = _variation(faces)
            if varies < 0.01:  # the pictures are of one colour themselves
                continue
            share = _variation(model.swap(faces, side, side)) / varies
            if share > LIVELY:
                self._lively.add(side)
            elif share < FLAT and (side in self._lively or step >= SHOULD):
                raise DivergenceError(
                    f"decoder_{side} draws one colour at step {step} ({100 * share:.2g} % of the variation of its "
                    f"pictures): {_first_constant(model, faces, side)}"
                )


def _variation(pictures: np.ndarray) -> float:
    """The standard deviation of a picture's pixels, the mean over pictures and channels."""
    return float(pictures.std((1, 2)).mean())


def _first_constant(model: SwapModel, faces: np.ndarray, side: str) -> str:
    """The first layer whose output no longer depends on the picture, or the last one."""
    name = ""
    for name, output in _activations(model, faces, side):
        if output.std(0).max() <= 1e-4 * np.abs(output).max():
            return f"the output of layer {name} is the same for every picture"
    return (
        f"the output of layer {name} is nearly the same all over the picture (tensor {name}.weight)"
    )
