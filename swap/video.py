"""Frames in and out: videos and folders of pictures through PyAV (FFmpeg) and Pillow.

    probe(path)         what it is: size, rate, an estimate of the number of frames, sound or not
    read_frames(path)   every frame in order, upright, as RGB uint8 (H, W, 3), with its timestamp
    VideoWriter(path)   H.264 in mp4, the source's timestamps and sound kept, whole or not at all

A frame's `index` counts the frames that the decoder delivers (for pictures: the place in the sorted
list), from 0, without seeking; so the same index always names the same frame, whatever the
container's own index or a variable frame rate may say.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream

from swap.container import (
    HD_HEIGHT,
    SCALING,
    OnSkip,
    decode_frames,
    open_video,
    orientation,
    video_stream,
)
from swap.errors import UserError
from swap.pictures import DEFAULT_MS, film_length, list_pictures, read_film, read_picture
from swap.writer import VideoWriter

__all__ = ["Frame", "VideoInfo", "VideoWriter", "probe", "read_frames"]

PICTURE_RATE = Fraction(25)
# What a header says beyond these is no recording's: the next best value is taken.
SLOWEST, FASTEST, WIDEST = Fraction(1, 100), Fraction(1000), Fraction(16)


@dataclass(frozen=True)
class VideoInfo:
    """What `probe` found. `width` and `height` are those of the upright frames.

    frames: an estimate from the container's header, 0 where it says nothing.
    sample_aspect_ratio: a pixel's width over its height; 1 but for anamorphic video.
    """

    path: Path
    kind: Literal["video", "pictures"]
    frames: int
    fps: Fraction
    width: int
    height: int
    has_audio: bool
    sample_aspect_ratio: Fraction = Fraction(1)


@dataclass(frozen=True)
class Frame:
    """One upright frame: `image` is uint8 (H, W, 3) RGB; its time is `pts * time_base` seconds."""

    index: int
    image: np.ndarray
    pts: int
    time_base: Fraction
    name: str


def probe(path: Path | str) -> VideoInfo:
    """Look at a video file, a picture or a folder of pictures; decodes one frame.

    Raises UserError when there is no such file, it is no video, it has no video stream, no frame of
    it can be decoded, or the folder holds no readable picture.
    """
    path = Path(path)
    pictures = list_pictures(path)
    if pictures is not None:
        if (length := _film_length(path, pictures)) > 1:
            (first, _), (_, late) = islice(chain(read_film(path), [(None, DEFAULT_MS)]), 2)
            height, width = first.shape[:2]
            return VideoInfo(path, "video", length, Fraction(1000, late), width, height, False)
        if pictures == [path]:
            height, width = read_picture(path).shape[:2]
            return VideoInfo(path, "pictures", 1, PICTURE_RATE, width, height, False)
        for picture in pictures:
            with suppress(UserError):
                height, width = read_picture(picture).shape[:2]
                return VideoInfo(
                    path, "pictures", len(pictures), PICTURE_RATE, width, height, False
                )
        raise _no_frame(path)
    with open_video(path) as container:
        stream = video_stream(container, path)
        frame = next(decode_frames(container, stream, lambda name, reason: None), None)
        if frame is None:
            raise _no_frame(path)
        rates = (stream.average_rate, stream.guessed_rate, PICTURE_RATE)
        fps = next(rate for rate in rates if rate and SLOWEST <= rate <= FASTEST)
        seconds = Fraction(container.duration or 0, av.time_base)
        if stream.duration is not None:
            seconds = stream.duration * stream.time_base
        turned, _, _ = orientation(frame)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        if not 1 / WIDEST <= aspect <= WIDEST:
            aspect = Fraction(1)
        size = (frame.height, frame.width) if turned else (frame.width, frame.height)
        return VideoInfo(
            path,
            "video",
            stream.frames or max(0, round(seconds * fps)),
            fps,
            *size,
            bool(container.streams.audio),
            1 / aspect if turned else aspect,
        )


def read_frames(
    path: Path | str,
    *,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    only: Collection[int] | None = None,
    on_skip: OnSkip | None = None,
) -> Iterator[Frame]:
    """Yield the frames whose index is in range(start, stop, step), in order of presentation.

    only: of these, the ones whose index is in it; to pass a frame over is several times as fast as to yield it.

    Frames come upright (the container's rotation or the picture's EXIF orientation is applied) and,
    for a video, all of one size. What cannot be decoded is passed over and told to
    `on_skip(name, reason)`: a damaged packet of a video costs its frame, not the rest; the later
    frames then move up by one index. A skipped picture keeps its index.

    Raises UserError at the call when `path` cannot be opened (see `probe`), and at the end when
    nothing at all could be decoded. Raises ValueError for a negative start or a step below 1.
    """
    if start < 0 or step < 1 or (stop is not None and stop < 0):
        raise ValueError(f"start={start}, stop={stop}, step={step}: start, stop >= 0, step >= 1")
    path = Path(path)
    skip = on_skip or (lambda name, reason: None)
    chosen = _Chosen(start, stop, step, only)
    pictures = list_pictures(path)
    if pictures is not None and _film_length(path, pictures) > 1:
        return _read_film(path, chosen, skip)
    if pictures is not None:
        return _read_pictures(path, pictures, chosen, skip)
    # Opened here, so that a bad file is reported at the call and not at the first next().
    container = open_video(path)
    try:
        stream = video_stream(container, path)
    except UserError:
        container.close()
        raise
    return _read_video(path, container, stream, chosen, skip)


@dataclass(frozen=True)
class _Chosen:
    """Which frames `read_frames` yields."""

    start: int
    stop: int | None
    step: int
    only: Collection[int] | None

    def __contains__(self, index: int) -> bool:
        in_range = index >= self.start and (index - self.start) % self.step == 0
        return (
            in_range and not self.ends_before(index) and (self.only is None or index in self.only)
        )

    def ends_before(self, index: int) -> bool:
        return self.stop is not None and index >= self.stop


def _read_pictures(
    path: Path, pictures: list[Path], chosen: _Chosen, on_skip: OnSkip
) -> Iterator[Frame]:
    wanted = [index for index in range(len(pictures)) if index in chosen]
    decoded = 0
    for index in wanted:
        picture = pictures[index]
        try:
            image = read_picture(picture)
        except UserError as error:
            on_skip(picture.name, str(error))
            continue
        decoded += 1
        yield Frame(index, image, index, 1 / PICTURE_RATE, picture.name)
    if wanted and not decoded:
        raise _no_frame(path)


def _film_length(path: Path, pictures: list[Path]) -> int:
    """More than 1 where `path` is one file that holds several pictures to be shown in turn."""
    return film_length(path) if pictures == [path] else 1


def _read_film(path: Path, chosen: _Chosen, on_skip: OnSkip) -> Iterator[Frame]:
    index = -1
    try:
        for index, (image, at) in enumerate(read_film(path)):
            if chosen.ends_before(index):
                return
            if index in chosen:
                yield Frame(index, image, at, Fraction(1, 1000), f"frame {index:06d}")
    except UserError as error:
        if index < 0:
            raise
        on_skip(f"after frame {index}", str(error))


def _no_frame(path: Path) -> UserError:
    return UserError(
        f"no frame of {path} could be decoded: it is damaged or incomplete; "
        "fetch or export it again."
    )


def _read_video(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    chosen: _Chosen,
    on_skip: OnSkip,
) -> Iterator[Frame]:
    with container:
        reformatter = VideoReformatter()
        size: tuple[int, int] | None = None
        spacing = max(1, round(1 / (stream.average_rate or PICTURE_RATE) / stream.time_base))
        pts = -spacing
        index = -1
        for index, decoded in enumerate(decode_frames(container, stream, on_skip)):
            if chosen.ends_before(index):
                return
            # Old containers (avi, raw H.264) give some frames no timestamp.
            pts = decoded.pts if decoded.pts is not None else pts + spacing
            size = size or (decoded.width, decoded.height)
            if index not in chosen:
                continue
            untagged_hd = decoded.colorspace == 2 and decoded.height >= HD_HEIGHT
            rgb = reformatter.reformat(
                decoded,
                *size,
                format="rgb24",
                src_colorspace=Colorspace.ITU709 if untagged_hd else None,
                interpolation=SCALING,
                threads=1,
            ).to_ndarray()
            transpose, left_right, top_bottom = orientation(decoded)
            if transpose:
                rgb = rgb.transpose(1, 0, 2)
            rgb = rgb[:: -1 if top_bottom else 1, :: -1 if left_right else 1]
            yield Frame(
                index, np.ascontiguousarray(rgb), pts, stream.time_base, f"frame {index:06d}"
            )
        if index < 0:
            raise _no_frame(path)
