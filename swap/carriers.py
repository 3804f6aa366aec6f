"""Where an XMP packet lies in a PNG, JPEG or MP4, to read it out or to put one in.

Each kind of file is a row of pieces, and only their headers are read:

    PNG    8-byte signature; chunks: length (4), type (4), data, CRC-32 (4)
    JPEG   FF D8; segments: FF, marker (1), length (2, counts itself), data
    MP4    boxes: size (4, counts the header), type (4), [size (8) where the first is 1], data

(ISO/IEC 15948; ITU-T T.81, B.1; ISO/IEC 14496-12, 4.2.)

Files may come from strangers: every size is checked against the file's before it is used, at most
MAX_PACKET bytes are read at once, and at most MAX_PIECES headers are looked at.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAX_PACKET = 1 << 19
MAX_PIECES = 200_000
COPY_BLOCK = 1 << 20

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_KEYWORD = b"XML:com.adobe.xmp\0"
JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
JPEG_SCAN = 0xDA
MP4_XMP = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")


class UnknownKind(ValueError):
    """The file is neither PNG nor JPEG nor MP4."""


class Damaged(ValueError):
    """The pieces of the file do not fit together, or it ends within one."""


class _Piece(NamedTuple):
    """One chunk, segment or box: the bytes from `start` to `end`, its data beginning at `body`."""

    kind: bytes
    start: int
    body: int
    end: int


@dataclass
class _Edit:
    """How to make a marked copy: cut out ranges, overwrite bytes, put the new piece at a place."""

    insert_at: int = -1
    piece: bytes = b""
    cut: list[tuple[int, int]] = field(default_factory=list)
    patches: list[tuple[int, bytes]] = field(default_factory=list)


def read_packet(file: BinaryIO) -> bytes | None:
    """The first XMP packet of `file`, None where there is none before its end or first damage.

    Raises UnknownKind where the file is no PNG, JPEG or MP4.
    """
    carrier, size = _carrier(file), _size(file)
    try:
        for piece in carrier.pieces(file, size):
            if (packet := carrier.packet(file, piece)) is not None:
                return packet
    except Damaged:
        pass
    return None


def has_packed_header(path: Path) -> bool:
    """Whether `path` is a QuickTime film whose header is compressed: a few KB of it may unpack to gigabytes.

    Raises OSError where it cannot be read.
    """
    with path.open("rb") as file, suppress(Damaged):
        for piece in islice(_mp4_pieces(file, _size(file)), 1000):
            if piece.kind == b"moov":
                return _read(file, piece.body + 4, 4) == b"cmov"
    return False


def write_packet(source: BinaryIO, target: BinaryIO, packet: bytes) -> None:
    """Copy `source` to `target` with `packet` as its only XMP packet, and otherwise unchanged.

    Raises UnknownKind, Damaged, and ValueError where the packet is too long for the kind of file.
    """
    carrier, size = _carrier(source), _size(source)
    edit = carrier.edit(source, size, packet)
    position = 0
    for start, end in sorted([*edit.cut, (edit.insert_at, edit.insert_at)]):
        _copy(source, target, position, start)
        if start == end == edit.insert_at:
            target.write(edit.piece)
        position = end
    _copy(source, target, position, size)
    for offset, data in edit.patches:  # all patches lie before the cuts: offsets are the same
        target.seek(offset)
        target.write(data)


class _Carrier(NamedTuple):
    pieces: Callable[[BinaryIO, int], Iterator[_Piece]]
    packet: Callable[[BinaryIO, _Piece], bytes | None]
    edit: Callable[[BinaryIO, int, bytes], _Edit]


def _carrier(file: BinaryIO) -> _Carrier:
    head = _read(file, 0, 12)
    if head.startswith(PNG_SIGNATURE):
        return _Carrier(_png_pieces, _png_packet, _png_edit)
    if head.startswith(b"\xff\xd8\xff"):
        return _Carrier(_jpeg_pieces, _jpeg_packet, _jpeg_edit)
    if head[4:8] == b"ftyp":
        return _Carrier(_mp4_pieces, _mp4_packet, _mp4_edit)
    raise UnknownKind


# ---- PNG


def _png_pieces(file: BinaryIO, size: int) -> Iterator[_Piece]:
    start = len(PNG_SIGNATURE)
    for _ in range(MAX_PIECES):
        length, kind = _unpack(">I4s", file, start)
        piece = _Piece(kind, start, start + 8, start + 12 + length)
        _check(piece.end <= size)
        yield piece
        if kind == b"IEND":
            return
        start = piece.end
    raise Damaged


def _png_packet(file: BinaryIO, piece: _Piece) -> bytes | None:
    length = piece.end - 4 - piece.body
    if piece.kind != b"iTXt" or length > MAX_PACKET:
        return None
    data = _read(file, piece.body, length)
    # keyword 0, compressed (1), method (1), language 0, translated keyword 0, text
    if not data.startswith(PNG_KEYWORD) or len(data) < len(PNG_KEYWORD) + 2:
        return None
    compressed = data[len(PNG_KEYWORD)]
    rest = data[len(PNG_KEYWORD) + 2 :].split(b"\0", 2)
    if len(rest) < 3:
        return None
    if not compressed:
        return rest[2]
    try:
        return zlib.decompressobj().decompress(rest[2], MAX_PACKET)
    except zlib.error:
        return None


def _png_edit(file: BinaryIO, size: int, packet: bytes) -> _Edit:
    data = b"iTXt" + PNG_KEYWORD + bytes(4) + packet
    edit = _Edit(
        piece=struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    )
    for piece in _png_pieces(file, size):
        if piece.kind == b"IHDR":
            edit.insert_at = piece.end
        if piece.kind == b"iTXt" and _begins(file, piece, PNG_KEYWORD):
            edit.cut.append((piece.start, piece.end))
    _check(edit.insert_at >= 0)
    return edit


# ---- JPEG


def _jpeg_pieces(file: BinaryIO, size: int) -> Iterator[_Piece]:
    """The segments up to and including the header of the first scan."""
    start = 2
    for _ in range(MAX_PIECES):
        prefix, marker, length = _unpack(">BBH", file, start)
        _check(prefix == 0xFF)
        if marker == 0xFF:  # any number of FF may stand before a marker
            start += 1
            continue
        piece = _Piece(bytes([marker]), start, start + 4, start + 2 + length)
        _check(length >= 2 and piece.end <= size)
        yield piece
        if marker == JPEG_SCAN:
            return
        start = piece.end
    raise Damaged


def _jpeg_packet(file: BinaryIO, piece: _Piece) -> bytes | None:
    if piece.kind != b"\xe1" or not _begins(file, piece, JPEG_XMP):
        return None
    return _read(file, piece.body + len(JPEG_XMP), piece.end - piece.body - len(JPEG_XMP))


def _jpeg_edit(file: BinaryIO, size: int, packet: bytes) -> _Edit:
    data = JPEG_XMP + packet
    if len(data) + 2 > 0xFFFF:
        raise ValueError(f"a mark of {len(packet)} bytes is too long for a JPEG segment (64 KB)")
    edit = _Edit(insert_at=2, piece=b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data)
    heading = True
    for piece in _jpeg_pieces(file, size):
        # JFIF and Exif must come first.
        exif = piece.kind == b"\xe1" and _begins(file, piece, b"Exif\0")
        heading = heading and (piece.kind == b"\xe0" or exif)
        if heading:
            edit.insert_at = piece.end
        if piece.kind == b"\xe1" and any(
            _begins(file, piece, prefix) for prefix in (JPEG_XMP, JPEG_EXTENDED_XMP)
        ):
            edit.cut.append((piece.start, piece.end))
    return edit


# ---- MP4


def _mp4_pieces(file: BinaryIO, size: int) -> Iterator[_Piece]:
    start = 0
    for _ in range(MAX_PIECES):
        length, kind = _unpack(">I4s", file, start)
        header = 8
        if length == 1:
            (length,) = _unpack(">Q", file, start + 8)
            header = 16
        elif length == 0:  # the last box may leave its size open
            length = size - start
        piece = _Piece(kind, start, start + header, start + length)
        _check(length >= header and piece.end <= size)
        yield piece
        if piece.end == size:
            return
        start = piece.end
    raise Damaged


def _mp4_packet(file: BinaryIO, piece: _Piece) -> bytes | None:
    length = piece.end - piece.body - len(MP4_XMP)
    if piece.kind != b"uuid" or length > MAX_PACKET or not _begins(file, piece, MP4_XMP):
        return None
    return _read(file, piece.body + len(MP4_XMP), length)


def _mp4_edit(file: BinaryIO, size: int, packet: bytes) -> _Edit:
    data = b"uuid" + MP4_XMP + packet
    edit = _Edit(insert_at=size, piece=struct.pack(">I", len(data) + 4) + data)
    pieces = list(_mp4_pieces(file, size))
    is_packet = [p.kind == b"uuid" and _begins(file, p, MP4_XMP) for p in pieces]
    while is_packet[-1]:
        edit.cut.append((pieces[-1].start, pieces[-1].end))
        del pieces[-1], is_packet[-1]
    # Boxes point into the file by offset, so a packet before one of them must keep its room: it
    # becomes a free box, and its identifier is erased.
    for piece, found in zip(pieces, is_packet, strict=True):
        if found:
            edit.patches += [(piece.start + 4, b"free"), (piece.body, bytes(len(MP4_XMP)))]
    last = pieces[-1]
    if _read(file, last.start, 4) == bytes(4):
        # Its open size would swallow the new box.
        if last.end - last.start > 0xFFFFFFFF:
            raise ValueError("an mp4 whose last box is open and longer than 4 GiB takes no mark")
        edit.patches.append((last.start, struct.pack(">I", last.end - last.start)))
    return edit


# ---- bytes


def _size(file: BinaryIO) -> int:
    return file.seek(0, io.SEEK_END)


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _unpack(layout: str, file: BinaryIO, offset: int) -> tuple:
    data = _read(file, offset, struct.calcsize(layout))
    _check(len(data) == struct.calcsize(layout))
    return struct.unpack(layout, data)


def _begins(file: BinaryIO, piece: _Piece, prefix: bytes) -> bool:
    return piece.end - piece.body >= len(prefix) and (
        _read(file, piece.body, len(prefix)) == prefix
    )


def _check(holds: bool) -> None:
    if not holds:
        raise Damaged


def _copy(source: BinaryIO, target: BinaryIO, start: int, end: int) -> None:
    source.seek(start)
    while start < end:
        block = source.read(min(COPY_BLOCK, end - start))
        _check(bool(block))
        target.write(block)
        start += len(block)
