"""The command ``nn``."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from nn.backend import BACKENDS
from nn.check import checks_of
from nn.check.mutants import MUTANTS, Mutant, planted
from nn.cli import app
from nn.layer import REGISTRY
from tests.conftest import REPOSITORY


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_check_shows_a_row_for_every_check_and_all_pass():
    result = run("check", "Dense", "SGD", "MSE")
    assert result.exit_code == 0, result.output
    rows = [line for line in result.output.splitlines() if line.rstrip().endswith("pass")]
    for name in ("Dense", "SGD", "MSE"):
        first = next(i for i, row in enumerate(rows) if row.startswith(name + " "))
        wanted = {c.name for b in BACKENDS for c in checks_of(REGISTRY[name], b)}
        block = "\n".join(rows[first : first + len(wanted)])
        assert all(check in block for check in wanted)
    assert "FAIL" not in result.output
    found = re.search(r"(\d+) of (\d+) checks pass: [\d,]+ numbers", result.output)
    wanted = sum(len(checks_of(REGISTRY[n], b)) for n in ("Dense", "SGD", "MSE") for b in BACKENDS)
    assert int(found[1]) == int(found[2]) == wanted


def test_check_takes_some_layers_by_name_in_any_case_on_one_backend():
    result = run("check", "tanh", "MSE", "--seed", "3", "--backend", "reference")
    assert result.exit_code == 0
    assert "Tanh" in result.output
    assert "MSE" in result.output
    assert "Conv2d" not in result.output
    assert "cpu" not in result.output


def test_another_seed_is_another_check():
    def column(seed):
        output = run("check", "Tanh", "--seed", seed, "--backend", "reference").output
        return re.findall(r"\d\.\de-\d\d", output)

    assert column("1") == column("1") != column("2")


def test_several_seeds_are_one_row_each():
    rows = lambda *more: run("check", "Tanh", "--backend", "reference", *more).output  # noqa: E731
    one, three = rows(), rows("--seeds", "3")
    assert len(one.splitlines()) == len(three.splitlines())
    count = lambda output: int(re.search(r"([\d,]+) numbers", output)[1].replace(",", ""))  # noqa: E731
    assert count(three) > 2.5 * count(one)


def planted_mistake(of="dense_backward", start="it is a mean over the batch"):
    return next(m for m in MUTANTS if m.of == of and m.name.startswith(start))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_wrong_gradient_is_shown_and_named_and_the_status_is_1(backend):
    with planted(planted_mistake(), backend):
        result = run("check", "ReLU", "Dense")
    assert result.exit_code == 1
    assert "FAIL" in result.output
    assert re.search(
        r"Dense \(in_features=3 .*, complex step: dweight\[\d, \d\] is .* should be", result.output
    )
    assert "dense_backward: db looks like it is a mean over the batch" in result.output
    assert "ReLU (" not in result.output


@pytest.mark.parametrize("wrong", [lambda dx: None, lambda dx: dx.T, lambda dx: dx * np.nan])
def test_a_gradient_that_cannot_be_compared_fails_too(monkeypatch, wrong):
    dense_backward = REGISTRY["Dense"].make._backward
    monkeypatch.setattr(
        REGISTRY["Dense"].make, "_backward", lambda *arguments: wrong(dense_backward(*arguments))
    )
    result = run("check", "Dense", "--backend", "reference")
    assert result.exit_code == 1
    assert "FAIL" in result.output


def test_a_pass_that_stops_with_an_error_fails_too(monkeypatch):
    def stop(*_):
        raise IndexError("[bold]no such row")

    monkeypatch.setattr(REGISTRY["Tanh"].make, "_backward", stop)
    result = run("check", "Tanh", "--backend", "reference")
    assert result.exit_code == 1
    assert "IndexError: [bold]no such row" in result.output


def test_mistakes_are_made_and_all_rejected():
    result = run("check", "Tanh", "--mistakes", "2")
    assert result.exit_code == 0
    count = len([m for m in MUTANTS if m.of.startswith("tanh")])
    assert (
        f"{4 * count} of {4 * count} wrong passes rejected ({count} mistakes with 2 seeds each)"
        in result.output
    )


def test_a_mistake_that_survives_is_named_and_the_status_is_1(monkeypatch):
    harmless = Mutant("tanh_backward", "nothing at all is changed", ("dx",), lambda right: right)
    monkeypatch.setattr("nn.check.verdict.MUTANTS", [harmless])
    result = run("check", "Tanh", "--mistakes", "1", "--backend", "reference")
    assert result.exit_code == 1
    assert "a wrong one passed, although nothing at all is changed" in result.output


def test_json_and_html_hold_the_same_verdicts(tmp_path):
    files = tmp_path / "c.json", tmp_path / "c.html"
    result = run("check", "MAE", "--json", str(files[0]), "--html", str(files[1]))
    assert result.exit_code == 0
    found = json.loads(files[0].read_text())
    assert found["failed"] == 0
    assert {r["check"] for r in found["rows"]} >= {"complex step", "kinks", "frozen PyTorch"}
    assert all(m["rejected_by"] for m in found["mistakes"])
    assert len({m["name"] for m in found["mistakes"]}) == len(
        {m.name for m in MUTANTS if m.of.startswith("mae")}
    )
    page = files[1].read_text()
    assert "MAE" in page
    assert "mae_backward" in page


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_file_that_cannot_be_written_is_refused_before_any_work(tmp_path, option):
    result = run("check", "MAE", option, str(tmp_path / "missing" / "c"))
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    assert result.stdout == ""


def test_a_backend_that_is_not_here_is_status_2():
    result = run("check", "MAE", "--backend", "tpu")
    assert result.exit_code == 2
    assert "'tpu'" in result.stderr
    assert all(name in result.stderr for name in BACKENDS)


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
    starts = [line.split()[0] for line in lines[1:] if not line.startswith(" ")]
    assert starts == list(REGISTRY)
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
    assert "checks pass" in done.stdout
