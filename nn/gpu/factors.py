"""Factors of a convolution as its products read them: as they are, or rounded beforehand. Kernels: factors.cu.

    factors = Factors()                       for one pass, or for passes that read the same arrays
    factors.read(array, "half")               a copy in float16, made once
    turned(w, "tf32")                         w (KH, KW, C, K) as (K, KH KW C)

Kinds: "" as they are, "tf32" float32 that a product of TF32 reads exactly, "half" float16.
"""

from nn.gpu import device
from nn.gpu.device import Array

KINDS = ("", "tf32", "half")
KERNELS = {"tf32": ("round_tf32", "float32"), "half": ("halve", "float16")}


class Factors:
    """Copies that were made of arrays, by which array and which kind."""

    def __init__(self) -> None:
        # With the array itself, so that no other gets its identity meanwhile.
        self._made: dict[tuple[int, str], tuple[Array, Array]] = {}

    def read(self, array: Array, kind: str) -> Array:
        """The array, of a multiple of 4 numbers, as a product of this kind reads it."""
        if not kind:
            return array
        key = (id(array), kind)
        if key not in self._made:
            kernel, dtype = KERNELS[kind]
            to = device.empty(array.shape, dtype)
            half = int(kind == "half")
            device.each("factors.cu", kernel, array.size // 4, (array, to), FLOAT16=half)
            self._made[key] = array, to
        return self._made[key][1]

    def are(self, array: Array, kind: str) -> None:
        """Says that an array is of a kind already."""
        self._made[id(array), kind] = array, array


def turned(w: Array, kind: str) -> Array:
    """w (KH, KW, C, K) as (K, KH KW C)."""
    k = w.shape[3]
    depth = w.size // k
    to = device.empty((k, depth), KERNELS[kind][1])
    grid, half = (-(-depth // 32), -(-k // 32)), int(kind == "half")
    device.launch("factors.cu", "turn", grid, 256, (w, to, depth, k), FLOAT16=half)
    return to
