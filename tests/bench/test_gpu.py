"""What can be known of the GPU's bench without a GPU: that it refuses, what it counts, and that our side of it runs."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from bench import gpu
from nn.backend import why_no_gpu
from nn.gpu import modes
from tests.conftest import REPOSITORY
from tests.nn.gpu.conftest import card, emulated

__all__ = ["card", "emulated"]


@pytest.mark.skipif(why_no_gpu() == "", reason="there is a GPU")
@pytest.mark.parametrize("name", ["step", "layers"])
def test_without_a_gpu_it_says_so_in_one_sentence(name):
    done = subprocess.run(
        [sys.executable, "-m", "bench", name, "--backend", "gpu", "--vs", "torch"],
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("bench: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_every_pass_of_every_layer_is_counted_and_run(card, monkeypatch):
    """Each once, in place of being timed, on the emulated card."""
    monkeypatch.setattr(gpu, "_events", lambda run: (run(), 1.0)[1])
    work = gpu.passes_of("c4", 1)
    with modes.using():
        for way in modes.WAYS:
            times = gpu.our_layers("c4", 1, "tf32", way)
            assert list(times) == list(work)
            for run in times.values():
                run()
    first = next(name for name in work if name.endswith("forward"))
    assert work[first] == (
        2 * 2 * 32 * 32 * 25 * 3 * 4,
        4 * (2 * 64 * 64 * 3 + 2 * 32 * 32 * 4 + 300),
    )
    assert not any(name.startswith(first.removesuffix("forward") + "dx") for name in work)


def test_a_step_counts_all_passes_but_the_pictures_gradient():
    total = sum(flop for flop, _ in gpu.passes_of("c4", 1).values())
    twice = sum(f for name, (f, _) in gpu.passes_of("c4", 1).items() if name.startswith("decoder"))
    assert 2 * gpu.step_macs("c4", 1) == total + twice


def test_rows_say_what_was_measured():
    one = {"ms": 10.0, "card_ms": 9.8, "mib": 100.0}
    found = {"ours": [one] * 3, "torch eager": [one | {"ms": 15.0}] * 3}
    row = gpu._step_row("c4", 1, "tf32", found, {"tf32_tflops": 100.0})
    assert row["ours"]["idle"] == pytest.approx(0.02)
    assert row["torch eager"]["ratio"] == 1.5
    assert "idle 2.0 %" in gpu._step_line(row)
    assert "ratio 1.50" in gpu._step_line(row)


def test_our_step_answers_with_its_times(emulated, monkeypatch):
    """What is asked of CuPy besides is the free memory: a stand-in says that."""
    runtime = SimpleNamespace(memGetInfo=lambda: (2**20, 2**30))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))
    monkeypatch.setattr(gpu, "_events", lambda run: (run(), 1.0)[1])
    monkeypatch.setattr(gpu, "WARM", 1)
    monkeypatch.setattr(gpu, "RUNS", 2)
    said = []
    monkeypatch.setattr(gpu, "answer", lambda once: said.append(once()))
    with modes.using():
        gpu.our_step("c4", 2, "tf32", "ours")
    assert said[0].keys() == {"ms", "card_ms", "mib"}
    assert said[0]["mib"] == 0
    kernels = {kernel for _, kernel, _ in emulated.launched}
    assert {"warp", "conv_forward", "conv_dx", "conv_dw", "adam", "not_finite"} <= kernels
