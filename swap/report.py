"""report.html: one file that holds everything a demo or an evaluation found, pictures and video within."""

import base64
from html import escape
from pathlib import Path
from typing import Any

from swap.evaluate.table import ROWS, sentences
from swap.evaluate.truth import Direction, Results
from swap.files import write_bytes_atomic

KINDS = {".png": "image/png", ".mp4": "video/mp4"}
STYLE = """
:root { color-scheme: light; --ink: #1b1b1b; --grey: #666; --line: #ddd; --accent: #b8450a; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; background: #fbfaf7; color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
p, li { max-width: 46rem; }
.sub, figcaption, .note { color: var(--grey); font-size: .92rem; }
.verdict { font-size: 1.08rem; border-left: 4px solid var(--accent); padding: .1rem 0 .1rem .9rem; margin: .8rem 0; }
figure { margin: 1rem 0; overflow-x: auto; }
figure img, figure video { display: block; max-width: 100%; height: auto; }
.tables { display: grid; gap: 2rem; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; width: 100%; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { text-align: right; padding: .28rem .5rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; }
th { font-weight: 600; color: var(--grey); }
tr.swap td { font-weight: 700; color: var(--accent); }
tr.end td { border-bottom: 2px solid #999; }
"""


def write_report(
    path: Path, folder: Path, results: Results, metrics: dict[str, Any], title: str
) -> None:
    """Writes the report. ``folder`` holds the pictures and the video; those that are missing are left out. UserError or
    OSError where it cannot be written."""
    names = " and ".join(escape(str(metrics["rendered"][side])) for side in ("a", "b"))
    family = escape(str(metrics["rendered"]["family"]))
    directions = results.directions.values()
    parts = [
        f"<h1>{family.capitalize()}: {names}, swapped</h1>",
        f'<p class="sub">{escape(title)}. Both subjects are rendered and nobody\'s likeness; the swapped pictures '
        "were made by a neural network.</p>",
        *(f'<p class="verdict">{escape(sentences(d)[0])}</p>' for d in directions),
        _figure(
            folder / "swap.mp4",
            "A clip that was not trained on. Left the original, in the middle the swap, right the truth: B, rendered "
            "doing what A does.",
        ),
        "<h2>Against the truth, and against doing nothing clever</h2>",
        f"<p>{results.pictures} test pictures of each subject with the same pose, light and {_doing(family)}, none "
        "of which were trained on. The swap of A's picture has a right answer, B's picture. PSNR is the mean over "
        "the pictures; higher is better. <em>Own reconstruction</em> is B's picture through B's own decoder: the "
        "most that a swap can reach.</p>",
        '<div class="tables">',
        *(_table(d) for d in directions),
        "</div>",
        *(_sentences(d) for d in directions),
        "<h2>While it was trained</h2>",
        "<p>What every face swapper shows are two losses. They say how well each side is <em>reconstructed</em>, "
        "and nothing about the swap. Here the swap is known, so its curve is shown as well.</p>",
        _figure(
            folder / "curve.png",
            "Full line: the swap against its truth. Dashed: the target's own reconstruction. Grey, where shown: the "
            "plain method of 2017 on the same subjects.",
        ),
        _figure(folder / "loss.png", "Both losses, moving means over the single steps."),
        "<h2>Worst, middling, best</h2>",
        _figure(folder / "sheet.png", "Test pictures by the error of their swap, worst first."),
        "<h2>Pose and expression, read off the swap</h2>",
        "<p>A ridge regression was fitted on renders of the target to read its parameters off a picture. Correlation "
        "(and slope) of what it reads with what was asked for; the truth is the most that it can read.</p>",
        '<div class="tables">',
        *(_recovery(d) for d in directions),
        "</div>",
        "<h2>What these numbers do not say</h2>",
        "<p>They are those of these two subjects, with the light and the poses that were drawn. For a real video "
        "nobody knows what B would have looked like, so there is no such number: there, look at the pictures, and at "
        "<code>swap evaluate</code>'s overlap score before you train.</p>",
        f'<p class="note">{_settings(metrics)}</p>',
    ]
    body = "\n".join(part for part in parts if part)
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>latentface: {names}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )
    write_bytes_atomic(path, page.encode())


def _doing(family: str) -> str:
    return {"heads": "expression", "flags": "folds"}.get(family, "turn")


def _figure(file: Path, caption: str) -> str:
    """The file within the page; nothing where it is missing."""
    if not file.is_file():
        return ""
    data = f"data:{KINDS[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"
    shown = (
        f'<video src="{data}" controls loop muted autoplay playsinline></video>'
        if file.suffix == ".mp4"
        else f'<img src="{data}" alt="{escape(caption)}">'
    )
    return f"<figure>{shown}<figcaption>{escape(caption)}</figcaption></figure>"


def _table(direction: Direction) -> str:
    source, target = direction.source.upper(), direction.target.upper()
    rows = []
    for name, quality in direction.rows.items():
        what = ROWS.get(name, name).format(target=target)
        if name == direction.best_baseline:
            what += " (best baseline)"
        style = " ".join(
            s for s, on in (("swap", name == "swap"), ("end", name in ("own", "linear"))) if on
        )
        rows.append(
            f'<tr class="{style}"><td>{escape(what)}</td><td>{quality.psnr_face:.2f}</td>'
            f"<td>{quality.ssim_face:.3f}</td><td>{quality.mae_face:.4f}</td><td>{quality.psnr_picture:.2f}</td></tr>"
        )
    return (
        f'<div class="wide"><table><caption>{source} to {target}</caption><thead><tr><th>over the face</th>'
        "<th>PSNR dB</th><th>SSIM</th><th>MAE</th><th>whole picture</th></tr></thead><tbody>"
        + "".join(rows)
        + "</tbody></table></div>"
    )


def _sentences(direction: Direction) -> str:
    """What identity, recovery and jitter say of a direction."""
    lines = "".join(f"<li>{escape(line.strip())}</li>" for line in sentences(direction)[1:])
    title = f"{direction.source.upper()} to {direction.target.upper()}"
    return f"<p><strong>{title}</strong></p><ul>{lines}</ul>"


def _recovery(direction: Direction) -> str:
    read = direction.recovery
    if read is None:
        return ""
    shown = ("truth", "swap", "nearest")
    head = "".join(f"<th>{name}</th>" for name in shown)
    rows = []
    for i, name in enumerate(read.names):
        if name not in read.readable:
            continue
        cells = "".join(
            f"<td>{read.rows[kind][i].correlation:.2f} ({read.rows[kind][i].slope:.2f})</td>"
            for kind in shown
        )
        rows.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    title = f"{direction.source.upper()} to {direction.target.upper()}"
    return (
        f'<div class="wide"><table><caption>{title}</caption><thead><tr><th>parameter</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _settings(metrics: dict[str, Any]) -> str:
    took = ", ".join(f"{name} {value:.0f} s" for name, value in metrics["seconds"].items())
    rendered = metrics["rendered"]
    return escape(
        f"Preset {metrics['preset']}, recipe {metrics['recipe']}, {metrics['steps']:,} steps, "
        f"{rendered['count']:,} training pictures a side, seed {rendered['seed']}. It took: {took}."
    )
