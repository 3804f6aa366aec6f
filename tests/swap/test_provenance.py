"""Marks: read back by an independent reader (Pillow, boxes parsed by hand, exiftool if present)."""

import io
import json
import shutil
import stat
import struct
import subprocess
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from swap import provenance
from swap.errors import UserError
from swap.provenance import (
    Mark,
    SourceType,
    describe,
    mark_file,
    read_mark,
    write_jpeg,
    write_png,
)

MARK = Mark(
    SourceType.SWAPPED,
    "latentface 0.1.0",
    "The face in this video was swapped & <changed> by a trained model.",
    {"run": "out/été", "model_sha256": "ab" * 32},
)
OTHER = Mark(SourceType.PLOT, "latentface 0.1.0", "A plot.")
URI = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
IMAGE = np.random.default_rng(0).integers(0, 256, (24, 31, 3), dtype=np.uint8)


def write_mp4(path: Path, frames: int = 5) -> None:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 48
        for i in range(frames):
            image = np.full((48, 64, 3), 20 * i, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        output.mux(stream.encode(None))


def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        assert size >= 8
        found.append((kind, data[at + 8 : at + size]))
        at += size
    assert at == len(data)
    return found


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def make(kind: str, folder: Path) -> Path:
    path = folder / f"file.{kind}"
    if kind == "mp4":
        write_mp4(path)
    else:
        Image.fromarray(IMAGE).save(path)
    return path


@pytest.mark.parametrize("kind", ["png", "jpg", "mp4"])
def test_mark_is_read_back_and_replaced(kind, tmp_path):
    path = make(kind, tmp_path)
    plain = path.read_bytes()
    assert read_mark(path) is None
    assert "no mark was found" in describe(path)
    assert "proves nothing" in describe(path)
    mark_file(path, MARK)
    assert read_mark(path) == MARK
    marked = path.read_bytes()
    mark_file(path, OTHER)
    assert read_mark(path) == OTHER
    assert MARK.details["model_sha256"].encode() not in path.read_bytes()
    mark_file(path, MARK)
    assert path.read_bytes() == marked
    assert len(marked) - len(plain) < 1500
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["png", "jpg", "mp4"])
def test_marking_changes_no_pixel(kind, tmp_path):
    path = make(kind, tmp_path)
    read = decoded if kind == "mp4" else lambda p: [np.asarray(Image.open(p))]
    before = read(path)
    mark_file(path, MARK)
    mark_file(path, OTHER)
    after = read(path)
    assert len(before) == len(after) == (5 if kind == "mp4" else 1)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_png_is_what_pillow_reads(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, IMAGE, MARK)
    with Image.open(path) as picture:
        picture.load()
        packet = picture.text["XML:com.adobe.xmp"]
        assert np.array_equal(np.asarray(picture), IMAGE)
    assert URI in packet
    with Image.open(path) as picture:
        picture.verify()  # checks the CRC of every chunk


def test_jpeg_is_what_pillow_reads(tmp_path):
    path = tmp_path / "a.jpg"
    write_jpeg(path, IMAGE, MARK)
    with Image.open(path) as picture:
        assert URI.encode() in picture.info["xmp"]
        # Only what comes after JFIF may be an XMP segment.
        assert [name for name, _ in picture.applist[:2]] == ["APP0", "APP1"]
        assert np.abs(np.asarray(picture).astype(int) - IMAGE).mean() < 12


def test_jpeg_keeps_exif_first(tmp_path):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(IMAGE).save(path, exif=exif)
    mark_file(path, MARK)
    with Image.open(path) as picture:
        assert picture.getexif()[0x0112] == 6
        assert [data[:4] for name, data in picture.applist if name == "APP1"] == [b"Exif", b"http"]


