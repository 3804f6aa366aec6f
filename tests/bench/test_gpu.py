"""What can be known of the GPU's bench without a GPU: that it refuses, what it counts, and that our side of it runs."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from bench import gpu, gpu_layers, gpu_step
from nn.backend import why_no_gpu
from nn.gpu import conv, modes
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
    monkeypatch.setattr(gpu_layers, "repeated", lambda run: (run(), 1.0)[1])
    work = gpu_layers.passes_of("c4", 1)
    with modes.using():
        for way in modes.WAYS:
            times = gpu_layers.our_layers("c4", 1, "tf32", way)
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
    total = sum(flop for flop, _ in gpu_layers.passes_of("c4", 1).values())
    twice = sum(
        f for name, (f, _) in gpu_layers.passes_of("c4", 1).items() if name.startswith("decoder")
    )
    assert 2 * gpu_step.step_macs("c4", 1) == total + twice


def test_rows_say_what_was_measured():
    one = {"ms": 10.0, "card_ms": 9.8, "mib": 100.0}
    found = {"implicit": [one | {"ms": 20.0}] * 3, "warpgroup": [one] * 3}
    found["torch eager"] = [one | {"ms": 15.0}] * 3
    row = gpu_step.row_of("c4", 1, "tf32", found, {"tf32_tflops": 100.0})
    assert row["ours"]["idle"] == pytest.approx(0.02)
    assert row["ours"]["way"] == "warpgroup"
    assert row["torch eager"]["ratio"] == 1.5
    assert "idle 2.0 %" in gpu_step.line_of(row)
    assert "implicit 20.00 ms" in gpu_step.line_of(row)
    assert "ratio 1.50" in gpu_step.line_of(row)
    limits = {"tf32_tflops": 100.0, "copy_gb_per_s": 1000.0}
    found = {"implicit": [2.0, 3.0, 1.0], "warpgroup": [1.5] * 3, "torch eager": [3.0] * 3}
    row = gpu_layers.row_of("a pass", "tf32", found, limits)
    assert row["ratio"] == 2
    assert row["implicit"]["ms"] == 2
    rates = gpu_layers.rates_of(2.0, 10**11, 10**9, "tf32", limits)
    assert rates == {"tflops": 50, "gb_per_s": 500, "of_gemm": 0.5, "of_copy": 0.5}


def test_ways_that_a_precision_does_not_know_are_left_out():
    assert gpu.ways_of("fp32", list(modes.WAYS)) == ["implicit", "im2col"]
    assert gpu.ways_of("fp16", list(modes.WAYS)) == [
        "implicit", "warpgroup", "copied", "im2col",
    ]  # fmt: skip


def test_our_step_answers_with_its_times(emulated, monkeypatch):
    """What is asked of CuPy besides is the free memory: a stand-in says that."""
    runtime = SimpleNamespace(memGetInfo=lambda: (2**20, 2**30))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))
    monkeypatch.setattr(gpu_step, "events", lambda run: (run(), 1.0)[1])
    monkeypatch.setattr(gpu_step, "WARM", 1)
    monkeypatch.setattr(gpu_step, "RUNS", 2)
    said = []
    monkeypatch.setattr(gpu_step, "answer", lambda once: said.append(once()))
    with modes.using():
        gpu_step.our_step("c4", 2, "tf32", "warpgroup")
    assert said[0].keys() == {"ms", "card_ms", "mib"}
    assert said[0]["mib"] == 0
    kernels = {kernel for _, kernel, _ in emulated.launched}
    assert {"warp", "conv_forward", "conv_dx", "conv_dw", "adam", "not_finite"} <= kernels
    assert any("-DWARPGROUP=1" in options for _, _, options in emulated.launched)


def test_every_tile_is_tried_and_what_is_chosen_told(emulated, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(gpu_layers, "repeated", lambda run: (run(), 1.0)[1])
    monkeypatch.setattr(gpu_layers, "PARTS", (1, 3))
    options = SimpleNamespace(
        precisions=["tf32"], ways=["warpgroup"], preset="c8", batch=1, json=tmp_path / "tune.json"
    )
    before = conv.arrange
    assert gpu_layers.tune(options) == 0
    assert conv.arrange is before
    said = capsys.readouterr().out.splitlines()
    passes = [n for n in gpu_layers.passes_of("c8", 1) if "Conv2d" in n]
    assert len([line for line in said if line.startswith("tf32 warpgroup")]) == len(passes)
    assert any("now 1.0000 ms 128 x" in line and "parts; best 1.0000 ms" in line for line in said)
    assert len(json.loads((tmp_path / "tune.json").read_text())["results"][0]) == 4 + 4 * 2
