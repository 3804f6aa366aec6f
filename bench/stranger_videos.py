"""Bad and unusual videos for `bench strangers`; see bench/stranger_pictures.py."""

import os
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from bench.stranger_pictures import BAD, HEIGHT, WIDTH, Case, _bytes, _zeros, encoded, face

FRAMES = 6


def clip(
    path: Path,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    *,
    frames: int = FRAMES,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pts: list[int] | None = None,
    rate: Fraction | int = 25,
    tick: Fraction | None = None,
    container: str | None = None,
    **options: str,
) -> Path:
    """A clip of the drawn face."""
    first = {"movflags": "+faststart"} if path.suffix == ".mp4" and not container else {}
    with av.open(str(path), "w", format=container, options=first) as output:
        stream = output.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        if tick:
            stream.codec_context.time_base = tick
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(face(i, *size)).reformat(format=pixels)
            if pts or tick:
                frame.pts, frame.time_base = pts[i] if pts else i, tick or 1 / Fraction(rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def _clip(name: str, *arguments: Any, **options: Any) -> Callable[[Path], Path]:
    return lambda folder: clip(folder / name, *arguments, **options)


def _changed(
    name: str, change: Callable[[bytes], bytes], *arguments: Any, **options: Any
) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = clip(folder / name, *arguments, **options)
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def _set(find: bytes, skip: int, new: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        at = data.index(find) + skip
        return data[:at] + new + data[at + len(new) :]

    return change


def _turned(a: int, b: int, c: int, d: int) -> Callable[[bytes], bytes]:
    """The display matrix in the track's header."""
    one = 0x10000
    return _set(
        b"tkhd", 44, struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 0x40000000)
    )


def _sideways(folder: Path) -> Path:
    """A telephone's video: stored lying, shown upright."""
    path = folder / "a.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height = HEIGHT, WIDTH
        for i in range(FRAMES):
            lying = np.ascontiguousarray(np.rot90(face(i)))
            output.mux(stream.encode(av.VideoFrame.from_ndarray(lying)))
        output.mux(stream.encode(None))
    path.write_bytes(_turned(0, 1, -1, 0)(path.read_bytes()))
    return path


def box(kind: bytes, *inside: bytes) -> bytes:
    """A box of an mp4."""
    data = b"".join(inside)
    return struct.pack(">I", len(data) + 8) + kind + data


FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2mp41")


def _nested() -> bytes:
    data = b""
    for _ in range(5000):
        data = box(b"moov" if len(data) > 39_000 else b"trak", data)
    return FTYP + data


def _compressed_header() -> bytes:
    """QuickTime's compressed header, which unpacks to 1.5 GB of zeros."""
    packed, unpacked = _zeros(3 << 29), struct.pack(">I", 3 << 29)
    return FTYP + box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", unpacked, packed)))


def _motion_jpeg(path: Path, one: bytes) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for i in range(FRAMES):
            packet = av.Packet(one)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = i
            packet.is_keyframe = True
            output.mux(packet)
    return path


def _exif_frames(folder: Path) -> Path:
    """A camera's motion JPEG, EXIF in every frame."""
    exif = Image.Exif()
    exif[0x0110] = "camera"
    one = encoded("JPEG", quality=95, exif=exif.tobytes())
    return _motion_jpeg(folder / "a.mkv", one)


def _claims(folder: Path) -> Path:
    """Motion JPEG whose frames say 65,000 x 65,000."""
    one = encoded("JPEG")
    at = one.index(b"\xff\xc0") + 5
    return _motion_jpeg(
        folder / "a.mkv", one[:at] + struct.pack(">HH", 65_000, 65_000) + one[at + 4 :]
    )


def _growing(folder: Path) -> Path:
    small, large = clip(folder / "s.h264"), clip(folder / "l.h264", size=(320, 256))
    path = folder / "a.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    return path


def _sound_only(folder: Path) -> Path:
    path = folder / "a.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def _many_streams(folder: Path) -> Path:
    path = folder / "a.mkv"
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("mpeg4", rate=25) for _ in range(100)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(FRAMES):
            for stream in streams:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(face(i))))
    return path


