"""The inside of a video file: open it, find the pictures' stream, decode it past any damage.

What `swap.video` (reading) and `swap.writer` (writing) both stand on.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from swap.errors import UserError

OnSkip = Callable[[str, str], None]

HD_HEIGHT = 720  # untagged video is BT.709 from here up and BT.601 below, as players assume
SCALING = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)


def open_video(path: Path) -> InputContainer:
    """Open a video file. Raises UserError where it is missing, empty or not a container."""
    if not path.exists():
        raise UserError(f"there is no file {path}.")
    if path.is_dir():
        raise UserError(f"{path} is a folder; a video file was expected.")
    try:
        # The absolute path keeps FFmpeg from taking "a:b.mp4" for a protocol.
        container = av.open(str(path.absolute()), metadata_errors="replace")
    except (av.error.FFmpegError, OSError) as error:
        found = "it is empty" if path.stat().st_size == 0 else error.strerror
        raise UserError(
            f"{path} cannot be read as a video ({found}); expected mp4, mov, mkv, webm, avi or "
            "another container that FFmpeg knows."
        ) from error
    if container.format.name == "tty":  # FFmpeg takes any text file for a screen of a terminal
        container.close()
        raise UserError(f"{path} is a text file; a video was expected.")
    return container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    for stream in container.streams.video:
        # The cover picture of a song is a video stream of one frame.
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise UserError(
                    f"the codec of the video {path} is unknown; convert it to H.264 first."
                )
            stream.thread_type = "AUTO"
            return stream
    raise UserError(f"{path} has no video stream; a video with pictures was expected.")


def decode_frames(
    container: InputContainer, stream: VideoStream, on_skip: OnSkip
) -> Iterator[av.VideoFrame]:
    """Every frame that can be decoded, in order; an undecodable packet is told to `on_skip`."""
    packets = container.demux(stream)
    number = 0
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            # The container cannot be read on; what the decoder still holds is delivered below.
            on_skip(f"after packet {number}", str(error))
            packet = None
        try:
            # The last packet of a readable container is empty and flushes the decoder.
            frames = stream.codec_context.decode(packet) if packet is None else packet.decode()
        except av.error.EOFError:
            frames = []
        except av.error.FFmpegError as error:
            on_skip(f"packet {number}", str(error))
            frames = []
        yield from frames
        if packet is None:
            return
        number += 1


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """What makes `frame` upright: (transpose, then flip left-right, then flip top-bottom).

    The display matrix holds nine int32, row by row: a b u, c d v, x y w. It maps a stored point
    (p, q) to the shown point (a p + c q + x, b p + d q + y); see libavutil/display.h.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0
