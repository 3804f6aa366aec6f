"""Sound from one container to another, packet by packet, in step with the pictures.

Packets are copied untouched where the mp4 container holds their codec. Any other sound (PCM, WMA,
Vorbis ...) is decoded and encoded as AAC; gaps in its timestamps are filled with silence, so that
it stays in sync. At no time is more than one packet held here.
"""

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.filter import Graph

# What mp4 registers and current players play from it.
COPIED = frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "alac", "flac", "opus"})
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
AAC_FRAME = 1024
BITS_PER_CHANNEL = 96_000


class Soundtrack:
    """Muxes the sound of `source` into `output` as the pictures advance.

    origin: seconds on the source's clock that become 0 in the output, >= 0. The timestamps of some
    containers (MPEG-TS, cut recordings) start late; the pictures must be shifted by as much.
    """

    def __init__(
        self, packets: Iterator[av.Packet], output: OutputContainer, origin: Fraction
    ) -> None:
        self.origin = origin
        self._packets = packets
        self._output = output
        self._held: av.Packet | None = None

    def mux_until(self, seconds: Fraction | None) -> None:
        """Mux the packets that begin at or before `seconds` of output time; None: all the rest.

        Raises av.error.FFmpegError where the output cannot be written.
        """
        while True:
            self._held = self._held or next(self._packets, None)
            if self._held is None:
                return
            if seconds is not None and self._held.dts * self._held.time_base > seconds:
                return
            self._output.mux(self._held)
            self._held = None


def add_sound(source: InputContainer, output: OutputContainer) -> Soundtrack | None:
    """Add a sound stream to `output` (before anything is muxed into it), fed from `source`.

    Of several sound streams the one that players choose is taken. Returns None where `source` has
    no sound, or none that can be decoded.
    """
    stream = source.streams.best("audio")
    if stream is None or stream.codec_context is None:
        return None
    origin = max(Fraction(0), Fraction(source.start_time or 0, av.time_base))
    shift = round(origin / stream.time_base)
    if stream.codec_context.codec.canonical_name in COPIED:
        packets = _demux(source, stream)
        head = next(packets, None)
        if head is None:
            return None
        target = output.add_stream_from_template(stream)
        return Soundtrack(_copied(chain([head], packets), target, shift), output, origin)

    frames = _decoded(source, stream)
    # The first frame says what the sound is; a header may say something else.
    first = next(frames, None)
    if first is None:
        return None
    rate = min(AAC_RATES, key=lambda r: (abs(r - first.sample_rate), -r))
    channels = min(first.layout.nb_channels, 2)
    layout = ("mono", "stereo")[channels - 1]
    try:
        graph = _graph(first, stream.time_base, rate, layout)
    except av.error.FFmpegError:
        return None
    target = output.add_stream(
        "aac", rate=rate, layout=layout, bit_rate=BITS_PER_CHANNEL * channels
    )
    return Soundtrack(_encoded(chain([first], frames), graph, target, shift), output, origin)


def _demux(source: InputContainer, stream: AudioStream) -> Iterator[av.Packet]:
    """The packets of `stream` up to the end or to the first place that cannot be read."""
    with suppress(av.error.FFmpegError):
        for packet in source.demux(stream):
            if packet.size:  # the last packet is empty: a signal to flush the decoder
                yield packet


def _copied(packets: Iterator[av.Packet], target: AudioStream, shift: int) -> Iterator[av.Packet]:
    last = None
    for packet in packets:
        pts = packet.pts if packet.pts is not None else packet.dts
        dts = packet.dts if packet.dts is not None else packet.pts
        # A packet without a time, or one that goes back in time, would end the whole recording.
        if dts is None or (last is not None and dts <= last):
            continue
        last = dts
        packet.pts, packet.dts = pts - shift, dts - shift
        packet.stream = target
        yield packet


def _decoded(source: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame]:
    for packet in _demux(source, stream):
        with suppress(av.error.FFmpegError):
            yield from packet.decode()
    with suppress(av.error.FFmpegError):
        yield from stream.codec_context.decode(None)


def _graph(frame: av.AudioFrame, time_base: Fraction, rate: int, layout: str) -> Graph:
    """frames like `frame` -> float planar at `rate` and `layout`, gaps filled, 1024 samples each.

    Raises av.error.FFmpegError where there is no way from the one to the other.
    """
    channels = frame.layout.nb_channels
    graph = Graph()
    graph.link_nodes(
        graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            # Recorders of one or two channels often do not say which these are.
            layout=("mono", "stereo")[channels - 1] if channels <= 2 else frame.layout.name,
            time_base=time_base,
        ),
        # Damaged sound decodes to NaN and infinity, which the encoder refuses; integers are finite.
        graph.add("aformat", "sample_fmts=s32p"),
        graph.add("aresample", "async=1"),
        graph.add("aformat", f"sample_fmts=fltp:sample_rates={rate}:channel_layouts={layout}"),
        graph.add("abuffersink"),
    )
    graph.configure()
    graph.set_audio_frame_size(AAC_FRAME)
    return graph


def _encoded(
    frames: Iterator[av.AudioFrame], graph: Graph, target: AudioStream, shift: int
) -> Iterator[av.Packet]:
    for frame in chain(frames, [None]):
        if frame is not None and frame.pts is not None:
            frame.pts -= shift
        with suppress(av.error.FFmpegError):
            graph.push(frame)
        while True:
            try:
                ready = graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break
            yield from target.encode(ready)
    yield from target.encode(None)
