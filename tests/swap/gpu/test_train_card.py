"""Runs that train on the emulated card: saved, gone on with on either device; what is said where there is none."""

import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from nn.backend import DeviceError, OutOfMemory, choose, here, host, on_gpu, why_no_gpu
from nn.checkpoint import load_checkpoint, read_facts
from nn.gpu import device
from nn.train import Budget
from swap.cli import app
from swap.data import FaceSet
from swap.errors import UserError
from swap.faces.align import CropDefinition
from swap.model import Preset
from swap.recipe import get_recipe
from swap.run import checkpoint_path
from swap.terminal import choose_device
from swap.train import Trainer
from tests.conftest import REPOSITORY

SMALL = Preset("tiny", 4, 8, "tests")


@pytest.fixture
def sets(rng):
    return {s: FaceSet(rng.integers(0, 256, (30, 99, 99, 3), np.uint8), 1.6) for s in "ab"}


def trainer(folder, sets, device="cpu", recipe="latentface", **options):
    given = {"batch_size": 2, "device": device} | options
    return Trainer(folder, sets, CropDefinition(), SMALL, get_recipe(recipe), **given)


@pytest.fixture
def quick(monkeypatch):
    """Of the mean pictures, a few faces are enough here."""
    monkeypatch.setattr("swap.train.LOOKS_FACES", 6)


def weights(trainer):
    return np.array(host(trainer.arena.values))


@pytest.mark.parametrize("recipe", ["latentface", "alike"])
def test_a_run_on_the_card_is_the_run_on_the_cpu_but_for_rounding(
    card, quick, tmp_path, sets, recipe
):
    ends = []
    for name in ("cpu", "gpu"):
        run = trainer(tmp_path / name, sets, name, recipe)
        run.run(Budget(steps=3))
        assert on_gpu(run.arena.values) == (name == "gpu")
        ends.append((np.array([run.losses[s] for s in "ab"]), weights(run)))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-3)
    assert np.abs(ends[0][1] - ends[1][1]).max() < 1e-3


def test_a_run_goes_on_on_the_other_device(card, quick, tmp_path, sets):
    first = trainer(tmp_path, sets, "gpu")
    first.run(Budget(steps=2))
    for name, steps in (("cpu", 3), ("gpu", 4), ("gpu", 5)):
        run = trainer(tmp_path, sets, name)
        assert run.resumed
        np.testing.assert_array_equal(weights(run), weights(first))
        run.run(Budget(steps=steps))
        assert run.steps == steps
        first = run


def test_what_was_stopped_on_the_card_goes_on_bit_for_bit(card, quick, tmp_path, sets):
    whole = trainer(tmp_path / "whole", sets, "gpu", "alike")
    whole.run(Budget(steps=4))
    for steps in (2, 4):
        part = trainer(tmp_path / "part", sets, "gpu", "alike")
        part.run(Budget(steps=steps))
    np.testing.assert_array_equal(weights(part), weights(whole))


def test_files_do_not_know_where_they_were_trained(card, quick, tmp_path, sets):
    for name in ("cpu", "gpu"):
        trainer(tmp_path / name, sets, name).run(Budget(steps=1))
    shapes = []
    for name in ("cpu", "gpu"):
        path = checkpoint_path(tmp_path / name)
        assert read_facts(path)["steps"] == 1
        shapes.append(names_in(path))
    assert shapes[0] == shapes[1]


def names_in(path):
    import json

    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return {k: (v["dtype"], v["shape"]) for k, v in header.items() if k != "__metadata__"}


def test_where_memory_is_full_the_run_is_saved_and_a_batch_named(
    card, quick, tmp_path, sets, monkeypatch
):
    run = trainer(tmp_path, sets, "gpu", batch_size=3)
    right = run._card.begin

    def begin(*arguments):
        if run.steps + run._card.under_way == 2:
            raise OutOfMemory("full")
        return right(*arguments)

    monkeypatch.setattr(run._card, "begin", begin)
    with pytest.raises(UserError, match=r"3 faces a side.*--batch-size \d would fit.*step 2"):
        run.run(Budget(steps=5), tell=lambda _: None)
    assert read_facts(checkpoint_path(tmp_path))["steps"] == 2


