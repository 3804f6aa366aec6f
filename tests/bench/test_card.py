"""What runs on a card in one go: that it refuses without one, and that a part that fails stops none of the others."""

import subprocess
import sys

import pytest

from bench import card
from nn.backend import why_no_gpu
from swap.errors import UserError
from tests.conftest import REPOSITORY


@pytest.mark.skipif(why_no_gpu() == "", reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "bench", "card", "--out", str(tmp_path / "out")],
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("bench: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_part_that_fails_or_hangs_is_told_and_stops_no_other(tmp_path, monkeypatch, capsys):
    code = [sys.executable, "-c"]
    parts = [
        card.Part("good", [*code, "print('figures')"], 1.0),
        card.Part("bad", [*code, "import sys; print('oh'); sys.exit(3)"], 1.0),
        card.Part("slow", [*code, "import time; print('on', flush=True); time.sleep(60)"], 0.02),
        card.Part("absent", ["no-such-program"], 1.0),
        card.Part("last", [*code, "print('more')"], 1.0),
    ]
    monkeypatch.setattr(card, "why_no_gpu", lambda: "")
    monkeypatch.setattr(card, "stages", lambda out: {"check": parts})
    assert card.main(["--out", str(tmp_path), "--minutes", "1"]) == 1
    said = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert [line.split(":")[0] for line in said] == [
        "ok", "exit status 3", "stopped after 1 s", "not started (No such file or directory)", "ok",
    ]  # fmt: skip
    assert said[0].endswith("figures")
    assert said[2].endswith("on")
    assert (tmp_path / "bad.log").read_text() == "oh\n"


def test_a_file_is_no_folder_for_logs(tmp_path, monkeypatch):
    monkeypatch.setattr(card, "why_no_gpu", lambda: "")
    occupied = tmp_path / "occupied"
    occupied.write_text("")
    for out in (occupied, occupied / "below"):
        with pytest.raises(UserError, match="cannot be a folder for logs"):
            card.main(["--out", str(out)])


def test_every_part_is_a_command_that_there_is(tmp_path):
    """Each module answers --help, and each option is one that it knows."""
    for name, parts in card.stages(tmp_path).items():
        assert sum(part.share for part in parts) == pytest.approx(1), name
        for part in parts:
            if "-m" not in part.command:
                continue
            module, *rest = part.command[part.command.index("-m") + 1 :]
            if module == "pytest":
                assert all(
                    (REPOSITORY / path).exists() for path in rest if path.startswith("tests/")
                )
                continue
            verb = rest[: {"bench": 1, "nn.cli": 1, "swap.cli": 1}[module]]
            more = ["--backend", "gpu"] if module == "bench" else []
            command = [sys.executable, "-m", module, *verb, *more, "--help"]
            done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            for option in (word for word in rest if word.startswith("--")):
                assert option in done.stdout, (part.name, option)
