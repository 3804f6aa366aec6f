"""A video that is written in pieces, so that an interrupted one goes on where it was.

    FOLDER/out-000003.piece    the encoded frames 3 PIECE ... 4 PIECE - 1, forced to the disk

A piece is a line of JSON, its packets' [pts, dts, duration, key frame, bytes] and the SHA-256 of their
data, and that data. Each is encoded by itself and begins with a key frame, whether the work is
interrupted or not; so the joined file is, byte for byte, the one of an uninterrupted run. At the end
the packets are joined without being encoded again, with the sound, and the file appears whole.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext

from swap.errors import UserError
from swap.files import atomic_path, write_bytes_atomic
from swap.writer import CODEC, VideoWriter

PIECE = 96  # frames: 3 or 4 seconds of a video, which is the most that is done twice


@dataclass(frozen=True)
class _Packet:
    """One encoded frame; times in ticks of the output."""

    pts: int
    dts: int
    duration: int
    key: bool
    data: bytes


class PieceWriter(VideoWriter):
    """A VideoWriter that goes on with what an interrupted one left in `folder`.

    folder: of the same file system as `path`; whoever made it removes it, and sees to it that all
    that is written into one folder under one `name` is the same video. `kept` frames, in order from
    the first, are encoded already: `write` of these is allowed and does nothing, `pass_over` is
    quicker. Raises as VideoWriter does.
    """

    def __init__(self, path: Path | str, folder: Path, name: str, **options: Any) -> None:
        super().__init__(path, **options)
        self.folder, self.name = folder, name
        # What the end of a video left, shorter than PIECE, is encoded again: it may not be the end now.
        self.kept = sum(len(packets) == PIECE for packets in self._whole_pieces()) * PIECE
        self._piece: list[_Packet] = []
        self._number = 0
        self._encoder: VideoCodecContext | None = None

    def pass_over(self, pts: int | None = None, time_base: Fraction | None = None) -> None:
        """Count a frame that is encoded already."""
        if self.frames >= self.kept:
            raise ValueError(f"frame {self.frames} is not encoded yet; {self.kept} frames are")
        self._next_tick(pts, time_base)
        self.frames += 1

    def write(
        self, rgb: np.ndarray, pts: int | None = None, time_base: Fraction | None = None
    ) -> None:
        """As VideoWriter.write; a frame that is encoded already is only counted."""
        if self.frames < self.kept:
            self.pass_over(pts, time_base)
        else:
            super().write(rgb, pts, time_base)

    def _place(self) -> AbstractContextManager[Path]:
        return atomic_path(self.path, within=self.folder, durable=True)

    def _encode(self, frame: av.VideoFrame, at: int) -> None:
        if self._encoder is None:
            self._encoder, self._number = self._new_encoder(), self.frames // PIECE
        self._collect(self._encoder.encode(frame))
        if (self.frames + 1) % PIECE == 0:
            self._end_piece()

    def _options(self) -> dict[str, str]:
        # x264's macroblock tree reads memory that nobody has written, so that its choices, and the
        # file, differ a little from run to run (seen with MALLOC_PERTURB_); without it they do not.
        return super()._options() | {"x264-params": "mbtree=0"}

    def _new_encoder(self) -> VideoCodecContext:
        """A sibling of the output's own encoder, which itself is never given a frame."""
        encoder = av.CodecContext.create(CODEC, "w")
        self._set_up(encoder)
        encoder.options = self._options()
        encoder.framerate = self.fps
        encoder.time_base = self._stream.codec_context.time_base
        encoder.flags |= Flags.global_header  # as mp4 wants them: parameters in the header alone
        return encoder

    def _collect(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            self._piece.append(
                _Packet(
                    packet.pts,
                    packet.dts,
                    packet.duration or 0,
                    packet.is_keyframe,
                    bytes(packet),
                )
            )

    def _end_piece(self) -> None:
        """Close the encoder, and write what it made to the disk."""
        if self._encoder is None:
            return
        self._collect(self._encoder.encode(None))
        write_bytes_atomic(self._file(self._number), _packed(self._piece), durable=True)
        self._encoder, self._piece = None, []

    def _mux_the_rest(self) -> None:
        self._end_piece()
        # Players expect times of decoding that rise and lie before those of showing. Each piece has
        # its own; over the whole video, they are the times of showing in order, `delay` frames late.
        delay, shown = 0, []
        for packets in self._whole_pieces():
            first = min(packet.pts for packet in packets)
            delay = max(delay, sum(packet.dts < first for packet in packets))
            shown += sorted(packet.pts for packet in packets)
        if len(shown) != self.frames:
            raise UserError(
                f"the pieces of {self.path} in {self.folder} were changed while it was written; "
                "run the same command again."
            )
        lead = shown[min(delay, len(shown) - 1)] - shown[0]
        late = [pts - max(lead, delay) for pts in shown[:delay]] + shown
        tick, number = self._stream.codec_context.time_base, 0
        for packets in self._whole_pieces():
            for kept in packets:
                packet = av.Packet(kept.data)
                packet.pts, packet.dts, packet.duration = kept.pts, late[number], kept.duration
                packet.time_base, packet.is_keyframe = tick, kept.key
                packet.stream = self._stream
                self._output.mux(packet)
                if self._sound:
                    self._sound.mux_until(kept.pts * tick)
                number += 1

    def _file(self, number: int) -> Path:
        return self.folder / f"{self.name}-{number:06d}.piece"

    def _whole_pieces(self) -> Iterator[list[_Packet]]:
        """The pieces from the first up to one that is missing, damaged or short."""
        for number in count():
            packets = _unpacked(self._file(number))
            if packets is None:
                return
            yield packets
            if len(packets) < PIECE:
                return


def _packed(packets: list[_Packet]) -> bytes:
    data = b"".join(packet.data for packet in packets)
    table = [[p.pts, p.dts, p.duration, int(p.key), len(p.data)] for p in packets]
    header = {"sha256": hashlib.sha256(data).hexdigest(), "packets": table}
    return json.dumps(header).encode() + b"\n" + data


def _unpacked(path: Path) -> list[_Packet] | None:
    """The packets of a piece; None where it is missing or not whole."""
    try:
        head, _, data = path.read_bytes().partition(b"\n")
        header = json.loads(head)
        if hashlib.sha256(data).hexdigest() != header["sha256"]:
            return None
        packets, at = [], 0
        for pts, dts, duration, key, size in header["packets"]:
            packets.append(_Packet(pts, dts, duration, bool(key), data[at : at + size]))
            at += size
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return packets or None
