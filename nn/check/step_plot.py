"""Three ways to take a derivative by moving x, against ``backward``: how wrong is each for every size of step?

    forward difference    (f(x + h u) - f(x)) / h               h f'' / 2 of curvature + 1e-16 / h of rounding
    central difference    (f(x + h u) - f(x - h u)) / 2h        h² f''' / 6 of curvature + 1e-16 / h of rounding
    complex step          Im f(x + i h u) / h                   h² f''' / 6 of curvature

f is <dy, y> and u a random direction of x of length 1, so that all three stand for <dx, u>; dx is what ``backward``
says. Nothing here is remembered: the curves are computed when the picture is drawn, from the layers of the registry.
"""

import io
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nn.check.case import Case, make_case
from nn.layer import REGISTRY, LayerSpec

LAYERS = ("Sigmoid", "Conv2d", "BCEWithLogits")
STEPS = 10.0 ** -np.arange(1, 20.1, 0.25)
TINY_STEPS = 10.0 ** -np.arange(20.0, 201.0, 10)  # where only the complex step has anything to say
LOWEST = 1e-17  # an error of 0 is drawn here

# Okabe and Ito's colours ("Color Universal Design", 2008), the green darkened so that it can be read as text; dashes
# tell the curves apart where there is no colour at all.
BLUE, VERMILION, GREEN, INK, GREY = "#0072B2", "#C24E00", "#00795A", "#1b1b1b", "#666666"

CAPTION = """
<h2>How small is a little?</h2>
<p>The check needs a step, and its size matters. Here <code>x</code> is moved by <code>h</code> along a random
direction, in three ways, and the slope that is found is compared with what the backward pass says. Every picture was
computed for this page.</p>
<figure><div class="three">{panels}</div>
<figcaption class="three">
<p><strong>Too large a step: curvature.</strong> The forward difference <code>(f(x + h) - f(x)) / h</code> takes a
bend for a slope; its error falls as h does, a line of slope 1. The central difference
<code>(f(x + h) - f(x - h)) / 2h</code> goes equally far to both sides, where the bends cancel; its error falls as h²,
a line of slope 2. A convolution is linear and does not bend at all.</p>
<p><strong>Too small a step: subtraction.</strong> <code>f(x + h)</code> and <code>f(x)</code> then share nearly all
of their 16 digits. The difference keeps the few that they do not share, and dividing by h makes their error large:
<code>1e-16 / h</code>. In the end <code>x + h</code> is <code>x</code>, and nothing is left. The best of all these
steps: {best}.</p>
<p><strong>Complex step: nothing to subtract.</strong> It moves x sideways, by <code>i h</code>, and reads the slope
off the imaginary part: <code>f(x + i h) = f(x) + i h f'(x) - ...</code>, so <code>f'(x) = Im f(x + i h) / h</code>.
No digit is lost however small h is: down to 1e-200 the error is at most <code>{tiny}</code>. So <code>nn check</code>
takes this one, with h = 1e-200. Were a backward pass wrong, all three curves would end at the size of its mistake.</p>
</figcaption></figure>
"""


@dataclass(frozen=True, eq=False)
class StepCurves:
    """Errors relative to |<dx, u>|, (n,) arrays over ``steps``; at_tiny: the complex step's largest at TINY_STEPS."""

    layer: str
    steps: np.ndarray
    forward: np.ndarray
    central: np.ndarray
    complex_step: np.ndarray
    at_tiny: float


def step_curves(spec: LayerSpec, seed: int = 0) -> StepCurves:
    """The curves of a layer's or loss's first sample, on the reference backend in float64."""
    case = make_case(spec, spec.samples[0], seed=seed)
    sideways = case.to(dtype=np.complex128)
    u = np.random.default_rng([seed, 1]).standard_normal(case.x.shape)
    u /= np.linalg.norm(u)
    slope = float(np.sum(case.gradients()[case.input_name] * u))

    def complex_slope(h: float) -> float:
        return float(_f(sideways, 1j * h * u).imag) / h

    def errors(estimates: list[float]) -> np.ndarray:
        return np.abs(np.array(estimates) - slope) / (abs(slope) or 1.0)

    here = _f(case, 0 * u)
    return StepCurves(
        spec.name,
        STEPS,
        errors([(_f(case, h * u) - here) / h for h in STEPS]),
        errors([(_f(case, h * u) - _f(case, -h * u)) / (2 * h) for h in STEPS]),
        errors([complex_slope(h) for h in STEPS]),
        float(np.max(errors([complex_slope(h) for h in TINY_STEPS]))),
    )


def _f(case: Case, move: np.ndarray) -> Any:
    """<dy, y> at x + move."""
    y, _ = replace(case, x=case.x + move).forward()
    return np.sum(np.real(case.dy) * y)


