"""Bad and unusual pictures, and folders of them, for `bench strangers`; each function writes one and returns its path.

FINE: what is asked of `swap extract` is a face in every frame; else a word of the refusal.
"""

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.swap.faces.conftest import draw_face

FINE, BAD = "", "cannot be read as a picture"
WIDTH, HEIGHT = 160, 128


@dataclass(frozen=True)
class Case:
    """what: for the table; make(folder) -> the path for the command; says: FINE with the number of frames, or a
    word of the refusal."""

    what: str
    make: Callable[[Path], Path]
    says: str = FINE
    frames: int = 1


def face(index: int = 0, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A drawn face that the detector finds, a little further to the right in each frame."""
    return draw_face(width, height, 26, width / 2 - 2 + index % 5, height / 2 - 16)


def _saved(
    name: str, picture: Image.Image | None = None, **options: object
) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (picture or Image.fromarray(face())).save(folder / name, **options)
        return folder / name

    return make


def _bytes(name: str, data: Callable[[], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data())
        return folder / name

    return make


def encoded(kind: str, **options: object) -> bytes:
    """The face as a file of a kind."""
    buffer = io.BytesIO()
    Image.fromarray(face()).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, data: bytes, *more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def _with_chunk(kind: bytes, data: bytes, times: int = 1) -> bytes:
    whole = encoded("PNG")
    return whole[:33] + chunk(kind, data) * times + whole[33:]


def _zeros(count: int) -> bytes:
    """zlib's stream of so many zero bytes: a thousandth of the size."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(count >> 20)]
    return b"".join([*parts, packer.flush()])


def _patched(data: bytes, find: bytes, skip: int, new: bytes) -> bytes:
    at = data.index(find) + skip
    return data[:at] + new + data[at + len(new) :]


def _flat(size: int) -> bytes:
    """A true picture of size x size white pixels, in a file a thousandth of that."""
    buffer = io.BytesIO()
    Image.new("1", (size, size), 1).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _deep(mode: str) -> Image.Image:
    grey = face().astype(np.float64).mean(2)
    if mode == "F":
        return Image.fromarray((grey / 255).astype(np.float32))
    if mode == "I":
        return Image.fromarray((grey * 257).astype(np.int32))
    return Image.fromarray((grey * 257).astype(np.uint16))


def _sixteen_bits(folder: Path) -> Path:
    """RGB with 16 bits a channel, which Pillow cannot write."""
    rows = (face().astype(">u2") * 257).tobytes()
    lines = b"".join(b"\0" + rows[i : i + 6 * WIDTH] for i in range(0, len(rows), 6 * WIDTH))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data)
    return folder / "a.png"


def _orientations(folder: Path) -> Path:
    """All eight ways that EXIF knows to hold a camera."""
    back = [None, None, 0, 3, 1, 5, 2, 6, 4]  # the transposition that undoes each
    place = folder / "pictures"
    place.mkdir()
    for value in range(1, 9):
        picture, exif = Image.fromarray(face()), Image.Exif()
        exif[0x0112] = value
        if back[value] is not None:
            picture = picture.transpose(Image.Transpose(back[value]))
        picture.save(place / f"{value}.jpg", exif=exif, quality=95)
    return place


def _film(name: str, **options: object) -> Callable[[Path], Path]:
    frames = [Image.fromarray(face(i)) for i in range(3)]
    return _saved(name, frames[0], save_all=True, append_images=frames[1:], duration=70, **options)


