"""The page of ``nn check --html``: whole, true, and readable without anything else."""

import inspect
import re
from dataclasses import replace
from functools import partial
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from nn import reference
from nn.check import CHECKS, run_check
from nn.check.html import write_html
from nn.check.mutants import MUTANTS, planted
from nn.check.step_plot import LAYERS, step_curves
from nn.check.verdict import Verdict
from nn.layer import REGISTRY

VOID = {"meta", "link", "br", "hr", "img", "input", "col"}
DIRECT = {"optimizer": "trajectory"}  # the check that each kind is shown with here
MUTANT = next(m for m in MUTANTS if m.of == "dense_backward")
CHECK = {check.name: check for check in CHECKS}
SPECS = [spec for spec in REGISTRY.values() if spec.kind != "model"]


class Balanced(HTMLParser):
    """Every tag that opens is closed, in order; no id is used twice."""

    def __init__(self):
        super().__init__()
        self.open, self.ids = [], []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())


@pytest.fixture(scope="module")
def rows():
    return [run_check(CHECK[DIRECT.get(s.kind, "complex step")], s, "reference") for s in SPECS]


@pytest.fixture(scope="module")
def failing():
    with planted(MUTANT):
        return run_check(CHECK["complex step"], REGISTRY["Dense"], "reference")


@pytest.fixture(scope="module")
def verdicts(failing):
    return [Verdict(MUTANT, "reference", 0, failing)]


