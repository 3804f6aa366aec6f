"""Writes the frozen results of PyTorch that ``nn check`` compares with where PyTorch is missing.

python -m nn.check.freeze
"""

import sys
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from nn.check import models, optimizers
from nn.check.case import make_case
from nn.check.models import load_models
from nn.check.oracle import FROZEN, has_torch, key_of, torch_outcome, torch_trajectory
from nn.layer import REGISTRY


def freeze() -> int:
    """Writes the file; returns its size in bytes."""
    arrays: dict[str, Any] = {}
    load_models()
    for spec in REGISTRY.values():
        if spec.kind == "model":
            problem = spec.make(**spec.bench.kwargs, seed=0)
            losses = spec.torch(problem, models.TRAINED_STEPS)
            arrays[f"{key_of(spec, spec.bench)}losses"] = losses
            continue
        for sample in spec.samples:
            key = key_of(spec, sample)
            if spec.kind == "optimizer":
                start, gradients = optimizers.problem(spec, sample, 0, np.float64)
                arrays |= {f"{key}in w": start, f"{key}in gradients": gradients}
                arrays[f"{key}w"] = np.stack(torch_trajectory(spec, sample, 0))
                continue
            case = make_case(spec, sample)
            arrays |= {f"{key}in x": case.x, f"{key}in dy": np.asarray(case.dy)}
            arrays |= {f"{key}in {name}": p.value for name, p in case.parameters().items()}
            if case.target is not None:
                arrays[f"{key}in target"] = case.target
            arrays |= {key + name: a for name, a in torch_outcome(spec, case).items()}
    FROZEN.parent.mkdir(exist_ok=True)
    save_file({name: np.array(a, order="C") for name, a in arrays.items()}, FROZEN)
    return FROZEN.stat().st_size


if __name__ == "__main__":
    if not has_torch():
        sys.exit("nn.check.freeze: PyTorch is not installed: pip install '.[oracle]'")
    print(f"{FROZEN.name}: {freeze():,} bytes")
