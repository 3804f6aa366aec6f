"""A learner's function, called like the reference's: arguments are given by name, results taken in any usual form.

    def conv2d_backward(dy, cache, dw, db): ...  return dx          adds into dw and db, as the reference does
    def conv2d_backward(dy, x, w, stride, padding): ...  return dx, dw, db
    def my_relu_backward(dout, x): ...  return dx
    def my_adam_step(w, dw, m, v, step, learning_rate): ...         in place, or  return w, m, v

Whatever of these names a function has it is given: what the forward pass was called with (x, w, b, stride, padding,
negative_slope, factor, y, target), its cache, its output, dy, and for an optimizer its options. ALIASES lists other
names that are understood. Where stride or padding has a whole number as default, or is annotated int, it is given one.
"""

import inspect
from typing import Any

import numpy as np

from nn.check.observe import Call, Function, right_function
from nn.layer import LayerSpec

ALIASES = {
    "dy": ("dout", "d_out", "grad_output", "grad_out", "upstream", "grad", "g", "dl_dy", "delta"),
    "x": ("inputs", "input", "inp", "x_in"),
    "w": ("weight", "weights", "kernel", "kernels", "filters", "param", "params", "theta"),
    "b": ("bias",),
    "y": ("out", "output", "prediction", "pred", "logits", "y_pred", "y_hat"),
    "target": ("t", "targets", "y_true", "labels", "label"),
    "negative_slope": ("slope", "alpha", "leak"),
    "padding": ("pad", "pads"),
    "stride": ("strides",),
    "dloss": ("dl", "d_loss", "scale"),
    "dw": ("dweight", "grad_w", "gradient", "grads", "gradients"),
    "db": ("dbias", "grad_b"),
    "learning_rate": ("lr", "rate", "eta"),
    "step": ("t", "steps", "iteration"),
    "v": ("velocity", "second_moment"),
    "m": ("first_moment",),
    "momentum": ("mu",),
    "weight_decay": ("decay",),
    "eps": ("epsilon",),
    "factor": ("r", "upscale", "upscale_factor"),
    "cache": ("saved", "ctx"),
}


class Refused(ValueError):
    """The function cannot be called: an argument's name is not understood."""


def adapt(function: Function, of: str, spec: LayerSpec) -> Function:
    """``function`` with the arguments of the reference's ``of``; Refused where an argument has an unknown name."""
    if "." in of:
        return function
    parameters = _parameters(function)
    if parameters is None or any(
        p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values()
    ):
        return function  # takes whatever it is given
    known = _names(of, spec)
    try:
        _bind(function, of, parameters, dict.fromkeys(known), known)  # now, not at the first call
    except Refused:
        if _takes_the_same(function, of):
            return function
        raise
    if of.endswith("_step"):
        return _adapt_step(function, of, parameters, known)
    if of.endswith("_forward"):

        def forward(**arguments: Any) -> Any:
            return function(**_bind(function, of, parameters, arguments, known))

        return forward
    if spec.kind == "loss" or spec.op not in ("conv2d", "conv_block", "dense"):
        return _adapt_plain(function, of, spec, parameters, known)
    return _adapt_layer(function, of, parameters, known)


def _adapt_plain(
    function: Function, of: str, spec: LayerSpec, parameters: dict, known: list[str]
) -> Function:
    """Activations, pixel shuffle, losses: one gradient comes back."""
    latest: list[Call] = []

    def backward(dy: Any, cache: Any) -> Any:
        given = dict(latest[-1].arguments) | {"cache": cache}
        given |= {"dloss" if spec.kind == "loss" else "dy": dy}
        if spec.kind != "loss":
            given["y"] = latest[-1].out
        dx = function(**_bind(function, of, parameters, given, known))
        return dx[0] if isinstance(dx, tuple) else dx

    backward.note_call = latest.append  # type: ignore[attr-defined]
    return backward


