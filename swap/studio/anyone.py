"""People drawn at random: as many as a network needs to learn what faces have in common.

`anyone(number)` is a pure function of its number. The people of `subjects.SUBJECTS` are none of them, so what was
learnt from these can be tested on those.
"""

import numpy as np

from swap.studio.subjects import Beard, Brows, Colour, Hair, Subject

ORIGINS, SEXES, AGES = ("african", "asian", "caucasian"), ("female", "male"), ("young", "old")

# (what grows, what shrinks) of a shape that is drawn from -1 to 1, and the most of it.
PAIRS = {
    "chin-bones": 0.6, "chin-height": 0.5, "chin-prominent": 0.5, "chin-width": 0.6, "chin-jaw-drop": 0.4,
    "chin-prognathism": 0.3, "head-age": 0.5, "head-fat": 0.5, "head-scale-horiz": 0.3, "head-scale-vert": 0.3,
    "head-scale-depth": 0.3, "forehead-scale-vert": 0.4, "forehead-temple": 0.4, "mouth-cupidsbow": 0.6,
    "mouth-lowerlip-height": 0.5, "mouth-lowerlip-volume": 0.6, "mouth-lowerlip-width": 0.5,
    "mouth-philtrum-volume": 0.5, "mouth-scale-depth": 0.4, "mouth-scale-horiz": 0.5, "mouth-scale-vert": 0.5,
    "mouth-upperlip-height": 0.5, "mouth-upperlip-volume": 0.6, "mouth-upperlip-width": 0.5, "nose-flaring": 0.6,
    "nose-greek": 0.5, "nose-hump": 0.6, "nose-nostrils-width": 0.6, "nose-point-width": 0.6,
    "nose-scale-depth": 0.5, "nose-scale-horiz": 0.5, "nose-scale-vert": 0.5, "nose-volume": 0.6,
    "nose-width1": 0.6, "nose-width2": 0.6, "nose-width3": 0.6, "*-cheek-bones": 0.6, "*-cheek-inner": 0.5,
    "*-cheek-volume": 0.6, "*-eye-bag": 0.5, "*-eye-height1": 0.6, "*-eye-height2": 0.8, "*-eye-height3": 0.6,
    "*-eye-scale": 0.3, "*-ear-scale": 0.5, "*-ear-wing": 0.6,
}  # fmt: skip
WAYS = {
    ("down", "up"): {
        "eyebrows-angle": 0.5, "eyebrows-trans": 0.5, "mouth-angles": 0.5, "mouth-trans": 0.5, "nose-base": 0.5,
        "nose-point": 0.6, "nose-trans": 0.4, "nose-nostrils-angle": 0.5, "*-eye-corner1": 0.6, "*-eye-corner2": 0.6,
        "*-eye-trans": 0.4, "*-cheek-trans": 0.5, "*-eye-eyefold": 0.6, "*-eye-eyefold-angle": 0.6,
    },
    ("in", "out"): {"*-eye-trans": 0.5, "*-eye-epicanthus": 0.7, "*-eye-push1": 0.4, "*-eye-push2": 0.4},
    ("concave", "convex"): {"nose-curve": 0.6, "*-eye-eyefold": 0.6},
}  # fmt: skip
HEADS = ("diamond", "invertedtriangular", "oval", "rectangular", "round", "square", "triangular")
PALE, DARK = np.array([0.90, 0.73, 0.65]), np.array([0.30, 0.19, 0.14])  # skin, sRGB
BLACK, BROWN, BLOND, GREY = (
    (0.06, 0.045, 0.04),
    (0.26, 0.15, 0.09),
    (0.62, 0.46, 0.28),
    (0.62, 0.61, 0.6),
)


