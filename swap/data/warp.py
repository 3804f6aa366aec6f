"""The random warp: from a stored face, what the network sees (input) and must answer (target).

Both are samplings of the same stored crop, each through one map and one interpolation. Points are
complex numbers x + iy in *face-square units*: 0 is the centre of the face square, its edges are at
+-1/2, so nothing below depends on a size in pixels. With u a pixel centre of the output,

    mirror, rotation theta, zoom z, shift s  (uniform draws)    J(p) = z e^(i theta) p + s
    5x5 control points g, jittered                              q = g + n,   n ~ Normal(0, noise)
    their bilinear interpolation                                W(u) = u + interpolate(n)(u)
    least-squares similarity from q to g                        T(p) = a p + b

    input  samples the stored crop at  J^-1(mirror(W(u)))
    target samples the stored crop at  J^-1(mirror(T^-1(u)))

so target follows the rotation, zoom and shift that the noise happens to contain, and only what no
similarity can explain is left for the network to undo. A denoising autoencoder whose noise is in
shape. Settings are those of the 2017 code (deepfakes/faceswap, image_augmentation.py and
training_data.py at its first commit: a 256-pixel face, a 160-pixel square, 64-pixel output), here
as fractions of the square, so that they hold at any size. Two things differ:

- The half-pixel shift is removed. There, output column j of the input samples source column
  49.25 + 2.5 j and the same column of the target 48 + 2.5 j: the network was taught to move every
  face by 1.25 source pixels, half an output pixel. Here both are functions of the pixel centre
  u = (j + 1/2) / size - 1/2; without noise, input and target are the same picture.
- Jitter and warp are composed into one map, where the 2017 code interpolated the input twice.
"""

import math
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from swap.errors import UserError

SETTLING = 800  # steps before `still_from`
GRID = 5  # control points along each side of the face square
UNIFORMS = 10  # angle, zoom, shift x, shift y, mirror, brightness, contrast, gain of R, G, B


@dataclass(frozen=True)
class Augmentation:
    """How far each random draw reaches; the defaults are the 2017 code's, colour jitter is off.

    rotation, zoom, shift: the face is turned by up to +-rotation degrees, magnified by a factor
    in 1 +- zoom and moved by up to +-shift of the square's side, each uniform.
    mirror: probability of a left-right flip.
    noise: standard deviation of the control points' jitter, as a fraction of the square's side.
    brightness, contrast, gain: colour jitter of the input only, uniform in +-: added value; factor
    1 +- contrast about middle grey; factor 1 +- gain for each channel on its own.
    still_from: the step from which on faces are no longer turned, zoomed and moved, having been so less and less in the
    SETTLING steps before; 0 is never.

    Raises UserError for a value outside its range.
    """

    rotation: float = 10.0
    zoom: float = 0.05
    shift: float = 0.05
    mirror: float = 0.5
    noise: float = 5 / 160
    brightness: float = 0.0
    contrast: float = 0.0
    gain: float = 0.0
    still_from: int = 0

    def __post_init__(self) -> None:
        limits = {"rotation": 180.0, "zoom": 0.9, "noise": 0.25, "still_from": math.inf}
        for name in (field.name for field in fields(self)):
            value, highest = getattr(self, name), limits.get(name, 1.0)
            if not 0 <= value <= highest:  # also true of NaN
                raise UserError(f"augmentation {name} must be from 0 to {highest:g}, not {value}")

    def at(self, step: int) -> "Augmentation":
        """The augmentation of step 0, 1, ...: this one, or what ``still_from`` has left of it."""
        if not self.still_from:
            return self
        share = min(1.0, max(0.0, (self.still_from - step) / SETTLING))
        turn, zoom, shift = (share * reach for reach in (self.rotation, self.zoom, self.shift))
        return replace(self, rotation=turn, zoom=zoom, shift=shift)

    @property
    def colour_jitter(self) -> bool:
        """Whether any of brightness, contrast and gain is on."""
        return self.brightness > 0 or self.contrast > 0 or self.gain > 0


class Draws(NamedTuple):
    """The random numbers of N faces: uniform (N, UNIFORMS) in [-1, 1), normal (N, GRID, GRID)."""

    uniform: np.ndarray
    normal: np.ndarray

    @classmethod
    def take(
        cls, uniforms: np.random.Generator, normals: np.random.Generator, count: int
    ) -> "Draws":
        """``count`` faces' draws, from a stream for each kind.

        Every face takes the same numbers whatever the settings are, so that switching one setting off leaves the other
        draws as they were; and whatever count is, so that a larger batch begins with the faces of a smaller one.
        """
        uniform = 2 * uniforms.random((count, UNIFORMS)) - 1
        normal = normals.standard_normal((count, 2 * GRID * GRID)).astype(np.float32)
        return cls(uniform, normal.view(np.complex64).reshape(count, GRID, GRID))


@lru_cache(maxsize=8)
def pixel_centres(size: int) -> np.ndarray:
    """The pixel centres of a size x size face square: (size, size) complex64, read-only."""
    along = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    centres = (along[None, :] + 1j * along[:, None]).astype(np.complex64)
    centres.setflags(write=False)
    return centres


