"""The command line: every verb on good and on bad input, from two videos to a swapped one."""

import re
import shlex
import shutil
import signal
import sys

import numpy as np
import pytest

from nn.train import Budget
from swap import cli, stages
from swap.provenance import SourceType, read_mark
from swap.run import run_facts
from swap.train import Trainer
from swap.video import probe, read_frames
from tests.swap.helpers import drawn_frames, hashes, swap_process, tone_clip, write_clip

VERBS = ("extract", "train", "convert", "run", "inspect", "restore", "model")
FACES = 30


class Result:
    """How one call ended: its status, and what it printed."""

    def __init__(self, status, captured):
        self.status, self.out, self.err = status, captured.out, captured.err


@pytest.fixture
def swap(monkeypatch, capsys):
    """Runs ``swap ARGUMENTS`` in this process."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["swap", *map(str, arguments)])
        capsys.readouterr()
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = end.code or 0
        return Result(status, capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Clips, faces and runs, good and bad. No test may change anything in it."""
    place = tmp_path_factory.mktemp("place")
    a, b = (list(drawn_frames(FACES, tint=tint)) for tint in (0, 30))
    write_clip(place / "a.mp4", a)
    write_clip(place / "b.mp4", b)
    write_clip(place / "short.mp4", a[:20])
    write_clip(place / "wall.mp4", drawn_frames(12, without=range(12)))
    # Written without "faststart", its table of contents is at the end, and is what is missing.
    whole = tone_clip(place / "truncated.mp4", a[:10]).read_bytes()
    (place / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (place / "empty.mp4").touch()
    (place / "text.mp4").write_text("This is a letter, and no video.\n" * 20)
    (place / "folder").mkdir()
    (place / "folder" / "letter.txt").write_text("mine")
    show = lambda *_: None  # noqa: E731
    for clip, name in (("a.mp4", "a"), ("b.mp4", "b"), ("short.mp4", "few")):
        stages.extract_faces(place / clip, place / f"faces_{name}", 96, 1, None, show, show)
    options = ("tiny", "latentface", 0, 2, show)
    trainer = stages.open_trainer(
        [place / "faces_a"], [place / "faces_b"], place / "trained", *options
    )
    trainer.run(Budget(steps=1))
    shutil.copytree(place / "trained", place / "broken")
    checkpoint = place / "broken" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    return place


# ---------------------------------------------------------------- bad input

TRAIN = "train --a {p}/faces_a --b {p}/faces_b --run {new}/run --preset tiny --batch-size 2 "
AGAIN = TRAIN.replace("{new}/run", "{p}/trained")
CONVERT = "convert {p}/a.mp4 --run {p}/trained --out {new}/out.mp4 "
RUN = "run --a {p}/a.mp4 --b {p}/b.mp4 --out {new} --preset tiny "

NO_VIDEOS = {
    "nothing.mp4": "no file",
    "folder": "holds no picture",
    "empty.mp4": "empty",
    "text.mp4": "cannot be read as a video",
    "truncated.mp4": "cannot be read as a video",
}
BAD_INPUT = {
    **{f"extract {{p}}/{name} --out {{new}}": says for name, says in NO_VIDEOS.items()},
    "extract {p}/wall.mp4 --out {new}": "no face was found",
    "extract {p}/a.mp4 --out {p}/b.mp4": "is a file",
    "extract {p}/a.mp4 --out {p}/folder": "not empty",
    "extract {p}/a.mp4 --out {p}/faces_b": "another extraction",
    "extract {p}/a.mp4 --out {p}/b.mp4/faces": "cannot be made",
    "extract {p}/a.mp4 --out {new} --size 5": "size",
    "extract {p}/a.mp4 --out {new} --every 0": "every",
    "extract {p}/a.mp4 --out {new} --frames 0": "at least 1",
    "train --a {p}/nothing --b {p}/faces_b --run {new}": "no folder of extracted faces",
    "train --a {p}/a.mp4 --b {p}/faces_b --run {new}": "no folder of extracted faces",
    "train --a {p}/folder --b {p}/faces_b --run {new}": "no folder of extracted faces",
    "train --a {p}/faces_a --b {p}/few --run {new}": "no folder of extracted faces",
    "train --a {p}/faces_a --b {p}/faces_few --run {new}": "found 20 usable faces",
    TRAIN + "--minutes 0": "--minutes must be above 0",
    TRAIN + "--minutes=-1": "--minutes must be above 0",
    TRAIN + "--minutes nan": "--minutes must be above 0",
    TRAIN + "--steps 0": "--steps must be at least 1",
    TRAIN + "--steps 1 --preset huge": "no preset 'huge'",
    TRAIN + "--steps 1 --recipe huge": "no recipe 'huge'",
    TRAIN + "--steps 1 --seed=-1": "seed",
    TRAIN + "--steps 1 --batch-size 0": "batch size",
    AGAIN + "--steps 2 --preset lite": "preset tiny, and lite is asked for",
    AGAIN + "--steps 2 --recipe 2017": "recipe latentface, and 2017 is asked for",
    AGAIN + "--steps 2 --seed 1": "seed 0, and 1 is asked for",
    AGAIN + "--steps 2 --batch-size 3": "batch size 2, and 3 is asked for",
    AGAIN.replace("trained", "broken") + "--steps 2": "no save before it is left",
    AGAIN.replace("trained", "a.mp4") + "--steps 2": "cannot be made",
    AGAIN.replace("trained", "a.mp4/run") + "--steps 2": "cannot be made",
    **{CONVERT.replace("a.mp4", name, 1): says for name, says in NO_VIDEOS.items()},
    CONVERT.replace("a.mp4", "wall.mp4"): "no face was found",
    CONVERT + "--to c": "--to is a or b",
    CONVERT + "--frames 0": "--frames must be at least 1",
    CONVERT + "--frames=-3": "--frames must be at least 1",
    CONVERT + "--faces {p}/faces_b": "extracted from b.mp4",
    CONVERT + "--faces {p}/folder": "no folder of extracted faces",
    CONVERT.replace("trained", "folder"): "holds no run",
    CONVERT.replace("trained", "nothing"): "holds no run",
    CONVERT.replace("trained", "broken"): "cut short",
    CONVERT.replace("{new}/out.mp4", "{p}/a.mp4"): "another name",
    CONVERT.replace("{new}/out.mp4", "{p}/a.mp4") + "--side-by-side": "another name",
    CONVERT.replace("{new}/out.mp4", "{p}/a.mp4/out.mp4"): "cannot be written",
    CONVERT.replace("{new}/out.mp4", "{p}/folder"): "is a folder",
    **{RUN.replace("a.mp4", name, 1): says for name, says in NO_VIDEOS.items()},
    RUN + "--b {p}/text.mp4": "cannot be read as a video",
    RUN + "--minutes 0": "--minutes must be above 0",
    RUN + "--steps 0": "--steps must be at least 1",
    RUN + "--frames 0": "at least 1",
    RUN.replace("a.mp4", "wall.mp4"): "no face was found",
    RUN.replace("a.mp4", "short.mp4") + "--steps 1": "found 20 usable faces",
    RUN.replace("{new}", "{p}/a.mp4"): "cannot be made",
    RUN + "--preset huge --steps 1": "no preset 'huge'",
    "inspect {p}/nothing.png": "no file",
    "inspect {p}/folder": "is a folder",
    "inspect {p}/empty.mp4": "no PNG, JPEG or MP4",
    "inspect {p}/text.mp4": "no PNG, JPEG or MP4",
    "restore {p}/nothing": "holds no run",
    "restore {p}/folder": "holds no run",
    "restore {p}/trained": "no save before the newest",
    "restore {p}/trained --to 7": "no save of step 7",
    TRAIN + "--most-faces 3": "--most-faces must be at least 25",
    TRAIN + "--keep 0": "--keep must be at least 1",
    TRAIN + "--snapshot-every 0": "--snapshot-every must be at least 1",
    RUN + "--keep 0": "--keep must be at least 1",
    "model --preset huge": "no preset 'huge'",
    "model --preset tiny --batch-size 0": "--batch-size must be at least 1",
}


@pytest.mark.parametrize("line", BAD_INPUT)
def test_bad_input_is_one_sentence_and_status_2(swap, place, tmp_path, line):
    before = hashes(place)
    result = swap(*(word.format(p=place, new=tmp_path / "new") for word in line.split()))
    assert result.status == 2
    complaint = result.err.splitlines()[-1]
    assert complaint.startswith("swap: ")
    assert BAD_INPUT[line] in complaint
    assert result.err.count("swap: ") == 1
    assert "Traceback" not in result.err
    assert result.out == ""
    assert hashes(place) == before
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith((".part", ".tmp"))]