def _folder(*names: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        place = folder / "a folder, Ordner, папка, 資料夾, مجلد\n2"
        place.mkdir()
        for name in names:
            (place / os.fsdecode(name)).write_bytes(encoded("PNG"))
        return place

    return make


def _links(folder: Path) -> Path:
    """Beside one picture: a folder named as one, links in circles, to nothing, outside, a pipe, an unreadable file."""
    place = folder / "pictures"
    place.mkdir()
    (place / "0.png").write_bytes(encoded("PNG"))
    (folder / "outside.png").write_bytes(encoded("PNG"))
    (place / "1.png").mkdir()
    (place / "2.png").symlink_to(place / "3.png")
    (place / "3.png").symlink_to(place / "2.png")
    (place / "4.png").symlink_to(folder / "nothing.png")
    (place / "5.png").symlink_to(place)
    os.mkfifo(place / "6.png")
    (place / "7.png").symlink_to("/dev/zero")
    (place / "8.png").symlink_to("/proc/self/mem")  # reading it fails, for root as well
    (place / "9.png").symlink_to(folder / "outside.png")
    return place


def _one_of_many(folder: Path) -> Path:
    place = folder / "pictures"
    place.mkdir()
    good = encoded("JPEG", quality=90)
    for i in range(200):
        (place / f"{i}.jpg").write_bytes(good if i != 77 else good[:600])
    return place


def _link(target: str, name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).symlink_to(target)
        return folder / name

    return make


def _text_chunks() -> bytes:
    return _with_chunk(b"tEXt", b"Comment\0" + b"x" * 1_000_000, 100)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%touch /tmp/owned) (w) file\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:9/x"/></svg>'

