"""What the page is told: every tensor once, the calls with their equations, and what the page makes itself.

A *source* is a run of numbers that the page has or can make; a *role* is [source, shape]. x of a layer is y of the one
before, dy is dx of the one behind, and Flatten changes the shape alone, so there are fewer sources than roles: they
are told apart by their bytes.
"""

import hashlib
from typing import Any

import numpy as np

from nn.layers import Conv2d, Dense, Flatten, LeakyReLU, PixelShuffle, ReLU, Reshape, Sigmoid, Tanh
from nn.losses import MAE, MSE, BCEWithLogits
from nn.reference import pixel_shuffle_forward
from nn.trace.losses import explain_end, explain_loss
from nn.trace.record import Call, End, Trace
from nn.trace.terms import EXPLAINERS, explain_call

# The layers whose products terms.js knows, and by which name.
KINDS = {
    Conv2d: "conv2d",
    Dense: "dense",
    PixelShuffle: "shuffle",
    ReLU: "relu",
    LeakyReLU: "relu",
    Sigmoid: "sigmoid",
    Tanh: "tanh",
    Flatten: "reshape",
    Reshape: "reshape",
}
LOSSES = {MSE: "mse", MAE: "mae", BCEWithLogits: "bce"}
SEEN = 0.998  # the share of a tensor's numbers that its colours tell apart; the few beyond are shown as the last colour
Made = dict[str, Any]


class Contents:
    """The sources, and what is said of them. A page that is *lean* leaves out what it can make itself: y and dx of
    activations and pixel shuffles, dw and db."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._arrays: list[np.ndarray] = []
        self._made: list[Made | None] = []
        self._statistics: list[dict[str, Any]] = []
        self._known: dict[bytes, int] = {}
        place = {id(call): i for i, call in enumerate(trace.calls)}
        calls: list[dict[str, Any]] = [{} for _ in trace.calls]
        self._ends = []
        for end in trace.ends:
            way = trace.chain(end.chain)
            roles = {"x": self._role(way[0].x)} if way else {}
            for call in way:  # forward, so that what y is made from is known before y
                roles = {"x": roles["x"], "y": self._role(call.y, _y_made(call, roles["x"]))}
                calls[place[id(call)]] |= roles
                roles = {"x": roles["y"]}
            target, last = self._role(end.target), self._role(end.y)
            dy = first = self._role(end.dy)
            for call in reversed(way):
                told = calls[place[id(call)]]
                dx = self._role(call.dx, _dx_made(call, dy, told["x"]))
                told |= {"dy": dy, "dx": dx} | self._parameters(call, place[id(call)])
                dy = dx
            self._ends.append(_end(trace, end) | {"y": last, "target": target, "dy": first})
        self._calls = [_call(call) | roles for call, roles in zip(trace.calls, calls, strict=True)]
        self._sums = self._shared()

    def given(self, lean: bool) -> list[int]:
        """The sources that the page is given."""
        return [i for i, made in enumerate(self._made) if not self._makes(made, lean)]

    def array(self, source: int) -> np.ndarray:
        return self._arrays[source]

    def told(self, bits: dict[int, int], lean: bool) -> dict[str, Any]:
        """All of it for JSON; bits: of each source that is given, how many of a number's fraction."""
        sources = [
            {"dtype": str(array.dtype), "size": array.size, "bits": bits.get(i)}
            | {"made": made if self._makes(made, lean) else None, **statistics}
            for i, (array, made, statistics) in enumerate(
                zip(self._arrays, self._made, self._statistics, strict=True)
            )
        ]
        trace = self.trace
        chains = [[i for i, c in enumerate(trace.calls) if c.chain == e.chain] for e in trace.ends]
        return {
            "chains": chains,
            "calls": self._calls,
            "ends": self._ends,
            "sums": self._sums,
            "sources": sources,
            "loss": _number(trace.loss),
            "dtype": str(trace.ends[0].y.dtype),
            "lean": lean,
        }

    def _makes(self, made: Made | None, lean: bool) -> bool:
        return made is not None and (lean or made["how"] == "sum")

    def _role(
        self, array: np.ndarray, made: Made | None = None, *, batch: bool = True
    ) -> list[Any]:
        return [self._source(array, made, batch), list(array.shape)]

    def _source(self, array: np.ndarray, made: Made | None, batch: bool) -> int:
        array = np.ascontiguousarray(array)
        key = hashlib.blake2b(array.view(np.uint8), digest_size=16, key=array.dtype.str.encode())
        if key.digest() not in self._known:
            self._known[key.digest()] = len(self._arrays)
            self._arrays.append(array)
            self._made.append(made)
            self._statistics.append(_statistics(array) | {"peak": _peak(array, batch)})
        return self._known[key.digest()]

    def _parameters(self, call: Call, number: int) -> dict[str, Any]:
        """Roles of the parameters and of what this call adds to their gradients."""
        known = _kind(call) in ("conv2d", "dense")
        return {
            "parameters": {
                name: self._role(value, batch=False) for name, value in call.parameters.items()
            },
            "grads": {
                name: self._role(
                    grad,
                    {"how": "terms", "call": number, "name": f"d{name}"} if known else None,
                    batch=False,
                )
                for name, grad in call.grads.items()
            },
        }

    def _shared(self) -> dict[str, dict[str, Any]]:
        """For layers of several chains: the sums of their gradients."""
        sums: dict[str, dict[str, Any]] = {}
        for name in self.trace.names:
            numbers = [i for i, call in enumerate(self.trace.calls) if call.name == name]
            if len(numbers) < 2:
                continue
            sums[name] = {}
            for p in self._calls[numbers[0]]["grads"]:
                made = {"how": "sum", "of": [self._calls[i]["grads"][p][0] for i in numbers]}
                sums[name][p] = self._role(self.trace.gradient(name, p), made, batch=False)
        return sums


