"""Every lesson runs, and the check at its end fails where the reader breaks what it says to break."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples"
LESSONS = sorted(path.stem for path in FOLDER.glob("[0-9][0-9]_*.py"))
BREAK = re.compile(r"^# break: `(.+)` -> `(.*)`$", re.MULTILINE)


def run(path: Path, out: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(FOLDER), str(ROOT)])}
    command = [sys.executable, str(path), "--fast", "--out", str(out)]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=300, check=False
    )  # fmt: skip


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_runs_and_its_checks_hold(lesson: str, tmp_path: Path):
    done = run(FOLDER / f"{lesson}.py", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr, done.stderr
    folder = tmp_path / lesson
    assert json.loads((folder / "numbers.json").read_text(encoding="utf-8"))["numbers"]
    assert list(folder.glob("*.png"))
    assert "[right]" in done.stdout


@pytest.mark.parametrize("lesson", LESSONS)
def test_broken_as_the_lesson_says_its_check_fails(lesson: str, tmp_path: Path):
    text = (FOLDER / f"{lesson}.py").read_text(encoding="utf-8")
    breaks = BREAK.findall(text)
    assert breaks, "no line says what to break: # break: `this` -> `that`"
    old, new = breaks[0]
    code = BREAK.sub("", text)
    assert old in code, f"what is to be broken is not there: {old}"
    broken = tmp_path / f"{lesson}.py"
    broken.write_text(code.replace(old, new, 1), encoding="utf-8")
    done = run(broken, tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "wrong:" in done.stderr
    assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_is_cells_with_text(lesson: str):
    """It opens as a notebook: cells, text in Markdown cells, and nothing that only a script has."""
    text = (FOLDER / f"{lesson}.py").read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "the first lines say what the lesson is"
    assert text.count("\n# %% [markdown]") >= 3
    assert re.search(r"^# %%$", text, re.MULTILINE)
    assert "__main__" not in text
    assert "__file__" not in text
    assert len(text.splitlines()) <= 330, "readable in one sitting"