def _damaged_packet(folder: Path) -> Path:
    """Zeros in place of one frame of forty; every frame stands alone."""
    path = clip(folder / "a.mkv", "mjpeg", "yuvj420p", frames=40)
    with av.open(str(path)) as container:
        packet = bytes(next(p for i, p in enumerate(container.demux(video=0)) if i == 12))
    data = path.read_bytes()
    path.write_bytes(data.replace(packet, bytes(len(packet)), 1))
    return path


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "a.mp4")
    return folder / "a.mp4"


def _named(name: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return clip(folder / "plain.mp4").rename(folder / os.fsdecode(name))

    return make


HLS = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
CONCAT = b"ffconcat version 1.0\nfile /etc/passwd\n"
SDP = (
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    b"m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
DASH = (
    b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>'
    b"<BaseURL>http://127.0.0.1:9/</BaseURL></Period></MPD>"
)
HUGE = b"\xff\xff\xff\xff"
YEAR = 31_536_000_000  # ms
UNEVEN = [0, 40, 50, 400, 410, 2000]

VIDEOS = [
    Case(
        "mp4 cut before its table of contents",
        _changed("a.mov", lambda data: data[: len(data) // 2]),
        "cannot be read",
    ),
    Case(
        "mp4 cut behind its table of contents",
        _changed("a.mp4", lambda data: data[:-200], bf="0", g="1"),
        frames=5,
    ),
    Case(
        "transport stream cut in the middle",
        _changed("a.ts", lambda data: data[: len(data) * 2 // 3], frames=30, g="5", bf="0"),
        frames=0,
    ),
    Case("empty file named .mp4", _bytes("a.mp4", bytes), "is empty"),
    Case("letter named .mp4", _bytes("a.mp4", lambda: b"Dear Sir,\n" * 50), "cannot be read"),
    Case(
        "random bytes named .mp4",
        _bytes("a.mp4", lambda: np.random.default_rng(1).bytes(50_000)),
        "cannot be read",
    ),
    Case("JPEG named .mp4", _bytes("a.mp4", lambda: encoded("JPEG")), "cannot be read"),
    Case("mp4 named .png", _clip("a.png", container="mp4"), BAD),
    Case("mkv named .mp4", _clip("a.mp4", container="matroska"), frames=FRAMES),
    Case(
        "playlist named .mp4 that fetches an address",
        _bytes("a.mp4", lambda: HLS),
        "cannot be read",
    ),
    Case(
        "list named .mp4 that reads /etc/passwd", _bytes("a.mp4", lambda: CONCAT), "cannot be read"
    ),
    Case(
        "session description named .mp4 that listens on a port",
        _bytes("a.mp4", lambda: SDP),
        "cannot be read",
    ),
    Case(
        "DASH manifest named .mp4 that fetches an address",
        _bytes("a.mp4", lambda: DASH),
        "cannot be read",
    ),
    Case(
        "mp4 without any frame",
        _changed("a.mp4", lambda data: data[: data.index(b"mdat") - 4]),
        "could be decoded",
    ),
    Case("mp4 of sound alone", _sound_only, "no video stream"),
    Case("turned by 90 degrees (display matrix)", _sideways, frames=FRAMES),
    Case("turned by a matrix of zeros", _changed("a.mp4", _turned(0, 0, 0, 0)), frames=FRAMES),
    Case("10 bits, H.264", _clip("a.mp4", "libx264", "yuv420p10le"), frames=FRAMES),
    Case("10 bits, 4:2:2, FFV1", _clip("a.mkv", "ffv1", "yuv422p10le"), frames=FRAMES),
    Case("16 bits a channel, FFV1", _clip("a.mkv", "ffv1", "rgb48le"), frames=FRAMES),
    Case("8 bits grey, FFV1", _clip("a.mkv", "ffv1", "gray"), frames=FRAMES),
    Case("16 bits grey, FFV1", _clip("a.mkv", "ffv1", "gray16le"), frames=FRAMES),
    Case("alpha, QuickTime animation", _clip("a.mov", "qtrle", "argb"), frames=FRAMES),
    Case("alpha, FFV1", _clip("a.mkv", "ffv1", "yuva420p"), frames=FRAMES),
    Case("161 x 127 pixels", _clip("a.mp4", pixels="yuv444p", size=(161, 127)), frames=FRAMES),
    Case("2 x 2 pixels", _clip("a.mkv", "ffv1", size=(2, 2)), "no face"),
    Case("variable frame rate", _clip("a.mp4", pts=UNEVEN, tick=Fraction(1, 1000)), frames=FRAMES),
    Case(
        "a hole of a year between two frames",
        _clip(
            "a.mkv", pts=[*range(0, 120, 40), *range(YEAR, YEAR + 120, 40)], tick=Fraction(1, 1000)
        ),
        frames=FRAMES,
    ),
    Case("a million frames a second", _clip("a.mp4", rate=1_000_000), frames=FRAMES),
    Case("a frame in ten hours", _clip("a.mkv", rate=Fraction(1, 36_000)), frames=FRAMES),
    Case(
        "duration of 3,000 years in the header",
        _changed("a.mp4", _set(b"mvhd", 16, struct.pack(">II", 1, 0x7FFFFFFF))),
        frames=FRAMES,
    ),
    Case("frames that change their size", _growing, frames=2 * FRAMES),
    Case("one damaged frame among 40", _damaged_packet, frames=39),
    Case("motion JPEG with EXIF in every frame", _exif_frames, frames=FRAMES),
    Case("motion JPEG claiming 65,000 x 65,000", _claims, "could be decoded"),
    Case(
        "mp4 header claiming 50,000 x 50,000",
        _changed("a.mp4", _set(b"avc1", 28, struct.pack(">HH", 50_000, 50_000))),
        frames=FRAMES,
    ),
    Case(
        "GIF claiming 65,535 x 65,535",
        _changed("a.gif", _set(b"GIF8", 6, HUGE), "gif", "rgb8"),
        "could be decoded",
    ),
    Case(
        "mp4 table of 4 billion sizes", _changed("a.mp4", _set(b"stsz", 12, HUGE)), "cannot be read"
    ),
    Case(
        "mp4 table of 4 billion times", _changed("a.mp4", _set(b"stts", 8, HUGE)), "cannot be read"
    ),
    Case("mp4 table of 4 billion places", _changed("a.mp4", _set(b"stco", 8, HUGE)), frames=FRAMES),
    Case("mp4 whose header claims 4 GB", _changed("a.mp4", _set(b"moov", -4, HUGE)), frames=FRAMES),
    Case(
        "mov with a header that unpacks to 1.5 GB",
        _bytes("a.mov", _compressed_header),
        "compressed header",
    ),
    Case("mp4 of 5,000 boxes in each other", _bytes("a.mp4", _nested), "cannot be read"),
    Case(
        "mkv with an element of 2^56 bytes",
        _changed("a.mkv", _set(b"\x16\x54\xae\x6b", 4, b"\x01" + b"\xff" * 6 + b"\xfe")),
        frames=0,
    ),
    Case("mkv of 100 video streams: the first is read", _many_streams, frames=FRAMES),
    Case("name that is no UTF-8", _named(b"caf\xe9.mp4"), frames=FRAMES),
    Case(
        "name with a line feed and escape codes",
        _named(b"a\n\x1b]0;owned\x07\x1b[31m.mp4"),
        frames=FRAMES,
    ),
    Case("name that looks like an address", _named(b"http:127.0.0.1:9.mp4"), frames=FRAMES),
    Case("pipe named .mp4", _pipe, "a pipe or a device"),
]