def test_mp4_gets_one_box_at_the_end(tmp_path):
    path = tmp_path / "a.mp4"
    write_mp4(path)
    plain = path.read_bytes()
    mark_file(path, MARK)
    assert path.read_bytes().startswith(plain)
    mark_file(path, MARK)
    added = boxes(path.read_bytes())[len(boxes(plain)) :]
    assert [kind for kind, _ in added] == [b"uuid"]
    assert added[0][1][:16] == UUID
    assert URI.encode() in added[0][1]


def test_mp4_with_an_earlier_packet_keeps_its_offsets(tmp_path):
    path = tmp_path / "a.mp4"
    write_mp4(path)
    before = decoded(path)
    data = path.read_bytes()
    kinds = [kind for kind, _ in boxes(data)]
    # FFmpeg wrote ftyp, free, mdat, moov; the chunk offsets of moov are raised by hand so that
    # a foreign packet can stand before mdat.
    assert kinds == [b"ftyp", b"free", b"mdat", b"moov"]
    old = provenance._packet(OTHER)
    foreign = struct.pack(">I4s", 24 + len(old), b"uuid") + UUID + old
    at = data.index(b"stco") + 8
    (count,) = struct.unpack_from(">I", data, at)
    offsets = struct.unpack_from(f">{count}I", data, at + 4)
    moved = struct.pack(f">{count}I", *(o + len(foreign) for o in offsets))
    data = data[: at + 4] + moved + data[at + 4 + 4 * count :]
    end_of_ftyp = struct.unpack_from(">I", data)[0]
    path.write_bytes(data[:end_of_ftyp] + foreign + data[end_of_ftyp:])
    assert read_mark(path) == OTHER
    mark_file(path, MARK)
    assert read_mark(path) == MARK
    found = boxes(path.read_bytes())
    assert [kind for kind, _ in found] == [b"ftyp", b"free", *kinds[1:], b"uuid"]
    assert UUID not in found[1][1]
    assert all(np.array_equal(a, b) for a, b in zip(before, decoded(path), strict=True))


def test_mp4_with_an_open_last_box(tmp_path):
    path = tmp_path / "a.mp4"
    write_mp4(path)
    before = decoded(path)
    data = path.read_bytes()
    last = data.rindex(b"moov") - 4
    path.write_bytes(data[:last] + bytes(4) + data[last + 4 :])
    mark_file(path, MARK)
    assert boxes(path.read_bytes())[-1][0] == b"uuid"
    assert read_mark(path) == MARK
    assert all(np.array_equal(a, b) for a, b in zip(before, decoded(path), strict=True))


def test_mp4_with_64_bit_sizes(tmp_path):
    path = tmp_path / "a.mp4"
    ftyp = struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0)
    path.write_bytes(ftyp + struct.pack(">I4sQ", 1, b"mdat", 16 + 40) + bytes(40))
    mark_file(path, MARK)
    assert read_mark(path) == MARK
    packet = provenance._packet(OTHER)
    path.write_bytes(ftyp + struct.pack(">I4sQ", 1, b"uuid", 32 + len(packet)) + UUID + packet)
    assert read_mark(path) == OTHER


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("kind", ["png", "jpg", "mp4"])
def test_exiftool_reads_the_mark(kind, tmp_path):
    path = make(kind, tmp_path)
    mark_file(path, MARK)
    command = ["exiftool", "-j", "-XMP:all", "-validate", "-warning", str(path)]
    output = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout
    tags = json.loads(output)[0]
    assert tags["DigitalSourceType"] == URI
    assert tags["CreatorTool"] == MARK.tool
    assert tags["Description"] == MARK.description
    assert tags["Run"] == MARK.details["run"]
    assert "Warning" not in tags


def test_crop_without_synthetic_content(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, IMAGE, Mark(SourceType.CROP, "latentface 0.1.0"))
    mark = read_mark(path)
    assert mark is not None
    assert mark.source_type is None
    assert b"DigitalSourceType" not in path.read_bytes()
    assert "nothing synthetic" in describe(path)
    write_png(path, IMAGE, None)
    assert read_mark(path) is None


