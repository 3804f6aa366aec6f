"""The report as a page: one file that needs nothing else, for people who learn how gradients are proved.

In this order: the verdict and every failure; what a gradient check is; why the step goes sideways, drawn from the
layers themselves (``nn.check.step_plot``); then each layer with its equations beside the code that was checked, its
checks, and the mistakes made on purpose with the check that rejected each. A layer stands open where something failed.

Everything but the times is a pure function of the code and the seed, so no date is printed.
"""

import inspect
from html import escape
from itertools import groupby
from pathlib import Path
from types import FunctionType

import numpy as np

from nn import reference
from nn.check.engine import CHECKS, Row
from nn.check.observe import functions
from nn.check.step_plot import step_figure
from nn.check.verdict import Verdict
from nn.files import write_atomic
from nn.layer import REGISTRY, LayerSpec

KINDS = {
    "layer": "Layers",
    "activation": "Activations",
    "loss": "Losses",
    "optimizer": "Optimizers",
    "model": "Models",
}
BAD = ' class="bad"'
STYLE = """
:root { color-scheme: light; --paper: #fbfaf7; --ink: #1b1b1b; --grey: #5f5f5f; --line: #ddd; --accent: #b8450a;
  --bad: #b00020; --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono",
  monospace; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 88rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0; }
h4 { font-size: 1rem; margin: 1.6rem 0 .5rem; }
p, dl, ul { max-width: 46rem; }
.sub, .note, figcaption, caption { color: var(--grey); font-size: .92rem; }
.verdict { font-size: 1.08rem; max-width: 60rem; border-left: 4px solid var(--accent); padding: .1rem 0 .1rem .9rem;
  margin: .8rem 0; }
.failures { border-left: 4px solid var(--bad); padding: .1rem 0 .1rem 2rem; max-width: 60rem; }
.bad, tr.bad td:not(.what) { color: var(--bad); font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; font-variant-numeric: tabular-nums; }
dt { font-weight: 600; }
dd { margin: 0; }
figure { margin: 1.4rem 0; }
.three { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: .5rem 2rem; }
.three p { margin: .4rem 0; }
.three svg { display: block; width: 100%; max-width: 32rem; height: auto; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 34rem), 1fr)); gap: 0 2rem;
  align-items: start; }
.two > * { min-width: 0; }
details { border-top: 1px solid var(--line); }
details:last-of-type { border-bottom: 1px solid var(--line); }
details[open] { padding-bottom: 2rem; }
summary { display: grid; grid-template-columns: 1rem 9rem 6rem 6rem 19rem 1fr; gap: 0 .6rem; padding: .55rem 0;
  align-items: baseline; cursor: pointer; list-style: none; font-variant-numeric: tabular-nums; }
summary::-webkit-details-marker { display: none; }
summary::before { content: "\\25B8"; color: var(--accent); }
details[open] > summary::before { content: "\\25BE"; }
summary:hover h3 { color: var(--accent); }
summary span { color: var(--grey); font-size: .92rem; }
summary span.bad { color: var(--bad); }
pre, code { font-family: var(--mono); }
code { font-size: .88em; white-space: nowrap; }
pre { margin: 0 0 .8rem; padding: .8rem 1rem; border: 1px solid var(--line); border-radius: 4px; --paper: #fff;
  font-size: .73rem; line-height: 1.5; }
pre, .wide { overflow-x: auto; background: /* a shadow at the right edge while there is more to scroll to */
  linear-gradient(to left, var(--paper) 1.4rem, transparent) right / 2.4rem 100% no-repeat local,
  linear-gradient(to left, #0003, transparent) right / .7rem 100% no-repeat scroll, var(--paper); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; width: 100%; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: baseline; }
thead th { font-weight: 600; color: var(--grey); white-space: nowrap; }
tbody th { font-weight: 600; white-space: nowrap; }
.n { text-align: right; white-space: nowrap; }
.what { min-width: 15rem; color: var(--grey); }
@media (max-width: 48rem) {
  summary { grid-template-columns: 1rem 1fr; }
  summary > :not(h3) { grid-column: 2; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
  .wide + .wide { margin-top: 1.2rem; }
}
@media print {
  :root { --paper: #fff; }
  body { max-width: none; padding: 0; font-size: 11px; }
  pre { white-space: pre-wrap; }
  tr, figure, summary { break-inside: avoid; }
}
"""
INTRODUCTION = """
<h2>What is a gradient check?</h2>
<p>A network learns by following its gradient: for every weight, how much the loss would change if that weight moved a
little. Backpropagation computes all of these at once, from formulas that somebody worked out by hand, and a wrong
formula rarely crashes: the network still learns, only worse. A gradient check asks for the same numbers in a way that
knows no formula. It moves one number a little, runs the forward pass again, and sees how much the output moved. Where
both agree to the last digits, the backward pass is the derivative of the forward pass.</p>
<div class="two"><div>
<h3>How large is an error?</h3>
<dl>
<dt>exact, 0</dt><dd>Equal bit for bit: nothing was computed that could be rounded.</dd>
<dt>1e-16 to 1e-12</dt><dd>Rounding of float64, which has 16 digits. Long sums lose a few of them.</dd>
<dt>1e-8 to 1e-5</dt><dd>Rounding of float32, which has 7 digits.</dd>
<dt>larger</dt><dd>A bug: a wrong sign, a forgotten term, an index that is off by one.</dd>
<dt>at a kink</dt><dd>A convention. ReLU has no slope at exactly 0, so one is agreed upon and written down; random
inputs keep away from there, and the check <em>kinks</em> holds the backward pass to what is written.</dd>
</dl>
</div><div>
<h3>What do the columns mean?</h3>
<dl>
<dt>backend</dt><dd>Whose passes were checked: <em>reference</em> is the plain NumPy shown beside the equations,
others are faster and answer to the same checks.</dd>
<dt>shapes</dt><dd>How many ways of building the layer, or random shapes, were tried.</dd>
<dt>numbers</dt><dd>How many single numbers were compared.</dd>
<dt>worst error</dt><dd>The largest difference of all, divided by the largest number that should have come out.</dd>
<dt>allowed</dt><dd>The largest error that passes.</dd>
<dt>where</dt><dd>The array and index of the worst error; <code>dx</code> is the gradient of <code>x</code>.</dd>
</dl>
</div></div>
"""
MISTAKES = """
<p>A check is worth what it catches. So the mistakes that people make when they write a backward pass by hand were made
on purpose, one at a time, and every one has to be rejected. They stand below each layer, with the first check that
rejected them.</p>
"""
HEADINGS = (
    '<th>check</th><th>what it tries</th><th>backend</th><th class="n">shapes</th><th class="n">numbers</th>'
    '<th class="n">worst error</th><th class="n">allowed</th><th>where</th><th class="n">ms</th><th></th>'
)