PICTURES = [
    Case("PNG cut in the middle", _bytes("a.png", lambda: encoded("PNG")[:3000]), BAD),
    Case("JPEG cut in the middle", _bytes("a.jpg", lambda: encoded("JPEG")[:2000]), BAD),
    Case(
        "PNG with a flipped bit in its pixels",
        _bytes("a.png", lambda: _patched(encoded("PNG"), b"IDAT", 400, b"\xff")),
        BAD,
    ),
    Case("empty file named .png", _bytes("a.png", bytes), BAD),
    Case("letter named .png", _bytes("a.png", lambda: b"Dear Sir,\n" * 50), BAD),
    Case(
        "random bytes named .jpg",
        _bytes("a.jpg", lambda: np.random.default_rng(0).bytes(5000)),
        BAD,
    ),
    Case("EPS named .png that starts a program", _bytes("a.png", lambda: EPS), BAD),
    Case("SVG named .png that fetches an address", _bytes("a.png", lambda: SVG), BAD),
    Case("JPEG named .png", _bytes("a.png", lambda: encoded("JPEG", quality=95))),
    Case("WebP named .tif", _bytes("a.tif", lambda: encoded("WEBP", quality=95))),
    Case(
        "tiny PNG claiming 50,000 x 50,000",
        _bytes("a.png", lambda: _png(50_000, 50_000, _zeros(1 << 20))),
        BAD,
    ),
    Case(
        "tiny PNG claiming 2^31-1 x 2^31-1",
        _bytes("a.png", lambda: _png(2**31 - 1, 2**31 - 1, b"")),
        BAD,
    ),
    Case(
        "tiny JPEG claiming 50,000 x 50,000",
        _bytes(
            "a.jpg",
            lambda: _patched(encoded("JPEG"), b"\xff\xc0", 5, struct.pack(">HH", 50_000, 50_000)),
        ),
        BAD,
    ),
    Case(
        "GIF named .png claiming 65,535 x 65,535",
        _bytes("a.png", lambda: _patched(encoded("GIF"), b"GIF8", 6, b"\xff" * 4)),
        BAD,
    ),
    Case(
        "BMP claiming 50,000 x 50,000",
        _bytes(
            "a.bmp", lambda: _patched(encoded("BMP"), b"BM", 18, struct.pack("<ii", 50_000, 50_000))
        ),
        BAD,
    ),
    Case(
        "TIFF claiming 50,000 x 50,000",
        _bytes(
            "a.tif",
            lambda: _patched(
                encoded("TIFF"),
                struct.pack("<HHII", 256, 4, 1, WIDTH),
                8,
                struct.pack("<I", 5_000_000),
            ),
        ),
        BAD,
    ),
    Case("white PNG of 7,900 x 7,900 in 10 KB", _bytes("a.png", lambda: _flat(7900)), "no face"),
    Case(
        "PNG whose pixels unpack to 2 GB for 160 x 128",
        _bytes("a.png", lambda: _png(WIDTH, HEIGHT, _zeros(1 << 31))),
        "no face",
    ),
    Case(
        "PNG with a text that unpacks to 1 GB",
        _bytes("a.png", lambda: _with_chunk(b"zTXt", b"Comment\0\0" + _zeros(1 << 30))),
        BAD,
    ),
    Case(
        "PNG with a colour profile that unpacks to 1 GB",
        _bytes("a.png", lambda: _with_chunk(b"iCCP", b"x\0\0" + _zeros(1 << 30))),
        BAD,
    ),
    Case("PNG with 100 MB of text", _bytes("a.png", _text_chunks), BAD),
    Case("PNG, 8 bits grey", _saved("a.png", Image.fromarray(face()).convert("L"))),
    Case("PNG, 16 bits grey", _saved("a.png", _deep("I;16"))),
    Case("PNG, 16 bits a channel", _sixteen_bits),
    Case(
        "PNG, black and white",
        _saved("a.png", Image.fromarray(face()).convert("L").point(lambda v: 255 * (v > 110), "1")),
    ),
    Case(
        "PNG, palette with transparent colours",
        _saved("a.png", Image.fromarray(face()).quantize(64), transparency=0),
    ),
    Case(
        "PNG with alpha, wholly transparent",
        _saved("a.png", Image.fromarray(np.dstack([face(), np.zeros((HEIGHT, WIDTH), np.uint8)]))),
    ),
    Case(
        "WebP with alpha",
        _saved(
            "a.webp",
            Image.fromarray(np.dstack([face(), np.full((HEIGHT, WIDTH), 99, np.uint8)])),
            quality=95,
        ),
    ),
    Case("JPEG, CMYK", _saved("a.jpg", Image.fromarray(face()).convert("CMYK"), quality=95)),
    Case("TIFF, CMYK", _saved("a.tif", Image.fromarray(face()).convert("CMYK"))),
    Case("TIFF, 16 bits grey", _saved("a.tif", _deep("I;16"))),
    Case("TIFF, 32 bits grey", _saved("a.tif", _deep("I"))),
    Case("TIFF, floating-point", _saved("a.tif", _deep("F"))),
    Case("TIFF of three pages: the first is read", _film("a.tif")),
    Case("eight JPEGs with EXIF's eight orientations", _orientations, frames=8),
    Case(
        "JPEG with EXIF that is garbage",
        _saved(
            "a.jpg",
            Image.fromarray(face()),
            quality=95,
            exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 99,
        ),
    ),
    Case("animated PNG", _film("a.png"), frames=3),
    Case("animated WebP", _film("a.webp", quality=95), frames=3),
    Case("animated GIF", _film("a.gif"), frames=3),
    Case("picture of 1 x 1", _saved("a.png", Image.new("RGB", (1, 1))), "no face"),
    Case("picture of 1 x 60,000", _saved("a.png", Image.new("RGB", (1, 60_000))), "no face"),
    Case("picture of 161 x 127", _saved("a.png", Image.fromarray(face(0, 161, 127)))),
    Case(
        "folder and files with spaces, line feeds, other scripts, no UTF-8",
        _folder("a b.png", "ж\n.png", "顔.png", "\x1b[31m.png", b"\xe9\xff.png"),
        frames=5,
    ),
    Case(
        "folder with a folder, links in circles and outside, a pipe, devices, all named .png",
        _links,
        frames=2,
    ),
    Case("one bad picture among 200", _one_of_many, frames=199),
    Case("empty folder", lambda folder: folder, "holds no picture"),
    Case("link to itself", _link("a.mp4", "a.mp4"), "no file"),
    Case("link to nothing", _link("none", "a.png"), "no file"),
    Case("link to /dev/zero", _link("/dev/zero", "a.mp4"), "a pipe or a device"),
]