def test_marks_of_other_programs(tmp_path):
    """Attributes instead of elements, https, compressed text: as other tools write."""
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><!-- a comment -->'
        f'<rdf:RDF xmlns:rdf="{provenance.RDF}">'
        f'<rdf:Description xmlns:i="{provenance.IPTC_EXT}" xmlns:xmp="{provenance.XMP}" '
        'i:DigitalSourceType="https://cv.iptc.org/newscodes/digitalsourcetype/'
        'trainedAlgorithmicMedia" xmp:CreatorTool="Other 2"/></rdf:RDF></x:xmpmeta>'
    )
    for compressed in (False, True):
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet, zip=compressed)
        path = tmp_path / "a.png"
        Image.fromarray(IMAGE).save(path, pnginfo=info)
        assert read_mark(path) == Mark(SourceType.GENERATED, "Other 2")
    path = tmp_path / "a.jpg"
    Image.fromarray(IMAGE).save(path, xmp=packet.encode())
    assert read_mark(path) == Mark(SourceType.GENERATED, "Other 2")
    # Camera settings alone are no mark.
    Image.fromarray(IMAGE).save(path, xmp=packet.replace("i:Digital", "i:Other").encode())
    assert read_mark(path) is None


def test_pillow_resaving_loses_the_mark(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, IMAGE, MARK)
    Image.fromarray(np.asarray(Image.open(path))).save(path)
    assert read_mark(path) is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.dictionaries(st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]*\Z"), st.text()))
def test_any_text_survives(tmp_path, text, details):
    path = tmp_path / "a.png"
    write_png(path, IMAGE[:1, :1], Mark(SourceType.SWAPPED, "t", text, details))
    mark = read_mark(path)

    def held(s: str) -> str:  # what XML cannot hold is replaced, one for one
        return "".join(
            c if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff") else "\ufffd" for c in s
        )

    assert mark is not None
    assert mark.description == held(text)
    assert mark.details == {k: held(v) for k, v in details.items()}


def test_undecodable_file_names_can_be_details(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, IMAGE, Mark(None, "t", details={"source": "a\udcff\x00b"}))
    assert read_mark(path).details == {"source": "a\ufffd\ufffdb"}


def test_impossible_marks_are_refused(tmp_path):
    path = tmp_path / "a.jpg"
    with pytest.raises(ValueError, match="key"):
        write_jpeg(path, IMAGE, Mark(None, "t", details={"a b": "c"}))
    with pytest.raises(ValueError, match="too long"):
        write_jpeg(path, IMAGE, Mark(None, "t", "x" * 70_000))
    with pytest.raises(ValueError, match="uint8"):
        write_png(path, IMAGE.astype(np.float32), MARK)
    assert not path.exists()


@pytest.mark.parametrize("kind", ["png", "jpg", "mp4"])
def test_truncated_files(kind, tmp_path):
    path = make(kind, tmp_path)
    mark_file(path, MARK)
    data = path.read_bytes()
    step = max(1, len(data) // 150)
    for length in range(12, len(data), step):
        path.write_bytes(data[:length])
        assert read_mark(path) in (None, MARK)
        if kind != "jpg" or length < 200:  # a JPEG's walk ends where its first scan begins
            try:
                mark_file(path, OTHER)
            except UserError:
                assert path.read_bytes() == data[:length]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", bytes(4) + b"ftyp", b""]),
    st.binary(max_size=200),
)
def test_garbage(tmp_path, head, body):
    path = tmp_path / "a"
    path.write_bytes(head + body)
    for action in (read_mark, describe, lambda p: mark_file(p, MARK)):
        with suppress(UserError):
            action(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["png", "jpg"]), st.data())
