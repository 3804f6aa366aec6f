"""The command ``nn``: what the engine is made of, and the proof that its gradients are right."""

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from nn.check import TOLERANCE, TensorCheck, check_all, describe
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
        typer.Argument(help="Layers or losses to check, as `nn layers` names them."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Other weights, inputs and gradients.")] = 0,
) -> None:
    """Check every gradient against the complex step; exit status 1 if one is wrong.

    Each sample of each registered layer and loss gets random weights, a random input x and a random
    upstream gradient dy. Then every single entry of x and of each parameter is moved by i·1e-200:
    the imaginary part of sum(dy·y), over 1e-200, is the true derivative to the last digit. What
    `backward` says must equal it to 1e-11 of the largest entry; a right one is off by rounding,
    about 1e-16.

    Example: `nn check Conv2d Dense --seed 7`
    """
    specs = [_spec(name) for name in layer] if layer else list(REGISTRY.values())
    start = time.perf_counter()
    table = Table(
        "layer", "sample", "input", "gradient of", box=None, header_style="bold", pad_edge=False
    )
    for column in ("entries", "worst error", "where"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    results: list[TensorCheck] = []
    for spec, sample, checks in check_all(specs, seed=seed):
        for i, c in enumerate(checks):
            named = (spec.name, describe(sample), str(sample.shape)) if i == 0 else ("", "", "")
            verdict = "[green]pass" if c.passed else "[bold red]FAIL"
            error, where = f"{c.worst:.1e}", str(list(c.index))
            table.add_row(*named, c.tensor, str(c.entries), error, where, verdict)
        results += checks
    console = _console()
    console.print(table)
    failed = [c for c in results if not c.passed]
    console.print(
        f"\n{len(results) - len(failed)} of {len(results)} gradients agree with the complex step "
        f"to {TOLERANCE:g}: {sum(c.entries for c in results):,} entries, every one, in "
        f"{time.perf_counter() - start:.1f} s"
    )
    for c in failed:
        console.print(f"[bold red]{_complaint(c)}")
    if failed:
        raise typer.Exit(1)


@app.command()
def layers() -> None:
    """List every layer, activation and loss in the registry.

    linear: y is linear in x. kinks: where the slope jumps (for a loss: of output minus target).
    samples: how many ways of building it are checked.
    """
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
    typer.echo(f"nn: there is no layer {name!r}; the registry has {', '.join(REGISTRY)}", err=True)
    raise typer.Exit(2)


def _complaint(c: TensorCheck) -> str:
    how = f"{c.layer} ({describe(c.sample)}) on x {c.sample.shape}" if c.sample.kwargs else c.layer
    if c.note:
        return f"{how}, gradient of {c.tensor}: {c.note}"
    return (
        f"{how}: the gradient of {c.tensor}{list(c.index)} is {c.numeric:.6g}, "
        f"and backward says {c.analytic:.6g}"
    )


def _console() -> Console:
    """A console that does not fold the table where its output is a file or a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)


if __name__ == "__main__":
    main()