def write_html(
    path: Path, rows: list[Row], verdicts: list[Verdict], *, seed: int, seconds: float
) -> None:
    """Writes the page, whole or not at all; without ``verdicts`` it says nothing of mistakes. OSError as it comes."""
    parts = [
        "<h1>nn check</h1>",
        _verdict(rows, verdicts),
        f'<p class="sub">Seed {seed}, {seconds:.1f} seconds.</p>',
        _failures(rows, verdicts),
        INTRODUCTION,
        MISTAKES if verdicts else "",
        step_figure(),
        *(_kind(kind, rows, verdicts) for kind in KINDS),
        '<p class="note">This page was made by <code>nn check --html FILE</code>.</p>',
    ]
    body = "\n".join(part.strip() for part in parts if part)
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>nn check</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )
    write_atomic(path, page.encode())


def _verdict(rows: list[Row], verdicts: list[Verdict]) -> str:
    failed = sum(not row.passed for row in rows)
    numbers, checks = (
        _count(sum(row.comparisons for row in rows), "comparison"),
        _count(len(rows), "check"),
    )
    said = f"{numbers} in {checks}: "
    said += f'<span class="bad">{failed:,} of the checks fail.</span>' if failed else "all pass."
    if verdicts:
        killed, tried = _killed(verdicts)
        said += f" {_count(tried, 'mistake')} made on purpose: "
        said += (
            "all rejected."
            if killed == tried
            else f'<span class="bad">{tried - killed:,} passed unnoticed.</span>'
        )
    return f'<p class="verdict">{said}</p>'


