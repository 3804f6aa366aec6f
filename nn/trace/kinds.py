"""What the numbers of each kind of layer are made of: an explainer for each, in the order of nn/reference."""

import math

import numpy as np

from nn.layers import Conv2d, Dense, Flatten, LeakyReLU, PixelShuffle, ReLU, Reshape, Sigmoid, Tanh
from nn.trace.record import Call
from nn.trace.terms import Index, Term, Terms, at_index, cell, explains, name_of


def _sum(
    call: Call,
    tensor: str,
    index: Index,
    equation: str,
    terms: list[Term],
    start: tuple[str, float] | None = None,
    note: str = "",
    operands: float = 0.0,
) -> Terms:
    array = call.grads[tensor[1:]] if tensor[1:] in call.grads else getattr(call, tensor)
    return Terms(
        name_of(call, tensor, index),
        equation,
        at_index(array, index),
        start,
        tuple(terms),
        note=note,
        operands=operands,
    )


@explains(Dense)
def _dense(call: Call, tensor: str, index: Index) -> Terms:
    w, n_in, n_out = call.parameters["w"], call.x.shape[1], call.y.shape[1]
    rows = range(len(call.x))
    if tensor == "y":
        n, o = index
        b = call.parameters.get("b")
        terms = [Term(*cell("x", call.x, n, i), *cell("w", w, i, o)) for i in range(n_in)]
        equation = (
            f"y[n,o] = {'b[o] + ' if b is not None else ''}sum over i < {n_in} of x[n,i] w[i,o]"
        )
        return _sum(call, tensor, index, equation, terms, None if b is None else cell("b", b, o))
    if tensor == "dx":
        n, i = index
        terms = [Term(*cell("dy", call.dy, n, o), *cell("w", w, i, o)) for o in range(n_out)]
        equation = f"dx[n,i] = sum over o < {n_out} of dy[n,o] w[i,o]"
    elif tensor == "dw":
        i, o = index
        terms = [Term(*cell("x", call.x, n, i), *cell("dy", call.dy, n, o)) for n in rows]
        equation = f"dw[i,o] = sum over n < {len(rows)} of x[n,i] dy[n,o]"
    else:
        terms = [Term(*cell("dy", call.dy, n, index[0]), "1", 1.0) for n in rows]
        equation = f"db[o] = sum over n < {len(rows)} of dy[n,o]"
    return _sum(call, tensor, index, equation, terms)


@explains(Conv2d)
def _conv2d(call: Call, tensor: str, index: Index) -> Terms:
    x, dy, w = call.x, call.dy, call.parameters["w"]
    (batch, height, width, c_in), (_, oh, ow, k_out) = x.shape, call.y.shape
    (kh, kw), (sh, sw) = call.layer.kernel_size, call.layer.stride
    top, _, left, _ = call.layer.pads(height, width)
    row, column = _affine("p", sh, "i", top), _affine("q", sw, "j", left)
    if tensor == "y":
        n, p, q, k = index
        b = call.parameters.get("b")
        terms, outside = [], 0
        for i in range(kh):
            for j in range(kw):
                r, s = sh * p + i - top, sw * q + j - left
                if not (0 <= r < height and 0 <= s < width):
                    outside += 1
                    continue
                terms += [
                    Term(*cell("x", x, n, r, s, c), *cell("w", w, i, j, c, k)) for c in range(c_in)
                ]
        equation = (
            f"y[n,p,q,k] = {'b[k] + ' if b is not None else ''}sum over i < {kh}, j < {kw}, c < {c_in} of "
            f"x[n,{row},{column},c] w[i,j,c,k]"
        )
        note = (
            f"{outside} of the kernel's {kh * kw} places lie on the border of zeros"
            if outside
            else ""
        )
        return _sum(
            call, tensor, index, equation, terms, None if b is None else cell("b", b, k), note
        )
    if tensor == "dx":
        n, r, s, c = index
        terms, taps = [], 0
        for i in range(kh):
            for j in range(kw):
                (p, over), (q, over_q) = divmod(r + top - i, sh), divmod(s + left - j, sw)
                if over or over_q or not (0 <= p < oh and 0 <= q < ow):
                    continue
                taps += 1
                terms += [
                    Term(*cell("dy", dy, n, p, q, k), *cell("w", w, i, j, c, k))
                    for k in range(k_out)
                ]
        equation = (
            f"dx[n,r,s,c] = sum over k < {k_out} and the taps i, j that met it, r = {row}, s = {column}, of "
            "dy[n,p,q,k] w[i,j,c,k]"
        )
        note = f"{taps} of the kernel's {kh * kw} taps met this pixel"
        return _sum(call, tensor, index, equation, terms, note=note)
    if tensor == "dw":
        i, j, c, k = index
        terms = [
            Term(
                *cell("x", x, n, sh * p + i - top, sw * q + j - left, c),
                *cell("dy", dy, n, p, q, k),
            )
            for n in range(batch)
            for p in range(oh)
            for q in range(ow)
            if 0 <= sh * p + i - top < height and 0 <= sw * q + j - left < width
        ]
        equation = (
            f"dw[i,j,c,k] = sum over n < {batch}, p < {oh}, q < {ow} of "
            f"x[n,{row},{column},c] dy[n,p,q,k]"
        )
        outside = batch * oh * ow - len(terms)
        note = (
            f"at {outside} of {batch * oh * ow} places it met the border of zeros"
            if outside
            else ""
        )
        return _sum(call, tensor, index, equation, terms, note=note)
    terms = [
        Term(*cell("dy", dy, n, p, q, index[0]), "1", 1.0)
        for n in range(batch)
        for p in range(oh)
        for q in range(ow)
    ]
    equation = f"db[k] = sum over n < {batch}, p < {oh}, q < {ow} of dy[n,p,q,k]"
    return _sum(call, tensor, index, equation, terms)


