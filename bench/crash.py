"""Training that is killed, runs out of disk, or finds torn files: is anything ever lost, or wrong?

    python -m bench crash [--kills 300] [--steps 40] [--seed 0] [--preset tiny] [--only kills|disk|torn]
                          [--place FOLDER]

kills   A run of --steps steps that saves after every step is killed (SIGKILL) over and over until it is done, then
        another begins, until --kills were made: half of them at random moments, half at a random one of the operations
        on files that a save is made of (write, fsync, a second name, the new file in its place, the oldest removed).
        After each kill the newest save must be whole and of a step no earlier than the last that was finished; at the
        end the weights must be those of the uninterrupted run, bit for bit.
disk    The same run on a full disk (a tmpfs of its own where the system allows mounting one, elsewhere a limit on the
        size of files), and with each operation on files failing in turn: training goes on, what is on disk stays
        whole, and once there is room the run ends with the very same weights.
torn    The newest save cut at every 4 KiB boundary, and with every 4 KiB block zeroed, or all from it on: refused,
        and `swap restore` gives the state before; a torn file that was not yet in its place is never looked at.

Each child is forked from a process that has imported and compiled everything, so that most of its life is training and
saving; for that, Numba runs on its own threads here, which live through a fork. Exit status 1 if anything was lost
or wrong.
"""

import argparse
import collections
import contextlib
import errno
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")  # before Numba is imported

import nn.checkpoint
from bench.arguments import count
from nn.checkpoint import CheckpointError, verify_checkpoint
from nn.train import Budget
from swap import saver, train
from swap.data import FaceSet
from swap.generations import checkpoint_path, restore
from swap.model import PRESETS, Preset
from swap.recipe import RECIPES
from swap.train import CropDefinition, Trainer

BLOCK = 4096
SMALLEST = Preset("smallest", 2, 8, "this bench: a step of milliseconds")
OPERATIONS = ("write", "fsync", "hardlink_to", "replace", "unlink")


class Shared:
    """Numbers that a child writes and its parent reads after the child was killed: the last step "saved", when its
    training "began", and operations on files so far, of each kind."""

    NAMES = ("saved", "began", *OPERATIONS)

    def __init__(self) -> None:
        self._numbers = memoryview(mmap.mmap(-1, 64)).cast("q")

    def __getitem__(self, name: str) -> int:
        return self._numbers[self.NAMES.index(name)]

    def __setitem__(self, name: str, value: int) -> None:
        self._numbers[self.NAMES.index(name)] = value

    def count(self, kind: str) -> None:
        """One more operation of a kind."""
        self[kind] += 1


def faces(count: int = 40) -> dict[str, FaceSet]:
    """Two people of smooth random pictures."""
    import cv2

    sets = {}
    for seed, side in enumerate("ab"):
        coarse = np.random.default_rng(seed).integers(0, 256, (count, 7, 7, 3), np.uint8)
        images = [cv2.resize(c, (56, 56), interpolation=cv2.INTER_CUBIC) for c in coarse]
        sets[side] = FaceSet(np.stack(images), 4 / 3)
    return sets


def hook(before: Callable[[str], None]) -> None:
    """Calls ``before(kind)`` ahead of every operation on files that a save is made of, in this process."""
    for name in ("hardlink_to", "replace", "unlink"):
        original = getattr(Path, name)

        def named(
            self: Path, *given: Any, _do: Any = original, _name: str = name, **more: Any
        ) -> Any:
            if "safetensors" in self.name:
                before(_name)
            return _do(self, *given, **more)

        setattr(Path, name, named)
    fsync, write = os.fsync, nn.checkpoint._write

    def synced(file: int) -> None:
        before("fsync")
        fsync(file)

    class Writing:
        """A file, each piece of which is an operation."""

        def __init__(self, f: Any) -> None:
            self._f, self._left = f, 0

        def write(self, data: Any) -> None:
            self._f.flush()
            half = len(data) // 2
            before("write")
            self._f.write(data[:half])
            self._f.flush()
            before("write")
            self._f.write(data[half:])

    os.fsync = synced
    nn.checkpoint._write = lambda f, arrays, facts: write(Writing(f), arrays, facts)


