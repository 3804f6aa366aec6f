"""The report on the terminal, and as JSON."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from nn.check.case import describe
from nn.check.engine import EXACT, Row
from nn.check.verdict import Verdict
from nn.files import write_atomic


def table_of(rows: list[Row]) -> Table:
    """A line for each layer and check; backends that pass share one, the worst of them is shown."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("layer", "check", "backend"):
        table.add_column(column, no_wrap=True)
    for column in ("shapes", "numbers", "worst error", "allowed"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("where", no_wrap=True, overflow="ellipsis", max_width=34)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("")
    layer = ""
    for group in _groups(rows):
        worst = max(group, key=lambda r: (not r.passed, r.worst.worst))
        table.add_row(
            worst.layer if worst.layer != layer else "",
            worst.check,
            ", ".join(r.backend for r in group),
            str(worst.shapes),
            f"{sum(r.comparisons for r in group):,}",
            f"{worst.worst.worst:.1e}" if worst.tolerance else _exactly(worst),
            f"{worst.tolerance:.0e}" if worst.tolerance else "0",
            _where(worst),
            f"{sum(r.seconds for r in group):.2f} s",
            "[green]pass" if worst.passed else "[bold red]FAIL",
        )
        layer = worst.layer
    return table


def _groups(rows: list[Row]) -> Iterable[list[Row]]:
    """Rows of one layer and check that pass, together; each that fails, alone."""
    passed: dict[tuple[str, str], list[Row]] = {}
    order: list[list[Row]] = []
    for row in rows:
        key = (row.layer, row.check)
        if not row.passed:
            order.append([row])
        elif key in passed:
            passed[key].append(row)
        else:
            passed[key] = [row]
            order.append(passed[key])
    layers = list(dict.fromkeys(row.layer for row in rows))
    return sorted(order, key=lambda group: layers.index(group[0].layer))


def _exactly(row: Row) -> str:
    return "0" if row.worst.worst == EXACT else "differs"


def _where(row: Row) -> str:
    if not row.worst.worst:
        return ""
    return f"{row.worst.tensor}{list(row.worst.index) if row.worst.index else ''} {describe(row.sample)}".strip()


def summary(rows: list[Row], seconds: float) -> str:
    """One line: how many checks, how many numbers, how many pass."""
    good = sum(row.passed for row in rows)
    numbers = sum(row.comparisons for row in rows)
    return f"{good} of {len(rows)} checks pass: {numbers:,} numbers compared in {seconds:.1f} s"


def summary_of_mistakes(verdicts: list[Verdict], seconds: float) -> str:
    """One line: how many wrong backwards were rejected."""
    mistakes = len({(v.mutant.of, v.mutant.name) for v in verdicts})
    seeds = len({v.seed for v in verdicts})
    rejected = sum(v.rejected for v in verdicts)
    tried = f"{mistakes} mistakes" + (f" with {seeds} seeds each" if seeds > 1 else "")
    return f"{rejected} of {len(verdicts)} wrong passes rejected ({tried}) in {seconds:.1f} s"


def write_json(
    path: Path, rows: list[Row], verdicts: list[Verdict], *, seed: int, seconds: float
) -> None:
    """Everything in the report, as JSON (infinite and missing numbers as null). OSError where it cannot be written."""
    content = {
        "seed": seed,
        "seconds": round(seconds, 2),
        "checks": len(rows),
        "failed": sum(not row.passed for row in rows),
        "rows": [_row(row) for row in rows],
        "mistakes": [_verdict(v) for v in verdicts],
    }
    write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())


def _row(row: Row) -> dict[str, Any]:
    return {
        "layer": row.layer,
        "check": row.check,
        "backend": row.backend,
        "passed": row.passed,
        "tolerance": row.tolerance,
        "worst": _finite(row.worst.worst),
        "tensor": row.worst.tensor,
        "index": list(row.worst.index),
        "found": _finite(row.worst.found),
        "expected": _finite(row.worst.expected),
        "options": describe(row.sample),
        "shape": list(row.sample.shape),
        "shapes": row.shapes,
        "comparisons": row.comparisons,
        "seconds": round(row.seconds, 4),
        "message": "" if row.passed else row.sentence(),
    }


def _verdict(v: Verdict) -> dict[str, Any]:
    return {
        "of": v.mutant.of,
        "name": v.mutant.name,
        "outputs": list(v.mutant.outputs),
        "backend": v.backend,
        "seed": v.seed,
        "rejected_by": v.row.check if v.row else None,
    }


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
