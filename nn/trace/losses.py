"""What a loss, and the gradient with which the way back begins, are made of."""

import math

import numpy as np

from nn.losses import MAE, MSE, BCEWithLogits
from nn.trace.record import End, Trace
from nn.trace.terms import Index, Term, Terms, at_index


def explain_end(end: End, index: Index) -> Terms:
    """One number of the dy with which the way back begins."""
    label = f"{end.chain}:loss" if end.chain else "loss"
    name = f"{label}.dy[{','.join(map(str, index))}]"
    y, t, m = at_index(end.y, index), at_index(end.target, index), end.y.size
    value = at_index(end.dy, index)
    share = (f"1 / {m}", 1 / m)
    p = 1 / (1 + math.exp(-y)) if y > -700 else 0.0
    if isinstance(end.loss, MSE):
        letter, factor, operands = "2 (y - t)", 2 * (y - t), 2 * (abs(y) + abs(t))
    elif isinstance(end.loss, MAE):
        sign = float(np.sign(end.y[index] - end.target[index]))
        letter, factor, operands = "sign(y - t)", sign, 1.0
    elif isinstance(end.loss, BCEWithLogits):
        letter, factor, operands = "sigmoid(y) - t", p - t, p + abs(t)
    else:
        kind = type(end.loss).__name__
        says = f"{kind} says nothing of what its gradient is made of"
        return Terms(name, says, value, formula="unknown", result=value)
    return Terms(
        name,
        f"dy = {letter if isinstance(end.loss, MAE | MSE) else f'({letter})'} / M, M = {m}",
        value,
        terms=(Term(letter, factor, *share),),
        note=f"y = {y:.6g}, t = {t:.6g}",
        operands=operands / m,
    )


def explain_loss(trace: Trace, chain: str) -> Terms:
    """The loss: the mean of what each output adds."""
    ends = [end for end in trace.ends if not chain or end.chain == chain]
    if not ends:
        raise ValueError(f"there is no chain {chain!r}; there are {', '.join(trace.chains)}")
    if len(ends) > 1:
        parts = {end.chain: explain_loss(trace, end.chain) for end in ends}
        equation = " + ".join(f"loss of {end.chain}" for end in ends)
        return Terms("loss", f"loss = {equation}", trace.loss, parts=parts)
    end = ends[0]
    name = f"{end.chain}:loss" if end.chain else "loss"
    y, t = end.y.astype(float).ravel(), end.target.astype(float).ravel()
    share = (f"1 / {y.size}", 1 / y.size)
    if isinstance(end.loss, MSE):
        letter, each = "(y - t)²", (y - t) ** 2
    elif isinstance(end.loss, MAE):
        letter, each = "|y - t|", abs(y - t)
    elif isinstance(end.loss, BCEWithLogits):
        letter, each = (
            "-t log p - (1 - t) log(1 - p)",
            np.maximum(y, 0) - t * y + np.log1p(np.exp(-abs(y))),
        )
    else:
        return Terms(
            name,
            f"{type(end.loss).__name__} is no sum that is known here",
            end.value,
            formula="unknown",
            result=end.value,
        )
    where = (np.unravel_index(i, end.y.shape) for i in range(y.size))
    terms = tuple(
        Term(f"{letter} at [{','.join(str(int(i)) for i in at)}]", float(v), *share)
        for at, v in zip(where, each, strict=True)
    )
    return Terms(name, f"loss = mean of {letter} over M = {y.size} numbers", end.value, terms=terms)