def test_a_step_that_is_no_number_ends_the_run_with_its_layer(card, quick, tmp_path, sets):
    from nn.train import DivergenceError

    run = trainer(tmp_path, sets, "gpu")
    bad = host(run.arena.values).copy()
    bad[run.arena.offsets["encoder.conv2d3.weight"]] = np.nan
    device.write(run.arena.values, bad)
    with pytest.raises(DivergenceError, match=r"encoder\.conv2d3"):
        run.run(Budget(steps=2), tell=lambda _: None)


def test_without_cupy_the_card_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(device, "_machine", None)
    with pytest.raises(DeviceError, match=r"CuPy.*gpu12.*gpu13"):
        choose("gpu")
    assert choose("auto") == "cpu"
    assert why_no_gpu()
    assert here() == ["reference", "cpu"]
    with pytest.raises(UserError, match="CuPy"):
        choose_device("gpu")


def fake_cupy(count, capability=(9, 0), error=None):
    """As much of CuPy as is asked before anything is computed."""
    from types import SimpleNamespace

    class CUDARuntimeError(RuntimeError):
        pass

    def get_count():
        if error:
            raise CUDARuntimeError(error)
        return count

    properties = {"name": b"A Card", "major": capability[0], "minor": capability[1]}
    runtime = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=get_count,
        getDeviceProperties=lambda _: properties | {"totalGlobalMem": 2**33},
    )
    return SimpleNamespace(
        cuda=SimpleNamespace(runtime=runtime, Device=lambda: SimpleNamespace(id=0)),
        ndarray=type("ndarray", (), {}),
    )


@pytest.mark.parametrize(
    ("fake", "says"),
    [
        (fake_cupy(0, error="cudaErrorInsufficientDriver"), "driver is missing or too old"),
        (fake_cupy(0), "no GPU"),
        (fake_cupy(1, (7, 5)), r"A Card is too old.*7\.5.*8\.0"),
    ],
)
def test_a_card_that_cannot_be_used_is_refused_in_one_sentence(monkeypatch, fake, says):
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setattr(device, "_machine", None)
    with pytest.raises(DeviceError, match=says) as refused:
        choose("gpu")
    assert "\n" not in str(refused.value)
    assert "--device cpu" in str(refused.value)
    assert choose("auto") == "cpu"


def test_a_card_that_is_new_enough_is_taken(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(1))
    monkeypatch.setattr(device, "_machine", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert choose("auto") == "gpu"
    assert here() == ["reference", "cpu", "gpu"]
    assert device.machine().name == "A Card"
    assert device.memory() == 2**33
    monkeypatch.setattr(device, "_machine", None)


def test_commands_refuse_unknown_devices_and_precisions():
    for option in (["--device", "tpu"], ["--precision", "fp8"]):
        result = CliRunner().invoke(app, ["train", "--a", "x", "--b", "y", "--run", "z", *option])
        assert isinstance(result.exception, UserError)
        assert option[1] in str(result.exception)


def test_training_on_a_card_needs_no_numba():
    script = (
        "import sys; sys.modules['numba'] = None; import swap.train, swap.card, swap.data.card;"
        "import nn; nn.get_backend('gpu')"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=REPOSITORY)


def test_a_checkpoint_of_the_card_can_be_read_into_main_memory(card, quick, tmp_path, sets):
    run = trainer(tmp_path, sets, "gpu")
    run.run(Budget(steps=1))
    name = "encoder.conv2d1.weight"
    p = run.arena.parameters[name]
    into = {
        key: np.empty(v[1], np.float32) for key, v in names_in(checkpoint_path(tmp_path)).items()
    }
    load_checkpoint(checkpoint_path(tmp_path), lambda _: into)
    np.testing.assert_array_equal(into[name], host(p.value))
