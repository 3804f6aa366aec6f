"""A trace in the terminal: the table of a step, and one number explained."""

import math

import numpy as np
from rich.console import Console
from rich.table import Table

from nn.trace.record import Call, Trace
from nn.trace.terms import SHOWN, Term, Terms


def terms_text(terms: Terms) -> str:
    """The explanation of one number as lines of text: the largest products first, then what the rest adds up to."""
    lines = [f"{terms.name} = {terms.value:.9g}", f"  {terms.equation}"]
    if terms.note:
        lines.append(f"  {terms.note}")
    if terms.parts:
        lines += [f"  from {chain}: {part.computed:.9g}" for chain, part in terms.parts.items()]
    elif terms.result is not None:
        lines.append(f"  {terms.formula}")
    else:
        lines += _products(terms)
    lines.append(f"  sum {terms.computed:.9g}; the engine's number is {_off(terms)}")
    for part in terms.parts.values():
        lines += ["", terms_text(part)]
    return "\n".join(lines)


def _products(terms: Terms) -> list[str]:
    order = sorted(terms.terms, key=lambda term: -abs(term.product))
    shown, rest = order[:SHOWN], order[SHOWN:]
    cells = [
        (term.left, f"{term.left_value:.6g}", term.right, f"{term.right_value:.6g}", f"{term.product:.6g}")
        for term in shown
    ]  # fmt: skip
    if all(term.right == "1" for term in terms.terms):  # a sum of numbers as they are
        width = max((len(row[0]) for row in cells), default=0)
        lines = [f"  + {left.ljust(width)}  {value:>12}" for left, value, *_ in cells]
        return lines + _rest(rest)
    widths = [max((len(row[i]) for row in cells), default=0) for i in range(5)]
    lines = [f"  {terms.start[0]} {terms.start[1]:.6g}"] if terms.start else []
    if not terms.terms:
        return [*lines, "  no products: nothing reached it"]
    for row in cells:
        a, av, b, bv, product = (cell.ljust(w) if i in (0, 2) else cell.rjust(w)
                                 for i, (cell, w) in enumerate(zip(row, widths, strict=True)))  # fmt: skip
        lines.append(f"  + {a} {av}  x  {b} {bv}  = {product}")
    return lines + _rest(rest)


def _rest(terms: list[Term]) -> list[str]:
    """One line for what is not shown."""
    total = math.fsum(term.product for term in terms)
    return [f"  + {len(terms):,} more, each smaller, together {total:.6g}"] if terms else []


def _off(terms: Terms) -> str:
    off = abs(terms.computed - terms.value)
    if off == 0:
        return "the same"
    share = off / terms.size if terms.size else np.inf
    verdict = "rounding" if terms.right else "more than rounding explains"
    return f"off by {off:.1g}, {share:.0e} of the products' size: {verdict}"


def print_trace(trace: Trace) -> None:
    """The table: forward from top to bottom, and what came back beside it."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=170)
    console.print(_table(trace))
    ends = ", ".join(
        f"{e.chain + ': ' if e.chain else ''}{e.loss!r} {e.value:.6g}" for e in trace.ends
    )
    console.print(f"loss {ends}" + (f"; together {trace.loss:.6g}" if len(trace.ends) > 1 else ""))


def _table(trace: Trace) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("layer")
    table.add_column("y", no_wrap=True)
    for name in ("y from", "to", "zeros", "dy deviates by", "|dw|", "|dw| / |w|"):
        table.add_column(name, justify="right", no_wrap=True)
    last = None
    for call in trace.calls:
        if call.chain != last and call.chain:
            table.add_row(f"[bold]{call.chain}[/bold]")
        last = call.chain
        table.add_row(*_row(call))
    shared = [name for name in trace.names if len(trace.calls_of(name)) > 1]
    with_w = [name for name in shared if "w" in trace.calls_of(name)[0].grads]
    if with_w:
        table.add_row("[bold]shared: the sum[/bold]")
    for name in with_w:
        dw, w = trace.gradient(name, "w"), trace.calls_of(name)[0].parameters["w"]
        table.add_row(name, "", "", "", "", "", *_sizes(dw, w))
    return table


def _row(call: Call) -> tuple[str, ...]:
    y = call.y
    low, high = (f"{y.min() + 0:.3g}", f"{y.max() + 0:.3g}") if y.size else ("", "")
    zeros = f"{np.mean(y == 0):.0%}" if y.size else ""
    deviation = f"{call.dy.std():.2e}" if call.dy.size else ""
    sizes = _sizes(call.grads["w"], call.parameters["w"]) if "w" in call.grads else ("", "")
    shape = "x".join(map(str, y.shape))
    return f"{call.name}  [dim]{call.layer!r}[/dim]", shape, low, high, zeros, deviation, *sizes


def _sizes(dw: np.ndarray, w: np.ndarray) -> tuple[str, str]:
    """The lengths |dw|, and |dw| / |w|."""
    length, base = float(np.linalg.norm(dw)), float(np.linalg.norm(w))
    return f"{length:.2e}", f"{length / base:.1e}" if base else "-"
