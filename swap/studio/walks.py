"""Random `Params`: smooth walks of somebody who sits, looks about, talks, smiles and blinks; and
single draws.
"""

import numpy as np

from swap.studio.posing import Params


def _drift(rng: np.random.Generator, frames: int, period: float) -> np.ndarray:
    """float64 (frames,): smooth noise of deviation 1 with features about `period` frames long."""
    knots = rng.standard_normal(int(np.ceil(frames / period)) + 5)
    t = np.arange(frames) / period + rng.uniform(0, 1) + 1
    i = t.astype(int)
    f = t - i
    # Uniform cubic B-spline: twice continuously differentiable, so motion has no jerks.
    weights = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
    return sum(w / 6 * knots[i + k - 1] for k, w in enumerate(weights)) / 0.69


def _events(
    rng: np.random.Generator, frames: int, gap: float, shape: np.ndarray, least: float = 0.75
) -> np.ndarray:
    """float64 (frames,) in [0, 1]: copies of `shape`, about every `gap` frames, of random height."""
    out, at = np.zeros(frames), rng.uniform(0, gap)
    while at < frames:
        start = int(at)
        piece = shape[: frames - start] * rng.uniform(least, 1)
        out[start : start + len(piece)] = np.maximum(out[start : start + len(piece)], piece)
        at += len(shape) * 0.6 + rng.exponential(gap)
    return out


def _bump(rise: int, hold: int, fall: int) -> np.ndarray:
    ramp = np.concatenate(
        [np.linspace(0, 1, rise + 1)[1:], np.ones(hold), np.linspace(1, 0, fall + 1)]
    )
    return ramp * ramp * (3 - 2 * ramp)


def walk(frames: int, seed: int, yaw: float = 35.0) -> list[Params]:
    """`frames` Params at 25 a second, a pure function of the arguments, in multiples of 1/4096. yaw:
    the largest turn, in degrees.
    """
    rng = np.random.default_rng(seed)
    turn = yaw * np.tanh(0.8 * _drift(rng, frames, 46))
    pitch = 9 * np.tanh(_drift(rng, frames, 34))
    roll = 6 * np.tanh(_drift(rng, frames, 52))
    look_x = np.clip(12 * _drift(rng, frames, 13), -28, 28)
    look_y = np.clip(6 * _drift(rng, frames, 17) - 1, -15, 12)
    blink = _events(rng, frames, 38, _bump(2, 1, 3), 1.0)
    long_blink = _events(rng, frames, 240, _bump(3, 9, 4), 1.0)
    talk = _events(rng, frames, 70, np.ones(75)) > 0
    talk = np.convolve(np.pad(talk, 6, mode="edge"), np.ones(13) / 13, mode="valid")
    syllables = np.clip(0.32 + 0.36 * _drift(rng, frames, 4.2), 0, 0.85)
    yawn = _events(rng, frames, 330, _bump(12, 16, 12), 0.85)
    jaw = np.maximum(talk * syllables, yawn)
    smile = np.clip(_events(rng, frames, 75, _bump(9, 42, 14), 0.55) * (1 - 0.8 * yawn), 0, 1)
    pucker = np.clip(0.55 * _drift(rng, frames, 6.5) - 0.15, 0, 0.8) * talk * (1 - smile)
    stretch = np.clip(0.4 * _drift(rng, frames, 8) - 0.1, 0, 0.6) * talk
    brow_up = _events(rng, frames, 95, _bump(5, 16, 9), 0.5)
    brow_down = np.clip(_events(rng, frames, 120, _bump(7, 25, 9), 0.5) - brow_up, 0, 1)
    frown = np.clip(_events(rng, frames, 190, _bump(8, 24, 10), 0.4) - smile, 0, 1)
    mouth_x = np.clip(0.35 * _drift(rng, frames, 30), -0.6, 0.6)
    squint = np.clip(0.4 * _drift(rng, frames, 40) - 0.2, 0, 0.6)
    light_x = -10 + 45 * np.tanh(0.8 * _drift(rng, frames, 110))
    light_y = 28 + 12 * np.tanh(_drift(rng, frames, 90))
    light = 1 + 0.12 * np.tanh(_drift(rng, frames, 120))
    warmth = 0.5 * np.tanh(_drift(rng, frames, 150))
    x, y = 0.1 * np.tanh(_drift(rng, frames, 44)), 0.05 * np.tanh(_drift(rng, frames, 38))
    shut = np.maximum(blink, np.maximum(long_blink, 0.35 * yawn))
    columns = {
        "yaw": turn, "pitch": pitch, "roll": roll, "gaze_x": look_x, "gaze_y": look_y,
        "blink_left": shut, "blink_right": shut, "brow_up": brow_up, "brow_down": brow_down,
        "smile": smile, "frown": frown, "jaw": jaw, "pucker": pucker, "stretch": stretch,
        "mouth_x": mouth_x, "squint": squint, "light_x": light_x, "light_y": light_y,
        "light": light, "warmth": warmth, "x": x, "y": y,
    }  # fmt: skip
    return [Params(**{k: _rounded(v[i]) for k, v in columns.items()}) for i in range(frames)]


def _rounded(x: float) -> float:
    """To 1/4096: another machine's ulps in NumPy's functions then make no other walk."""
    return round(float(x) * 4096) / 4096


def draw(seed: int, index: int) -> Params:
    """The draw number `index` of `seed`, independent of all others: every number by itself, over the
    range of `walk`. What people do seldom is 0 in a part of the draws, at full strength in others.
    """
    # The counter's lowest 64 bits count within a draw: the streams of two draws never meet.
    rng = np.random.Generator(np.random.Philox(key=seed, counter=index << 64))

    def now_and_then(chance: float, most: float = 1.0) -> float:
        """0, or with this chance up to `most`, all the way in a quarter of those cases."""
        strength = most if rng.random() < 0.25 else most * rng.random()
        return strength if rng.random() < chance else 0.0

    def around(middle: float, reach: float) -> float:
        return middle + reach * rng.uniform(-1, 1)

    one_eye, shut = rng.random(), now_and_then(0.3)
    smile, jaw = now_and_then(0.4), now_and_then(0.6)
    brow_up = now_and_then(0.3)
    values = {
        "yaw": around(0, 35), "pitch": around(0, 12), "roll": around(0, 8),
        "gaze_x": around(0, 28), "gaze_y": around(-1.5, 13.5),
        "blink_left": shut * (one_eye > 0.12), "blink_right": shut * (not 0.12 < one_eye < 0.24),
        "brow_up": brow_up, "brow_down": now_and_then(0.3) * (1 - brow_up),
        "smile": smile, "frown": now_and_then(0.2) * (1 - smile), "jaw": jaw,
        "pucker": now_and_then(0.25, 0.8) * (1 - smile), "stretch": now_and_then(0.25, 0.6),
        "mouth_x": around(0, 1) * now_and_then(0.5, 0.6), "squint": now_and_then(0.3, 0.6),
        "light_x": around(-10, 45), "light_y": around(28, 12), "light": around(1, 0.12),
        "warmth": around(0, 0.5), "x": around(0, 0.1), "y": around(0, 0.05),
    }  # fmt: skip
    return Params(**{name: _rounded(value) for name, value in values.items()})
