"""Frames in and out, on clips made here; OpenCV is the second reader where it can be."""

import io
import os
import struct
import tracemalloc
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from swap.errors import UserError
from swap.provenance import Mark, SourceType, read_mark
from swap.video import Frame, VideoWriter, probe, read_frames

RATE = 48_000
FLASHES = (0.4, 1.2, 1.6)  # seconds of a white frame and a beep that begins with it


def picture(index: int, height: int = 48, width: int = 64, bits: int = 10) -> np.ndarray:
    """A frame that says its own index: white and black bars, its bits from left to right."""
    columns = np.arange(width) * bits // width
    lit = (index >> columns) & 1
    return np.broadcast_to((lit * 200 + 30).astype(np.uint8)[None, :, None], (height, width, 3))


def number(image: np.ndarray, bits: int = 10) -> int:
    height, width = image.shape[:2]
    centres = (2 * np.arange(bits) + 1) * width // (2 * bits)
    return int(sum((image[height // 2, c].mean() > 128) << i for i, c in enumerate(centres)))


def make_clip(
    path: Path,
    frames: int = 50,
    *,
    fps: Fraction | int = 25,
    codec: str = "libx264",
    sound: str | None = None,
    pts: list[int] | None = None,
    time_base: Fraction | None = None,
    late: float = 0,
    channels: int = 1,
    image=picture,
    **options: str,
) -> Path:
    """A clip by PyAV alone. `late` shifts every timestamp, as recordings cut from a stream have."""
    with av.open(str(path), "w") as output:
        video = output.add_stream(codec, rate=fps, options=options)
        first = image(0)
        video.width, video.height = first.shape[1], first.shape[0]
        if codec == "mjpeg":
            video.pix_fmt = "yuvj420p"
        tick = time_base or Fraction(1, 90_000)
        video.codec_context.time_base = tick if codec == "libx264" else 1 / Fraction(fps)
        audio = None
        if sound:
            layout = "mono" if channels == 1 else "stereo"
            audio = output.add_stream(sound, rate=RATE, layout=layout, bit_rate=128_000)
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image(i)))
            frame.pts = pts[i] if pts else round((i / Fraction(fps) + Fraction(late)) / tick)
            frame.time_base = tick
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if audio:
            seconds = np.arange(round(frames / fps * RATE)) / RATE
            tone = 0.01 * np.sin(2 * np.pi * 220 * seconds)
            for t in FLASHES:
                beep = (seconds >= t) & (seconds < t + 0.1)
                tone[beep] = 0.8 * np.sin(2 * np.pi * 1000 * seconds[beep])
            samples = np.broadcast_to((tone * 32767).astype(np.int16), (channels, len(tone)))
            for i in range(0, len(tone), 960):
                block = np.ascontiguousarray(samples[:, i : i + 960].T.reshape(1, -1))
                frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
                frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
                frame.pts = i + round(late * RATE)
                output.mux(audio.encode(frame))
            output.mux(audio.encode(None))
    return path


def flashing(index: int) -> np.ndarray:
    lit = any(index == round(t * 25) for t in FLASHES)
    return np.full((48, 64, 3), 235 if lit else 20, np.uint8)


def copy(source: Path, target: Path, sound: bool = True, **options) -> VideoWriter:
    info = probe(source)
    with VideoWriter(
        target,
        fps=info.fps,
        width=info.width,
        height=info.height,
        audio_from=source if sound else None,
        **options,
    ) as writer:
        for frame in read_frames(source):
            writer.write(frame.image, frame.pts, frame.time_base)
    return writer


def times(path: Path) -> list[Fraction]:
    return [f.pts * f.time_base for f in read_frames(path)]


def sound_of(path: Path) -> tuple[np.ndarray, int, str]:
    """Samples on the clock of the file (silence before the first), their rate, the codec."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate
        samples = np.zeros(rate * 10)
        at = 0
        for frame in container.decode(stream):
            block = frame.to_ndarray().astype(float)  # planar (channels, n), packed (1, n channels)
            block = block[0, :: 1 if frame.format.is_planar else frame.layout.nb_channels]
            if frame.pts is not None:  # else: right after the one before
                at = round(frame.pts * frame.time_base * rate)
            block, at = block[max(0, -at) :], max(0, at)
            samples[at : at + len(block)] = block
            at += len(block)
        end = np.flatnonzero(samples)[-1] + 1
        return samples[:end], rate, stream.codec_context.codec.canonical_name


def onsets(samples: np.ndarray, rate: int) -> np.ndarray:
    """Seconds at which a loud stretch begins."""
    loud = np.flatnonzero(np.abs(samples) > 0.3 * np.abs(samples).max())
    first = np.concatenate([[True], np.diff(loud) > 0.2 * rate])
    return loud[first] / rate


# ---- reading


def test_every_frame_once_in_order(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", 60, bf="3", g="20")
    frames = list(read_frames(clip))
    assert [f.index for f in frames] == [number(f.image) for f in frames] == list(range(60))
    assert [f.pts * f.time_base for f in frames] == [Fraction(i, 25) for i in range(60)]
    assert isinstance(frames[0], Frame)
    assert frames[0].image.dtype == np.uint8
    assert frames[0].image.flags.c_contiguous
    assert frames[7].name == "frame 000007"
    assert number(frames[17].image) == 17


@pytest.mark.parametrize(
    "chosen", [(0, None, 7), (13, 30, 1), (31, 44, 4), (59, 90, 1), (70, 80, 1)]
)
def test_start_stop_step_are_exact(chosen, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", 60, bf="3", g="20")
    start, stop, step = chosen
    want = list(range(60))[start:stop:step]
    frames = list(read_frames(clip, start=start, stop=stop, step=step))
    assert [f.index for f in frames] == [number(f.image) for f in frames] == want
    assert [f.pts * f.time_base for f in frames] == [Fraction(i, 25) for i in want]
    some = {*want[::3], *(index + 1 for index in want[1::4])}
    fewer = list(read_frames(clip, start=start, stop=stop, step=step, only=some))
    assert [f.index for f in fewer] == sorted(some.intersection(want))
    assert all((f.image == g.image).all() for f in fewer for g in frames if f.index == g.index)


def test_bad_ranges(tmp_path):
    for bad in ({"start": -1}, {"step": 0}, {"stop": -2}):
        with pytest.raises(ValueError, match="start"):
            read_frames(tmp_path, **bad)


def test_frames_equal_those_of_opencv(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", 5)
    reader = cv2.VideoCapture(str(clip))
    for frame in read_frames(clip):
        ok, bgr = reader.read()
        assert ok
        # OpenCV interpolates the colour differently at edges.
        assert np.abs(frame.image.astype(int) - bgr[..., ::-1]).mean() < 1.5
    assert not reader.read()[0]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.mov"])
def test_probe(name, tmp_path):
    codec = "mpeg4" if name == "a.avi" else "libx264"
    sound = "libmp3lame" if name == "a.avi" else "aac"
    clip = make_clip(tmp_path / name, 30, fps=24, codec=codec, sound=sound)
    info = probe(clip)
    assert (info.kind, info.width, info.height, info.fps) == ("video", 64, 48, 24)
    assert info.has_audio
    assert abs(info.frames - 30) <= 1
    assert not probe(make_clip(tmp_path / ("silent" + name), 12, codec=codec)).has_audio


def turn(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Put another display matrix into the track header (tkhd, ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version and flags, times, ids, duration, layer, volume
    one = 0x10000
    assert struct.unpack_from(">9i", data, at) == (one, 0, 0, 0, one, 0, 0, 0, 0x40000000)
    struct.pack_into(">9i", data, at, a * one, b * one, 0, c * one, d * one, 0, 0, 0, 0x40000000)
    path.write_bytes(data)
    return path


def matrix_clip(path: Path, *matrix: int) -> Path:

    def image(index: int) -> np.ndarray:  # four corners of different colours
        frame = np.zeros((32, 64, 3), np.uint8)
        frame[:16, :32], frame[:16, 32:] = (220, 30, 30), (30, 220, 30)
        frame[16:, :32], frame[16:, 32:] = (30, 30, 220), (220, 220, 30)
        return frame

    return turn(make_clip(path, 4, image=image), *matrix)


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),  # a telephone held upright: a quarter clockwise
        ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
        ((0, -1, 1, 0), lambda x: np.rot90(x, 1)),
        ((-1, 0, 0, 1), lambda x: x[:, ::-1]),
        ((1, 0, 0, -1), lambda x: x[::-1]),
        ((0, 1, 1, 0), lambda x: x.transpose(1, 0, 2)),
    ],
    ids=["clockwise", "half", "counter-clockwise", "mirrored", "upside-down", "transposed"],
)
def test_rotation_is_applied(matrix, upright, tmp_path):
    stored = next(read_frames(matrix_clip(tmp_path / "plain.mp4", 1, 0, 0, 1))).image
    clip = matrix_clip(tmp_path / "a.mp4", *matrix)
    frame = next(read_frames(clip)).image
    assert np.array_equal(frame, upright(stored))
    info = probe(clip)
    assert (info.height, info.width) == frame.shape[:2]
    if np.linalg.det(np.reshape(matrix, (2, 2))) > 0:  # OpenCV knows rotations, not mirrors
        bgr = cv2.VideoCapture(str(clip)).read()[1]
        assert bgr.shape == frame.shape
        assert np.abs(bgr[..., ::-1].astype(int) - frame).mean() < 6
    writer = copy(clip, tmp_path / "out.mp4")
    again = next(read_frames(tmp_path / "out.mp4")).image
    assert writer.frames == 4
    assert again.shape == frame.shape
    assert np.abs(again.astype(int) - frame).mean() < 4


def test_a_corrupt_frame_costs_one_frame(tmp_path):
    # Every frame is a key frame, so that the damage to one cannot show in another.
    clip = make_clip(tmp_path / "a.mkv", 30, codec="mjpeg")
    with av.open(str(clip)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = clip.read_bytes()
    payload = None
    with av.open(str(clip)) as container:
        payload = bytes(next(p for i, p in enumerate(container.demux(video=0)) if i == 12))
    at = data.index(payload)
    assert len(packets) == 30
    clip.write_bytes(data[:at] + bytes(len(payload)) + data[at + len(payload) :])
    skipped = []
    frames = list(read_frames(clip, on_skip=lambda name, reason: skipped.append(name)))
    assert [number(f.image) for f in frames] == [i for i in range(30) if i != 12]
    assert [f.index for f in frames] == list(range(29))
    assert skipped == ["packet 12"]
    assert frames[12].pts * frames[12].time_base == Fraction(13, 25)


def test_damage_in_the_middle_of_h264(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", 60, g="12", bf="2")
    with av.open(str(clip)) as container:
        position, size = [(p.pos, p.size) for p in container.demux(video=0) if p.size][20]
    data = bytearray(clip.read_bytes())
    data[position : position + size] = b"\xff" * size
    clip.write_bytes(data)
    frames = list(read_frames(clip))
    assert len(frames) >= 59
    assert [number(f.image) for f in frames[-20:]] == list(range(40, 60))
    assert [f.index for f in frames] == list(range(len(frames)))


def test_a_truncated_video_gives_what_it_holds(tmp_path):
    clip = make_clip(tmp_path / "a.ts", 60, g="10", bf="0")
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    frames = list(read_frames(clip))
    assert 20 < len(frames) < 50
    assert [number(f.image) for f in frames[:20]] == list(range(20))


def test_a_change_of_size_within_a_video(tmp_path):
    """Two raw streams in a row, without any timestamps: all frames come in the first one's size."""
    small = make_clip(tmp_path / "small.h264", 10)
    large = make_clip(tmp_path / "large.h264", 10, image=lambda i: picture(10 + i, 96, 128))
    clip = tmp_path / "a.h264"
    clip.write_bytes(small.read_bytes() + large.read_bytes())
    frames = list(read_frames(clip))
    assert {f.image.shape for f in frames} == {(48, 64, 3)}
    assert [number(f.image) for f in frames] == list(range(20))
    assert (np.diff([f.pts for f in frames]) > 0).all()
    copy(clip, tmp_path / "out.mp4")
    assert [number(f.image) for f in read_frames(tmp_path / "out.mp4")] == list(range(20))


def test_recordings_joined_end_to_end(tmp_path):
    """The timestamps of pictures and sound start again in the middle; no frame is lost."""
    clip = make_clip(tmp_path / "a.ts", 40, sound="aac")
    clip.write_bytes(clip.read_bytes() * 2)
    writer = copy(clip, tmp_path / "out.mp4")
    assert writer.has_audio
    assert writer.frames == len(list(read_frames(tmp_path / "out.mp4"))) >= 79


def test_titles_in_any_encoding(tmp_path):
    clip = make_clip(tmp_path / "a.mkv", 3)
    data = clip.read_bytes()
    name = b"Lavf"
    assert name in data
    clip.write_bytes(data.replace(name, b"\xff\xfe\xe9\xe8"))
    assert len(list(read_frames(clip))) == 3


def test_untagged_colours_follow_the_size(tmp_path):
    """BT.709 from 720 rows up, BT.601 below: the formula, on one colour."""
    y, cb, cr = 95, 127, 188
    for height, kr, kb in ((48, 0.299, 0.114), (720, 0.2126, 0.0722)):
        clip = tmp_path / f"{height}.mp4"
        with av.open(str(clip), "w") as output:
            stream = output.add_stream("libx264", rate=25, options={"qp": "1"})
            stream.width, stream.height = 64, height
            frame = av.VideoFrame(64, height, "yuv420p")
            for plane, value in zip(frame.planes, (y, cb, cr), strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        luma, blue, red = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
        r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
        g = (luma - kr * r - kb * b) / (1 - kr - kb)
        found = next(read_frames(clip)).image[height // 2, 32]
        assert np.abs(found - 255 * np.array([r, g, b])).max() < 2


# ---- pictures


def test_folder_of_pictures(tmp_path):
    for i, name in [(0, "1.png"), (1, "2.PNG"), (2, "10.png"), (3, "a.bmp")]:
        Image.fromarray(np.array(picture(i))).save(tmp_path / name)
    (tmp_path / "alignments.jsonl").write_text("{}")
    (tmp_path / "._1.png").write_bytes(b"a Macintosh's resource fork")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    info = probe(tmp_path)
    assert (info.kind, info.frames, info.fps) == ("pictures", 6, 25)
    assert (info.width, info.height, info.has_audio) == (64, 48, False)
    skipped = []
    frames = list(read_frames(tmp_path, on_skip=lambda name, reason: skipped.append(name)))
    assert skipped == ["3.png", "b.jpg"]
    assert [f.name for f in frames] == ["1.png", "2.PNG", "10.png", "a.bmp"]
    assert [number(f.image) for f in frames] == [0, 1, 2, 3]
    assert [f.index for f in frames] == [f.pts for f in frames] == [0, 1, 3, 4]
    assert [f.name for f in read_frames(tmp_path, start=1, stop=4, step=2)] == ["2.PNG", "10.png"]
    assert [f.name for f in read_frames(tmp_path / "10.png")] == ["10.png"]


def test_pictures_of_every_mode_come_as_upright_rgb(tmp_path):
    grey = np.arange(0, 200, dtype=np.uint8).reshape(10, 20)
    colour = np.dstack([grey, grey // 2, 255 - grey])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(colour).save(tmp_path / "0.png", exif=exif)
    Image.fromarray(grey).save(tmp_path / "1.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "2.png")
    Image.fromarray(np.dstack([colour, grey])).save(tmp_path / "3.png")
    Image.fromarray(colour).quantize(256).save(tmp_path / "4.png")
    frames = [f.image for f in read_frames(tmp_path)]
    assert np.array_equal(frames[0], np.rot90(colour, -1))
    assert np.array_equal(frames[1], np.dstack([grey] * 3))
    assert np.array_equal(frames[2], np.dstack([grey] * 3))
    assert np.array_equal(frames[3], colour)
    assert np.abs(frames[4].astype(int) - colour).max() < 16
    assert (probe(tmp_path).width, probe(tmp_path).height) == (10, 20)


# ---- what is no video


def cover_art() -> bytes:
    """An ID3v2.3 tag with one APIC frame: the picture on the cover of a song."""
    cover = io.BytesIO()
    Image.new("RGB", (32, 32)).save(cover, "PNG")
    apic = b"\0image/png\0\x03\0" + cover.getvalue()
    apic = b"APIC" + struct.pack(">I2x", len(apic)) + apic
    size = bytes(len(apic) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + apic


def test_bad_input_is_told_in_one_sentence(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no video\n" * 100)
    disguised = tmp_path / "text.mp4"
    disguised.write_text("no video\n" * 100)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    folder = tmp_path / "folder"
    folder.mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.png").write_bytes(b"x")
    song = tmp_path / "song.m4a"
    with av.open(str(song), "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        frame.sample_rate = RATE
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    cut = make_clip(tmp_path / "cut.mp4")
    cut.write_bytes(cut.read_bytes()[:1500])
    covered = tmp_path / "song.mp3"
    with av.open(str(covered), "w") as output:
        stream = output.add_stream("mp3", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), "fltp", "mono")
        frame.sample_rate = RATE
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    covered.write_bytes(cover_art() + covered.read_bytes())
    for path, words in [
        (tmp_path / "none.mp4", "no file"),
        (tmp_path / "none.png", "no file"),
        (text, "video"),
        (disguised, "cannot be read as a video"),
        (empty, "empty"),
        (folder, "no picture"),
        (broken, "could be decoded"),
        (song, "no video stream"),
        (cut, "cannot be read as a video"),
        (covered, "no video stream"),
    ]:
        for action in (probe, lambda p: list(read_frames(p))):
            with pytest.raises(UserError, match=words) as caught:
                action(path)
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no file"):
        read_frames(tmp_path / "none.mp4")  # at the call, not at the first frame


# ---- writing


@pytest.mark.parametrize(("width", "height"), [(64, 48), (63, 48), (64, 47), (51, 35)])
def test_size_rate_and_number_are_kept(width, height, tmp_path):
    out = tmp_path / "out.mp4"
    fps = Fraction(30000, 1001)
    with VideoWriter(out, fps=fps, width=width, height=height) as writer:
        for i in range(45):
            writer.write(picture(i, height, width))
    info = probe(out)
    assert (info.width, info.height, info.fps, info.frames) == (width, height, fps, 45)
    assert not info.has_audio
    frames = list(read_frames(out))
    assert [number(f.image) for f in frames] == list(range(45))
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        odd = width % 2 or height % 2
        assert stream.codec_context.pix_fmt == ("yuv444p" if odd else "yuv420p")
        assert abs(stream.duration * stream.time_base - 45 / fps) < Fraction(1, 1000)
    reader = cv2.VideoCapture(str(out))
    assert reader.get(cv2.CAP_PROP_FRAME_COUNT) == 45
    assert reader.get(cv2.CAP_PROP_FPS) == pytest.approx(float(fps))
    assert [number(reader.read()[1]) for _ in range(45)] == list(range(45))


@pytest.mark.parametrize("height", [64, 720])
def test_colours_survive(height, tmp_path):
    """Read back with the tags, and with OpenCV: the matrix written is the one that is tagged."""
    out = tmp_path / "out.mp4"
    blocks = np.random.default_rng(1).integers(0, 256, (height // 16, 4, 3), dtype=np.uint8)
    image = np.kron(blocks, np.ones((16, 16, 1), np.uint8))
    with VideoWriter(out, fps=25, width=64, height=height, crf=4) as writer:
        writer.write(image)
    centres = np.s_[8::16, 8::16]
    found = next(read_frames(out)).image
    assert np.abs(found[centres].astype(int) - image[centres]).max() <= 6
    bgr = cv2.VideoCapture(str(out)).read()[1]
    assert np.abs(bgr[..., ::-1][centres].astype(int) - image[centres]).max() <= 6
    with av.open(str(out)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == ((1, 1) if height == 720 else (6, 1))


def test_timestamps_of_the_source_are_kept(tmp_path):
    """A variable frame rate, as telephones record it."""
    gaps = np.random.default_rng(2).integers(1500, 9000, 40)
    pts = [0, *np.cumsum(gaps).tolist()]
    clip = make_clip(tmp_path / "a.mp4", 41, pts=pts)
    assert times(clip) == [Fraction(p, 90_000) for p in pts]
    copy(clip, tmp_path / "out.mp4")
    assert times(tmp_path / "out.mp4") == times(clip)


def test_timestamps_that_stand_still_or_are_missing(tmp_path):
    out = tmp_path / "out.mp4"
    with VideoWriter(out, fps=25, width=64, height=48) as writer:
        for i, pts in enumerate([100, 140, 140, 120, 220, None]):
            writer.write(picture(i), pts, Fraction(1, 1000))
    assert times(out) == [Fraction(t, 1000) for t in (0, 40, 41, 42, 120, 160)]


def test_very_fine_time_base(tmp_path):
    out = tmp_path / "out.mp4"
    with VideoWriter(out, fps=25, width=64, height=48) as writer:
        for i in range(3):
            writer.write(picture(i), i * 40 * 10**9, Fraction(1, 10**9))
    assert times(out) == [0, 40, 80]


@pytest.mark.parametrize(
    ("name", "sound", "kept"),
    [
        ("a.mp4", "aac", "aac"),
        ("a.ts", "aac", "aac"),
        ("a.mkv", "libmp3lame", "mp3"),
        ("a.avi", "libmp3lame", "mp3"),
        ("a.mkv", "ac3", "ac3"),
        ("a.mkv", "flac", "flac"),
        ("a.mkv", "libopus", "opus"),
        ("a.mov", "pcm_s16le", "aac"),
        ("a.avi", "pcm_s16le", "aac"),
        ("a.asf", "wmav2", "aac"),
    ],
)
@pytest.mark.parametrize("late", [0, 1.5])
def test_sound_stays_in_sync(name, sound, kept, late, tmp_path):
    """A flash and a beep begin together; so they must afterwards, at the same times."""
    codec = "mpeg4" if name == "a.avi" else "libx264"
    if late and name == "a.avi":
        pytest.skip("avi has no timestamps")
    clip = make_clip(
        tmp_path / name, 50, codec=codec, sound=sound, late=late, image=flashing, channels=2
    )
    out = tmp_path / "out.mp4"
    writer = copy(clip, out)
    assert writer.has_audio
    assert probe(out).has_audio
    samples, rate, codec = sound_of(out)
    assert codec == kept
    frames = list(read_frames(out))
    assert len(frames) == 50
    seen = [float(f.pts * f.time_base) for f in frames if f.image.mean() > 128]
    # The containers' own ticks are 1 ms (mkv) or one frame of sound (avi).
    heard = onsets(samples, rate)
    before = onsets(*sound_of(clip)[:2])
    shown = [float(f.pts * f.time_base) for f in read_frames(clip) if f.image.mean() > 128]
    assert len(heard) == len(seen) == 3
    assert heard - seen == pytest.approx(before - shown, abs=0.004)
    # FFmpeg's WMA encoder itself is 40 ms late.
    assert heard - seen == pytest.approx([0, 0, 0], abs=0.045 if sound == "wmav2" else 0.03)
    assert seen[0] - 0.4 == pytest.approx(0, abs=0.1 if sound != "aac" else 0.03)
    lasted = len(samples) / rate - heard[0]
    original, original_rate, _ = sound_of(clip)
    assert lasted >= len(original) / original_rate - before[0] - 0.005


def test_copied_sound_is_bit_exact(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", sound="aac")
    copy(clip, tmp_path / "out.mp4")

    def packets(path: Path) -> list[tuple[bytes, Fraction]]:
        with av.open(str(path)) as container:
            return [(bytes(p), p.pts * p.time_base) for p in container.demux(audio=0) if p.size]

    assert packets(clip) == packets(tmp_path / "out.mp4")


def test_gaps_in_encoded_sound_become_silence(tmp_path):
    clip = tmp_path / "a.mkv"
    with av.open(str(clip), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height = 64, 48
        audio = output.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for i in range(50):
            frame = av.VideoFrame.from_ndarray(np.array(picture(i)))
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        for i in range(100):
            if 20 <= i < 60:  # 0.4 s to 1.2 s were not recorded
                continue
            tone = np.sin(2 * np.pi * np.arange(960) / 48) * (20_000 if i >= 60 else 300)
            frame = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, i * 960, Fraction(1, RATE)
            output.mux(audio.encode(frame))
        output.mux(audio.encode(None))
    copy(clip, tmp_path / "out.mp4")
    samples, rate, _ = sound_of(tmp_path / "out.mp4")
    assert onsets(samples, rate) == pytest.approx([1.2], abs=0.03)


@pytest.mark.parametrize("sound", ["wmav2", "aac"])
def test_damaged_sound_costs_no_picture(sound, tmp_path):
    clip = make_clip(tmp_path / "a.mkv" if sound == "aac" else tmp_path / "a.asf", sound=sound)
    with av.open(str(clip)) as container:
        packets = [bytes(p) for p in container.demux(audio=0) if p.size]
    data = clip.read_bytes()
    # ASF cuts packets into pieces; the beginning of one is found and the rest is overwritten.
    at = [data.index(packet[:40]) for packet in packets[10:20]]
    for start in at:
        data = data[:start] + b"\xff" * 40 + data[start + 40 :]
    clip.write_bytes(data)
    writer = copy(clip, tmp_path / "out.mp4")
    assert writer.frames == len(list(read_frames(tmp_path / "out.mp4"))) == 50
    assert probe(tmp_path / "out.mp4").has_audio


def test_sound_and_pictures_are_interleaved(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", 400, sound="aac")
    copy(clip, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        places = {"video": [], "audio": []}
        for packet in container.demux():
            if packet.size:
                places[packet.stream.type].append(
                    (packet.pos, float(packet.dts * packet.time_base))
                )
    for position, seconds in places["audio"][10:-10]:
        before = [t for p, t in places["video"] if p < position]
        assert abs(before[-1] - seconds) < 1


def test_mark_and_video_without_sound(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", 5)
    out = tmp_path / "out.mp4"
    mark = Mark(SourceType.SWAPPED, "latentface 0.1.0")
    assert not copy(clip, out, mark=mark).has_audio
    assert read_mark(out) == mark
    assert len(list(read_frames(out))) == 5


def test_anamorphic_pixels_are_kept(tmp_path):
    out = tmp_path / "out.mp4"
    shape = Fraction(16, 15)
    with VideoWriter(out, fps=25, width=64, height=48, sample_aspect_ratio=shape) as writer:
        writer.write(picture(0))
    assert probe(out).sample_aspect_ratio == shape
    assert probe(turn(out, 0, 1, -1, 0)).sample_aspect_ratio == 1 / shape


@pytest.mark.parametrize("older", [None, b"an older file"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, UserError])
@pytest.mark.parametrize("frames", [0, 3, 80])
def test_what_is_interrupted_leaves_nothing(older, error, frames, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", 3, sound="aac")
    out = tmp_path / "out.mp4"
    if older:
        out.write_bytes(older)

    def interrupted() -> None:
        with VideoWriter(out, fps=25, width=64, height=48, audio_from=clip) as writer:
            for i in range(frames):
                writer.write(picture(i))
            raise error

    with pytest.raises(error):
        interrupted()
    assert (out.read_bytes() if out.exists() else None) == older
    assert {p.name for p in tmp_path.iterdir()} == {"a.mp4"} | ({"out.mp4"} if older else set())


def test_interrupt_at_the_last_moment(tmp_path, monkeypatch):
    out = tmp_path / "out.mp4"

    def interrupted(path, mark):
        raise KeyboardInterrupt

    monkeypatch.setattr("swap.writer.mark_file", interrupted)
    with (
        pytest.raises(KeyboardInterrupt),
        VideoWriter(out, fps=25, width=64, height=48, mark=Mark(None, "t")) as writer,
    ):
        writer.write(picture(0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("hours", "good"), [(0.5, True), (6, True), (10, False), (8760, False)])
def test_a_hole_that_mp4_cannot_hold_is_told_at_its_frame(hours, good, tmp_path):
    def write(path):
        with VideoWriter(path, fps=25, width=64, height=48) as writer:
            for i in range(8):
                at = 40 * i + (round(hours * 3_600_000) if i >= 4 else 0)
                writer.write(picture(i), at, Fraction(1, 1000))

    if good:
        write(tmp_path / "o.mp4")
        assert float(np.diff(times(tmp_path / "o.mp4")).max()) == pytest.approx(hours * 3600 + 0.04)
        return
    with pytest.raises(UserError, match=r"frame 4 is shown .* hours after the one before"):
        write(tmp_path / "o.mp4")
    assert list(tmp_path.iterdir()) == []


def test_refusals_of_the_writer(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", 3)
    before = clip.read_bytes()
    size = {"fps": Fraction(25), "width": 64, "height": 48}
    with pytest.raises(UserError, match="no frame"), VideoWriter(tmp_path / "o.mp4", **size):
        pass
    with pytest.raises(UserError, match="another name"):
        copy(clip, clip)
    assert clip.read_bytes() == before
    with pytest.raises(UserError, match="does not exist"):
        copy(clip, tmp_path / "no" / "out.mp4")
    with pytest.raises(UserError, match="folder"):
        copy(clip, tmp_path)
    with (
        pytest.raises(UserError, match="10x20"),
        VideoWriter(tmp_path / "o.mp4", **size) as writer,
    ):
        writer.write(np.zeros((20, 10, 3), np.uint8))
    with (
        pytest.raises(ValueError, match="uint8"),
        VideoWriter(tmp_path / "o.mp4", **size) as writer,
    ):
        writer.write(np.zeros((48, 64, 3)))
    with (
        pytest.raises(UserError, match="no file"),
        VideoWriter(tmp_path / "o.mp4", audio_from=tmp_path / "none.mp4", **size),
    ):
        pass
    with pytest.raises(ValueError, match="positive"):
        VideoWriter(tmp_path / "o.mp4", fps=0, width=64, height=48)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk(tmp_path, monkeypatch):
    """Writing to /dev/full fails as on a full disk."""
    full = tmp_path / "full"
    full.symlink_to("/dev/full")

    class Staged:
        def __init__(self, path, **options):
            pass

        def __enter__(self):
            return full

        def __exit__(self, *_):
            full.unlink()

    monkeypatch.setattr("swap.writer.atomic_path", Staged)
    with (
        pytest.raises(UserError, match="could not be written"),
        VideoWriter(tmp_path / "o.mp4", fps=25, width=64, height=48) as writer,
    ):
        writer.write(picture(0))


def test_memory_does_not_grow_with_the_sound(tmp_path):
    clip = make_clip(tmp_path / "a.mov", 500, sound="pcm_s16le")
    with suppress(KeyError):
        del os.environ["PYTHONTRACEMALLOC"]
    tracemalloc.start()
    try:
        copy(clip, tmp_path / "out.mp4")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_real_clip_goes_through():
    folder = Path(__file__).parents[3] / "shared" / "data" / "faces"
    folder = Path(os.environ.get("LATENTFACE_FACES", folder))
    clip = folder / "cap13_edit2.mp4"
    if not clip.exists():
        pytest.skip(f"the clips for measuring are not here ({folder})")
    info = probe(clip)
    assert (info.frames, info.fps, info.width, info.height) == (765, 25, 400, 300)
    frames = list(read_frames(clip, start=700))
    assert [f.index for f in frames] == list(range(700, 765))
