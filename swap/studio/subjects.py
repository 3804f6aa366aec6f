"""The people of the studio: nobody's likeness, sums of MakeHuman's shapes with a painted skin."""

from dataclasses import dataclass, field

Colour = tuple[float, float, float]  # sRGB in [0, 1]


@dataclass(frozen=True)
class Brows:
    colour: Colour
    thickness: float = 0.05
    arch: float = 0.05
    height: float = 0.0
    density: float = 1.0


@dataclass(frozen=True)
class Hair:
    """thickness in decimetres; recede and raised: degrees by which the hairline moves up; parting:
    where it is, in radii of the head to the left; sideburns: their length, 1 down to the ear's middle.
    """

    colour: Colour
    density: float = 1.0
    thickness: float = 0.1
    long: bool = False
    recede: float = 0.0
    raised: float = 0.0
    bald: float = 0.0
    curl: float = 0.0
    parting: float = 0.0
    parted: bool = False
    sideburns: float = 1.0


@dataclass(frozen=True)
class Beard:
    """density 0 is none; length 0 is a shadow, 1 a short full beard."""

    colour: Colour = (0.1, 0.08, 0.07)
    density: float = 0.0
    length: float = 0.0


@dataclass(frozen=True)
class Subject:
    """shape: weights of targets (see mesh.py). Colours are sRGB; the rest is strength, 1 as usual."""

    name: str
    seed: int
    shape: dict[str, float]
    skin: Colour
    lips: Colour
    iris: Colour
    brows: Brows
    hair: Hair
    beard: Beard = field(default_factory=Beard)
    cloth: Colour = (0.2, 0.25, 0.35)
    backdrop: Colour = (0.55, 0.58, 0.62)
    flush: float = 1.0
    rough: float = 1.0
    eye_shade: float = 1.0
    freckles: float = 0.0
    lines: float = 0.0
    lashes: float = 1.0
    moles: tuple[tuple[tuple[float, float], float], ...] = ()


def _macro(origin: str, sex: str, age: float) -> dict[str, float]:
    return {f"{origin}-{sex}-young": 1 - age, f"{origin}-{sex}-old": age}


SUBJECTS = {
    s.name: s
    for s in (
        Subject(
            name="a",
            seed=101,
            shape=_macro("caucasian", "male", 0.25)
            | {
                "universal-male-young-maxmuscle-averageweight": 0.35,
                "head-square": 0.45,
                "head-scale-horiz-incr": 0.15,
                "chin-width-incr": 0.5,
                "chin-prominent-incr": 0.3,
                "chin-cleft-incr": 0.4,
                "nose-hump-incr": 0.3,
                "nose-scale-vert-incr": 0.1,
                "nose-width3-incr": 0.2,
                "mouth-scale-horiz-incr": 0.25,
                "mouth-upperlip-volume-decr": 0.3,
                "eyebrows-trans-down": 0.25,
                "*-eye-height2-incr": 0.8,
            },
            skin=(0.80, 0.62, 0.52),
            lips=(0.66, 0.42, 0.38),
            iris=(0.29, 0.36, 0.42),
            brows=Brows((0.20, 0.13, 0.09), thickness=0.058, arch=0.03, density=1.15),
            hair=Hair((0.17, 0.11, 0.075), thickness=0.14, recede=5, parting=0.4, parted=True),
            beard=Beard((0.19, 0.145, 0.125), density=0.8, length=0.1),
            cloth=(0.20, 0.27, 0.38),
            backdrop=(0.56, 0.60, 0.66),
            moles=(((-0.37, 6.83), 0.012),),
        ),
        Subject(
            name="b",
            seed=202,
            shape=_macro("african", "female", 0.08)
            | {
                "head-oval": 0.6,
                "head-scale-horiz-decr": 0.2,
                "chin-triangle": 0.35,
                "chin-height-decr": 0.2,
                "*-cheek-bones-incr": 0.45,
                "*-eye-scale-incr": 0.12,
                "*-eye-corner2-up": 0.3,
                "nose-scale-depth-decr": 0.2,
                "mouth-upperlip-volume-incr": 0.3,
                "mouth-lowerlip-volume-incr": 0.3,
            },
            skin=(0.50, 0.335, 0.25),
            lips=(0.52, 0.25, 0.24),
            iris=(0.20, 0.12, 0.07),
            brows=Brows((0.055, 0.04, 0.035), thickness=0.036, arch=0.075, height=0.015),
            hair=Hair(
                (0.085, 0.066, 0.06), thickness=0.25, curl=0.7, sideburns=0.25, raised=3, recede=-7
            ),
            cloth=(0.62, 0.27, 0.22),
            backdrop=(0.60, 0.57, 0.50),
            flush=0.55,
            rough=0.7,
            lashes=1.6,
        ),
        Subject(
            name="c",
            seed=303,
            shape=_macro("asian", "male", 0.8)
            | {
                "universal-male-old-averagemuscle-maxweight": 0.3,
                "head-round": 0.4,
                "neck-double-incr": 0.3,
                "*-eye-bag-incr": 0.5,
                "nose-width3-incr": 0.3,
                "mouth-angles-down": 0.3,
                "*-ear-scale-incr": 0.3,
            },
            skin=(0.74, 0.56, 0.43),
            lips=(0.57, 0.36, 0.325),
            flush=0.6,
            iris=(0.18, 0.11, 0.07),
            brows=Brows((0.33, 0.31, 0.30), thickness=0.05, arch=0.045, density=0.9),
            hair=Hair((0.43, 0.41, 0.385), thickness=0.06, density=0.7, bald=1.0),
            beard=Beard((0.60, 0.59, 0.575), density=0.66, length=0.85),
            cloth=(0.30, 0.33, 0.28),
            backdrop=(0.52, 0.56, 0.52),
            eye_shade=1.5,
            lines=1.0,
        ),
        Subject(
            name="d",
            seed=404,
            shape=_macro("caucasian", "female", 0.0)
            | {
                "head-round": 0.35,
                "chin-width-decr": 0.3,
                "nose-point-up": 0.5,
                "nose-scale-horiz-decr": 0.25,
                "nose-volume-decr": 0.3,
                "*-eye-scale-incr": 0.15,
                "mouth-scale-horiz-decr": 0.15,
                "mouth-cupidsbow-incr": 0.4,
                "*-cheek-volume-incr": 0.35,
            },
            skin=(0.86, 0.69, 0.61),
            lips=(0.76, 0.45, 0.43),
            iris=(0.30, 0.36, 0.24),
            brows=Brows((0.42, 0.25, 0.14), thickness=0.038, arch=0.06, height=0.01, density=0.9),
            hair=Hair(
                (0.46, 0.22, 0.10), thickness=0.13, long=True, raised=5, parting=0.06, parted=True
            ),
            cloth=(0.24, 0.36, 0.33),
            backdrop=(0.50, 0.55, 0.58),
            flush=1.2,
            freckles=0.8,
            lashes=1.3,
        ),
    )
}
