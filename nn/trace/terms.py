"""Which products make a number: the equations of nn/reference, one index at a time.

    nn.explain(trace, "conv1.dw[1,2,0,5]")

    conv1.dw[1,2,0,5] = sum over n, p, q of  x[n, p+i-1, q+j-1, c] dy[n, p, q, k]
      + x[0,1,2,0]  0.8314  *  dy[0,1,1,5]  0.0021  =  0.00174
      ...

A name is LAYER.TENSOR[INDEX]; TENSOR is x, y, dx, dy, a parameter (w, b) or its gradient (dw, db). Where the model is
several chains, a:LAYER.y[...] says in which of them; dw and db of a shared layer need none: they are the sum of all
its calls. The layers' equations are in kinds.py, the losses' in losses.py; a layer of your own says what its numbers
are made of with ``@explains(MyLayer)``.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from nn.layer import Layer
from nn.trace.record import Call, Trace

Index = tuple[int, ...]
SHOWN = 12  # products in a printed explanation
# Sums of some thousand rounded products, and Winograd's error (nn/cpu/winograd.py), in units of the last place.
ROUNDING = 100


class Term(NamedTuple):
    """left times right, and what the two are called: ``x[0,1,2,0]``, ``w[1,2,0,5]``."""

    left: str
    left_value: float
    right: str
    right_value: float

    @property
    def product(self) -> float:
        return self.left_value * self.right_value


@dataclass(frozen=True)
class Terms:
    """One number of a trace, and what it is the sum of.

    equation   how it is made, in letters
    value      the engine's own number
    start      what the sum starts with, a bias: (name, value), or None
    terms      the products
    formula    for what is no sum of products: a function with the numbers filled in, else ""
    computed   what the formula gives, or start and products summed in float64
    note       what else one should know
    parts      the shares of a number that several calls add to, by chain
    right      whether value and computed differ by no more than rounding does
    """

    name: str
    equation: str
    value: float
    start: tuple[str, float] | None = None
    terms: tuple[Term, ...] = ()
    formula: str = ""
    result: float | None = None
    note: str = ""
    parts: dict[str, "Terms"] = field(default_factory=dict)
    operands: float = (
        0.0  # what was subtracted inside a factor, 1 - y² say, is larger than what is left
    )
    eps: float = float(np.finfo(np.float32).eps)  # of the numbers' dtype

    @property
    def computed(self) -> float:
        if self.parts:
            return math.fsum(part.computed for part in self.parts.values())
        if self.result is not None:
            return self.result
        first = [self.start[1]] if self.start else []
        return math.fsum([*first, *(term.product for term in self.terms)])

    @property
    def size(self) -> float:
        """The sum of the products' absolute values: what rounding is measured by."""
        if self.parts:
            return math.fsum(part.size for part in self.parts.values())
        if self.result is not None:
            return abs(self.result)
        first = [abs(self.start[1])] if self.start else []
        total = math.fsum([*first, *(abs(term.product) for term in self.terms)])
        return max(total, self.operands)

    @property
    def right(self) -> bool:
        return abs(self.computed - self.value) <= ROUNDING * self.eps * self.size

    def __str__(self) -> str:
        from nn.trace.table import terms_text

        return terms_text(self)

    __repr__ = __str__


Explainer = Callable[[Call, str, Index], Terms]
EXPLAINERS: dict[type[Layer], Explainer] = {}


def explains(kind: type[Layer]) -> Callable[[Explainer], Explainer]:
    """Registers ``f(call, tensor, index) -> Terms`` for a layer class; tensor is y, dx, or d and a parameter's name."""

    def put(explainer: Explainer) -> Explainer:
        EXPLAINERS[kind] = explainer
        return explainer

    return put


def explain(trace: Trace, number: str) -> Terms:
    """What one number of the trace is made of; its ``str`` is the explanation.

    number   "conv1.dw[1,2,0,5]", "b:decoder.conv1.y[0,3,3,7]", "loss", or "loss.dy[0,3]"
    Raises ValueError, in one sentence, where there is no such layer, tensor or index.
    """
    eps = float(np.finfo(trace.ends[0].y.dtype).eps)
    terms = _explain(trace, number)
    parts = {chain: replace(part, eps=eps) for chain, part in terms.parts.items()}
    return replace(terms, eps=eps, parts=parts)


