"""Who works on a run folder: one process at a time.

    run.lock    {"pid", "host", "boot", "since"} of its owner, and the system's own lock on that file

The system forgets its lock when the owner ends, however it ends; so a file that is there and not locked is stale,
if its owner was on this machine. Of another machine's owner nothing is known here: it is refused, with what to do.
"""

import contextlib
import errno
import json
import os
import platform
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from swap.errors import UserError

LOCK = "run.lock"
BOOT = Path("/proc/sys/kernel/random/boot_id")  # the same in every container of a machine


class RunLock:
    """``with RunLock(folder): ...``; UserError where another process works on the folder. A folder that is not there
    is not made, and not locked. May be entered again by the process that has it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        self.stale = ""  # whose lock was found, and was nobody's any more
        self._file: int | None = None
        self._depth = 0

    def __enter__(self) -> "RunLock":
        if self._depth == 0:
            self._acquire()
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._release()

    def _acquire(self) -> None:
        while self.path.parent.is_dir():
            try:
                file = os.open(
                    self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644
                )
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return  # the folder has just gone
                raise UserError(
                    f"{self.path.parent} cannot be written: {error.strerror}; training needs to"
                ) from error
            if not self._try(file):
                return
            if self._file is not None:
                return

    def _try(self, file: int) -> bool:
        """Whether to look again: the owner took the file away between opening and locking it."""
        keep = False
        try:
            locked = _lock(file)
            owner = _owner(file)
            if locked is False or not _is_dead(owner, locked is None):
                raise UserError(_refusal(self.path, owner, locked is False))
            if owner:
                self.stale = f"process {owner.get('pid')} on {owner.get('host')}"
            try:
                if not os.path.samestat(os.fstat(file), self.path.stat()):
                    return True
            except FileNotFoundError:
                return True
            with contextlib.suppress(OSError):  # on a full disk the lock holds without its text
                os.ftruncate(file, 0)
                os.pwrite(file, json.dumps(_myself()).encode(), 0)
            self._file, keep = file, True
            return False
        finally:
            if not keep:
                os.close(file)

    def _release(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            # Only one's own file: a folder that was removed and made again may hold another's.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(file), self.path.stat()):
                    self.path.unlink()
            os.close(file)


def check_unlocked(folder: Path) -> str:
    """Removes a lock that an ended process left in ``folder`` and returns whose it was, or ""; UserError where another
    process works on the run."""
    if (folder / LOCK).exists() and os.access(folder, os.W_OK):
        with RunLock(folder) as lock:
            return lock.stale
    return ""


def _lock(file: int) -> bool | None:
    """Whether the system gives its lock on an open file; None where it has no such thing there."""
    try:
        import fcntl
    except ImportError:
        return _lock_windows(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _lock_windows(file: int) -> bool | None:
    import msvcrt

    try:
        os.lseek(file, 2**30, os.SEEK_SET)  # far behind the text, which others must be able to read
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def _myself() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": platform.node(),
        "boot": _boot(),
        "started": _start_of(os.getpid()),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _owner(file: int) -> dict[str, Any]:
    """What a lock file says; {} where it says nothing."""
    for _ in range(5):  # its owner may be about to write it
        with contextlib.suppress(OSError, ValueError):
            os.lseek(file, 0, os.SEEK_SET)
            found = json.loads(os.read(file, 4096))
            if isinstance(found, dict):
                return found
        if os.fstat(file).st_size == 0:
            break
        time.sleep(0.02)
    return {}


def _is_dead(owner: dict[str, Any], unlocked: bool) -> bool:
    """Whether a lock file's owner has ended, given that the lock could be had or (unlocked) none exists."""
    if not owner:
        return True
    if owner.get("host") != platform.node() and (not _boot() or owner.get("boot") != _boot()):
        return False
    if not unlocked or (_boot() and owner.get("boot") not in (None, "", _boot())):
        return True  # it gave the lock back by ending, or the machine was started again since
    pid = owner.get("pid")
    started = _start_of(pid) if isinstance(pid, int) else ""
    if started is None:  # nothing is known of other processes on this system
        return False
    return started == "" or owner.get("started") not in (None, started)


def _boot() -> str:
    """Names this start of this machine; "" where the system does not say."""
    with contextlib.suppress(OSError):
        return BOOT.read_text().strip()
    return ""


def _start_of(pid: int) -> str | None:
    """When a process began, in the system's own count: another process with its number began at another time. "" where
    there is no such process, None where the system does not say."""
    if not Path("/proc/self/stat").exists():
        return None
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _refusal(path: Path, owner: dict[str, Any], locked: bool) -> str:
    who = f"process {owner.get('pid', 'unknown')} on {owner.get('host', 'unknown')}"
    since = f", since {owner['since']}" if isinstance(owner.get("since"), str) else ""
    if locked:
        return f"the run in {path.parent} is being worked on by {who}{since}; wait for it, or stop it with Ctrl-C there"
    return (
        f"the run in {path.parent} is locked by {who}{since}, which cannot be looked at from {platform.node()}; "
        f"if it has ended, delete {path}"
    )
