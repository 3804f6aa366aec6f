"""The command ``nn``."""

import re
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from nn.check import describe
from nn.cli import app
from nn.layer import REGISTRY
from tests.conftest import REPOSITORY
from tests.nn.helpers import CASES


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_check_runs_every_layer_and_loss_and_all_pass():
    result = run("check")
    assert result.exit_code == 0
    rows = [line for line in result.output.splitlines() if line.rstrip().endswith("pass")]
    for spec, sample in CASES:
        first = [r for r in rows if r.startswith(spec.name + " ") and str(sample.shape) in r]
        assert first, (spec.name, describe(sample))
    assert "FAIL" not in result.output
    count = re.search(r"(\d+) of (\d+) gradients agree", result.output)
    assert int(count[1]) == int(count[2]) == len(rows)


def test_check_takes_some_layers_by_name_in_any_case():
    result = run("check", "dense", "MSE", "--seed", "3")
    assert result.exit_code == 0
    assert "Dense" in result.output
    assert "MSE" in result.output
    assert "Conv2d" not in result.output


def test_another_seed_is_another_check():
    column = lambda seed: re.findall(r"\d\.\de-\d\d", run("check", "Dense", "--seed", seed).output)  # noqa: E731
    assert column("1") == column("1") != column("2")


def test_a_wrong_gradient_is_shown_and_the_status_is_1(monkeypatch):
    dense_backward = REGISTRY["Dense"].make._backward

    def wrong(layer, dy, cache, need_dx):
        dx = dense_backward(layer, dy, cache, need_dx)
        layer.weight.grad[0, 0] += 0.25
        return dx

    monkeypatch.setattr(REGISTRY["Dense"].make, "_backward", wrong)
    result = run("check", "ReLU", "Dense")
    assert result.exit_code == 1
    assert result.output.count("FAIL") == len(REGISTRY["Dense"].samples)
    assert re.search(
        r"Dense \(in_features=3 .*gradient of weight\[0, 0\] is .* says", result.output
    )


@pytest.mark.parametrize("wrong", [lambda dx: None, lambda dx: dx.T, lambda dx: dx * np.nan])
def test_a_gradient_that_cannot_be_compared_fails_too(monkeypatch, wrong):
    dense_backward = REGISTRY["Dense"].make._backward
    monkeypatch.setattr(
        REGISTRY["Dense"].make, "_backward", lambda *arguments: wrong(dense_backward(*arguments))
    )
    result = run("check", "Dense")
    assert result.exit_code == 1
    assert "FAIL" in result.output


def test_an_unknown_layer_is_one_sentence_and_status_2():
    result = run("check", "Dense", "Conv3d")
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "'Conv3d'" in line
    assert all(name in line for name in REGISTRY)


def test_a_wrong_option_is_status_2():
    assert run("check", "--seed", "-1").exit_code == 2
    assert run("check", "--what").exit_code == 2
    assert run("chekc").exit_code == 2


def test_layers_lists_the_registry():
    result = run("layers")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(REGISTRY)
    (row,) = (line for line in lines if line.startswith("Conv2d"))
    assert row.split()[1:4] == ["layer", "yes", str(len(REGISTRY["Conv2d"].samples))]


@pytest.mark.parametrize("arguments", [("--help",), ("check", "--help"), ("layers", "--help")])
def test_help_teaches(arguments):
    result = run(*arguments)
    assert result.exit_code == 0
    assert "check" in result.output or "linear" in result.output


def test_the_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "nn.cli", "check", "Dense"],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0
    assert "8 of 8 gradients agree" in done.stdout