def _failures(rows: list[Row], verdicts: list[Verdict]) -> str:
    sentences = [row.sentence() for row in rows if not row.passed]
    sentences += [
        f"{v.mutant.of} on {v.backend}, seed {v.seed}: a wrong one passed, although {v.mutant.name}"
        for v in verdicts
        if not v.rejected
    ]
    lines = "".join(f'<li class="bad">{escape(sentence)}</li>' for sentence in sentences)
    return f'<ul class="failures">{lines}</ul>' if lines else ""


def _kind(kind: str, rows: list[Row], verdicts: list[Verdict]) -> str:
    """A heading and every layer of this kind that was checked."""
    owner = functions()
    parts = []
    for spec in REGISTRY.values():
        mine = [row for row in rows if row.layer == spec.name]
        tried = [v for v in verdicts if owner[v.mutant.of].name == spec.name]
        if spec.kind == kind and (mine or tried):
            parts.append(_layer(spec, mine, tried))
    return f"<h2>{KINDS[kind]}</h2>\n" + "\n".join(parts) if parts else ""


def _layer(spec: LayerSpec, rows: list[Row], verdicts: list[Verdict]) -> str:
    failed = sum(not row.passed for row in rows)
    killed, tried = _killed(verdicts)
    broken = bool(failed) or killed < tried
    facts = [
        f"<span>{escape(spec.kind)}</span>",
        f"<span>{_count(len(rows), 'check')}</span>",
        f'<span class="bad">{failed:,} FAIL</span>' if failed else f"<span>{_margin(rows)}</span>",
    ]
    if verdicts:
        facts.append(
            f"<span{BAD if killed < tried else ''}>{killed} of {tried} mistakes rejected</span>"
        )
    return (
        f"<details{' open' if broken else ''}><summary><h3>{escape(spec.name)}</h3>{''.join(facts)}</summary>\n"
        f"{_book(spec)}\n{_checks(rows)}\n{_mistakes(verdicts)}\n</details>"
    )


def _margin(rows: list[Row]) -> str:
    """How near the errors come to what is allowed, where anything but 0 is allowed."""
    used = max((row.worst.worst / row.tolerance for row in rows if row.tolerance), default=0.0)
    if not used:
        return "all exact"
    worst = max((row for row in rows if row.tolerance), key=lambda r: r.worst.worst / r.tolerance)
    return f"worst error {worst.worst.worst:.1e} of {worst.tolerance:.0e} allowed"


def _book(spec: LayerSpec) -> str:
    """The equations, and beside them the code that was checked."""
    code = _code(spec)
    module = inspect.getmodule(code[0]) if code else None
    equations = inspect.getdoc(module or spec.make) or ""
    title = "The equations" if code else "What it is"
    left = f"<div><h4>{title}</h4><pre>{escape(equations)}</pre></div>"
    if not code:
        return left
    sources = "".join(f"<pre>{escape(_source(function))}</pre>" for function in code)
    name = escape(module.__name__ if module else spec.name)
    return (
        f'<div class="two">{left}<div><h4>The code, <code>{name}</code></h4>{sources}</div></div>'
    )


def _code(spec: LayerSpec) -> list[FunctionType]:
    """The functions that are checked: the reference's, or the class's own. A model, made of others, has none."""
    if spec.kind == "model":
        return []
    ways = ("step",) if spec.kind == "optimizer" else ("forward", "backward")
    if spec.op:
        return [getattr(reference, f"{spec.op}_{way}") for way in ways]
    return [getattr(spec.make, f"_{way}") for way in ways]


