"""What a function does, on inputs that bring out mistakes: the same for a right one, a wrong one and a learner's.

A function here has the arguments of the reference's function of its name. Each is called so that nothing can hide:

    backward    two forward passes of different batch sizes, then both backward passes, the later one first; random
                arrays in dw and db before; whole numbers as well, which lie on the kinks; need_dx=False; and every
                array that went in is compared with a copy afterwards
    forward     the same inputs
    step        six steps with another learning rate each time, some gradients 0

``observe`` gives {(what was tried, output): array}, outputs being "dx", "dw", "db", "y", "loss", "w", "m", "v" ... and,
where an input was written to, the name of that input.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from nn.backend import get_backend
from nn.check import optimizers
from nn.check.case import Case, describe, make_case
from nn.layer import REGISTRY, LayerSpec, Sample

Function = Callable[..., Any]
Outputs = dict[tuple[str, str], Any]
SHORT = {"weight": "dw", "bias": "db"}
RATES = (1.0, 0.5, 2.0, 1.0, 0.25, 3.0)


@dataclass(frozen=True)
class Call:
    """The arguments of one forward pass of a reference function, by name, and its right outcome."""

    arguments: dict[str, Any]
    cache: Any
    out: Any


def functions() -> dict[str, LayerSpec]:
    """Every function that can be handed in, and whose it is: "conv2d_backward": the spec of Conv2d ..."""
    found = {}
    for spec in REGISTRY.values():
        if spec.kind == "optimizer":
            found[f"{spec.op}_step"] = spec
        elif spec.op:
            found |= {f"{spec.op}_{way}": spec for way in ("forward", "backward")}
        elif spec.kind == "layer":
            found |= {f"{spec.name}._{way}": spec for way in ("forward", "backward")}
    return found


def right_function(of: str, backend: str = "reference") -> Function:
    """The backend's function, or the layer's method."""
    layer, _, name = of.rpartition(".")
    return getattr(REGISTRY[layer].make if layer else get_backend(backend), name)


def observe(function: Function, of: str, *, seed: int = 0) -> Outputs:
    """Everything that comes out of ``function``, called as the reference's function ``of`` would be."""
    spec = functions()[of]
    found: Outputs = {}
    with np.errstate(all="ignore"):
        for sample in spec.samples:
            for integers in (False, True):
                kind = ", whole numbers" if integers else ""
                tried = f"{describe(sample) or 'x'} {sample.shape}{kind}"
                try:
                    found |= _try(function, of, spec, sample, integers, seed, tried)
                except Exception as error:
                    error.add_note(tried)
                    raise
    return found


def _try(
    function: Function, of: str, spec: LayerSpec, sample: Sample, integers: bool, seed: int, tried: str
) -> Outputs:  # fmt: skip
    if spec.kind == "optimizer":
        return {} if integers else _steps(function, spec, sample, seed, tried)
    way = _forward if of.endswith("forward") else _backward
    return way(function, of, spec, sample, integers, seed, tried)


def call_of(case: Case, of: str, spec: LayerSpec) -> Call:
    """What the layer or loss of a case hands to its function, recorded."""
    forward = of.replace("_backward", "_forward")
    if "." in of:
        out, cache = case.module._forward(case.x)
        return Call({"self": case.module, "x": case.x}, cache, out)
    taken: list[tuple] = []
    right = right_function(forward)

    def recorder(*arguments: Any, **named: Any) -> Any:
        taken.append((arguments, named))
        return right(*arguments, **named)

    with _instead(forward, recorder):
        case.forward()
    (arguments, named), names = taken[0], right.__code__.co_varnames
    out, cache = right(*arguments, **named)
    return Call(dict(zip(names, arguments, strict=False)) | named, cache, out)


@contextmanager
def _instead(name: str, function: Function) -> Iterator[None]:
    owner = get_backend("reference")
    right = getattr(owner, name)
    setattr(owner, name, function)
    try:
        yield
    finally:
        setattr(owner, name, right)


def _cases(spec: LayerSpec, sample: Sample, integers: bool, seed: int) -> tuple[Case, Case]:
    """Two cases of one layer; the second's batch is larger by one."""
    first = make_case(spec, sample, seed=seed, integers=integers)
    larger = Sample(sample.kwargs, (sample.shape[0] + 1, *sample.shape[1:]))
    other = make_case(spec, larger, seed=seed + 1, integers=integers)
    return first, Case(first.module, other.x, other.dy, other.target)


