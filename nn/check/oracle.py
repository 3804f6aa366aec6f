"""PyTorch in float64 as a second oracle: live where it is installed, and frozen in a file of this repository.

    y, and every gradient of <dy, y>, of each sample of each layer, activation and loss
    the weights after each of ten steps of each optimizer, with each of its options
    the losses of 50 steps of training of a model

The frozen file holds the inputs, too, so that it does not depend on anybody's random numbers:

    python -m nn.check.freeze       writes nn/check/oracles/torch.safetensors anew (PyTorch needed)
"""

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from nn.backend import assign
from nn.check import optimizers
from nn.check.case import Case, make_case
from nn.check.finding import Finding, compare
from nn.check.properties import outcome
from nn.layer import LayerSpec, Sample

FROZEN = Path(__file__).parent / "oracles" / "torch.safetensors"


def has_torch() -> bool:
    """Whether PyTorch is installed; it is not imported."""
    return importlib.util.find_spec("torch") is not None


def torch_outcome(spec: LayerSpec, case: Case) -> dict[str, np.ndarray]:
    """y (or the loss) and every gradient as PyTorch sees them, under the names of ``outcome``."""
    import torch

    f = spec.torch(case.module)
    x = torch.tensor(case.x, requires_grad=True)
    if case.target is not None:
        y = f(x, torch.tensor(case.target))
        (y * case.dy).backward()
        return {"loss": y.detach().numpy(), "dy": x.grad.numpy()}
    y = f(x)
    y.backward(torch.tensor(case.dy))
    gradients = {"dx": x.grad} | {f"d{name}": p.grad for name, p in f.parameters.items()}
    return {"y": y.detach().numpy()} | {name: g.numpy() for name, g in gradients.items()}


def torch_trajectory(spec: LayerSpec, sample: Sample, seed: int) -> list[np.ndarray]:
    """The weights after each step, by PyTorch, of the problem that ``optimizers.trajectory`` solves."""
    import torch

    start, gradients = optimizers.problem(spec, sample, seed, np.float64)
    _, _, ours = optimizers.make(spec, sample, start, "reference")
    w = torch.tensor(start, requires_grad=True)
    theirs = spec.torch(ours, [w])
    path = []
    for step, gradient in enumerate(gradients):
        share = optimizers.RATES[step % len(optimizers.RATES)]
        theirs.param_groups[0]["lr"] = ours.learning_rate * share
        w.grad = torch.tensor(gradient)
        theirs.step()
        path.append(w.detach().numpy().copy())
    return path


def live(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Iterator[Finding]:
    """Against PyTorch itself."""
    if spec.kind == "optimizer":
        path = optimizers.trajectory(spec, sample, backend, seed)
        for step, expected in enumerate(torch_trajectory(spec, sample, seed), start=1):
            yield compare(f"w after step {step}", path[step - 1]["w"], expected)
        return
    case = make_case(spec, sample, seed=seed, backend=backend)
    found = outcome(case)
    for name, expected in torch_outcome(spec, case).items():
        yield compare(name, found.get(name), expected)


def frozen(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Iterator[Finding]:
    """Against what PyTorch said when the file was made."""
    held = {
        key.rpartition("/")[2]: a
        for key, a in _load().items()
        if key.startswith(key_of(spec, sample))
    }
    if not held:
        note = "has no frozen result for this sample; python -m nn.check.freeze makes it, with PyTorch installed"
        yield Finding("oracle", np.inf, note=note)
        return
    if spec.kind == "optimizer":
        yield from _frozen_trajectory(spec, sample, backend, held)
        return
    case = make_case(spec, sample, backend=backend)
    case.x[...] = held["in x"]
    for name, p in case.parameters().items():
        assign(p.value, held[f"in {name}"])
    dy = held["in dy"] if case.target is None else float(held["in dy"])
    found = outcome(Case(case.module, case.x, dy, held.get("in target")))
    for name, expected in held.items():
        if not name.startswith("in "):
            yield compare(name, found.get(name), expected)


def _frozen_trajectory(
    spec: LayerSpec, sample: Sample, backend: str, held: dict[str, np.ndarray]
) -> Iterator[Finding]:
    p, _, optimizer = optimizers.make(spec, sample, held["in w"], backend)
    rate = optimizer.learning_rate
    for step, gradient in enumerate(held["in gradients"]):
        assign(p.grad, gradient)
        optimizer.learning_rate = rate * optimizers.RATES[step % len(optimizers.RATES)]
        optimizer.step()
        yield compare(f"w after step {step + 1}", p.value, held["w"][step])


def frozen_training(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Iterator[Finding]:
    """The losses of many steps of training against those that PyTorch gave when the file was made."""
    held = _load().get(f"{key_of(spec, sample)}losses")
    if held is None:
        yield Finding("oracle", np.inf, note="has no frozen losses of this model")
        return
    problem = spec.make(**sample.kwargs, seed=0)
    problem.model.to(backend)
    yield compare(f"losses of {len(held)} steps", problem.train(len(held)), held)


def key_of(spec: LayerSpec, sample: Sample) -> str:
    """What the names of a sample's arrays in the file begin with."""
    return f"{spec.name} {sample.kwargs} {sample.shape}/"


@cache
def _load() -> dict[str, np.ndarray]:
    return load_file(FROZEN) if FROZEN.exists() else {}
