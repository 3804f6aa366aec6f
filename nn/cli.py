"""The command ``nn``: what the engine is made of, and the proof that its gradients are right."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from nn.backend import GPU, KNOWN, here, why_no_gpu
from nn.check import CHECKS, checks_of
from nn.check.engine import run_seeds
from nn.check.models import load_models
from nn.check.mutants import Mutant
from nn.check.table import summary, summary_of_mistakes, table_of, write_json
from nn.check.verdict import Verdict, mutants_of, name_it, reject
from nn.files import why_not
from nn.layer import REGISTRY, LayerSpec

app = typer.Typer(
    name="nn",
    help="A neural-network engine whose every backward pass is written by hand and proved.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def check(
    layer: Annotated[
        list[str] | None,
        typer.Argument(help="Layers, losses, optimizers or models, as `nn layers` names them."),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="reference, cpu, gpu, or all of this machine.", metavar="<name>")
    ] = "all",
    mistakes: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="<seeds>",
            help="Also make every mistake in the table of wrong backwards, with so many seeds each: "
            "all must be rejected.",
        ),
    ] = 0,
    html: Annotated[
        Path | None, typer.Option(help="Write a report with equations, code and the mistakes.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every number as JSON.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Other weights, inputs and gradients.")] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="How many seeds to run everything with, from --seed on.")
    ] = 1,
) -> None:
    """Check every layer, loss, optimizer and model; exit status 1 if one is wrong.

    Each gets random weights, a random input x and a random upstream gradient dy. Every entry of x and of each
    parameter is moved by i·1e-200: the imaginary part of sum(dy·y), over 1e-200, is the true derivative to the last
    digit, and what `backward` says must equal it to 1e-11 of the largest entry (a right one is off by rounding, 1e-16).
    Then the rest: the definition by loops, the adjoint identity, whole numbers bit for bit, kinks, random shapes,
    memory layouts, PyTorch, what a pass may write to, and whole models along random directions.

    Examples:

        nn check

        nn check Conv2d Dense --seed 7

        nn check --mistakes 1 --html report.html
    """
    try:
        load_models()
    except ValueError as error:
        _refuse(str(error))
    specs = [_spec(name) for name in layer] if layer else list(REGISTRY.values())
    backends = _backends(backend)
    for path in (html, json_file):
        if path is not None and (reason := why_not(path)):
            _refuse(f"{path} cannot be written: {reason}")
    console = _console()
    start = time.perf_counter()
    plan = [(s, b, c) for s in specs for b in backends for c in checks_of(s, b)]
    rows = [
        run_seeds(c, s, b, range(seed, seed + seeds))
        for s, b, c in track(plan, console, lambda item: f"{item[0].name} {item[1]} {item[2].name}")
    ]
    console.print(table_of(rows))
    seconds = time.perf_counter() - start
    console.print(f"\n{summary(rows, seconds)}")
    failed = [row for row in rows if not row.passed]
    for row in failed:
        console.print(row.sentence(), style="bold red", markup=False)
    # What only differs from the reference says nothing of who is wrong.
    absolute = {c.name for c in CHECKS if not c.fast_only}
    for name, on in dict.fromkeys((r.layer, r.backend) for r in failed if r.check in absolute):
        for sentence in name_it(REGISTRY[name], on):
            console.print(f"  {sentence}", style="red", markup=False)
    verdicts = _mistakes(specs, backends, mistakes or int(html is not None), seed, console)
    survivors = [v for v in verdicts if not v.rejected]
    for v in survivors:
        console.print(
            f"{v.mutant.of} on {v.backend}, seed {v.seed}: a wrong one passed, although {v.mutant.name}",
            style="bold red",
            markup=False,
        )
    try:
        if json_file is not None:
            write_json(json_file, rows, verdicts, seed=seed, seconds=seconds)
        if html is not None:
            from nn.check.html import write_html

            write_html(html, rows, verdicts, seed=seed, seconds=seconds)
    except OSError as error:
        _refuse(f"the report cannot be written: {error.strerror}")
    if failed or survivors:
        raise typer.Exit(1)


def _mistakes(
    specs: list[LayerSpec], backends: list[str], seeds: int, first: int, console: Console
) -> list[Verdict]:
    """Every mistake of the table on every backend; prints one line, or nothing where none were asked for."""
    plan = [
        (m, b, first + i)
        for s in specs for m in mutants_of(s) for b in _backends_of(m, backends) for i in range(seeds)
    ]  # fmt: skip
    if not plan:
        return []
    start = time.perf_counter()
    verdicts = [
        Verdict(m, b, s, reject(m, b, s))
        for m, b, s in track(plan, console, lambda item: f"mistakes of {item[0].of} on {item[1]}")
    ]
    console.print(summary_of_mistakes(verdicts, time.perf_counter() - start))
    return verdicts


def _backends_of(mutant: Mutant, backends: list[str]) -> list[str]:
    """A method of a layer is the same on all backends: one is enough."""
    return backends[:1] if "." in mutant.of else backends


def _backends(name: str) -> list[str]:
    if name == "all":
        return here()
    if name not in KNOWN:
        _refuse(f"this machine has no backend {name!r}; there are {', '.join(here())} and all")
    if name == GPU and (reason := why_no_gpu()):
        _refuse(f"--backend gpu: {reason}")
    return [name]


@app.command()
def layers() -> None:
    """List every layer, activation, loss, optimizer and model in the registry.

    linear: y is linear in x. kinks: where the slope jumps (for a loss: of output minus target).
    samples: how many ways of building it are checked.
    """
    load_models()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("name", "kind", "linear", "kinks"):
        table.add_column(column)
    table.add_column("samples", justify="right")
    table.add_column("what it is")
    for spec in REGISTRY.values():
        table.add_row(
            spec.name,
            spec.kind,
            "yes" if spec.linear else "",
            ", ".join(f"{kink:g}" for kink in spec.kinks),
            str(len(spec.samples)),
            (spec.make.__doc__ or "").partition("\n")[0],
        )
    _console().print(table)


def main() -> None:
    """The console command."""
    app()


def _spec(name: str) -> LayerSpec:
    for known, spec in REGISTRY.items():
        if known.lower() == name.lower():
            return spec
    _refuse(f"there is no layer {name!r}; the registry has {', '.join(REGISTRY)}")


def _refuse(sentence: str) -> NoReturn:
    """One sentence on standard error, exit status 2."""
    typer.echo(f"nn: {sentence}", err=True)
    raise typer.Exit(2)


Item = TypeVar("Item")


def track(items: list[Item], console: Console, says: Callable[[Item], str]) -> Iterator[Item]:
    """The items, and a bar on a terminal that says which is under way; nothing where the output is a file or a pipe."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:40.40}"),
        BarColumn(),
        MofNCompleteColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=len(items))
        for item in items:
            bar.update(task, description=says(item))
            yield item
            bar.advance(task)


def _console() -> Console:
    """A console that does not fold the table where its output is a file or a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)


if __name__ == "__main__":
    main()
