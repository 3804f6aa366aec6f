"""How good a swap is where the right answer is known: on rendered subjects.

Both subjects of a family are rendered with the same parameters, none of which were trained on. Then the swap of A's
picture to B has a right answer, B's picture, and so has every baseline.

    results = measure(model.swap, Pairs(faces, masks, params), Training(face_sets, params), clip=...)
    results.directions["a_to_b"].gain_over_best_baseline_db
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from swap.convert import face_mask
from swap.data import FaceSet, even_spread
from swap.errors import UserError
from swap.evaluate import baselines
from swap.evaluate.measures import mae, psnr, ssim, tremble
from swap.evaluate.regressor import Recovery, params_table, recovery

Swap = Callable[[np.ndarray, str, str], np.ndarray]
"""swap(faces (N, S, S, 3) of source, source, target) -> faces of target, as `SwapModel.swap`."""

BASELINES = ("copy", "mean", "nearest", "linear")
TRAINING_LIMIT = 2000  # faces a side, evenly spread, that the baselines and the regressor see
BATCH = 64
FORMAT, VERSION = "latentface-evaluation", 1


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pictures of both subjects with the same parameters, by side "a", "b".

    faces: (N, S, S, 3) float32 in [0, 1], aligned face squares. masks: (N, S, S) float32, coverage of the face.
    params: N equal dataclasses of numbers, or None: recovery is then not measured.
    """

    faces: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    params: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        shapes = {faces.shape for faces in self.faces.values()}
        masks = {mask.shape for mask in self.masks.values()}
        shape = next(iter(shapes), ())
        if set(self.faces) != {"a", "b"} or set(self.masks) != {"a", "b"} or len(shape) != 4:
            raise ValueError(f"pairs need faces (N, S, S, 3) and masks of a and b, found {shapes}")
        if shapes != {shape} or masks != {shape[:3]} or not shape[0]:
            raise ValueError(f"pairs need equal faces and masks, found {shapes} and {masks}")
        if self.params is not None and len(self.params) != shape[0]:
            raise ValueError(f"{len(self.params)} parameters for {shape[0]} pictures")


@dataclass(frozen=True, eq=False)
class Training:
    """What the run was trained on, by side: FaceSets, or squares (F, S, S, 3) float32; and their parameters."""

    faces: dict[str, FaceSet | np.ndarray]
    params: dict[str, Sequence[Any]] | None = None

    def squares(self, side: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        """At most TRAINING_LIMIT faces (F, S, S, 3) of a side, and which of its faces they are (F,)."""
        faces = self.faces[side]
        chosen = even_spread(len(faces), TRAINING_LIMIT)
        if isinstance(faces, FaceSet):
            return faces.squares(chosen, size), chosen
        return faces[chosen], chosen


@dataclass(frozen=True)
class Quality:
    """Means over the pictures, over the face and over the whole picture. psnr_face_low: the 5th percentile."""

    psnr_face: float
    psnr_picture: float
    ssim_face: float
    ssim_picture: float
    mae_face: float
    mae_picture: float
    psnr_face_low: float

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, mask: np.ndarray) -> "Quality":
        """Of pictures x (N, S, S, 3) against the right ones y; mask: (N, S, S) or (S, S), the face."""
        on_face = psnr(x, y, mask)
        means = (on_face, psnr(x, y), ssim(x, y, mask), ssim(x, y), mae(x, y, mask), mae(x, y))
        return cls(*(float(m.mean()) for m in means), float(np.percentile(on_face, 5)))


@dataclass(frozen=True)
class Identity:
    """Whom the swap looks like. A picture's margin is its MAE over the face to the input minus that to the truth:
    above 0, it is nearer to the target. margin: the mean; share: of pictures with a margin above 0; of_truth: the mean
    margin of the truth itself, the most that is sensible; the input itself has minus that."""

    margin: float
    share: float
    of_truth: float

    @classmethod
    def of(
        cls, swapped: np.ndarray, given: np.ndarray, truth: np.ndarray, mask: np.ndarray
    ) -> "Identity":
        """Of pictures (N, S, S, 3) and the target's mask (N, S, S)."""
        margins = mae(swapped, given, mask) - mae(swapped, truth, mask)
        most = float(mae(truth, given, mask).mean())
        return cls(float(margins.mean()), float((margins > 0).mean()), most)


@dataclass(frozen=True)
class Jitter:
    """RMS of the second difference in time over the face, black to white = 255: of the error of the swap, of the error
    of the target's own reconstruction, and of the truth itself, which is its motion."""

    swap: float
    own: float
    truth: float


@dataclass(frozen=True, eq=False)
class Direction:
    """source to target. rows: a Quality of "swap", "own" (the target's reconstruction), each baseline, and of whatever
    else was measured. order: the pictures from worst to best. pictures: given, swap, truth, for an error sheet."""

    source: str
    target: str
    rows: dict[str, Quality]
    nearest_over: str
    identity: Identity
    recovery: Recovery | None
    jitter: Jitter | None
    order: np.ndarray
    psnr_face: np.ndarray
    pictures: dict[str, np.ndarray] = field(repr=False)

    @property
    def best_baseline(self) -> str:
        """The baseline with the highest PSNR over the face."""
        return max(BASELINES, key=lambda name: self.rows[name].psnr_face)

    @property
    def gain_over_best_baseline_db(self) -> float:
        """PSNR over the face of the swap above that of the best baseline."""
        return self.rows["swap"].psnr_face - self.rows[self.best_baseline].psnr_face

    @property
    def loss_to_reconstruction_db(self) -> float:
        """PSNR over the face of the swap below that of the target's own reconstruction."""
        return self.rows["own"].psnr_face - self.rows["swap"].psnr_face

    def to_json(self) -> dict[str, Any]:
        """All numbers, without the pictures."""
        return {
            "rows": {name: asdict(quality) for name, quality in self.rows.items()},
            "best_baseline": self.best_baseline,
            "gain_over_best_baseline_db": self.gain_over_best_baseline_db,
            "loss_to_reconstruction_db": self.loss_to_reconstruction_db,
            "nearest_over": self.nearest_over,
            "identity": asdict(self.identity),
            "recovery": self.recovery.to_json() if self.recovery else None,
            "jitter": asdict(self.jitter) if self.jitter else None,
            "worst": [
                {"picture": int(i), "psnr_face": float(self.psnr_face[i])} for i in self.order[:8]
            ],
        }