def _affine(place: str, stride: int, tap: str, border: int) -> str:
    """``2p+i-1``"""
    return f"{stride if stride > 1 else ''}{place}+{tap}{f'-{border}' if border else ''}"


@explains(PixelShuffle)
def _pixel_shuffle(call: Call, tensor: str, index: Index) -> Terms:
    r, channels = call.layer.factor, call.y.shape[3]
    n, a, b, c = index
    if tensor == "y":
        term = Term(
            *cell("x", call.x, n, a // r, b // r, (r * (a % r) + b % r) * channels + c), "1", 1.0
        )
        equation = f"y[n,{r}h+i,{r}w+j,c] = x[n,h,w,({r}i+j){channels}+c]: moved, not changed"
    else:
        tap, c = divmod(c, channels)
        term = Term(*cell("dy", call.dy, n, r * a + tap // r, r * b + tap % r, c), "1", 1.0)
        equation = f"dx[n,h,w,({r}i+j){channels}+c] = dy[n,{r}h+i,{r}w+j,c]: moved back"
    return _sum(call, tensor, index, equation, [term])


@explains(Reshape)
@explains(Flatten)
def _reshape(call: Call, tensor: str, index: Index) -> Terms:
    here, there, letter = (call.y, call.x, "x") if tensor == "y" else (call.x, call.dy, "dy")
    at = np.unravel_index(np.ravel_multi_index(index, here.shape), there.shape)
    equation = f"{tensor} = {letter}, the same numbers in the same order under another shape"
    return _sum(call, tensor, index, equation, [Term(*cell(letter, there, *at), "1", 1.0)])


@explains(ReLU)
@explains(LeakyReLU)
def _relu(call: Call, tensor: str, index: Index) -> Terms:
    low = getattr(call.layer, "negative_slope", 0.0)
    x = cell("x", call.x, *index)
    slope = 1.0 if x[1] > 0 else float(call.x.dtype.type(low))
    name = "slope where x > 0" if x[1] > 0 else "slope where x <= 0"
    left = x if tensor == "y" else cell("dy", call.dy, *index)
    equation = f"{tensor} = {'x' if tensor == 'y' else 'dy'} where x > 0, else {low:g} of it"
    return _sum(call, tensor, index, equation, [Term(*left, name, slope)])


@explains(Sigmoid)
def _sigmoid(call: Call, tensor: str, index: Index) -> Terms:
    x, y = at_index(call.x, index), at_index(call.y, index)
    if tensor == "y":
        result = 1 / (1 + math.exp(-x)) if x > -700 else 0.0
        return Terms(
            name_of(call, tensor, index),
            "y = 1 / (1 + exp(-x))",
            y,
            formula=f"1 / (1 + exp({-x:.6g}))",
            result=result,
        )
    terms = [Term(*cell("dy", call.dy, *index), "y (1 - y)", y * (1 - y))]
    size = abs(at_index(call.dy, index) * y)
    return _sum(call, tensor, index, "dx = dy y (1 - y)", terms, note=f"y = {y:.6g}", operands=size)


@explains(Tanh)
def _tanh(call: Call, tensor: str, index: Index) -> Terms:
    x, y = at_index(call.x, index), at_index(call.y, index)
    if tensor == "y":
        return Terms(
            name_of(call, tensor, index),
            "y = tanh(x)",
            y,
            formula=f"tanh({x:.6g})",
            result=math.tanh(x),
        )
    terms = [Term(*cell("dy", call.dy, *index), "1 - y²", 1 - y * y)]
    size = abs(at_index(call.dy, index))
    return _sum(call, tensor, index, "dx = dy (1 - y²)", terms, note=f"y = {y:.6g}", operands=size)