def anyone(number: int) -> Subject:
    """The person of this number, from 0 on."""
    rng = np.random.Generator(np.random.Philox(key=np.array([number, 0x616E796F6E65], np.uint64)))
    female, age = rng.random() < 0.5, rng.random() ** 1.5
    shape = _body(rng, female, age) | _features(rng)
    tone = np.clip(rng.beta(0.9, 1.3) + 0.04 * rng.standard_normal(), 0, 1)
    skin = np.clip(PALE + (DARK - PALE) * tone + 0.02 * rng.standard_normal(3), 0.08, 0.95)
    red = skin * rng.uniform([0.78, 0.5, 0.5], [1.05, 0.85, 0.85])
    hair = _mixed(
        rng, BLACK, BLACK, BROWN, BLOND if tone < 0.4 else BROWN, GREY if age > 0.5 else BLACK
    )
    growth = 0.0 if female else rng.random() * (rng.random() < 0.6)
    return Subject(
        name=f"anyone {number}",
        seed=1000 + number,
        shape=shape,
        skin=_colour(skin),
        lips=_colour(red),
        iris=_mixed(rng, (0.14, 0.09, 0.06), (0.3, 0.36, 0.42), (0.3, 0.34, 0.22), (0.24, 0.15, 0.08)),
        brows=Brows(
            _colour(np.array(hair) * rng.uniform(0.7, 1.1)), rng.uniform(0.03, 0.065), rng.uniform(0.02, 0.085),
            rng.uniform(-0.015, 0.02), rng.uniform(0.6, 1.2),
        ),
        hair=_hair(rng, hair, female, age),
        beard=Beard(_colour(np.array(hair) * rng.uniform(0.8, 1.2)), growth, rng.random() * (rng.random() < 0.6)),
        cloth=_colour(rng.uniform(0.05, 0.9, 3)),
        backdrop=_colour(rng.uniform(0.05, 0.95) + rng.uniform(-0.15, 0.15, 3)),
        flush=rng.uniform(0.4, 1.4),
        rough=rng.uniform(0.5, 1.3),
        eye_shade=rng.uniform(0.6, 1.6),
        freckles=rng.random() * (rng.random() < 0.25) * (1 - tone),
        lines=age * rng.uniform(0.3, 1.2),
        lashes=rng.uniform(1.0, 1.8) if female else rng.uniform(0.5, 1.1),
    )  # fmt: skip


def _body(rng: np.random.Generator, female: bool, age: float) -> dict[str, float]:
    """Origin, sex, age and build: weights that add up to about 1 each."""
    origins = rng.dirichlet([0.35, 0.35, 0.35])
    inner = rng.uniform(0, 0.3)  # how much of the other sex there is in a face
    shape = {}
    for origin, part in zip(ORIGINS, origins, strict=True):
        for sex in SEXES:
            share = part * (1 - inner if (sex == "female") == female else inner)
            shape[f"{origin}-{sex}-young"] = share * (1 - age)
            shape[f"{origin}-{sex}-old"] = share * age
    sex = "female" if female else "male"
    build = ("averagemuscle-maxweight", "averagemuscle-minweight", "maxmuscle-averageweight")[
        rng.integers(3)
    ]
    for when, part in (("young", 1 - age), ("old", age)):
        shape[f"universal-{sex}-{when}-{build}"] = part * rng.uniform(0, 0.5)
    return shape | {f"head-{HEADS[rng.integers(len(HEADS))]}": rng.uniform(0, 0.6)}


def _features(rng: np.random.Generator) -> dict[str, float]:
    """Each feature a little one way or the other, both halves of the face alike."""
    shape = {}
    for (less, more), features in ((("decr", "incr"), PAIRS), *WAYS.items()):
        for feature, most in features.items():
            amount = float(np.clip(0.5 * rng.standard_normal(), -1, 1))
            shape[f"{feature}-{more if amount > 0 else less}"] = most * abs(amount)
    return shape


def _hair(rng: np.random.Generator, colour: Colour, female: bool, age: float) -> Hair:
    bald = 0.0 if female else float(rng.random() < 0.1 + 0.3 * age)
    return Hair(
        colour,
        density=rng.uniform(0.7, 1.0),
        thickness=0.0 if not female and rng.random() < 0.08 else rng.uniform(0.05, 0.26),
        long=female and rng.random() < 0.7,
        recede=rng.uniform(-6, 4) if female else rng.uniform(-4, 9),
        raised=rng.uniform(-3, 7),
        bald=bald,
        curl=rng.random() * (rng.random() < 0.35),
        parting=rng.uniform(-0.5, 0.5),
        parted=rng.random() < 0.5,
        sideburns=rng.uniform(0.2, 1.0),
    )


def _mixed(rng: np.random.Generator, *colours: Colour) -> Colour:
    """Between two of the colours."""
    one, other = rng.integers(len(colours), size=2)
    part = rng.random()
    return _colour((1 - part) * np.array(colours[one]) + part * np.array(colours[other]))


def _colour(rgb: np.ndarray) -> Colour:
    return tuple(float(c) for c in np.clip(rgb, 0.01, 0.97))
