"""FaceSet: the faces of one person, in memory or mapped into it (swap.data.mapped), at the resolution that training
samples them.

A stored crop of an extraction is `margin` (4/3) times as wide as the face square in its middle, so
that a face can be turned and moved without running out of picture. It is loaded at OVERSAMPLE
pixels for each pixel of the network's square: for 64 pixels, 64 * 4/3 * 1.3125 = 112, that is
3 * 112^2 = 37,632 bytes a face and 151 MB for 4,000 faces. Bilinear sampling neither blurs nor
aliases much at that ratio, and the 256 pixels on disk would cost five times the memory.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from nn import memory
from swap.data.mapped import read_ahead, room_for
from swap.data.warp import face_squares
from swap.errors import UserError
from swap.faces.align import CropDefinition
from swap.faces.extract import LARGEST_CROP
from swap.faces.records import read_alignments
from swap.pictures import picture_size

MOST = 4000  # faces of a side, unless asked for: 151 MB
MINIMUM = 25  # with fewer, the network learns the pictures instead of the person
OVERSAMPLE = 1.3125
THREADS = 4

# An ellipse inside the face, in units of the face square's side: from the brow to the chin and from
# cheek to cheek, so that hair and background stay outside. It lies a little below the centre.
ELLIPSE_HALF_WIDTH, ELLIPSE_HALF_HEIGHT, ELLIPSE_BELOW = 0.23, 0.29, 0.03


def even_spread(count: int, limit: int) -> np.ndarray:
    """At most limit of the indices 0 .. count - 1, evenly spread, ascending: (n,) int."""
    if count <= limit:
        return np.arange(count)
    return (np.arange(limit) * count + count // 2) // limit


class FaceSet:
    """images (F, L, L, 3) uint8 RGB stored crops; margin: crop side over face-square side.

    paths: the file of each image (empty for a set made from arrays). skipped: (file, reason) for
    every picture that could not be used. available: how many crops the folders hold, of which
    images may be an even spread. deleted: how many more are listed, but were taken out by hand.
    mapped: the images lie in a file, and take no memory that others need.
    """

    def __init__(
        self,
        images: np.ndarray,
        margin: float,
        *,
        paths: Sequence[Path] = (),
        skipped: Sequence[tuple[Path, str]] = (),
        available: int | None = None,
        deleted: int = 0,
        mapped: bool = False,
    ) -> None:
        square = images.ndim == 4 and images.shape[1:] == (images.shape[1], images.shape[1], 3)
        if images.dtype != np.uint8 or not square:
            raise ValueError(
                f"images must be (F, L, L, 3) uint8, not {images.shape} {images.dtype}"
            )
        if margin < 1:
            raise ValueError(f"margin must be at least 1, not {margin}")
        self.images, self.margin = images, float(margin)
        self.paths, self.skipped = tuple(paths), tuple(skipped)
        self.available = len(images) if available is None else available
        self.deleted, self.mapped = deleted, mapped

    @classmethod
    def load(
        cls,
        folders: Path | Sequence[Path],
        *,
        face_size: int = 64,
        limit: int = MOST,
        spill: Path | None = None,
        in_memory: int | None = None,
    ) -> "FaceSet":
        """The faces of one or several extraction folders, which need the same crop definition.

        face_size: side of the network's square in pixels; the crops are loaded at
        face_size * margin * OVERSAMPLE. limit: the most faces used, evenly spread over all
        folders. spill: folder for those that memory should not hold, more than in_memory bytes
        (room_for). Raises UserError where a folder is not an extraction, the crop definitions
        differ, or fewer than 25 faces are left.
        """
        folders = [Path(folders)] if isinstance(folders, str | Path) else list(map(Path, folders))
        if not folders:
            raise UserError("no folder of faces was named; name one that `swap extract` wrote")
        listed: list[Path] = []
        crops: list[CropDefinition] = []
        for folder in folders:
            header, alignments = read_alignments(folder)
            crops.append(CropDefinition.from_dict(header["crop"]))
            if crops[-1] != crops[0]:
                raise UserError(
                    f"the faces in {folder} were cut as {crops[-1].to_dict()}, those in "
                    f"{folders[0]} as {crops[0].to_dict()}; extract them again with one setting"
                )
            listed += [folder / face.file for face in alignments if face.file is not None]
        # Whoever sorts out bad crops deletes the pictures, and does not edit the list.
        files = [file for file in listed if file.exists()]
        chosen = [files[i] for i in even_spread(len(files), max(limit, MINIMUM))]
        side = stored_side(face_size, crops[0].margin)
        room, mapped = room_for((len(chosen), side, side, 3), spill, in_memory)
        images, paths, skipped = _load_pictures(chosen, room)
        if len(paths) < MINIMUM:
            raise _too_few(folders, len(paths), skipped)
        return cls(
            images,
            crops[0].margin,
            paths=paths,
            skipped=skipped,
            mapped=mapped,
            available=len(files),
            deleted=len(listed) - len(files),
        )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def lasting(self) -> bool:
        """Whether the pictures lie in memory, and stay what they are: then they can be read where they lie."""
        return not self.mapped

    def find(self, indices: np.ndarray, epochs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pictures of ``take`` and the places (n,) among them, without a copy where they are lasting."""
        if self.lasting:
            return self.images, indices
        return self.take(indices, epochs), np.arange(len(indices))

    def take(self, indices: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        """uint8 (n, L, L, 3): the pictures to train on for indices (n,). A set that changes as training goes on
        looks at epochs (n,), how often the whole set has been gone through before; this one does not."""
        out = memory.empty((len(indices), *self.images.shape[1:]), np.uint8)
        # "clip" never happens; with the default a copy is made in case it should raise.
        return np.take(self.images, indices, axis=0, out=out, mode="clip")

    def expect(self, indices: np.ndarray) -> None:
        """Says that ``take`` will be asked for these soon: a mapped set begins to read them."""
        if self.mapped:
            read_ahead(self.images, indices)

    def squares(self, indices: Sequence[int] | np.ndarray, size: int) -> np.ndarray:
        """The unwarped face squares of some faces, (n, size, size, 3) float32 in [0, 1]."""
        pictures = face_squares(self.images[np.asarray(indices)], size, margin=self.margin)
        return np.multiply(pictures, 1 / 255, dtype=np.float32)

    @cached_property
    def _face_colour(self) -> tuple[np.ndarray, np.ndarray]:
        side = self.images.shape[1]
        # The crop's pixel centres in face-square units, its middle at 0.
        along = (np.arange(side) - (side - 1) / 2) * self.margin / side
        x, y = along / ELLIPSE_HALF_WIDTH, (along[:, None] - ELLIPSE_BELOW) / ELLIPSE_HALF_HEIGHT
        inside = x**2 + y**2 <= 1
        return _statistics(self.images, inside.astype(np.uint8))

    @property
    def mean(self) -> np.ndarray:
        """Mean colour over the face ellipse of all faces: (3,) float64, RGB in [0, 1]."""
        return self._face_colour[0]

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of each channel over the same pixels: (3,) float64 in [0, 1]."""
        return self._face_colour[1]

    @cached_property
    def square_mean(self) -> np.ndarray:
        """Mean colour of the face squares, with the hair and background in them: (3,) float64."""
        side = self.images.shape[1]
        square = np.zeros((side, side), np.uint8)
        edge = round(side * (1 - 1 / self.margin) / 2)
        square[edge : side - edge, edge : side - edge] = 1
        return _statistics(self.images, square)[0]


def stored_side(face_size: int, margin: float) -> int:
    """Side in pixels at which crops are kept in memory, for a network whose square has side face_size."""
    return round(face_size * margin * OVERSAMPLE)


def _statistics(images: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, (3,) each in [0, 1], where mask is not 0."""
    each = np.array([cv2.meanStdDev(image, mask=mask) for image in images])[..., 0] / 255
    means, deviations = each[:, 0], each[:, 1]
    # All faces have the same number of pixels, so the overall variance is the mean of the faces'
    # variances plus the variance of their means.
    return means.mean(0), np.sqrt((deviations**2).mean(0) + means.var(0))


def _load_pictures(
    files: Sequence[Path], images: np.ndarray
) -> tuple[np.ndarray, list[Path], list[tuple[Path, str]]]:
    """The readable ones of files, RGB, at the beginning of images (F, side, side, 3) uint8; their paths, the others."""
    with ThreadPoolExecutor(THREADS) as pool:
        reasons = list(pool.map(_load_picture, files, images))
    good = [i for i, reason in enumerate(reasons) if reason is None]
    skipped = [(file, why) for file, why in zip(files, reasons, strict=True) if why is not None]
    if skipped:
        for place, i in enumerate(good):  # never before one that is still to be moved
            images[place] = images[i]
        images = images[: len(good)]
    return images, [files[i] for i in good], skipped


def _load_picture(file: Path, out: np.ndarray) -> str | None:
    """Read one crop into out (side, side, 3); the reason where that cannot be done."""
    try:
        # Not cv2.imread, which cannot open every path on every system and says nothing of why.
        if max(picture_size(file)) > LARGEST_CROP:
            return f"larger than {LARGEST_CROP} pixels, and no crop of an extraction is"
        packed = np.frombuffer(file.read_bytes(), np.uint8)
        picture = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    except UserError:
        return "not a readable picture"
    except OSError as error:
        return error.strerror or str(error)
    except cv2.error:
        picture = None
    if picture is None:
        return "not a readable picture"
    height, width = picture.shape[:2]
    if height != width:
        return f"{width}x{height} pixels, and a face crop is square"
    if height != len(out):
        shrinks = height > len(out)
        method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        picture = cv2.resize(picture, (len(out), len(out)), interpolation=method)
    cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, out)
    return None


def _too_few(folders: Sequence[Path], found: int, skipped: Sequence[tuple[Path, str]]) -> UserError:
    where = ", ".join(map(str, folders))
    lost = ""
    if skipped:
        file, reason = skipped[0]
        lost = f" ({len(skipped)} could not be read, the first being {file}: {reason})"
    return UserError(
        f"{where}: found {found} usable faces{lost}, but training needs at least {MINIMUM} and is "
        f"good with 500 or more; extract from a longer video, from more videos, or with a smaller "
        f"step between frames"
    )
