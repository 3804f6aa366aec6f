"""Arrays as text: fewer bits where asked, then byte planes, deflate and base 85.

    float32 numbers   0x3f8ccccd 0x3f99999a ...
    byte planes       3f 3f ...  8c 99 ...  cc 99 ...  cd 9a ...      bytes of one place together, highest first

The high bytes (sign, exponent) are alike from number to number and shrink; the low ones are noise and stay. Rounded to
m bits, the low planes are zeros and vanish. ``tensors.js`` reads what is written here.
"""

import base64
import zlib

import numpy as np

FRACTION = {np.dtype(np.float32): 23, np.dtype(np.float64): 52}  # bits behind the point
ALPHABET = np.frombuffer(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~",
    np.uint8,
)
FEWEST = 7  # fraction bits that a page keeps at the least: two to three digits
SAMPLE = 1 << 14  # numbers by which the size of a larger array is estimated


def rounded(array: np.ndarray, bits: int) -> np.ndarray:
    """``array`` with ``bits`` bits of each number's fraction, rounded to nearest, ties to even; 0, inf, nan stay."""
    drop = FRACTION[array.dtype] - bits
    if drop <= 0:
        return array
    whole = np.dtype(f"u{array.dtype.itemsize}").type
    u = np.ascontiguousarray(array).view(whole)
    one = whole(1)
    near = u + ((one << whole(drop - 1)) - one) + ((u >> whole(drop)) & one)
    near = ((near >> whole(drop)) << whole(drop)).view(array.dtype)
    # The largest numbers would round up to infinity, and a nan would lose what makes it one.
    return np.where(np.isfinite(near) & np.isfinite(array), near, array)


def planes(array: np.ndarray) -> list[bytes]:
    """The bytes of ``array``, place by place, most significant first."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return [p.tobytes() for p in little.view(np.uint8).reshape(-1, array.dtype.itemsize).T[::-1]]


def deflated(plane: bytes) -> bytes:
    """Raw deflate; nothing at all for a plane of zeros."""
    if not plane.strip(b"\0"):
        return b""
    # Noise has no repetitions worth naming: there, codes for single bytes alone are shorter. A piece decides.
    ways = (zlib.Z_HUFFMAN_ONLY, zlib.Z_FILTERED)
    return _squeezed(plane, min(ways, key=lambda way: len(_squeezed(plane[:SAMPLE], way))))


def _squeezed(plane: bytes, strategy: int) -> bytes:
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -15, 9, strategy)
    return squeeze.compress(plane) + squeeze.flush()


def pack(array: np.ndarray) -> str:
    """``array`` as text: its planes, apart by spaces."""
    return " ".join(map(_text, map(deflated, planes(array))))


def _text(data: bytes) -> str:
    """Base 85 (RFC 1924), which takes a sixteenth less room than base 64; without "<", which would mean a tag.

    As base64.b85encode, a hundred times faster.
    """
    padding = -len(data) % 4
    words = np.frombuffer(data + bytes(padding), ">u4").astype(np.uint32)
    digits = np.empty((words.size, 5), np.uint8)
    for place in range(4, -1, -1):
        words, digits[:, place] = np.divmod(words, np.uint32(85))
    return ALPHABET[digits].tobytes()[: digits.size - padding].decode()


def unpack(text: str, dtype: np.dtype, size: int) -> np.ndarray:
    """The array of ``size`` numbers that ``pack`` wrote."""
    dtype = np.dtype(dtype)
    little = np.zeros((size, dtype.itemsize), np.uint8)
    for place, plane in enumerate(text.split(" ")):
        if plane:
            raw = zlib.decompress(base64.b85decode(plane.replace(",", "<")), -15)
            little[:, dtype.itemsize - 1 - place] = np.frombuffer(raw, np.uint8)
    return little.view(dtype.newbyteorder("<")).reshape(size).astype(dtype)


def estimate(array: np.ndarray, bits: int) -> int:
    """Bytes of text that ``array`` takes with ``bits`` fraction bits; from four pieces of it where it is large."""
    flat = array.ravel()
    if flat.size > SAMPLE:
        piece = SAMPLE // 4
        starts = np.linspace(0, flat.size - piece, 4).astype(int)
        flat = np.concatenate([flat[start : start + piece] for start in starts])
    length = sum(len(deflated(plane)) for plane in planes(rounded(flat, bits)))
    return int(length * 1.25 * array.size / max(flat.size, 1)) + array.dtype.itemsize
