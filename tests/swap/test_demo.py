"""`swap demo`, `swap studio` and `swap evaluate`, from the command line to the files."""

import json
import re
import sys

import pytest

from swap import cli
from swap.provenance import SourceType, read_mark
from swap.video import probe
from tests.swap.helpers import hashes

FILES = ("swap.mp4", "sheet.png", "loss.png", "curve.png", "report.html", "metrics.json")


@pytest.fixture(scope="module")
def swap():
    """Runs ``swap ARGUMENTS`` in this process; its status."""

    def run(*arguments):
        before, sys.argv = sys.argv, ["swap", *map(str, arguments)]
        try:
            cli.main()
        except SystemExit as end:
            return end.code or 0
        finally:
            sys.argv = before
        return 0

    return run


@pytest.fixture(scope="module")
def demo(swap, tmp_path_factory):
    """A demo of fruit, as small as can be."""
    patch = pytest.MonkeyPatch()
    patch.setattr("swap.evaluate.rendered.TEST_PICTURES", 8)
    patch.setattr("swap.evaluate.rendered.Rendered.test.__defaults__", (8,))
    patch.setattr("swap.evaluate.rendered.Rendered.clip_params.__defaults__", (5,))
    patch.setattr("swap.demo.CURVE_PICTURES", 4)
    out = tmp_path_factory.mktemp("demo") / "out"
    options = ("--preset", "tiny", "--count", 40, "--batch-size", 4, "--seed", 3)
    assert swap("demo", "fruit", "--out", out, "--steps", 2, *options) == 0
    yield out, options
    patch.undo()


def test_a_demo_writes_everything_it_promises(demo):
    out, _ = demo
    assert all((out / name).is_file() for name in FILES)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["steps"] == 2
    assert metrics["rendered"]["a"] == "apple"
    for direction in ("a_to_b", "b_to_a"):
        found = metrics["directions"][direction]
        rows = {name: row["psnr_face"] for name, row in found["rows"].items()}
        baselines = [rows[name] for name in ("copy", "mean", "nearest", "linear")]
        assert found["gain_over_best_baseline_db"] == pytest.approx(
            rows["swap"] - max(baselines), abs=1e-4
        )
        assert found["loss_to_reconstruction_db"] == pytest.approx(
            rows["own"] - rows["swap"], abs=1e-4
        )
    info = probe(out / "swap.mp4")
    assert info.frames == 5
    assert info.width > 3 * info.height * 0.8
    for name in ("swap.mp4", "sheet.png"):
        assert read_mark(out / name).source_type == SourceType.COMPOSITE
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "data:video/mp4;base64," in page
    text = re.sub(
        r"base64,[\w+/=]*", "", page
    )  # four letters come up by chance in a megabyte of them
    assert len(text) < 50_000
    assert "http" not in text.replace('http-equiv="', "")


def test_a_demo_goes_on_from_its_run(demo, swap):
    out, options = demo
    assert swap("demo", "fruit", "--out", out, "--steps", 3, *options) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["steps"] == 3
    assert metrics["curve"]["steps"] == [2, 3]


def test_evaluating_the_run_again_gives_the_same_numbers(demo, swap, tmp_path):
    out, _ = demo
    assert swap("evaluate", "--run", out / "run", "--studio", "fruit", "--out", tmp_path) == 0
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["directions"] == json.loads((out / "metrics.json").read_text())["directions"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("demo fruit --a pear --out {o}", "apple, kiwi"),
        ("demo heads --a b --b b --out {o}", "two subjects"),
        ("demo --count 3 --out {o}", "at least 25"),
        ("demo --steps 0 --out {o}", "--steps"),
        ("demo --preset huge --out {o}", "tiny, lite"),
        ("studio heads --subject z --out {o}", "a, b, c, d"),
        ("studio heads --count 0 --out {o}", "--count"),
        ("studio heads --size 4 --out {o}", "--size"),
        ("studio heads --seed -1 --out {o}", "seed"),
        ("evaluate --run {o}/none --studio heads", "holds no run"),
        ("evaluate --run {o}/none", "--studio"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_leaves_nothing(swap, tmp_path, capsys, arguments, told):
    out = tmp_path / "out"
    status = swap(*arguments.format(o=out).split())
    error = capsys.readouterr().err
    assert status == 2
    assert told in " ".join(error.split())
    assert "Traceback" not in error
    assert not out.exists() or not hashes(out)
