"""The inside of a video file: open it, find the pictures' stream, decode it past any damage.

What `swap.video` (reading) and `swap.writer` (writing) both stand on.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from swap.carriers import has_packed_header
from swap.errors import UserError

OnSkip = Callable[[str, str], None]

HD_HEIGHT = 720  # untagged video is BT.709 from here up and BT.601 below, as players assume
# Of a rotation by so many quarters counter-clockwise, what `orientation` answers.
QUARTERS = (
    (False, False, False),
    (True, False, True),
    (False, True, True),
    (True, True, False),
)
SCALING = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)


# What is opened, by what the file says and not by its name. Not among them are lists of other files
# and addresses (HLS, DASH, SDP, concat), text, and single pictures, which swap.pictures reads.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,asf,ogg,gif,"
    "apng,dv,mxf,nut,rm,swf,yuv4mpegpipe,wtv,mjpeg,mp3,aac,ac3,flac,wav"
)
LARGEST_FRAME = 36_000_000  # pixels: 8192 x 4320


def open_video(path: Path) -> InputContainer:
    """Open a video file. Raises UserError where it is missing, empty or not a container."""
    try:
        if not path.exists():
            raise UserError(f"there is no file {path}.")
        if path.is_dir():
            raise UserError(f"{path} is a folder; a video file was expected.")
        if not path.is_file():
            raise UserError(f"{path} is a pipe or a device; a video file was expected.")
        empty = path.stat().st_size == 0
        if has_packed_header(path):
            raise UserError(
                f"{path} has a compressed header, as QuickTime wrote them before 2000; convert it to mp4 first."
            )
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    name = str(path.absolute())  # keeps FFmpeg from taking "a:b.mp4" for a protocol
    file: str | BinaryIO = name
    try:
        try:
            name.encode()
        except UnicodeEncodeError:  # a name in another encoding: FFmpeg is given the open file
            file = path.open("rb")
        return av.open(
            file,
            metadata_errors="replace",
            container_options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"},
            options={"max_pixels": str(LARGEST_FRAME)},
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        found = getattr(error, "strerror", None) or str(error)
        if isinstance(error, av.error.ArgumentError):
            found = "it is of another kind"
        raise UserError(
            f"{path} cannot be read as a video ({'it is empty' if empty else found}); expected mp4, "
            "mov, mkv, webm, avi or another container of videos."
        ) from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    for stream in container.streams.video:
        # The cover picture of a song is a video stream of one frame.
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise UserError(
                    f"the codec of the video {path} is unknown; convert it to H.264 first."
                )
            stream.thread_type = "AUTO"
            # A frame of a hundred bytes may claim any size, and is then as large in memory.
            stream.codec_context.options = {"max_pixels": str(LARGEST_FRAME)}
            if stream.width * stream.height > LARGEST_FRAME:
                raise UserError(
                    f"{path} claims frames of {stream.width:,} x {stream.height:,} pixels, and at "
                    f"most {LARGEST_FRAME:,} are read."
                )
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
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV knows no name for another side datum of the frame, and then lists none: EXIF, for one.
        return QUARTERS[round(frame.rotation / 90) % 4]
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0
