"""Every lesson runs, and the check at its end fails where the reader breaks what it says to break."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples"
LESSONS = sorted(path.stem for path in FOLDER.glob("[0-9][0-9]_*.py"))
BREAK = re.compile(r"^# break: `(.+)` -> `(.*)`$", re.MULTILINE)


def run(path: Path, out: Path) -> subprocess.CompletedProcess:
    paths = os.pathsep.join([str(FOLDER), str(ROOT)])
    # Two lessons run at a time, one thread each: together they take half the time.
    environment = os.environ | {"PYTHONPATH": paths, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # fmt: skip
    command = [sys.executable, str(path), "--fast", "--out", str(out)]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=600, check=False
    )  # fmt: skip


def broken(lesson: str, folder: Path) -> Path:
    """The lesson, changed as its first line "# break:" says."""
    text = (FOLDER / f"{lesson}.py").read_text(encoding="utf-8")
    breaks = BREAK.findall(text)
    assert breaks, "no line says what to break: # break: `this` -> `that`"
    old, new = breaks[0]
    code = BREAK.sub("", text)
    assert old in code, f"what is to be broken is not there: {old}"
    path = folder / f"{lesson}.py"
    path.write_text(code.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory) -> Iterator[dict[tuple[str, str], Future]]:
    """Every run that this session's tests ask for, under way two at a time."""
    folder = tmp_path_factory.mktemp("lessons")
    wanted = {item.name for item in request.session.items}
    with ThreadPoolExecutor(2) as pool:
        made = {}
        for lesson in LESSONS:
            if f"test_a_lesson_runs_and_its_checks_hold[{lesson}]" in wanted:
                path = FOLDER / f"{lesson}.py"
                made["as it is", lesson] = pool.submit(run, path, folder)
            if f"test_broken_as_the_lesson_says_its_check_fails[{lesson}]" in wanted:
                other = folder / "broken"
                other.mkdir(exist_ok=True)
                made["broken", lesson] = pool.submit(run, broken(lesson, other), other)
        yield made
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_runs_and_its_checks_hold(lesson: str, runs):
    done = runs["as it is", lesson].result()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr, done.stderr
    folder = Path(done.args[-1]) / lesson
    assert json.loads((folder / "numbers.json").read_text(encoding="utf-8"))["numbers"]
    assert list(folder.glob("*.png"))
    assert "[right]" in done.stdout


@pytest.mark.parametrize("lesson", LESSONS)
def test_broken_as_the_lesson_says_its_check_fails(lesson: str, runs):
    done = runs["broken", lesson].result()
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