@dataclass(frozen=True, eq=False)
class Results:
    """directions: "a_to_b" and "b_to_a". pictures: how many were measured; training: faces by side."""

    directions: dict[str, Direction]
    pictures: int
    training: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """What `json.dumps` takes; numbers rounded to 5 decimals."""
        return rounded(
            {
                "format": FORMAT,
                "version": VERSION,
                "units": "PSNR in dB, mean over the pictures, at most 99; errors: black to white = "
                "1; jitter: black to white = 255",
                "pictures": self.pictures,
                "training": self.training,
                "directions": {name: d.to_json() for name, d in self.directions.items()},
            }
        )


def measure(
    swap: Swap,
    test: Pairs,
    training: Training,
    *,
    clip: Pairs | None = None,
    others: Mapping[str, Swap] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Results:
    """Measures a swap and all baselines, in both directions.

    clip: the frames of a clip, in order, for the jitter. others: further ways to swap, by name, such as a negative
    control: rows of the table, but no baselines. progress(done, total). Raises ValueError for arrays that do not
    fit each other, UserError where a network answers numbers that are not finite.
    """
    progress = progress or (lambda done, total: None)
    progress(0, 3)
    size = test.faces["a"].shape[1]
    trained = {side: training.squares(side, size) for side in ("a", "b")}
    squares = {side: faces for side, (faces, _) in trained.items()}
    components = baselines.shared_components(squares["a"], squares["b"])
    progress(1, 3)
    directions = {}
    for done, (source, target) in enumerate((("a", "b"), ("b", "a")), start=2):
        known = None
        if test.params is not None and training.params is not None:
            values = [training.params[target][i] for i in trained[target][1]]
            known = params_table(values)
        directions[f"{source}_to_{target}"] = _measure_direction(
            swap, test, source, target, squares, components, known, clip, others or {}
        )
        progress(done, 3)
    counts = {side: len(faces) for side, faces in training.faces.items()}
    return Results(directions, len(test.faces["a"]), counts)


def _measure_direction(
    swap: Swap,
    test: Pairs,
    source: str,
    target: str,
    squares: dict[str, np.ndarray],
    components: np.ndarray,
    known: tuple[tuple[str, ...], np.ndarray] | None,
    clip: Pairs | None,
    others: Mapping[str, Swap],
) -> Direction:
    given, truth, mask = test.faces[source], test.faces[target], test.masks[target]
    sides = squares[source], squares[target], given
    over = {"picture": None, "face": face_mask(given.shape[1])}
    # Twins over the picture and over the face: the baseline is whichever does better.
    twins = {name: baselines.nearest(*sides, weight) for name, weight in over.items()}
    nearest_over = max(twins, key=lambda name: psnr(twins[name], truth, mask).mean())
    pictures = {
        "swap": in_batches(swap, given, source, target),
        "own": in_batches(swap, truth, target, target),
        "copy": baselines.copy(*sides),
        "mean": baselines.mean(*sides),
        "nearest": twins[nearest_over],
        "linear": baselines.linear(*sides, components),
    } | {name: in_batches(other, given, source, target) for name, other in others.items()}
    recovered = None
    if known is not None:
        names, values = known
        tested, test_values = params_table(test.params)
        if tested != names:
            raise ValueError(f"the parameters differ: trained on {names}, tested on {tested}")
        kinds = {"truth": truth} | pictures
        recovered = recovery(names, squares[target], values, test_values, kinds)
    on_face = psnr(pictures["swap"], truth, mask)
    return Direction(
        source,
        target,
        {name: Quality.of(made, truth, mask) for name, made in pictures.items()},
        nearest_over,
        Identity.of(pictures["swap"], given, truth, mask),
        recovered,
        None if clip is None else _jitter(swap, clip, source, target),
        np.argsort(on_face, kind="stable"),
        on_face,
        {"input": given, "swap": pictures["swap"], "truth": truth},
    )


def _jitter(swap: Swap, clip: Pairs, source: str, target: str) -> Jitter:
    truth, mask = clip.faces[target], clip.masks[target]
    made = in_batches(swap, clip.faces[source], source, target)
    own = in_batches(swap, truth, target, target)
    return Jitter(*(255 * tremble(e, mask) for e in (made - truth, own - truth, truth)))


def in_batches(swap: Swap, faces: np.ndarray, source: str, target: str) -> np.ndarray:
    """swap(faces, source, target), some faces at a time; UserError where the answer is not finite."""
    parts = range(0, len(faces), BATCH)
    made = np.concatenate([swap(faces[i : i + BATCH], source, target) for i in parts])
    if not np.isfinite(made).all():
        raise UserError(
            f"the network's faces of {target.upper()} hold numbers that are not finite: "
            "its training diverged; train it again with another --seed"
        )
    return made


def rounded(value: Any) -> Any:
    """A tree of dicts and lists with every float rounded to 5 decimals."""
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return round(value, 5) if isinstance(value, float) else value
