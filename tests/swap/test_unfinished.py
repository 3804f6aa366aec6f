"""A conversion that is stopped anywhere goes on, and ends with the bytes of one that never stopped."""

import os
import signal
from fractions import Fraction

import numpy as np
import pytest

from swap import convert as module
from swap import pieces
from swap.convert import convert
from swap.errors import UserError
from swap.faces.align import TEMPLATE
from swap.faces.detect import Detection
from swap.files import sole_user
from swap.pieces import PieceWriter
from swap.unfinished import COLOURS, LANDMARKS, SETTINGS, folder_beside
from swap.video import VideoWriter, probe, read_frames
from tests.swap.helpers import hashes, swap_process, tone_clip
from tests.swap.test_cli import place  # noqa: F401  (a fixture: clips, faces and a trained run)
from tests.swap.test_convert import picture, stub_run
from tests.swap.test_video import make_clip, sound_of, times

FRAMES = 26


class Seeing:
    """A stand-in for Detector that depends on the picture alone; `stop_at` presses Ctrl-C."""

    def __init__(self, stop_at=None):
        self.seen, self.stop_at = 0, stop_at

    def describe(self):
        return "seeing"

    def find(self, rgb):
        if self.seen == self.stop_at:
            raise KeyboardInterrupt
        self.seen += 1
        sway = rgb[40, 60].astype(float) / 50
        points = 20 * TEMPLATE + (60 + sway[0], 42 + sway[1])
        found = Detection((0, 0, 60, 80), points.astype(np.float32), 0.9)
        return [found] * round(rgb[:8, :8].mean() / 60)

    def refine(self, rgb, face):
        return face


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Pieces of 4 frames, so that a short clip has many."""
    monkeypatch.setattr(pieces, "PIECE", 4)
    monkeypatch.setattr(module, "BATCH", 2)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return tone_clip(folder / "clip.mp4", map(picture, range(FRAMES)), fps=24)


def mirrored(stop_at=None):
    """A run whose network mirrors faces, and presses Ctrl-C at its `stop_at`-th call."""
    calls = []

    def network(faces):
        calls.append(len(faces))
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return faces[:, :, ::-1]

    return stub_run(network), calls


def both(folder):
    return {"out": folder / "out.mp4", "beside": folder / "beside.mp4"}


@pytest.fixture
def whole(clip, tmp_path):
    """Both products of an uninterrupted conversion, as bytes."""
    made = both(tmp_path / "whole")
    (tmp_path / "whole").mkdir()
    run, _ = mirrored()
    report = convert(clip, made["out"], run, to="b", detector=Seeing(), beside=made["beside"])
    assert report.kept == 0
    assert {path.name for path in (tmp_path / "whole").iterdir()} == {"out.mp4", "beside.mp4"}
    return report, {name: path.read_bytes() for name, path in made.items()}


@pytest.mark.parametrize(
    "stop",
    [("looking", 0), ("looking", 9), ("colours", 1), *[("network", n) for n in (2, 3, 6, 9)]],
)
def test_a_conversion_stopped_anywhere_ends_with_the_same_bytes(clip, whole, tmp_path, stop):
    report, expected = whole
    where, at = stop
    made = both(tmp_path)
    run, _ = mirrored(at if where != "looking" else None)
    detector = Seeing(at if where == "looking" else None)
    with pytest.raises(KeyboardInterrupt):
        convert(clip, made["out"], run, to="b", detector=detector, beside=made["beside"])
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "out.mp4.unfinished"}
    run, calls = mirrored()
    again = Seeing()
    resumed = convert(clip, made["out"], run, to="b", detector=again, beside=made["beside"])
    assert {name: path.read_bytes() for name, path in made.items()} == expected
    assert {path.name for path in tmp_path.iterdir()} == {"whole", *(p.name for p in made.values())}
    # What was found and written before was not done again.
    assert again.seen == (FRAMES - at if where == "looking" else 0)
    swapped = 2 * max(0, at - 2) if where == "network" else 0  # the first call is for the colours
    assert resumed.kept == swapped // 4 * 4
    assert (resumed.frames, resumed.passed) == (report.frames, report.passed)
    if resumed.kept:
        assert sum(calls) <= FRAMES - resumed.kept


def test_stopped_again_and_again(clip, whole, tmp_path):
    """Every call does a little: it comes to its end, and to the same bytes."""
    made, calls = both(tmp_path), 0
    while True:
        calls += 1
        run, _ = mirrored(4)
        try:
            convert(clip, made["out"], run, to="b", detector=Seeing(7), beside=made["beside"])
        except KeyboardInterrupt:
            assert calls < 30
            continue
        break
    assert calls > 5
    assert {name: path.read_bytes() for name, path in made.items()} == whole[1]


def interrupted(clip, folder, at=7, **options):
    run, _ = mirrored(at)
    with pytest.raises(KeyboardInterrupt):
        convert(clip, folder / "out.mp4", run, to="b", detector=Seeing(), **options)
    return folder_beside(folder / "out.mp4")


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone", "second"])
def test_a_damaged_piece_is_made_again(clip, whole, tmp_path, damage):
    work = interrupted(clip, tmp_path)
    names = sorted(path.name for path in work.glob("*.piece"))
    assert names == ["out-000000.piece", "out-000001.piece"]
    victim = work / names[damage == "second"]
    data = victim.read_bytes()
    victim.unlink()
    if damage != "gone":
        flipped = data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]
        cut = {"cut": data[: len(data) // 2], "empty": b"", "second": data[:-1]}
        victim.write_bytes(cut.get(damage, flipped))
    report = convert(clip, tmp_path / "out.mp4", mirrored()[0], to="b", detector=Seeing())
    assert report.kept == (4 if damage == "second" else 0)
    assert (tmp_path / "out.mp4").read_bytes() == whole[1]["out"]


@pytest.mark.parametrize("name", [LANDMARKS, COLOURS])
def test_a_torn_note_costs_no_more_than_itself(clip, whole, tmp_path, name):
    work = interrupted(clip, tmp_path)
    data = (work / name).read_bytes()
    (work / name).write_bytes(data[: len(data) // 2])
    convert(clip, tmp_path / "out.mp4", mirrored()[0], to="b", detector=Seeing())
    assert (tmp_path / "out.mp4").read_bytes() == whole[1]["out"]


def test_nothing_is_mixed(clip, tmp_path):
    """Another run, direction, part, video, or set of products: refused, and what is there stays."""
    work = interrupted(clip, tmp_path)
    before = hashes(tmp_path)
    other = tmp_path.parent / "other.mp4"
    tone_clip(other, map(picture, range(5, 20)), fps=24)
    run = mirrored()[0]
    strange = module.TrainedRun(run.folder, run.model, run.crop, {}, "e" * 64)
    cases = [
        ("model_sha256", clip, strange, {}), ("to", clip, run, {"to": "a"}),
        ("frames", clip, run, {"stop": 9}), ("source", other, run, {}),
        ("made", clip, run, {"beside": tmp_path / "beside.mp4"}),
    ]  # fmt: skip
    for name, source, chosen, options in cases:
        arguments = {"to": "b", "detector": Seeing(), **options}
        with pytest.raises(UserError, match=rf'unfinished conversion.*"{name}" was') as refusal:
            convert(source, tmp_path / "out.mp4", chosen, **arguments)
        assert str(work) in str(refusal.value)
        assert hashes(tmp_path) == before
    convert(clip, tmp_path / "out.mp4", strange, to="b", detector=Seeing(), afresh=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_folder_of_somebody_else_is_left_alone(clip, tmp_path):
    work = folder_beside(tmp_path / "out.mp4")
    work.mkdir()
    (work / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=f"has no {SETTINGS}"):
        convert(clip, tmp_path / "out.mp4", mirrored()[0], to="b", detector=Seeing())
    assert hashes(work).keys() == {"thesis.txt"}


def test_one_process_at_a_time(clip, tmp_path):
    work = interrupted(clip, tmp_path)
    with sole_user(work), pytest.raises(UserError, match="another process is writing"):
        convert(clip, tmp_path / "out.mp4", mirrored()[0], to="b", detector=Seeing())
    convert(clip, tmp_path / "out.mp4", mirrored()[0], to="b", detector=Seeing())


def test_a_full_disk_at_the_end_loses_no_piece(clip, whole, tmp_path, monkeypatch):
    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PieceWriter, "_mux_the_rest", full)
    with pytest.raises(UserError, match="is the disk full"):
        convert(clip, tmp_path / "out.mp4", mirrored()[0], to="b", detector=Seeing())
    monkeypatch.undo()
    monkeypatch.setattr(pieces, "PIECE", 4)
    monkeypatch.setattr(module, "BATCH", 2)
    report = convert(clip, tmp_path / "out.mp4", mirrored()[0], to="b", detector=Seeing())
    assert report.kept == FRAMES // 4 * 4
    assert (tmp_path / "out.mp4").read_bytes() == whole[1]["out"]


def test_names_as_long_as_names_can_be(tmp_path):
    name = "é" * 125 + ".mp4"
    folder = folder_beside(tmp_path / name)
    assert len(os.fsencode(folder.name)) <= 255
    assert folder != folder_beside(tmp_path / ("e" + name[1:]))
    assert folder_beside(tmp_path / "a.mp4").name == "a.mp4.unfinished"


# ---- the joined file is a good one: compared with what VideoWriter makes of the same frames


def write_in_pieces(clip, target, folder, stop=None, **options):
    info = probe(clip)
    options |= {"fps": info.fps, "width": info.width, "height": info.height, "audio_from": clip}
    folder.mkdir(exist_ok=True)
    with PieceWriter(target, folder, "p", **options) as writer:
        for frame in read_frames(clip):
            if frame.index == stop:
                raise KeyboardInterrupt
            writer.write(frame.image, frame.pts, frame.time_base)


UNEVEN = [0, 1, 9, 10, 11, 30, 31, 32, 33, 90, 91, 92, 95, 99, 100, 101, 160, 161, 162, 163]


@pytest.mark.parametrize("sound", [None, "aac", "pcm"])
@pytest.mark.parametrize("uneven", [False, True])
def test_pieces_join_to_what_one_encoder_writes(tmp_path, sound, uneven):
    """The same frames at the same times with the same sound, each packet decoded before it is shown."""
    pts, tick = (UNEVEN, Fraction(1, 100)) if uneven else (None, None)
    source = tmp_path / ("a.mov" if sound == "pcm" else "a.mp4")
    codec = {"pcm": "pcm_s16le"}.get(sound, sound)
    clip = make_clip(
        source, len(UNEVEN), sound=codec, pts=pts, time_base=tick, late=0 if uneven else 0.2
    )
    with pytest.raises(KeyboardInterrupt):
        write_in_pieces(clip, tmp_path / "p.mp4", tmp_path / "work", stop=13)
    write_in_pieces(clip, tmp_path / "p.mp4", tmp_path / "work")
    info = probe(clip)
    size = {"fps": info.fps, "width": info.width, "height": info.height, "audio_from": clip}
    with VideoWriter(tmp_path / "one.mp4", **size) as writer:
        for frame in read_frames(clip):
            writer.write(frame.image, frame.pts, frame.time_base)
    assert times(tmp_path / "p.mp4") == times(tmp_path / "one.mp4")
    for a, b in zip(
        read_frames(tmp_path / "p.mp4"), read_frames(tmp_path / "one.mp4"), strict=True
    ):
        assert np.abs(a.image.astype(int) - b.image).mean() < 2
    assert probe(tmp_path / "p.mp4").fps == probe(tmp_path / "one.mp4").fps
    if sound:
        joined, one = sound_of(tmp_path / "p.mp4"), sound_of(tmp_path / "one.mp4")
        np.testing.assert_array_equal(joined[0], one[0])
    with module.av.open(str(tmp_path / "p.mp4")) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    assert all(packet.dts <= packet.pts for packet in packets)
    assert (np.diff([packet.dts for packet in packets]) > 0).all()
    assert [i for i, packet in enumerate(packets) if packet.is_keyframe] == list(range(0, 20, 4))


# ---- the command line, killed


@pytest.mark.parametrize("moment", ["look", "swap", "join"])
def test_kill_9_and_the_same_command_goes_on(place, tmp_path, moment):  # noqa: F811
    """The power goes at the 11th frame looked at, at the second piece, or as the file is put together."""
    line = ["convert", place / "a.mp4", "--run", place / "trained", "--out", tmp_path / "out.mp4"]
    code = {
        "look": ("swap.unfinished.Unfinished", "add_landmarks", 11),
        "swap": ("swap.pieces.PieceWriter", "_end_piece", 2),
        "join": ("swap.pieces.PieceWriter", "_mux_the_rest", 1),
    }[moment]
    small = "import swap.pieces, swap.convert\nswap.pieces.PIECE = 8\nswap.convert.BATCH = 4\n"
    kill = f"""
import os, signal, swap.unfinished
place, name, count = {code!r}
owner, calls = eval(place), []
original = getattr(owner, name)
def killing(*arguments):
    calls.append(0)
    if len(calls) == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
setattr(owner, name, killing)
"""
    process = swap_process(*line, before=small + kill)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "out.mp4").exists()
    again = swap_process(*line, before=small)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    if moment != "look":
        assert "written before it was interrupted" in err
    whole = [*line[:-1], tmp_path / "whole.mp4"]
    assert swap_process(*whole, before=small).wait(timeout=120) == 0
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "whole.mp4"}