@pytest.mark.parametrize(
    "line",
    ["extract", "train --a x", "convert", "run --a x --out y", "inspect",
     "train --a x --b y --run z --minutes soon", "juggle"],
)  # fmt: skip
def test_a_wrong_call_is_status_2_and_says_how(swap, line):
    result = swap(*line.split())
    assert result.status == 2
    assert "Usage: swap" in result.err
    assert "Traceback" not in result.err


def test_bad_input_in_a_process_of_its_own(place):
    process = swap_process("extract", place / "text.mp4", "--out", place / "new")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.splitlines()[-1].startswith("swap: ")
    assert "Traceback" not in err


def test_a_name_is_printed_as_it_is(swap, place, tmp_path):
    """Brackets are no markup, :names: no pictures, and long lines are not broken."""
    name = f"[b]x :smile: {'long ' * 30}.mp4"
    result = swap("inspect", tmp_path / name)
    assert result.status == 2
    assert name in result.err
    shutil.copy(place / "a.mp4", tmp_path / name)
    result = swap("extract", tmp_path / name, "--out", tmp_path / "[/b] faces", "--frames", 2)
    assert result.status == 0, result.err
    assert f"written to {tmp_path / '[/b] faces'}" in result.err
    assert f"faces of {name}: 2 of 2" in result.err