@lru_cache(maxsize=8)
def _cells(size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of size pixel centres, its cell of the control grid and how far along it lies."""
    position = (np.arange(size, dtype=np.float32) + 0.5) / size * (GRID - 1)
    cell = np.minimum(position.astype(np.intp), GRID - 2)
    return cell, position - cell.astype(np.float32)


def _interpolate(values: np.ndarray, size: int) -> np.ndarray:
    """Bilinear interpolation of (N, GRID, GRID), spanning the square, to (N, size, size)."""
    cell, along = _cells(size)
    left, right = values.take(cell, axis=2), values.take(cell + 1, axis=2)
    columns = left + (right - left) * along
    above, below = columns.take(cell, axis=1), columns.take(cell + 1, axis=1)
    return above + (below - above) * along[:, None]


def _similarity(points: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a, b (each (N,)) that minimise sum |a p + b - t|^2, for points (N, P), targets (P,).

    a = |a| e^(i phi) scales and turns: Umeyama's similarity (PAMI 13(4), 1991) with scale and
    without reflection, which in the plane is a complex line fit and needs no SVD.
    """
    centre_p, centre_t = points.mean(1), targets.mean()
    p, t = points - centre_p[:, None], targets - centre_t
    a = (p.conj() * t).sum(1) / (p.real**2 + p.imag**2).sum(1)
    return a, centre_t - a * centre_p


class Placement(NamedTuple):
    """N affine maps p -> scale p + offset of the plane, complex64 (N,); where mirrored (N,), x is then negated."""

    scale: np.ndarray
    offset: np.ndarray
    mirrored: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """points (N or 1, size, size) complex64 through the N maps."""
        placed = self.scale[:, None, None] * points
        placed += self.offset[:, None, None]
        placed.real[self.mirrored] *= -1
        return placed


def placements(draws: Draws, augmentation: Augmentation) -> tuple[Placement, Placement, np.ndarray]:
    """J^-1(mirror(.)) of input and of target, T^-1 included; and the control points' noise n, (N, GRID, GRID)."""
    grid = np.linspace(-0.5, 0.5, GRID, dtype=np.float32)
    grid = (grid[None, :] + 1j * grid[:, None]).ravel()
    noise = draws.normal * np.float32(augmentation.noise)
    a, b = _similarity(grid + noise.reshape(-1, GRID * GRID), grid)

    angle = np.deg2rad(augmentation.rotation * draws.uniform[:, 0])
    zoom = 1 + augmentation.zoom * draws.uniform[:, 1]
    shift = augmentation.shift * (draws.uniform[:, 2] + 1j * draws.uniform[:, 3])
    turn = (np.exp(-1j * angle) / zoom).astype(np.complex64)
    origin = (-turn * shift).astype(np.complex64)
    # Mirroring is p -> -conj(p). Rather than conjugate every pixel, use J^-1(-conj(p)) =
    # -conj(turn* p - origin*): one affine map of p, with one conjugation at the end.
    mirrored = draws.uniform[:, 4] < 2 * augmentation.mirror - 1
    turn[mirrored] = turn[mirrored].conj()
    origin[mirrored] = -origin[mirrored].conj()
    target = Placement(turn / a, origin - turn * b / a, mirrored)
    return Placement(turn, origin, mirrored), target, noise


def sampling_maps(
    draws: Draws, size: int, augmentation: Augmentation
) -> tuple[np.ndarray, np.ndarray]:
    """Where input and target sample the stored crop: two (N, size, size) complex64 arrays.

    The points are in face-square units; the equations are at the top of this file.
    """
    u = pixel_centres(size)
    inputs, targets, noise = placements(draws, augmentation)
    return inputs(u + _interpolate(noise, size)), targets(u[None])


def sample(faces: np.ndarray, maps: np.ndarray, margin: float) -> np.ndarray:
    """Each face at the points of its map, bilinear, edges replicated: (N, size, size, 3) uint8.

    faces: (N, L, L, 3) uint8 stored crops, `margin` times as wide as the face square in their
    middle. maps: (N, size, size) complex64 in face-square units.
    """
    side = faces.shape[1]
    out = np.empty((*maps.shape, 3), np.uint8)
    # A complex64 picture has the memory layout of OpenCV's two-channel map (x, y). The centre of
    # L pixels is at (L - 1) / 2, pixel centres being at integers.
    maps = maps * np.float32(side / margin)
    maps += np.complex64((side - 1) / 2 * (1 + 1j))
    maps = maps.view(np.float32).reshape(*maps.shape, 2)
    for face, where, picture in zip(faces, maps, out, strict=True):
        cv2.remap(face, where, None, cv2.INTER_LINEAR, picture, cv2.BORDER_REPLICATE)
    return out


def random_warp(
    faces: np.ndarray,
    draws: Draws,
    size: int,
    *,
    margin: float,
    augmentation: Augmentation | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets, each (N, size, size, 3) uint8, of faces (N, L, L, 3) uint8.

    margin: side of a stored crop over side of its face square. Colour jitter is not applied here.
    """
    inputs, targets = sampling_maps(draws, size, augmentation or Augmentation())
    return sample(faces, inputs, margin), sample(faces, targets, margin)


def face_squares(faces: np.ndarray, size: int, *, margin: float) -> np.ndarray:
    """The unwarped face squares, (N, size, size, 3) uint8: what a network is asked to convert."""
    maps = np.broadcast_to(pixel_centres(size), (len(faces), size, size))
    return sample(faces, maps, margin)
