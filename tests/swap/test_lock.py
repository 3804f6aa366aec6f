"""One process a run folder: refused with its name while it lives, recognised when it is dead."""

import json
import os
import signal
import subprocess
import sys

import pytest

from swap import lock
from swap.errors import UserError
from swap.lock import LOCK, RunLock, check_unlocked
from tests.conftest import REPOSITORY

HOLD = """
import sys, time
from pathlib import Path
from swap.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def written(folder, **owner):
    (folder / LOCK).write_text(json.dumps(lock._myself() | owner))


def test_a_second_process_is_refused_with_the_owners_name(tmp_path, holder):
    before = (tmp_path / LOCK).read_bytes()
    for attempt in (lambda: RunLock(tmp_path).__enter__(), lambda: check_unlocked(tmp_path)):
        with pytest.raises(UserError) as refused:
            attempt()
        for part in (str(holder.pid), os.uname().nodename, str(tmp_path)):
            assert part in str(refused.value)
    assert (tmp_path / LOCK).read_bytes() == before


def test_a_killed_owners_lock_is_stale(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK).exists()
    assert check_unlocked(tmp_path) == f"process {holder.pid} on {os.uname().nodename}"
    assert check_unlocked(tmp_path) == ""
    with RunLock(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_ends_with_its_block_and_may_be_entered_twice(tmp_path):
    mine = RunLock(tmp_path)
    with mine:
        with mine:
            assert (tmp_path / LOCK).exists()
        assert (tmp_path / LOCK).exists()
        with pytest.raises(UserError, match=f"process {os.getpid()} "):
            RunLock(tmp_path).__enter__()
    assert list(tmp_path.iterdir()) == []
    with mine:
        pass


def test_another_machines_lock_is_refused_with_what_to_do(tmp_path):
    written(tmp_path, host="elsewhere", boot="another", pid=1)
    with pytest.raises(UserError, match=r"process 1 on elsewhere.*delete .*run.lock"):
        RunLock(tmp_path).__enter__()
    assert json.loads((tmp_path / LOCK).read_text())["host"] == "elsewhere"


def test_another_name_of_this_machine_is_this_machine(tmp_path):
    """A container has a new name each time it starts; the machine below it is the same one."""
    if not lock._boot():
        pytest.skip("this system does not name its starts")
    written(tmp_path, host="elsewhere")
    with RunLock(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_lock_that_says_nothing_is_nobodys(tmp_path, text):
    (tmp_path / LOCK).write_text(text)
    with RunLock(tmp_path):
        pass


@pytest.mark.skipif(not lock._start_of(os.getpid()), reason="no /proc here")
@pytest.mark.parametrize(
    ("owner", "dead"),
    [({}, False), ({"pid": 2**22 + 1}, True), ({"started": "1"}, True), ({"boot": "old"}, True)],
)
def test_where_the_system_has_no_locks_the_process_is_looked_for(
    tmp_path, monkeypatch, owner, dead
):
    monkeypatch.setattr(lock, "_lock", lambda file: None)
    written(tmp_path, **owner)
    if dead:
        with RunLock(tmp_path):
            pass
    else:
        with pytest.raises(UserError, match=f"process {os.getpid()} "):
            RunLock(tmp_path).__enter__()


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    with RunLock(tmp_path / "run"):
        assert not (tmp_path / "run").exists()
    check_unlocked(tmp_path / "run")