def _explain(trace: Trace, number: str) -> Terms:
    from nn.trace.losses import explain_end, explain_loss

    if re.fullmatch(r"(\w+:)?loss", number.replace(" ", "")):
        return explain_loss(trace, number.replace(" ", "").rpartition(":")[0])
    start = re.fullmatch(r"\s*(?:(\w+):)?loss\.dy\s*\[([-\d,\s]*)\]\s*", number)
    if start:
        return _start(trace, *start.groups(), number)
    match = re.fullmatch(r"\s*(?:([^:\[\]]+):)?([^\[\]:]+)\.(\w+)\s*\[([-\d,\s]*)\]\s*", number)
    if not match:
        raise ValueError(f"a number of a trace is written like conv1.dw[1,2,0,5]; found {number!r}")
    chain, name, tensor, index = match.groups()
    at = tuple(int(i) for i in index.split(",") if i.strip())
    calls = [c for c in trace.calls_of(name) if chain in (None, c.chain)]
    if chain is not None and chain not in trace.chains:
        raise ValueError(
            f"there is no chain {chain!r}; there are {', '.join(trace.chains) or 'none'}"
        )
    if not calls:
        where = f" in chain {chain}" if chain else ""
        raise ValueError(f"there is no layer {name!r}{where}; there are {', '.join(trace.names)}")
    parameters = calls[0].parameters
    if tensor in parameters:
        value = parameters[tensor]
        at = _inside(value, at, number)
        return Terms(
            number,
            f"{tensor} is a parameter: it was set before the step",
            at_index(value, at),
            formula="as it was",
            result=at_index(value, at),
        )
    if tensor[1:] in parameters and tensor[0] == "d":
        at = _inside(calls[0].grads[tensor[1:]], at, number)
        shares = {call.chain: explain_call(call, tensor, at) for call in calls}
        if len(shares) == 1:
            return next(iter(shares.values()))
        equation = " + ".join(f"{tensor} from {c}" for c in shares)
        value = at_index(trace.gradient(name, tensor[1:]), at)
        return Terms(
            number,
            f"the layer was used {len(shares)} times, so its gradient is {equation}",
            value,
            parts=shares,
        )
    if tensor not in ("x", "y", "dx", "dy"):
        kinds = ["x", "y", "dx", "dy", *parameters, *(f"d{p}" for p in parameters)]
        raise ValueError(f"{name} has no {tensor!r}; it has {', '.join(kinds)}")
    if len(calls) > 1:
        ways = " or ".join(f"{c.label}.{tensor}[{index}]" for c in calls)
        raise ValueError(f"{name} was used {len(calls)} times: say {ways}")
    call = calls[0]
    at = _inside(getattr(call, tensor), at, number)
    if tensor in ("y", "dx"):
        return explain_call(call, tensor, at)
    way = trace.chain(call.chain)
    place = way.index(call)
    if tensor == "x" and place == 0:
        value = at_index(call.x, at)
        return Terms(
            number,
            "x of the first layer is what was put in",
            value,
            formula="as it was",
            result=value,
        )
    if tensor == "x":
        return explain_call(way[place - 1], "y", at)
    if place == len(way) - 1:
        return explain_end(next(e for e in trace.ends if e.chain == call.chain), at)
    return explain_call(way[place + 1], "dx", at)


def _start(trace: Trace, chain: str | None, index: str, number: str) -> Terms:
    """One number of the dy that comes from a loss."""
    from nn.trace.losses import explain_end

    ends = [end for end in trace.ends if chain in (None, end.chain)]
    if len(ends) != 1:
        ways = " or ".join(f"{end.chain}:loss.dy[{index}]" for end in trace.ends)
        raise ValueError(f"there are {len(ends)} such losses: say {ways}")
    at = tuple(int(i) for i in index.split(",") if i.strip())
    return explain_end(ends[0], _inside(ends[0].dy, at, number))


def explain_call(call: Call, tensor: str, index: Index) -> Terms:
    """One number of y, dx or a parameter's gradient of one call."""
    explainer = next((EXPLAINERS[k] for k in type(call.layer).__mro__ if k in EXPLAINERS), None)
    if explainer is None:
        array = call.grads[tensor[1:]] if tensor[1:] in call.grads else getattr(call, tensor)
        kind = type(call.layer).__name__
        return Terms(
            name_of(call, tensor, index),
            f"{kind} says nothing of what its numbers are made of; "
            f"@nn.trace.explains({kind}) would",
            at_index(array, index),
            formula="unknown",
            result=at_index(array, index),
        )
    return explainer(call, tensor, index)


def name_of(call: Call, tensor: str, index: Index) -> str:
    return f"{call.label}.{tensor}[{','.join(map(str, index))}]"


def at_index(array: np.ndarray, index: Index) -> float:
    return float(array[index])


def cell(letter: str, array: np.ndarray, *index: int) -> tuple[str, float]:
    """("x[0,1,2,0]", its value)"""
    index = tuple(int(i) for i in index)
    return f"{letter}[{','.join(map(str, index))}]", float(array[index])


def _inside(array: np.ndarray, index: Index, number: str) -> Index:
    if len(index) != array.ndim:
        raise ValueError(
            f"{number}: the tensor is {array.shape}, so it takes {array.ndim} indices, "
            f"found {len(index)}"
        )
    for i, size in zip(index, array.shape, strict=True):
        if not -size <= i < size:
            raise ValueError(f"{number}: the tensor is {array.shape}, so {i} lies outside")
    return tuple(i % size for i, size in zip(index, array.shape, strict=True))