def test_run_looks_at_a_run_before_it_begins(swap, place, tmp_path):
    shutil.copytree(place / "broken", tmp_path / "run")
    before = hashes(tmp_path)
    result = swap(*RUN.format(p=place, new=tmp_path).split(), "--steps", 3)
    assert result.status == 2
    assert "cut short" in result.err.splitlines()[-1]
    assert hashes(tmp_path) == before


@pytest.mark.parametrize("side", ["a", "b"])
def test_run_looks_at_every_video_before_it_begins(swap, place, tmp_path, side):
    line = RUN.format(p=place, new=tmp_path / "new").split()
    assert swap(*line, f"--{side}", place / "truncated.mp4").status == 2
    assert list(tmp_path.iterdir()) == []


def test_a_diverging_run_is_status_1_and_says_what_is_kept(swap, place, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "step", lambda *_: (float("nan"), 0.1))
    result = swap(*TRAIN.format(p=place, new=tmp_path).split(), "--steps", "3")
    assert result.status == 1
    assert "diverged" in result.err.splitlines()[-1]
    assert "Traceback" not in result.err
    assert hashes(tmp_path) == {}


def test_too_little_memory_names_the_batch_that_fits(swap, place, tmp_path, monkeypatch):
    line = TRAIN.format(p=place, new=tmp_path).replace("--batch-size 2", "--batch-size 4096")
    monkeypatch.setattr("swap.memory.available_memory", lambda: 2**30)
    result = swap(*line.split(), "--steps", 3)
    assert result.status == 2
    assert hashes(tmp_path) == {}
    fits = int(re.search(r"--batch-size (\d+) fits", result.err.splitlines()[-1])[1])
    assert 16 < fits < 4096
    monkeypatch.setattr("swap.memory.available_memory", lambda: 2**27)
    monkeypatch.setattr("swap.memory.resident_memory", lambda: 0)
    assert "not even --batch-size 1 fits" in swap(*line.split(), "--steps", 3).err


def test_inspect_and_restore_of_a_run(swap, place, tmp_path):
    line = TRAIN.format(p=place, new=tmp_path).split()
    for steps in (1, 2):
        assert swap(*line, "--steps", steps).status == 0
    run = tmp_path / "run"
    for path in (run, run / "checkpoint.safetensors"):
        told = swap("inspect", path)
        assert (told.status, told.err) == (0, "")
        assert "step 2" in told.out
        assert "whole" in told.out
    assert "step 1" in swap("inspect", run).out
    newest = run / "checkpoint.safetensors"
    newest.write_bytes(newest.read_bytes()[:-4096])
    told = swap("inspect", run)
    assert told.status == 2
    assert "cut short" in told.out
    refused = swap(*line, "--steps", 3)
    assert refused.status == 2
    assert "cut short" in refused.err.splitlines()[-1]
    assert f"`swap restore {run}` goes back" in refused.err.splitlines()[-1]
    back = swap("restore", run)
    assert back.status == 0
    assert f"the run in {run} is back at step 1" in back.err
    assert swap("inspect", run).status == 0
    assert run_facts(run)["steps"] == 1
    assert swap(*line, "--steps", 2).status == 0


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb(swap, verb):
    result = swap(verb, "--help")
    assert result.status == 0
    assert f"Usage: swap {verb}" in result.out
    assert len(result.out.splitlines()) > 5
    assert result.err == ""


