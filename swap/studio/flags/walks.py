"""What a flag does in one picture: `Params`, and their random walks and draws."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Params:
    """Angles in degrees; lengths in hoists, the height of the flag.

    wind: from 0, a breeze, to 1, strong: how high the waves are. flutter: share of the short waves,
    0 to 1. skew: how far the waves' crests lean, -1 to 1. droop: how far the fly hangs down.
    phase_1, phase_2, phase_3: how far the long, the middle and the short wave have travelled towards
    the fly; any angle, a whole turn is nothing. yaw turns the fly away from the viewer, pitch tips
    the top towards the viewer, roll turns the picture clockwise. light_x and light_y: where the sun
    stands, to the right in the picture (beyond 90: behind the flag) and up; light: its strength;
    warmth: -1 blue to 1 red. x, y: shift to the right and up; scale: size in the picture.
    """

    wind: float = 0.5
    flutter: float = 0.5
    skew: float = 0.2
    droop: float = 10.0
    phase_1: float = 40.0
    phase_2: float = 200.0
    phase_3: float = 90.0
    yaw: float = 12.0
    pitch: float = -6.0
    roll: float = 0.0
    light_x: float = -50.0
    light_y: float = 35.0
    light: float = 1.0
    warmth: float = 0.0
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0


def _rounded(values: dict[str, float]) -> Params:
    """The same floats on every machine: multiples of 1/4096."""
    return Params(**{name: round(float(value) * 4096) / 4096 for name, value in values.items()})


def _drift(rng: np.random.Generator, frames: int, period: float) -> np.ndarray:
    """float64 (frames,) in (-1, 1): smooth noise with features about `period` frames long."""
    knots = rng.uniform(-1, 1, int(frames / period) + 5)
    t = np.arange(frames) / period + rng.uniform()
    i = t.astype(int)
    f = t - i
    g = 1 - f
    # Uniform cubic B-spline: twice continuously differentiable, so motion has no jerks.
    weights = (g * g * g, 3 * f * f * f - 6 * f * f + 4, 3 * g * g * g - 6 * g * g + 4, f * f * f)
    return sum(w / 6 * knots[i + k] for k, w in enumerate(weights))


def walk(frames: int, seed: int) -> list[Params]:
    """`frames` Params, 25 a second: gusts, and waves that travel. A pure function of its arguments."""
    rng = np.random.default_rng(seed)

    def around(middle: float, reach: float, period: float) -> np.ndarray:
        return middle + 1.5 * reach * _drift(rng, frames, period)

    wind = np.clip(around(0.5, 0.5, 70), 0.05, 1)
    columns = {
        "wind": wind,
        "flutter": np.clip(around(0.15, 0.15, 60), 0, 0.3),
        "skew": np.clip(around(0.1, 0.8, 80), -1, 1),
        "droop": np.clip(23 - 21 * wind + around(0, 4, 55), 0, 25),
        "yaw": np.clip(around(0, 24, 75), -28, 28),
        "pitch": np.clip(around(-3, 6, 90), -9.5, 3.5),
        "roll": np.clip(around(0, 5, 80), -7, 7),
        "light_x": np.clip(around(-15, 110, 110), -130, 130),
        "light_y": np.clip(around(34, 20, 90), 8, 60),
        "light": around(1, 0.12, 100),
        "warmth": np.clip(around(0, 0.7, 120), -1, 1),
        "x": around(0, 0.08, 60),
        "y": around(0, 0.06, 60),
        "scale": around(1, 0.07, 100),
    }
    for number, turns in ((1, 0.55), (2, 0.95), (3, 1.6)):
        # Short waves pass faster, and all do so in a gust.
        speed = 360 / 25 * turns * (0.55 + 0.75 * wind)
        columns[f"phase_{number}"] = rng.uniform(0, 360) + np.cumsum(speed) - speed[:1]
    return [_rounded({name: v[i] for name, v in columns.items()}) for i in range(frames)]


def draw(seed: int, index: int) -> Params:
    """One independent draw; a pure function of (seed, index).

    Turned by at most 28 degrees and with little of the short waves, here and in a walk: what a network of minutes can
    learn of stripes that are two of its pixels wide. `render` takes any turn and any flutter.
    """
    rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, index]))
    wind = rng.uniform(0.05, 1)
    return _rounded(
        {
            "wind": wind,
            "flutter": rng.uniform(0, 0.3),
            "skew": rng.uniform(-1, 1),
            "droop": max(0.0, 23 - 21 * wind + rng.uniform(-4, 4)),
            "phase_1": rng.uniform(0, 360),
            "phase_2": rng.uniform(0, 360),
            "phase_3": rng.uniform(0, 360),
            "yaw": rng.uniform(-28, 28),
            "pitch": rng.uniform(-9.5, 3.5),
            "roll": rng.uniform(-7, 7),
            "light_x": rng.uniform(-130, 130),
            "light_y": rng.uniform(8, 60),
            "light": rng.uniform(0.85, 1.15),
            "warmth": rng.uniform(-1, 1),
            "x": rng.uniform(-0.12, 0.12),
            "y": rng.uniform(-0.09, 0.09),
            "scale": rng.uniform(0.9, 1.1),
        }
    )
