"""What an evaluation says on the terminal: a table for each direction, and what it means."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from swap.evaluate.overlap import Overlap
from swap.evaluate.real import CANNOT_KNOW, RealResults
from swap.evaluate.truth import Direction, Results

ROWS = {
    "swap": "swap",
    "own": "{target}'s own reconstruction",
    "copy": "copy the input",
    "mean": "mean picture of {target}",
    "nearest": "nearest picture of {target}",
    "linear": "linear, 64 components",
}


def report(results: Results) -> Group:
    """Both directions with their sentences, for `Console.print`."""
    parts = []
    for direction in results.directions.values():
        parts += [table(direction), *map(Text, sentences(direction)), Text("")]
    return Group(*parts[:-1])


def table(direction: Direction) -> Table:
    """The rows of a direction; over the face unless it says otherwise."""
    source, target = direction.source.upper(), direction.target.upper()
    shown = Table(title=f"{source} to {target}", title_justify="left", title_style="bold")
    shown.add_column("over the face")
    for name in ("PSNR dB", "SSIM", "MAE", "PSNR, picture"):
        shown.add_column(name, justify="right")
    for name, quality in direction.rows.items():
        what = ROWS.get(name, name).format(target=target)
        shown.add_row(
            what,
            f"{quality.psnr_face:.1f}",
            f"{quality.ssim_face:.3f}",
            f"{quality.mae_face:.3f}",
            f"{quality.psnr_picture:.1f}",
            style="bold" if name == "swap" else None,
            end_section=name in ("own", "linear"),
        )
    return shown


def verdict(direction: Direction) -> str:
    """How far above the best baseline and below the target's own reconstruction, in one sentence."""
    source, target = direction.source.upper(), direction.target.upper()
    gain, loss = direction.gain_over_best_baseline_db, direction.loss_to_reconstruction_db
    return (
        f"{source} to {target}: {direction.rows['swap'].psnr_face:.1f} dB over the face, "
        f"{_apart(gain, 'above', 'below')} the best baseline ({direction.best_baseline}), "
        f"{_apart(loss, 'below', 'above')} {target}'s own reconstruction."
    )


def sentences(direction: Direction) -> list[str]:
    """The verdict, and what identity, recovery and jitter say."""
    target = direction.target.upper()
    told = [verdict(direction)]
    identity = direction.identity
    told.append(
        f"  Looks like {target} in {100 * identity.share:.0f} % of the pictures (identity margin "
        f"{identity.margin:.3f}; the truth has {identity.of_truth:.3f})."
    )
    read = direction.recovery
    if read and read.readable:
        told.append(
            f"  Does what the input does: read off the swap, {len(read.readable)} parameters of pose, "
            f"expression and light correlate with the true ones by {read.summary('swap'):.2f} "
            f"(truth {read.summary('truth'):.2f}, nearest {read.summary('nearest'):.2f})."
        )
        pairs = dict(
            zip(read.names, zip(read.rows["swap"], read.rows["truth"], strict=True), strict=True)
        )
        behind = sorted(
            read.readable, key=lambda n: pairs[n][0].correlation - pairs[n][1].correlation
        )
        worst = ", ".join(
            f"{name} {pairs[name][0].correlation:.2f} of {pairs[name][1].correlation:.2f}"
            for name in behind[:3]
        )
        told.append(f"  Least recovered: {worst}.")
    if direction.jitter:
        told.append(
            f"  Trembles by {direction.jitter.swap:.1f} of 255 from frame to frame, "
            f"{target}'s own reconstruction by {direction.jitter.own:.1f}."
        )
    return told


def overlap_report(found: Overlap) -> Group:
    """The overlap of two face sets and its advice, for `Console.print`."""
    shown = Table(title=f"A and B share {100 * found.total:.0f} %", title_justify="left")
    shown.title_style = "bold"
    shown.add_column("how alike the two sets are")
    shown.add_column("0 to 1", justify="right")
    for name, value in found.parts.items():
        shown.add_row(name, "not known" if value is None else f"{value:.2f}")
    return Group(shown, *(Text(f"- {advice}") for advice in found.advice))


def real_report(results: RealResults) -> Group:
    """Reconstruction of both sides of a real run, and what it cannot tell, for `Console.print`."""
    shown = Table(title="own reconstruction", title_justify="left", title_style="bold")
    shown.add_column("over the face")
    for name in ("PSNR dB", "SSIM", "MAE", "PSNR, picture"):
        shown.add_column(name, justify="right")
    told = []
    for side, quality in results.reconstruction.items():
        shown.add_row(
            f"{side.upper()}, {results.faces[side]:,} faces",
            f"{quality.psnr_face:.1f}",
            f"{quality.ssim_face:.3f}",
            f"{quality.mae_face:.3f}",
            f"{quality.psnr_picture:.1f}",
        )
        if steady := results.steadiness[side]:
            told.append(
                f"{side.upper()} trembles by {steady.given:.1f} of 255 from frame to frame, its own "
                f"reconstruction by {steady.own:.1f}, its swap by {steady.swap:.1f}."
            )
    return Group(shown, *map(Text, told), Text(CANNOT_KNOW))


def _apart(difference: float, up: str, down: str) -> str:
    return f"{abs(difference):.1f} dB {up if difference >= 0 else down}"