def _adapt_layer(function: Function, of: str, parameters: dict, known: list[str]) -> Function:
    """Convolution, its block and dense: gradients are added to what is given, or come back as (dx, dw, db)."""
    latest: list[Call] = []
    takes_dw = any(name in parameters for name in ("dw", *ALIASES["dw"]))
    takes_need_dx = "need_dx" in parameters

    def backward(dy: Any, cache: Any, dw: Any, db: Any, *, need_dx: bool = True) -> Any:
        given = latest[-1].arguments | {"cache": cache, "dy": dy, "y": latest[-1].out}
        given |= {"dw": dw, "db": db, "need_dx": need_dx}
        out = function(**_bind(function, of, parameters, given, known))
        if takes_dw:
            dx = out[0] if isinstance(out, tuple) else out
            return dx if need_dx or takes_need_dx else None
        if isinstance(out, dict):
            out = tuple(out.get(name) for name in ("dx", "dw", "db"))
        parts = (*(out if isinstance(out, tuple | list) else (out,)), None, None, None)
        for grad, part in ((dw, parts[1]), (db, parts[2])):
            if grad is not None:
                _add(grad, part)
        return parts[0] if need_dx or takes_need_dx else None

    backward.note_call = latest.append  # type: ignore[attr-defined]
    return backward


def _add(grad: np.ndarray, part: Any) -> None:
    """grad += part; NaN everywhere where nothing, or another shape, came back."""
    if part is not None and np.shape(part) == grad.shape:
        grad += part
    else:
        grad.fill(np.nan)


def _adapt_step(function: Function, of: str, parameters: dict, known: list[str]) -> Function:
    def step(w: Any, dw: Any, *states: Any, **options: Any) -> None:
        names = ("m", "v") if of == "adam_step" else ("v",)
        given = {"w": w, "dw": dw} | dict(zip(names, states, strict=True)) | options
        out = function(**_bind(function, of, parameters, given, known))
        results = out if isinstance(out, tuple | list) else () if out is None else (out,)
        for array, result in zip((w, *states), results, strict=False):
            if array is not None and result is not None and result is not array:
                array[...] = result

    return step


def _names(of: str, spec: LayerSpec) -> list[str]:
    names = list(inspect.signature(right_function(of)).parameters)
    if of.endswith("_backward"):
        forward = right_function(of.replace("_backward", "_forward"))
        names += [n for n in inspect.signature(forward).parameters if n not in names]
        names += ["y"] if spec.kind != "loss" else []
    return names


def _takes_the_same(function: Function, of: str) -> bool:
    """Whether it is to be called exactly like the reference's: a cache in second place, and arguments to match."""
    if list(_parameters(function) or {})[1:2] != ["cache"]:
        return False
    book = inspect.signature(right_function(of)).parameters.values()
    positional = [None for p in book if p.kind is p.POSITIONAL_OR_KEYWORD]
    named = {p.name: None for p in book if p.kind is p.KEYWORD_ONLY}
    try:
        inspect.signature(function).bind(*positional, **named)
    except TypeError:
        return False
    return True


def _parameters(function: Function) -> dict[str, inspect.Parameter] | None:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return None


def _bind(
    function: Function, of: str, parameters: dict, given: dict[str, Any], known: list[str]
) -> dict[str, Any]:
    """What to call the function with, by its own names."""
    bound = {}
    for name, parameter in parameters.items():
        ours = _understood(name, known)
        if ours in given:
            bound[name] = (
                _number(given[ours], parameter) if ours in ("stride", "padding") else given[ours]
            )
        elif parameter.default is parameter.empty:
            raise Refused(
                f"{getattr(function, '__name__', 'the function')} takes {name!r}, which {of} is not given; "
                f"it can take any of {', '.join(known)}"
            )
    return bound


def _understood(name: str, known: list[str]) -> str:
    plain = name.lower()
    if plain in known:
        return plain
    return next((ours for ours in known if plain in ALIASES.get(ours, ())), "")


def _number(value: Any, parameter: inspect.Parameter) -> Any:
    """A stride or padding as one number, where the function asks for one."""
    wants = parameter.annotation is int or isinstance(parameter.default, int)
    return value[0] if wants and isinstance(value, tuple) and len(set(value)) == 1 else value
