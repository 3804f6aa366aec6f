"""What to do about two face sets that have too little in common, in plain words."""

from collections.abc import Iterator, Mapping
from typing import Any

from swap.evaluate.statistics import STATISTICS

UNRELATED = 0.5  # kinship below which nothing else is worth saying
MANY = 0.05  # share of one side's faces outside the other's range that is worth a sentence
APART = 0.5  # overlap below which two distributions are called different
FEW, ENOUGH = 150, 500


def advise(
    parts: Mapping[str, float | None],
    statistics: Mapping[str, Mapping[str, Any]],
    faces: Mapping[str, int],
) -> Iterator[str]:
    """Sentences, the most important first: of kinship, of what A does and B does not, of the reverse, of light and
    sharpness, of too few faces. The arguments are those of an `Overlap`."""
    if parts["kinship"] < UNRELATED:
        yield (
            "A and B do not look like pictures of the same kind of thing: what varies in the one does "
            "not vary in the other, so a shared encoder has nothing to share and the swap will mean "
            "nothing; use two sets of faces, aligned alike."
        )
        return
    for one, other in (("a", "b"), ("b", "a")):
        for name, tell in (("yaw", _yaw), ("pitch", _pitch), ("mouth", _mouth), ("eyes", _eyes)):
            if name in statistics and statistics[name][f"{one}_outside_{other}"] > MANY:
                yield tell(one, other, statistics[name])
    for name, tell in (("light", _light), ("brightness", _brightness), ("sharpness", _sharpness)):
        if statistics[name]["overlap"] < APART and (said := tell(statistics[name])):
            yield said
    for side, count in faces.items():
        if count < FEW:
            yield (
                f"{side.upper()} has {count} faces: the network will learn the pictures instead of the "
                f"person; {ENOUGH} or more, from a longer video, are good."
            )


def _percent(one: str, other: str, found: Mapping[str, Any]) -> str:
    return f"{100 * found[f'{one}_outside_{other}']:.0f} %"


def _yaw(one: str, other: str, found: Mapping[str, Any]) -> str:
    mine, theirs = found[one], found[other]
    left = mine["p99"] - theirs["p99"] > theirs["p1"] - mine["p1"]
    way = "left" if left else "right"
    # Degrees towards that side of the picture.
    limit, reach = (s["p99"] if left else -s["p1"] for s in (theirs, mine))
    step = STATISTICS["yaw"].step
    no_further = (
        f"never turns further than about {limit:.0f} degrees to the picture's {way}"
        if limit > step / 2
        else f"never turns to the picture's {way}"
    )
    return (
        f"{other.upper()} {no_further}, {one.upper()} up to {reach:.0f}; "
        f"{_percent(one, other, found)} of {one.upper()}'s faces look where {other.upper()} never "
        f"does, and as {other.upper()} they will be a guess: film {other.upper()} turning its head."
    )


def _pitch(one: str, other: str, found: Mapping[str, Any]) -> str:
    mine, theirs = found[one], found[other]
    down = mine["p99"] - theirs["p99"] > theirs["p1"] - mine["p1"]
    return (
        f"{one.upper()} looks {'down' if down else 'up'} further than {other.upper()} in "
        f"{_percent(one, other, found)} of its faces; as {other.upper()} they will be a guess: film "
        f"{other.upper()} nodding."
    )


def _mouth(one: str, other: str, found: Mapping[str, Any]) -> str:
    return (
        f"{one.upper()} opens its mouth wider, or shows more of its teeth, than {other.upper()} ever "
        f"does in {_percent(one, other, found)} of its faces: film {other.upper()} talking, laughing "
        "and yawning."
    )


def _eyes(one: str, other: str, found: Mapping[str, Any]) -> str:
    closed = found[other]["p1"] - found[one]["p1"] > found[one]["p99"] - found[other]["p99"]
    what = "closes its eyes" if closed else "opens its eyes"
    return (
        f"{one.upper()} {what} further than {other.upper()} ever does in "
        f"{_percent(one, other, found)} of its faces: film {other.upper()} blinking, and with its eyes "
        "shut and wide open."
    )


def _light(found: Mapping[str, Any]) -> str:
    a, b = found["a"]["median"], found["b"]["median"]
    if abs(a - b) > STATISTICS["light"].step:
        right, left = ("A", "B") if a > b else ("B", "A")
        return (
            f"The light comes from other sides: {right} is lit more from the picture's right, {left} "
            "from its left; the swap keeps the light of whom it shows. Film both by one window."
        )
    wide, narrow = _wider(found)
    return (
        f"The side from which the light comes changes more on {wide} than on {narrow}: let {narrow} turn "
        "about in its light, too."
    )


def _brightness(found: Mapping[str, Any]) -> str:
    wide, narrow = _wider(found)
    return (
        f"The light on {wide} grows and fades more than that on {narrow}, which the swap cannot follow: "
        "film both in a light that is steady, or both in one that changes."
    )


def _sharpness(found: Mapping[str, Any]) -> str:
    a, b = found["a"]["median"], found["b"]["median"]
    if abs(a - b) <= STATISTICS["sharpness"].step:
        wide, _ = _wider(found)
        return f"Some of {wide}'s pictures are blurred, by motion perhaps: delete those that are."
    sharp, soft = ("A", "B") if a > b else ("B", "A")
    return (
        f"{soft}'s pictures are less sharp or smoother than {sharp}'s, and so will {soft}'s face be in the "
        f"swap: film {soft} nearer, in more light, without a beauty filter."
    )


def _wider(found: Mapping[str, Any]) -> tuple[str, str]:
    widths = {side: found[side]["p99"] - found[side]["p1"] for side in ("a", "b")}
    return ("A", "B") if widths["a"] > widths["b"] else ("B", "A")
