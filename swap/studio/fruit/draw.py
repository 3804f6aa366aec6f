"""The picture of a fruit: a Numba kernel that casts a ray per pixel, and more where that shows.

Only exact operations (see exact.py): the same bytes everywhere.
"""

import numba
import numpy as np

from swap.studio.fruit.light import DISTANCE, TABLE, step, table_shadow
from swap.studio.fruit.shade import MANY, fruit
from swap.studio.fruit.shapes import BOUND

_exact = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
_inline = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy", inline="always")


@_exact
def draw_fruit(
    kind: int,  # APPLE or KIWI_KIND
    out: np.ndarray,  # float64 (H, W, 3): linear light
    mask: np.ndarray,  # float64 (H, W): the fruit's share of the pixel
    back: np.ndarray,  # float64 (2, 3): from output pixels to frame pixels
    place: np.ndarray,  # float64 (3,): the centre's x, y and the radius, in frame pixels
    turn: np.ndarray,  # float64 (3, 3): from the fruit's space to the picture's: right, up, nearer
    lights: np.ndarray,  # float64 (6, 3): to the key light, its right, its up, its colour, to the fill, its colour
    sky: np.ndarray,  # float64 (3,)
    paper: np.ndarray,  # float64 (2, 3): the backdrop at the frame's top and bottom
    shape: np.ndarray,  # float64 (N, 3): points of the surface, for where it stands
    skin: np.ndarray,  # uint16 (T, T, 7)
    face: np.ndarray,  # uint16 (T, T, 7)
    samples: int,  # per pixel along each axis, where one is not enough
) -> None:
    """One picture. See fruit.py for the parameters. One sample in the middle of every pixel; more
    where a neighbour shows another part, or the surface is seen at a grazing angle.
    """
    # Where the fruit touches the table: its lowest point.
    deep, foot_x, foot_y, foot_z = 0.0, 0.0, 0.0, 0.0
    for i in range(shape.shape[0]):
        px = turn[0, 0] * shape[i, 0] + turn[0, 1] * shape[i, 1] + turn[0, 2] * shape[i, 2]
        py = turn[1, 0] * shape[i, 0] + turn[1, 1] * shape[i, 1] + turn[1, 2] * shape[i, 2]
        pz = turn[2, 0] * shape[i, 0] + turn[2, 1] * shape[i, 1] + turn[2, 2] * shape[i, 2]
        low = -(TABLE[0] * py + TABLE[1] * pz)
        if low > deep:
            deep, foot_x, foot_y, foot_z = low, px, py, pz
    # The camera and the key light as the fruit sees them.
    cx, cy, cz = turn[2, 0] * DISTANCE, turn[2, 1] * DISTANCE, turn[2, 2] * DISTANCE
    l0, l1, l2 = lights[0, 0], lights[0, 1], lights[0, 2]
    klx = turn[0, 0] * l0 + turn[1, 0] * l1 + turn[2, 0] * l2
    kly = turn[0, 1] * l0 + turn[1, 1] * l1 + turn[2, 1] * l2
    klz = turn[0, 2] * l0 + turn[1, 2] * l1 + turn[2, 2] * l2
    colour, texel = np.zeros(4), np.zeros(7)
    height, width = mask.shape
    part = np.zeros((height, width), np.int8)
    reach = BOUND * BOUND / (1 - BOUND * BOUND / (DISTANCE * DISTANCE))
    for index in range(2 * height * width):
        # First once over the picture with one sample, then again where that is not enough.
        again = index >= height * width
        row, column = index % (height * width) // width, index % width
        if again and not _varies(part, row, column):
            continue
        fx = back[0, 0] * column + back[0, 1] * row + back[0, 2]
        fy = back[1, 0] * column + back[1, 1] * row + back[1, 2]
        count = samples if again else 1
        red, green, blue, cover = 0.0, 0.0, 0.0, 0.0
        for s in range(count * count):
            du = ((s % count) + 0.5) / count - 0.5
            dv = ((s // count) + 0.5) / count - 0.5
            sx = fx + back[0, 0] * du + back[0, 1] * dv
            sy = fy + back[1, 0] * du + back[1, 1] * dv
            x, y = (sx - place[0]) / place[2], (place[1] - sy) / place[2]
            share = 0.0
            if x * x + y * y < reach:
                share = fruit(
                        kind, x, y, cx, cy, cz, turn, lights, klx, kly, klz, sky, paper, deep,
                        skin, face, colour, texel,
                    )  # fmt: skip
            if not again:
                part[row, column] = int(colour[3]) if share > 0 else 0
            cover += share
            red += share * colour[0]
            green += share * colour[1]
            blue += share * colour[2]
            if share < 1:
                dark = table_shadow(x, y, deep, foot_x, foot_y, foot_z, lights)
                ex, ey = sx / 320.0 - 0.5, sy / 240.0 - 0.42
                glow = max(0.2, 1.10 - 0.55 * (ex * ex + ey * ey))
                h = step(-0.1, 1.1, sy / 240.0)
                left = (1 - share) * glow * dark
                red += left * (paper[0, 0] + (paper[1, 0] - paper[0, 0]) * h)
                green += left * (paper[0, 1] + (paper[1, 1] - paper[0, 1]) * h)
                blue += left * (paper[0, 2] + (paper[1, 2] - paper[0, 2]) * h)
        n = count * count
        out[row, column, 0] = red / n
        out[row, column, 1] = green / n
        out[row, column, 2] = blue / n
        mask[row, column] = cover / n


@_inline
def _varies(part: np.ndarray, row: int, column: int) -> bool:
    """Whether a pixel needs more samples: MANY, or a neighbour of it shows another part."""
    here = part[row, column]
    if here == MANY:
        return True
    for y in range(max(row - 1, 0), min(row + 2, part.shape[0])):
        for x in range(max(column - 1, 0), min(column + 2, part.shape[1])):
            if part[y, x] != here:
                return True
    return False