def test_help_names_every_verb(swap):
    result = swap("--help")
    assert result.status == 0
    for verb in VERBS:
        assert re.search(rf"\b{verb}\b", result.out)


# ---------------------------------------------------------------- good input


@pytest.fixture(scope="module")
def cuts(tmp_path_factory, request):
    """Two short clips of people: drawn ones, or cuts of the real ones."""
    if request.param == "drawn":
        place = request.getfixturevalue("place")
        return place / "a.mp4", place / "b.mp4"
    folder, clips = tmp_path_factory.mktemp("cuts"), request.getfixturevalue("real_clips")
    cuts = []
    for name in ("franck.mp4", "cap13_edit2.mp4"):
        if not (clips / name).exists():
            pytest.skip(f"no {name} among the real clips")
        frames = (frame.image for frame in read_frames(clips / name, stop=60))
        cuts.append(write_clip(folder / name, frames, probe(clips / name).fps))
    return cuts


PRODUCTS = {
    "swap.mp4": SourceType.SWAPPED,
    "side-by-side.mp4": SourceType.SWAPPED,
    "run/preview.png": SourceType.COMPOSITE,
    "run/loss.png": SourceType.PLOT,
    "faces_a/000007_0.png": None,
    "faces_b/000007_0.png": None,
}


@pytest.mark.parametrize("cuts", ["drawn", "real"], indirect=True)
def test_run_does_it_all_and_again_does_nothing_twice(swap, cuts, tmp_path):
    a, b = cuts
    out = tmp_path / "new" / "out"
    line = ["run", "--a", a, "--b", b, "--out", out, "--preset", "tiny", "--steps", 8]
    first = swap(*line)
    assert first.status == 0, first.err
    frames = len(list(read_frames(a)))
    found = re.search(r"a face in (\d+) of (\d+) frames", first.err)
    assert int(found[1]) > 0.95 * frames
    assert int(found[2]) == frames
    assert "MiB" in first.err.split("training takes")[1].split("step")[0]  # before the first step
    assert f"{frames} frames, the face swapped in {found[1]}" in first.err

    source, made, beside = probe(a), probe(out / "swap.mp4"), probe(out / "side-by-side.mp4")
    assert (made.frames, made.width, made.height) == (frames, source.width, source.height)
    assert (beside.frames, beside.width) == (frames, 2 * source.width)
    assert made.fps == beside.fps == source.fps
    facts = run_facts(out / "run")
    assert (facts["steps"], facts["preset"]) == (8, "tiny")
    changed = [
        np.abs(x.image.astype(int) - y.image).mean()
        for x, y in zip(read_frames(a), read_frames(out / "swap.mp4"), strict=True)
    ]
    assert min(changed) > 0.5
    for name, source_type in PRODUCTS.items():
        assert read_mark(out / name).source_type == source_type, name
        told = swap("inspect", out / name)
        assert told.status == 0
        assert str(source_type or "nothing synthetic") in told.out
    expected = {"swap.mp4", "side-by-side.mp4", "run", "faces_a", "faces_b"}
    assert {path.name for path in out.iterdir()} == expected

    before = hashes(out)
    second = swap(*line)
    assert second.status == 0, second.err
    assert "it has what was asked for" in " ".join(second.err.split())
    assert second.err.count("extracted before") == 2
    assert "made from this very run before" in second.err
    assert hashes(out) == before


def test_step_by_step_is_what_run_does(swap, place, tmp_path):
    """The verbs one by one, with several videos a side, give the same run and the same frames."""
    clips = {"a": ["a.mp4"], "b": ["b.mp4", "a.mp4"]}
    options = ["--preset", "tiny", "--steps", 2, "--batch-size", 2, "--seed", 7]
    named = [
        word for side, names in clips.items() for n in names for word in (f"--{side}", place / n)
    ]
    assert swap("run", *named, "--out", tmp_path / "all", *options).status == 0
    assert {p.name for p in (tmp_path / "all").iterdir()} >= {"faces_a", "faces_b1", "faces_b2"}

    folders = []
    for side, names in clips.items():
        for number, name in enumerate(names):
            folders += [f"--{side}", tmp_path / f"{side}{number}"]
            assert swap("extract", place / name, "--out", folders[-1]).status == 0
    trained = swap("train", *folders, "--run", tmp_path / "run", *options)
    assert trained.status == 0, trained.err
    out = tmp_path / "out" / "beside.mp4"
    line = ["convert", place / "a.mp4", "--run", tmp_path / "run", "--out", out, "--side-by-side"]
    made = swap(*line, "--to", "B", "--faces", tmp_path / "a0")
    assert made.status == 0, made.err
    marks = [read_mark(path).details for path in (out, tmp_path / "all" / "side-by-side.mp4")]
    assert marks[0] == marks[1]
    pictures = [
        np.array([frame.image for frame in read_frames(path)])
        for path in (out, tmp_path / "all" / "side-by-side.mp4")
    ]
    np.testing.assert_array_equal(*pictures)