def _source(function: FunctionType) -> str:
    try:
        return inspect.cleandoc("\n" + inspect.getsource(function))
    except OSError:  # typed into an interpreter
        return f"The source of {function.__name__} is in no file."


def _checks(rows: list[Row]) -> str:
    """A table: a line for each backend of each check, and below one that fails what is wrong."""
    if not rows:
        return ""
    about = {check.name: check.what for check in CHECKS}
    order = list(dict.fromkeys(row.check for row in rows))
    lines = []
    for name, group in groupby(sorted(rows, key=lambda r: order.index(r.check)), lambda r: r.check):
        same = list(group)
        span = sum(1 if row.passed else 2 for row in same)
        first = f'<th rowspan="{span}">{escape(name)}</th>'
        first += f'<td class="what" rowspan="{span}">{escape(about.get(name, ""))}</td>'
        for row in same:
            lines.append(_line(row, first))
            first = ""
    return (
        f'<h4>Checks</h4><div class="wide"><table><thead><tr>{HEADINGS}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _line(row: Row, first: str) -> str:
    worst = row.worst
    error = f"{worst.worst:.1e}" if np.isfinite(worst.worst) else "differs"
    where = f"{worst.tensor}{list(worst.index) if worst.index else ''}" if worst.worst else ""
    ms = row.seconds * 1000
    line = (
        f'<tr{"" if row.passed else BAD}>{first}<td>{escape(row.backend)}</td><td class="n">{row.shapes:,}</td>'
        f'<td class="n">{row.comparisons:,}</td><td class="n">{error if worst.worst else "0"}</td>'
        f'<td class="n">{f"{row.tolerance:.0e}" if row.tolerance else "exact"}</td><td>{escape(where)}</td>'
        f'<td class="n">{f"{ms:,.0f}" if ms >= 1 else "&lt; 1"}</td><td>{"pass" if row.passed else "FAIL"}</td></tr>'
    )
    if row.passed:
        return line
    return f'{line}<tr{BAD}><td colspan="8">{escape(row.sentence())}</td></tr>'


def _mistakes(verdicts: list[Verdict]) -> str:
    """A table for each function: what comes out wrong, the mistake, and the check that rejected it."""
    if not verdicts:
        return ""
    by_function: dict[str, dict[str, list[Verdict]]] = {}
    for v in verdicts:
        by_function.setdefault(v.mutant.of, {}).setdefault(v.mutant.name, []).append(v)
    tables = []
    for of, mistakes in by_function.items():
        lines = "".join(_mistake(same) for same in mistakes.values())
        tables.append(
            f'<div class="wide"><table><caption>wrong versions of <code>{escape(of)}</code></caption><thead><tr>'
            f"<th>wrong</th><th>mistake</th><th>rejected by</th></tr></thead><tbody>{lines}</tbody></table></div>"
        )
    return f'<h4>Mistakes made on purpose</h4><div class="two">{"".join(tables)}</div>'


def _mistake(same: list[Verdict]) -> str:
    mutant = same[0].mutant
    survived = [f"{v.backend}, seed {v.seed}" for v in same if not v.rejected]
    checks = dict.fromkeys(v.row.check for v in same if v.row is not None)
    by = f"nothing ({'; '.join(survived)})" if survived else ", ".join(checks)
    cells = (", ".join(mutant.outputs), mutant.name, by)
    return (
        f"<tr{BAD if survived else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
    )


def _killed(verdicts: list[Verdict]) -> tuple[int, int]:
    """How many different mistakes were rejected every time, and how many there are."""
    everywhere: dict[tuple[str, str], bool] = {}
    for v in verdicts:
        key = (v.mutant.of, v.mutant.name)
        everywhere[key] = everywhere.get(key, True) and v.rejected
    return sum(everywhere.values()), len(everywhere)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
