"""Frames to a file: H.264 in mp4, the source's timestamps and sound kept, whole or not at all."""

from contextlib import AbstractContextManager, ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    VideoReformatter,
)
from av.video.stream import VideoStream

from swap.container import HD_HEIGHT, SCALING, open_video
from swap.errors import UserError
from swap.files import atomic_path
from swap.provenance import Mark, mark_file
from swap.sound import Soundtrack, add_sound

CODEC = "libx264"
# The mp4 muxer counts the ticks from one frame to the next in 31 bits.
FINEST_TIME_BASE = Fraction(1, 1_000_000)
COARSEST_SCALE = 10_000  # ticks a second: the muxer doubles fewer


class VideoWriter:
    """Writes RGB frames as H.264 in mp4; a context manager.

        with VideoWriter(out, fps=info.fps, width=w, height=h, audio_from=source) as writer:
            for frame in read_frames(source):
                writer.write(frame.image, frame.pts, frame.time_base)

    The file appears under `path` when the block ends without error; anything else, Ctrl-C included,
    leaves no new file and an older one untouched. Give `mark` and the file is marked before it
    appears. The size is kept as it is: yuv420p, or yuv444p where a side is odd (4:2:0 needs even
    sides). Colours are BT.709 from 720 rows up, else BT.601, and tagged so.

    audio_from: the video that the frames come from; its sound is kept (see `swap.sound`), in sync
    with the frames' own timestamps. `has_audio` tells whether there was any.
    cut_sound: end the sound with the last frame, for a video of which only a part is written.
    crf: x264's constant rate factor; 16 is visually lossless, +6 halves the size.

    Raises UserError when the file cannot be written, is the very file the sound is read from, a
    frame has another size, or no frame was written.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        fps: Fraction,
        width: int,
        height: int,
        audio_from: Path | str | None = None,
        crf: float = 16,
        sample_aspect_ratio: Fraction = Fraction(1),
        mark: Mark | None = None,
        cut_sound: bool = False,
    ) -> None:
        self.path = Path(path)
        self.fps = Fraction(fps).limit_denominator(65535)
        self.width, self.height = width, height
        self.audio_from = Path(audio_from) if audio_from is not None else None
        self.crf, self.mark, self.cut_sound = crf, mark, cut_sound
        self.sample_aspect_ratio = sample_aspect_ratio
        self.frames = 0
        self.has_audio = False
        if self.fps <= 0 or width < 1 or height < 1:
            raise ValueError(f"fps={fps}, width={width}, height={height}: all must be positive")

    def __enter__(self) -> Self:
        source = self.audio_from
        if source is not None and self.path.exists() and self.path.samefile(source):
            raise UserError(
                f"{self.path} is the video that is being read; choose another name for the output."
            )
        with ExitStack() as stack:
            self._temporary = stack.enter_context(self._place())
            try:
                self._output = av.open(
                    str(self._temporary.absolute()),
                    "w",
                    format="mp4",
                    options={"movflags": "+faststart"},
                )
            except OSError as error:
                raise UserError(f"{self.path} cannot be written: {error.strerror}.") from error
            stack.callback(self._close_output)
            self._stream = self._add_stream()
            self._sound: Soundtrack | None = None
            if source is not None:
                container = stack.enter_context(open_video(source))
                self._sound = add_sound(container, self._output)
            self.has_audio = self._sound is not None
            self._reformatter = VideoReformatter()
            self._origin = self._sound.origin if self._sound else None
            self._last_pts: int | None = None
            self._stack = stack.pop_all()
        return self

    def _place(self) -> AbstractContextManager[Path]:
        """Where the file is written before it gets its name."""
        return atomic_path(self.path, durable=True)

    def _add_stream(self) -> VideoStream:
        stream = self._output.add_stream(CODEC, rate=self.fps, options=self._options())
        self._set_up(stream.codec_context)
        return stream

    def _options(self) -> dict[str, str]:
        return {"crf": str(self.crf), "preset": "medium"}

    def _set_up(self, context: VideoCodecContext) -> None:
        context.width, context.height = self.width, self.height
        context.pix_fmt = "yuv444p" if self.width % 2 or self.height % 2 else "yuv420p"
        context.sample_aspect_ratio = self.sample_aspect_ratio
        self._hd = self.height >= HD_HEIGHT
        context.colorspace = 1 if self._hd else 6  # AVCOL_SPC_BT709, AVCOL_SPC_SMPTE170M
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        context.color_range = ColorRange.MPEG

    def write(
        self, rgb: np.ndarray, pts: int | None = None, time_base: Fraction | None = None
    ) -> None:
        """Append one frame, uint8 (H, W, 3). It is shown at `pts * time_base` seconds.

        Without `pts` it is shown one frame after the last one. Timestamps must rise; one that does
        not is moved to the next tick.
        """
        if rgb.dtype != np.uint8:
            raise ValueError(f"a frame must be uint8, found {rgb.dtype}")
        if rgb.shape != (self.height, self.width, 3):
            found = "x".join(map(str, rgb.shape[1::-1]))
            raise UserError(
                f"frame {self.frames} is {found} pixels, but the video {self.path} is "
                f"{self.width}x{self.height}: all frames of a video must have one size."
            )
        at = self._next_tick(pts, time_base)
        try:
            self._encode(self._converted(rgb, at), at)
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error
        self.frames += 1

    def _next_tick(self, pts: int | None, time_base: Fraction | None) -> int:
        """When the next frame is shown, in ticks of the output; rises with every call."""
        context = self._stream.codec_context
        if self._last_pts is None:
            tick = time_base or 1 / self.fps
            context.time_base = tick if tick >= FINEST_TIME_BASE else Fraction(1, 90_000)
        tick = context.time_base
        spacing = max(1, round(1 / self.fps / tick))
        if pts is not None:
            seconds = pts * (time_base or 1 / self.fps)
            if self._origin is None:
                self._origin = seconds
            at = round(seconds / tick) - round(self._origin / tick)
        else:
            at = self._last_pts + spacing if self._last_pts is not None else 0
        if self._last_pts is not None:
            at = max(at, self._last_pts + 1)
            self._check_gap((at - self._last_pts) * tick, tick)
        self._last_pts = at
        return at

    def _check_gap(self, seconds: Fraction, tick: Fraction) -> None:
        scale = 1 / tick
        while scale < COARSEST_SCALE:
            scale *= 2
        # With three frames that look ahead, five lie between the times of decoding and of showing.
        if 6 * seconds * scale >= 2**31:
            raise UserError(
                f"frame {self.frames} is shown {float(seconds / 3600):,.1f} hours after the one before "
                f"it, which the mp4 {self.path} cannot hold; cut the recording there, and convert both parts."
            )

    def _converted(self, rgb: np.ndarray, at: int) -> av.VideoFrame:
        """The frame as the encoder takes it."""
        context = self._stream.codec_context
        source = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame = self._reformatter.reformat(
            source,
            format=context.pix_fmt,
            dst_colorspace=Colorspace.ITU709 if self._hd else Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            interpolation=SCALING,
            threads=1,
        )
        frame.pts, frame.time_base = at, context.time_base
        return frame

    def _encode(self, frame: av.VideoFrame, at: int) -> None:
        self._output.mux(self._stream.encode(frame))
        if self._sound:
            self._sound.mux_until(at * self._stream.codec_context.time_base)

    def _mux_the_rest(self) -> None:
        """All packets that are not yet in the file."""
        self._output.mux(self._stream.encode(None))

    def _failed(self, error: Exception) -> UserError:
        return UserError(f"{self.path} could not be written ({error}); is the disk full?")

    def _close_output(self) -> None:
        # After an error the container may be unable to write its index; the file is removed anyway.
        with suppress(av.error.FFmpegError, OSError, ValueError):
            self._output.close()

    def _finish(self) -> None:
        if not self.frames:
            raise UserError(f"no frame was written to {self.path}, so there is no video.")
        try:
            self._mux_the_rest()
            if self._sound:
                end = self._last_pts * self._stream.codec_context.time_base
                self._sound.mux_until(end if self.cut_sound else None)
            self._output.close()
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error
        if self.mark is not None:
            mark_file(self._temporary, self.mark)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if value is not None:
            self._stack.__exit__(kind, value, traceback)
            return
        with self._stack:
            self._finish()