def test_only_the_first_frames_of_a_folder_of_pictures(swap, place, tmp_path):
    """A folder of pictures is a video, too; and side A may be asked for."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    from swap.provenance import write_png

    for i, image in enumerate(drawn_frames(6)):
        write_png(pictures / f"{i}.png", image, None)
    out = tmp_path / "out.mp4"
    line = ["convert", pictures, "--run", place / "trained", "--out", out, "--to", "a"]
    result = swap(*line, "--frames", 4)
    assert result.status == 0, result.err
    assert probe(out).frames == 4
    assert read_mark(out).details["To"] == "a"


def test_a_video_without_a_mark_proves_nothing(swap, place):
    result = swap("inspect", place / "a.mp4")
    assert (result.status, result.err) == (0, "")
    assert "no mark was found" in result.out


def test_model_prints_the_ledger(swap):
    result = swap("model", "--preset", "tiny", "--batch-size", 3)
    assert result.status == 0
    for text in ("1,287,062 parameters", "3x4x4x128", "3x64x64x3", "multiply-adds", "MiB"):
        assert text in result.out


def test_minutes_and_steps_become_a_budget(swap, place, monkeypatch):
    budgets = []
    monkeypatch.setattr(stages, "extract_faces", lambda *_: None)
    monkeypatch.setattr(stages, "open_trainer", lambda *_: None)
    monkeypatch.setattr(stages, "convert_video", lambda *_, **__: None)
    monkeypatch.setattr(stages, "train_run", lambda _, budget, __: budgets.append(budget) or True)
    for options in ("", "--minutes 0.5", "--steps 7", "--steps 7 --minutes 2"):
        line = f"run --a {place}/a.mp4 --b {place}/b.mp4 --out {place}/new {options}"
        assert swap(*shlex.split(line)).status == 0
    assert budgets == [Budget(None, 900), Budget(None, 30), Budget(7, None), Budget(7, 120)]


# ---------------------------------------------------------------- Ctrl-C


def test_ctrl_c_saves_and_the_same_command_goes_on(swap, place, tmp_path):
    line = TRAIN.format(p=place, new=tmp_path).split()
    process = swap_process(*line, "--steps", 100_000)
    heard = []
    for text in process.stderr:
        heard.append(text)
        if re.search(r"^step [1-9]", text):
            process.send_signal(signal.SIGINT)
            break
    heard.append(process.communicate(timeout=60)[1])
    err = "".join(heard)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    stopped = int(re.search(r"stopped and saved at step ([\d,]+)", err)[1].replace(",", ""))
    assert run_facts(tmp_path / "run")["steps"] == stopped >= 1
    assert read_mark(tmp_path / "run" / "preview.png").details["Steps"] == str(stopped)

    again = swap(*line, "--steps", stopped + 2)
    assert again.status == 0, again.err
    assert f"going on with the run in {tmp_path / 'run'} at step {stopped:,}" in again.err
    assert run_facts(tmp_path / "run")["steps"] == stopped + 2


def test_ctrl_c_while_looking_for_faces_goes_on_too(swap, place, tmp_path):
    line = ["extract", place / "a.mp4", "--out", tmp_path / "faces"]
    # The third face that is written presses Ctrl-C.
    press = """
import os, signal, swap.faces.extract as module
signal.signal(signal.SIGINT, signal.default_int_handler)
write, written = module.write_png, []
def pressing(*arguments, **options):
    write(*arguments, **options)
    written.append(0)
    if len(written) == 3:
        os.kill(os.getpid(), signal.SIGINT)
module.write_png = pressing
"""
    process = swap_process(*line, before=press)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("swap: stopped")
    again = swap(*line)
    assert again.status == 0, again.err
    assert len(list((tmp_path / "faces").glob("*.png"))) == FACES