def test_flipped_bytes(tmp_path, kind, draw):
    path = tmp_path / f"a.{kind}"
    (write_png if kind == "png" else write_jpeg)(path, IMAGE[:2, :2], MARK)
    data = bytearray(path.read_bytes())
    for _ in range(3):
        data[draw.draw(st.integers(8, len(data) - 1))] = draw.draw(st.integers(0, 255))
    path.write_bytes(data)
    read_mark(path)


def png_with(packet: bytes, compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(IMAGE[:1, :1]).save(buffer, "PNG")
    plain = buffer.getvalue()
    text = zlib.compress(packet) if compressed else packet
    data = b"iTXtXML:com.adobe.xmp\0" + bytes([compressed]) + bytes(3) + text
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    return plain[:33] + chunk + plain[33:]


BOMB = b'<!DOCTYPE x [<!ENTITY a "ha">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 50) for i in range(20)
)


@pytest.mark.parametrize(
    "data",
    [
        png_with(BOMB + b"]><x>&u;</x>"),
        png_with((BOMB + b"]><x>&u;</x>").decode().encode("utf-16")),
        png_with(bytes(300 << 20), compressed=True),
        png_with(b"<a>" * 300_000),
        png_with(b"<a>" * 120_000 + b"</a>" * 120_000),
        png_with(b"<a " + b" ".join(b'a%d=""' % i for i in range(80_000)) + b"/>"),
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 0xFFFFFFFF, b"iTXt") + b"XML:com.adobe.xmp\0",
        b"\x89PNG\r\n\x1a\n" + bytes(12) * 1_000_000,
        b"\xff\xd8" + b"\xff" * 8_000_000,
        b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08free" * 1_000_000,
        b"\0\0\0\x10ftypisom\0\0\0\0" + struct.pack(">I4sQ", 1, b"uuid", 2**64 - 1) + UUID,
        b"\0\0\0\x10ftypisom\0\0\0\0" + struct.pack(">I4s", 0, b"uuid") + UUID + bytes(60 << 20),
    ],
    ids=[
        "entities",
        "entities-utf16",
        "zlib-bomb",
        "open-tags",
        "deep",
        "attributes",
        "huge-chunk",
        "many-chunks",
        "many-fill-bytes",
        "many-boxes",
        "huge-box",
        "huge-packet",
    ],
)
def test_hostile_files_cost_little(data, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        assert read_mark(path) is None
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


def test_bad_paths(tmp_path):
    with pytest.raises(UserError, match="no file"):
        read_mark(tmp_path / "none.png")
    with pytest.raises(UserError, match="folder"):
        read_mark(tmp_path)
    with pytest.raises(UserError, match=r"none\.png"):
        mark_file(tmp_path / "none.png", MARK)
    with pytest.raises(UserError, match="does not exist"):
        write_png(tmp_path / "no" / "a.png", IMAGE, MARK)
    text = tmp_path / "a.txt"
    text.write_text("hello, this is no picture")
    with pytest.raises(UserError, match="PNG, JPEG or MP4"):
        describe(text)
    with pytest.raises(UserError, match="PNG, JPEG or MP4"):
        mark_file(text, MARK)


def test_marking_that_fails_leaves_the_file(tmp_path, monkeypatch):
    path = make("mp4", tmp_path)
    before = path.read_bytes()

    def interrupted(source, target, packet):
        target.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(provenance, "write_packet", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mark_file(path, MARK)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_marking_keeps_permissions(tmp_path):
    path = make("png", tmp_path)
    path.chmod(0o600)
    mark_file(path, MARK)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_describe_cannot_steer_the_terminal(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, IMAGE, Mark("x\x9b2J", "tool\u202e", "y" * 9000, {"k": "a\nb"}))
    shown = describe(path)
    assert "\x9b" not in shown
    assert "\u202e" not in shown
    assert "  k: a b" in shown.splitlines()
    assert len(shown) < 1000


def test_describe_names_the_meaning(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, IMAGE, MARK)
    shown = describe(path)
    for words in ("marked as compositeWith", "trained model", "latentface 0.1.0", "run: out/été"):
        assert words in shown