def step_pictures() -> list[tuple[StepCurves, str]]:
    """The curves of each of LAYERS, and their picture as an <svg> element; one whose passes raise is left out."""
    pictures = []
    for name in LAYERS:
        try:
            with np.errstate(all="ignore"):
                curves = step_curves(REGISTRY[name])
        except Exception:  # a layer that is broken has its failures in the report, and no picture
            continue
        pictures.append((curves, draw(curves)))
    return pictures


def step_figure() -> str:
    """Both as HTML, a heading and what is to be seen included; nothing where no layer could be drawn."""
    pictures = step_pictures()
    if not pictures:
        return ""
    best = "; ".join(
        f"{c.layer} {np.min(c.forward):.0e} forward and {np.min(c.central):.0e} central"
        for c, _ in pictures
    )
    tiny = max(c.at_tiny for c, _ in pictures)
    panels = "".join(f"<div>{svg}</div>" for _, svg in pictures)
    return CAPTION.format(panels=panels, best=best, tiny=f"{tiny:.0e}")


def draw(curves: StepCurves) -> str:
    """An <svg> element: error against step, both logarithmic, smaller steps to the right. The same bytes every time."""
    # Imported here because it takes half a second, which only a plot should cost.
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings = {"svg.hashsalt": curves.layer, "svg.fonttype": "none", "font.size": 10.5}
    with rc_context(settings):
        figure = Figure(figsize=(5.0, 4.2), layout="constrained")
        figure.patch.set_alpha(0)
        _plot(figure.add_subplot(), curves)
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(file, metadata=nothing)
    return _inline(file.getvalue(), curves)


def _plot(axes: Any, curves: StepCurves) -> None:
    straight = REGISTRY[curves.layer].linear
    shown = (
        (curves.complex_step, BLUE, "-", 2.8),
        (curves.central, GREEN, (0, (5, 1.5)), 1.5),
        (curves.forward, VERMILION, (0, (2, 1)), 1.5),
    )
    for errors, colour, dash, width in shown:
        axes.loglog(
            curves.steps, np.maximum(errors, LOWEST), color=colour, linestyle=dash, linewidth=width
        )
    axes.set(xlim=(0.25, 1e-20), ylim=(LOWEST, 1e3))
    ticks = 10.0 ** np.arange(-20, 0, 4)
    axes.set_xticks(ticks, [f"1e-{k}" for k in range(20, 0, -4)])
    axes.set_yticks(10.0 ** np.arange(-16, 1, 4), ["1e-16", "1e-12", "1e-8", "1e-4", "1"])
    axes.minorticks_off()
    axes.grid(color="0.88", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(curves.layer, loc="left", fontweight="bold", color=INK)
    axes.set_xlabel("step h, smaller to the right", color=GREY)
    axes.set_ylabel("relative error", color=GREY)
    axes.tick_params(colors=GREY)
    for words, at, colour in _labels(straight):
        axes.text(*at, words, color=colour, fontsize=9 if colour == GREY else 10.5)
    axes.annotate(
        "flat to 1e-200", (1.2e-20, 3e-14), (2e-15, 3e-14), color=BLUE, va="center", fontsize=9,
        arrowprops={"arrowstyle": "->", "color": BLUE},
    )  # fmt: skip


def _labels(straight: bool) -> list[tuple[str, tuple[float, float], str]]:
    """The words on the curves, where they begin, and their colour."""
    complex_step = ("complex step", (3e-8, 3e-14), BLUE)
    lost = ("x + h = x", (2e-17, 0.02), GREY)
    if straight:
        bent = ("no curvature: large steps are best", (1e-1, 1e2), GREY)
        return [complex_step, lost, bent, ("forward and central", (1e-1, 3e-5), INK)]
    return [
        complex_step,
        lost,
        ("forward", (2e-3, 6e-2), VERMILION),
        ("slope 1", (2e-3, 3e-3), GREY),
        ("central", (1e-1, 2e-12), GREEN),
        ("slope 2", (1e-1, 1e-13), GREY),
    ]


def _inline(svg: str, curves: StepCurves) -> str:
    """The <svg> element of a file, to stand in a page: its own names, no styles of its own, an explanation."""
    name = curves.layer
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.S)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg)
    size = re.search(r'viewBox="[^"]*"', svg)[0]
    said = (
        f"Error against step for {name}: forward difference at best {np.min(curves.forward):.0e}, central difference "
        f"{np.min(curves.central):.0e}, complex step {curves.complex_step[-1]:.0e} at h = 1e-20"
    )
    head = f'<svg {size} role="img" aria-label="{said}" stroke-linejoin="round">'
    return head + svg[svg.index(">") + 1 :].strip()