def _backward(
    function: Function, of: str, spec: LayerSpec, sample: Sample, integers: bool, seed: int, tried: str
) -> Outputs:  # fmt: skip
    cases = _cases(spec, sample, integers, seed)
    calls = [call_of(case, of, spec) for case in cases]
    rng = np.random.default_rng(seed + 2)
    start = {
        name: rng.integers(-3, 4, p.shape).astype(float)
        for name, p in cases[0].parameters().items()
    }
    found: Outputs = {}
    for i in (1, 0):
        case, call = cases[i], calls[i]
        ins = _arrays(call.arguments) | ({} if case.target is not None else {"dy": case.dy})
        before = {name: np.array(a) for name, a in ins.items()}
        skips = case.target is None and (start or "." in of) and i == 0
        for need_dx in (True, False) if skips else (True,):
            grads = {name: a.copy() for name, a in start.items()}
            hint = function.__dict__.get("note_call")
            if hint:
                hint(call)
            dx = _call_backward(function, of, case, call, grads, need_dx)
            place = f"{tried}, call {i + 1}" + ("" if need_dx else ", need_dx=False")
            first = "dy" if case.target is not None else "dx"
            found[place, first] = None if dx is None else np.array(dx)
            for name, grad in grads.items():
                found[place, SHORT[name]] = grad - start[name]
        for name, array in ins.items():
            if not np.array_equal(array, before[name]):
                found[f"{tried}, call {i + 1}, afterwards", name] = array.copy()
                array[...] = before[name]
    return found


def _call_backward(
    function: Function, of: str, case: Case, call: Call, grads: dict[str, np.ndarray], need_dx: bool
) -> Any:
    if "." in of:
        return function(case.module, case.dy, call.cache, need_dx)
    if not grads:
        return function(case.dy, call.cache)
    return function(case.dy, call.cache, grads["weight"], grads.get("bias"), need_dx=need_dx)


def _forward(
    function: Function, of: str, spec: LayerSpec, sample: Sample, integers: bool, seed: int, tried: str
) -> Outputs:  # fmt: skip
    found: Outputs = {}
    for i, case in enumerate(_cases(spec, sample, integers, seed)):
        call = call_of(case, of, spec)
        ins = _arrays(call.arguments)
        before = {name: np.array(a) for name, a in ins.items()}
        hint = function.__dict__.get("note_call")
        if hint:
            hint(call)
        given = function(**call.arguments) if "." not in of else function(case.module, case.x)
        y = given[0] if isinstance(given, tuple) else given
        name = "y" if case.target is None else "loss"
        found[f"{tried}, call {i + 1}", name] = None if y is None else np.array(y)
        # What it cached is right if the right backward makes the right gradient of it; a learner's may return y alone.
        has_cache = isinstance(given, tuple) and type(given[1]) is type(call.cache)
        first, gradient = _from_cache(of, case, given[1] if has_cache else call.cache)
        found[f"{tried}, call {i + 1}, from its cache", first] = gradient
        for name, array in ins.items():
            if not np.array_equal(array, before[name]):
                found[f"{tried}, call {i + 1}, afterwards", name] = array.copy()
                array[...] = before[name]
    return found


def _from_cache(of: str, case: Case, cache: Any) -> tuple[str, Any]:
    grads = {name: np.zeros_like(p.value) for name, p in case.parameters().items()}
    backward = of.replace("_forward", "_backward")
    dx = _call_backward(
        right_function(backward), backward, case, Call({}, cache, None), grads, True
    )
    return ("dy" if case.target is not None else "dx"), np.array(dx)


def _steps(function: Function, spec: LayerSpec, sample: Sample, seed: int, tried: str) -> Outputs:
    start, gradients = optimizers.problem(spec, sample, seed, np.float64)
    _, _, optimizer = optimizers.make(spec, sample, start, "reference")
    options = {"learning_rate": optimizer.learning_rate, "weight_decay": optimizer.weight_decay}
    w = start.copy()
    states: tuple = (np.zeros_like(w) if "velocity" in optimizer.state else None,)
    if spec.op == "adam":
        states = (np.zeros_like(w), np.zeros_like(w))
        options |= {name: getattr(optimizer, name) for name in ("beta1", "beta2", "eps")}
    else:
        options |= {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov}
    rate, found = optimizer.learning_rate, {}
    names = ("m", "v") if spec.op == "adam" else ("v",)
    for step, gradient in enumerate(gradients[: len(RATES)], start=1):
        dw = gradient.copy()
        options["learning_rate"] = rate * RATES[step - 1]
        count = {"step": step} if spec.op == "adam" else {}
        function(w, dw, *states, **count, **options)
        found[f"{tried}, step {step}", "w"] = w.copy()
        for name, state in zip(names, states, strict=True):
            if state is not None:
                found[f"{tried}, step {step}", name] = state.copy()
        if not np.array_equal(dw, gradient):
            found[f"{tried}, step {step}, afterwards", "dw"] = dw
    return found


def _arrays(arguments: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: a for name, a in arguments.items() if isinstance(a, np.ndarray)}