def work(folder: Path, options: argparse.Namespace, shared: Shared, out: Path | None) -> None:
    """One process's life: opens the run, trains it to its end, saves after every step."""
    preset = SMALLEST if options.preset == "smallest" else PRESETS[options.preset]
    PRESETS[preset.name] = preset
    train.LOOKS_FACES, train.SAVE_EVERY = 32, 0.0
    saver.PATIENCE, saver.PAUSE = 10.0, 0.01
    Trainer.preview = lambda self: None
    trainer = Trainer(
        folder, faces(), CropDefinition(), preset, RECIPES["latentface"], batch_size=4
    )
    save, shared["began"] = trainer.save, time.monotonic_ns()
    shared["saved"] = max(
        shared["saved"], trainer.steps
    )  # whoever saved that was killed before saying so

    def saving() -> None:
        save()
        shared["saved"] = max(shared["saved"], trainer.steps)

    trainer.save = saving
    trainer.run(Budget(steps=options.steps), tell=lambda line: None)
    if out is not None:
        flats = {"values": trainer.arena.values, **trainer.optimizer.state}
        np.savez(out, **flats, **{f"loss_{side}": v for side, v in trainer.losses.items()})


@contextlib.contextmanager
def child(do: Callable[[], None]) -> Iterator[int]:
    """A forked process that does it; its pid. Statuses: 0 done, 1 an error, which it prints."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            do()
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def whole(options: argparse.Namespace, place: Path) -> tuple[dict[str, np.ndarray], float, Shared]:
    """The uninterrupted run: its end, how long it took, and its operations on files."""
    shared = Shared()

    def do() -> None:
        hook(shared.count)
        work(place / "whole", options, shared, place / "whole.npz")

    with child(do) as pid:
        if os.waitpid(pid, 0)[1]:
            raise RuntimeError("the uninterrupted run failed")
    took = (time.monotonic_ns() - shared["began"]) / 1e9
    return load(place / "whole.npz"), took, shared


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as found:
        return dict(found)


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return set(found) == set(expected) and all(
        found[name].tobytes() == expected[name].tobytes() for name in expected
    )


def kills(options: argparse.Namespace, place: Path, say: Callable[[str], None]) -> int:
    """Kills --kills times; the number of things that went wrong."""
    expected, took, operations = whole(options, place)
    counts = ", ".join(f"{operations[kind]} {kind}" for kind in OPERATIONS)
    say(f"uninterrupted: {options.steps} steps, {took:.1f} s; operations on files: {counts}")
    rng = random.Random(options.seed)
    killed, finished, wrong, number = collections.Counter(), 0, 0, 0
    while sum(killed.values()) < options.kills:
        number += 1
        folder, end, shared = place / f"run{number}", place / f"end{number}.npz", Shared()
        while not end.exists():
            targeted = rng.random() < 0.5
            kind = rng.choice(OPERATIONS)
            moment = rng.randrange(1, 2 + operations[kind] // 3) if targeted else 0
            for name in ("began", *OPERATIONS):
                shared[name] = 0

            def do(
                folder: Path = folder,
                end: Path = end,
                shared: Shared = shared,
                at: tuple[str, int] = (kind, moment),
            ) -> None:
                def before(now: str, shared: Shared = shared, at: tuple[str, int] = at) -> None:
                    shared.count(now)
                    if (now, shared[now]) == at:
                        os.kill(os.getpid(), signal.SIGKILL)

                hook(before)
                work(folder, options, shared, end)

            with child(do) as pid:
                if not targeted:
                    wait_until_it_trains(pid, shared)
                    time.sleep(rng.uniform(0, took / 3))
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                status = os.waitpid(pid, 0)[1]
            if os.WIFSIGNALED(status):
                killed[f"before {kind}" if targeted else "at any moment"] += 1
                end.unlink(missing_ok=True)  # the end may be half written; the run is what counts
                wrong += not survived(folder, shared["saved"], say)
            elif status:
                wrong += 1
                say(f"run {number} could not be gone on with")
                return wrong
        finished += 1
        if not same(load(end), expected):
            wrong += 1
            say(f"run {number} ended with other weights")
        shutil.rmtree(folder)
        if number % 10 == 0:
            say(f"  {sum(killed.values())} kills, {finished} runs finished, {wrong} wrong")
    moments = ", ".join(f"{count} {what}" for what, count in killed.most_common())
    say(
        f"{sum(killed.values())} kills ({moments}) over {finished} runs: {wrong} wrong; every finished run has the "
        f"weights of the uninterrupted one: {'no' if wrong else 'yes'}"
    )
    return wrong


def wait_until_it_trains(pid: int, shared: Shared) -> None:
    """Or has ended: nobody waits for what is dead."""
    while (
        not shared["began"]
        and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    ):
        time.sleep(0.001)


def survived(folder: Path, saved: int, say: Callable[[str], None]) -> bool:
    """Whether the newest save is whole and of the last step saved, or the one after it."""
    path = checkpoint_path(folder)
    if not path.exists():
        if saved:
            say(f"after a kill {path} is gone, and step {saved} had been saved")
        return not saved
    try:
        steps = verify_checkpoint(path)["steps"]
    except CheckpointError as error:
        say(f"after a kill: {error}")
        return False
    if steps not in (saved, saved + 1):
        say(f"after a kill the newest save is of step {steps}, and {saved} had been saved")
    return steps in (saved, saved + 1)


@contextlib.contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path | None]:
    """A tmpfs of ``size`` bytes; None where the system does not let one be mounted."""
    at = place / "disk"
    at.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)]
    mounted = shutil.which("mount") is not None and (
        subprocess.run(mount, capture_output=True, check=False).returncode == 0
    )
    try:
        yield at if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", str(at)], check=False)


def disk(options: argparse.Namespace, place: Path, say: Callable[[str], None]) -> int:
    """Full disks, and every operation on files failing in turn; the number of things that went wrong."""
    expected, _, counted = whole(options, place)
    size = checkpoint_path(place / "whole").stat().st_size
    wrong = 0
    each = [
        (kind, number)
        for kind in OPERATIONS
        for number in range(1, 1 + min(counted[kind], options.failures // len(OPERATIONS)))
    ]
    for failing in ("full disk", *each):
        wrong += not on_bad_disk(failing, options, place, expected, size, say)
    say(
        f"a disk that fills up, and {len(each)} operations on files, {len(OPERATIONS)} kinds, that fail one a run "
        f"(no space, no permission, in turn): {wrong} wrong"
    )
    return wrong


def on_bad_disk(
    failing: str | tuple[str, int],
    options: argparse.Namespace,
    place: Path,
    expected: dict[str, np.ndarray],
    size: int,
    say: Callable[[str], None],
) -> bool:
    """Whether a run on such a disk loses nothing and ends as it should."""
    end = place / "end.npz"
    end.unlink(missing_ok=True)
    shared = Shared()
    with contextlib.ExitStack() as stack:
        room = place
        if failing == "full disk":
            mounted = stack.enter_context(small_disk(place, int(4.6 * size)))
            say(
                "full disk: "
                + ("a tmpfs" if mounted else "no tmpfs can be mounted: a limit on file sizes")
            )
            room = mounted or place
        folder = room / "bad"

        def do() -> None:
            if failing == "full disk":
                fill(folder, room, options, shared, size, expected)
            else:
                hook(lambda kind: fail_at(*failing, kind, shared))
            work(folder, options, shared, end)

        with child(do) as pid:
            status = os.waitpid(pid, 0)[1]
        good = not status and same(load(end), expected)
        good &= (
            bool(folder.exists())
            and verify_checkpoint(checkpoint_path(folder))["steps"] == options.steps
        )
        if not good:
            say(f"failing at {failing}: status {status}")
        shutil.rmtree(folder, ignore_errors=True)
    return good


def fail_at(which: str, number: int, kind: str, shared: Shared) -> None:
    """Raises where this is operation ``number`` of the kind ``which``."""
    shared.count(kind)
    if (kind, shared[kind]) == (which, number):
        code = (errno.ENOSPC, errno.EACCES)[number % 2]
        raise OSError(code, os.strerror(code))


def fill(
    folder: Path,
    room: Path,
    options: argparse.Namespace,
    shared: Shared,
    size: int,
    expected: dict[str, np.ndarray],
) -> None:
    """From a third of the run to two thirds there is no room; afterwards there is."""
    ballast = room / "ballast"
    step = Trainer.step
    mounted = os.path.ismount(room)

    def stepping(self: Trainer, number: int, batch: Any, rate: float) -> Any:
        if number == options.steps // 3:
            if mounted:
                with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as f:
                    while True:
                        f.write(b"x" * BLOCK)
            else:
                limit(size // 2)
        elif number == 2 * options.steps // 3:
            ballast.unlink(missing_ok=True)
            if not mounted:
                limit(None)
        elif options.steps // 3 < number < 2 * options.steps // 3 and (
            shared["saved"] > options.steps // 3
        ):
            raise AssertionError("saved although there was no room")
        return step(self, number, batch, rate)

    Trainer.step = stepping


def limit(size: int | None) -> None:
    """No file may grow beyond ``size`` bytes; None: as before."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def torn(options: argparse.Namespace, place: Path, say: Callable[[str], None]) -> int:
    """Torn writes; the number of them that were taken for something else than the state before or after."""
    short = argparse.Namespace(**{**vars(options), "steps": 3})
    whole(short, place)
    folder = place / "whole"
    newest = checkpoint_path(folder)
    good = newest.read_bytes()
    blocks = range(0, len(good), max(BLOCK, len(good) // options.blocks // BLOCK * BLOCK))
    refused = wrong = unchanged = 0
    for start in blocks:
        for how in ("cut", "block zeroed", "zeroed from here"):
            data = bytearray(good)
            if how == "cut":
                del data[start:]
            else:
                stop = min(len(data), start + BLOCK) if how == "block zeroed" else len(data)
                data[start:stop] = bytes(stop - start)
            newest.write_bytes(data)
            try:
                verify_checkpoint(newest)
            except CheckpointError as error:
                refused += 1
                wrong += "\n" in str(error)
            else:
                unchanged += bytes(data) == good  # zeros that were zeros before
                wrong += bytes(data) != good
    back, aside = restore(folder)
    wrong += back.facts["steps"] != 2 or len(aside) != 1
    # A torn file under the name that a save is written to is not looked at, and then removed.
    (folder / (newest.name + ".tmp")).write_bytes(good[: len(good) // 2])
    with child(lambda: work(folder, short, Shared(), None)) as pid:
        wrong += os.waitpid(pid, 0)[1] != 0
    wrong += verify_checkpoint(newest)["steps"] != 3 or bool(list(folder.glob("*.tmp")))
    say(
        f"{len(blocks)} places, 4 KiB boundaries of a file of {len(good):,} bytes, torn in 3 ways: {refused} refused, "
        f"{unchanged} as it was, {wrong} wrong; `swap restore` gives step 2, training goes on to step 3"
    )
    return wrong


def main(argv: list[str]) -> int:
    """Prints what was done and found; 1 if anything was lost or wrong."""
    parser = argparse.ArgumentParser(prog="bench crash", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=count, default=300)
    parser.add_argument("--steps", type=count, default=40, help="of a run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", choices=[*PRESETS, "smallest"], default="tiny")
    parser.add_argument("--failures", type=count, default=60, help="operations that fail in turn")
    parser.add_argument("--blocks", type=count, default=10**9, help="at most so many torn places")
    parser.add_argument("--place", type=Path, help="where the runs are made; the system's own")
    parser.add_argument("--only", choices=["kills", "disk", "torn"])
    options = parser.parse_args(argv)
    with (
        tempfile.TemporaryDirectory() as place
    ):  # compiled once, here; the children find it in memory
        work(
            Path(place) / "warm",
            argparse.Namespace(**{**vars(options), "steps": 1}),
            Shared(),
            None,
        )
    wrong = 0
    for part in (kills, disk, torn):
        if options.only in (None, part.__name__):
            with tempfile.TemporaryDirectory(dir=options.place) as place:
                print(f"{part.__name__}:", flush=True)
                wrong += part(options, Path(place), lambda line: print(f"  {line}", flush=True))
    return 1 if wrong else 0