def _kind(call: Call) -> str:
    """The name by which terms.js knows what the layer's numbers are made of; "" where it does not."""
    known = next((k for k in type(call.layer).__mro__ if k in EXPLAINERS), None)
    return KINDS.get(known, "")


def _call(call: Call) -> dict[str, Any]:
    layer, kind = call.layer, _kind(call)
    options: dict[str, Any] = {}
    if kind == "conv2d":
        top, _, left, _ = layer.pads(*call.x.shape[1:3])
        options = {"kernel": layer.kernel_size, "stride": layer.stride, "border": (top, left)}
    elif kind == "relu":
        low = float(getattr(layer, "negative_slope", 0.0))
        options = {"slope": float(call.x.dtype.type(low))}
    elif kind == "shuffle":
        options = {"factor": layer.factor}
    arrays = {"y": call.y, "dx": call.dx} | {f"d{p}": grad for p, grad in call.grads.items()}
    equations = {
        tensor: explain_call(call, tensor, (0,) * array.ndim).equation
        for tensor, array in arrays.items()
        if array.size
    }
    return {
        "chain": call.chain,
        "name": call.name,
        "label": call.label,
        "kind": kind,
        "class": type(layer).__name__,
        "repr": repr(layer),
        "options": options,
        "equations": equations,
    }


def _end(trace: Trace, end: End) -> dict[str, Any]:
    return {
        "chain": end.chain,
        "loss": repr(end.loss),
        "kind": next((LOSSES[k] for k in type(end.loss).__mro__ if k in LOSSES), ""),
        "value": _number(end.value),
        "equations": {
            "loss": explain_loss(trace, end.chain).equation,
            "dy": explain_end(end, (0,) * end.y.ndim).equation,
        },
    }


def _y_made(call: Call, x: list[Any]) -> Made | None:
    """How the page makes y from x to the last bit, or None."""
    layer, kind = call.layer, _kind(call)
    if kind == "shuffle" and np.array_equal(
        pixel_shuffle_forward(call.x, factor=layer.factor)[0], call.y
    ):
        return {"how": "shuffle", "of": x[0], "shape": call.x.shape, "factor": layer.factor}
    if kind == "relu":
        slope = call.x.dtype.type(getattr(layer, "negative_slope", 0.0))
        if np.array_equal(np.where(call.x > 0, call.x, call.x * slope), call.y):
            return {"how": "slope", "of": x[0], "sign": x[0], "slope": float(slope)}
    return None


def _dx_made(call: Call, dy: list[Any], x: list[Any]) -> Made | None:
    """How the page makes dx from dy and x to the last bit, or None."""
    layer, kind = call.layer, _kind(call)
    if kind == "shuffle" and np.array_equal(
        pixel_shuffle_forward(call.dx, factor=layer.factor)[0], call.dy
    ):
        return {"how": "unshuffle", "of": dy[0], "shape": call.x.shape, "factor": layer.factor}
    if kind == "relu":
        slope = call.x.dtype.type(getattr(layer, "negative_slope", 0.0))
        if np.array_equal(np.where(call.x > 0, call.dy, call.dy * slope), call.dx):
            return {"how": "slope", "of": dy[0], "sign": x[0], "slope": float(slope)}
    return None


def _statistics(array: np.ndarray) -> dict[str, Any]:
    """Of the exact numbers: least, mean, largest, deviation, share of zeros, length; where the extremes lie; and the
    size beyond which all colours are one."""
    flat = array.ravel()
    finite = np.isfinite(flat)
    odd = int(flat.size - finite.sum())
    if odd == flat.size:
        return {"odd": odd}
    good = flat if not odd else np.where(finite, flat, 0)
    wide = good.astype(np.float64)
    size = np.abs(good)
    some = size if size.size <= 1 << 18 else size[:: size.size >> 17]
    peak, scale = float(size.max()), float(np.quantile(some[some > 0], SEEN)) if some.any() else 0.0
    low, high = int(good.argmin()), int(good.argmax())
    return {
        "min": float(good[low]),
        "max": float(good[high]),
        "min_at": low,
        "max_at": high,
        "mean": float(wide.mean()),
        "std": float(wide.std()),
        "zeros": float(np.mean(flat == 0)),
        "norm": float(np.sqrt(np.square(wide).sum())),
        "scale": scale if 0 < 1.5 * scale < peak else peak,
        "odd": odd,
    }


def _peak(array: np.ndarray, batch: bool) -> int:
    """Where a large number lies that makes a good example: of the first picture, away from its edges."""
    if not array.size:
        return 0
    size = np.where(np.isfinite(array), np.abs(array), 0)
    if batch and array.ndim > 1:
        size[1:] = -1
    if batch and array.ndim == 4:
        for axis in (1, 2):
            edge = array.shape[axis] // 5
            if edge:
                rows = np.moveaxis(size, axis, 0)
                rows[:edge] = rows[-edge:] = -1
    return int(size.argmax())


def _number(value: float) -> float | None:
    """The number, or None where JSON has none for it."""
    return float(value) if np.isfinite(value) else None