def written(path, rows, verdicts=()):
    write_html(path, rows, list(verdicts), seed=3, seconds=1.25)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return path.read_bytes().decode()


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Writes a page without its picture, which takes longer than all the rest."""
    monkeypatch.setattr("nn.check.html.step_figure", lambda: "")
    return partial(written, tmp_path / "check.html")


@pytest.fixture(scope="module")
def good(rows, verdicts, tmp_path_factory):
    """A whole page."""
    return written(tmp_path_factory.mktemp("page") / "check.html", rows, verdicts)


def details_of(name, html):
    """The part of the page that is about one layer."""
    return next(
        part
        for part in re.findall(r"<details.*?</details>", html, re.S)
        if f"<h3>{name}</h3>" in part
    )


def test_it_is_well_formed(good):
    parser = Balanced()
    parser.feed(good)
    parser.close()
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids)) > 0
    assert good.startswith('<!doctype html>\n<html lang="en">')
    assert '<meta name="viewport"' in good


def test_it_needs_nothing_else(good):
    targets = re.findall(r'(?:src|href|url)(?:=|\()"?([^")\s]+)', good)
    assert targets
    assert all(target.startswith("#") for target in targets)
    ids = set(re.findall(r'\bid="([^"]+)"', good))
    assert {target[1:] for target in targets} <= ids
    assert "<script" not in good
    assert "<link" not in good
    assert "@import" not in good


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_each_layer_has_its_equations_and_its_code(spec, good):
    shown = unescape(details_of(spec.name, good))
    assert not shown.startswith("<details open")
    if spec.op:
        ways = ("step",) if spec.kind == "optimizer" else ("forward", "backward")
        code = [getattr(reference, f"{spec.op}_{way}") for way in ways]
    else:
        code = [spec.make._forward, spec.make._backward]
    for function in code:
        assert inspect.cleandoc("\n" + inspect.getsource(function)) in shown
    assert inspect.getdoc(inspect.getmodule(code[0])) in shown
    assert CHECK[DIRECT.get(spec.kind, "complex step")].what in shown


def test_the_verdict_counts(good, rows):
    numbers = sum(row.comparisons for row in rows)
    assert f"{numbers:,} comparisons in {len(rows)} checks: all pass." in good
    assert "1 mistake made on purpose: all rejected." in good
    assert "Seed 3, 1.2 seconds" in good
    assert 'class="bad"' not in good
    assert "nn check --html FILE" in good


def test_layers_stand_by_their_kind(good):
    places = [
        good.index(f"<h2>{h}</h2>") for h in ("Layers", "Activations", "Losses", "Optimizers")
    ]
    assert places == sorted(places)
    assert "<h2>Models</h2>" not in good


def test_a_failure_is_red_and_comes_first(page, rows, failing):
    html = page([failing if row.layer == "Dense" else row for row in rows])
    sentence = failing.sentence()
    listed = f'<li class="bad">{sentence}</li>'
    assert listed in html
    assert html.index(listed) < html.index("What is a gradient check?")
    assert 'checks: <span class="bad">1 of the checks fail' in html
    shown = details_of("Dense", html)
    assert shown.startswith("<details open>")
    assert re.search(rf'<tr class="bad"><td colspan="8">{re.escape(sentence)}</td>', shown)
    assert not details_of("Tanh", html).startswith("<details open>")


def test_what_is_said_is_escaped(page, rows, failing):
    said = "ValueError: <b>1 < 2 & 3</b>"
    html = page([replace(failing, error=said)])
    assert "<b>1" not in html
    assert html.count("ValueError: &lt;b&gt;1 &lt; 2 &amp; 3&lt;/b&gt;") == 2


def test_each_mistake_stands_with_the_check_that_rejected_it(page, rows, verdicts):
    shown = details_of("Dense", page(rows, verdicts))
    assert "1 of 1 mistakes rejected" in shown
    assert f"<td>{MUTANT.name}</td><td>complex step</td>" in shown
    survivor = [*verdicts, replace(verdicts[0], seed=5, row=None)]
    html = page(rows, survivor)
    shown = details_of("Dense", html)
    assert shown.startswith("<details open>")
    assert '<span class="bad">0 of 1 mistakes rejected' in shown
    assert "<td>nothing (reference, seed 5)</td>" in shown
    assert f"a wrong one passed, although {MUTANT.name}" in html[: html.index("<details")]


def test_without_mistakes_nothing_is_said_of_them(page, rows):
    html = page(rows)
    assert "mistakes rejected" not in html
    assert "on purpose" not in html


def test_a_run_of_nothing_and_a_run_of_one_layer_have_a_page(page, rows):
    assert "0 comparisons in 0 checks" in page([])
    html = page(rows[:1])
    assert f"<h3>{rows[0].layer}</h3>" in html
    assert html.count("<details") == 1


def test_the_same_rows_give_the_same_bytes(good, rows, verdicts, tmp_path):
    assert written(tmp_path / "again.html", rows, verdicts) == good


def test_a_layer_that_raises_has_no_picture_and_the_page_is_written(failing, monkeypatch, tmp_path):
    def broken(dy, cache):
        raise TypeError("not yet written")

    monkeypatch.setattr(reference, "sigmoid_backward", broken)
    html = written(tmp_path / "check.html", [failing])
    assert html.count("<svg") == len(LAYERS) - 1


@pytest.mark.parametrize("name", LAYERS)
def test_the_curves_tell_the_truth(name):
    curves = step_curves(REGISTRY[name])
    assert curves.steps[0] == pytest.approx(0.1)
    assert curves.steps[-1] == pytest.approx(1e-20)
    assert np.all(curves.complex_step[curves.steps < 1e-8] <= 1e-13)
    assert curves.at_tiny <= 1e-13
    assert np.min(curves.central) < 1e-9
    # Below the distance of neighbouring numbers nothing moves at all.
    assert np.allclose(curves.forward[curves.steps < 1e-17], 1)
    assert np.allclose(curves.central[curves.steps < 1e-17], 1)
    if REGISTRY[name].linear:  # nothing bends, so the largest steps are the best
        assert curves.steps[np.argmin(curves.forward)] > 1e-3
        return
    assert 1e-9 < curves.steps[np.argmin(curves.forward)] < 1e-6
    assert np.min(curves.forward) > np.min(curves.central)
    for errors, slope in ((curves.forward, 1), (curves.central, 2), (curves.complex_step, 2)):
        far = (curves.steps <= 1e-2) & (curves.steps >= 1e-3)
        found = np.polyfit(np.log10(curves.steps[far]), np.log10(errors[far]), 1)[0]
        assert found == pytest.approx(slope, abs=0.05)


def test_a_wrong_backward_shows_in_the_complex_step():
    wrong = next(m for m in MUTANTS if m.of == "sigmoid_backward" and "1.0005" in m.name)
    with planted(wrong):
        curves = step_curves(REGISTRY["Sigmoid"])
    assert curves.complex_step[-1] == pytest.approx(5e-4, rel=0.01)
