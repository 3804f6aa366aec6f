"""The saves in a run folder: which there are, how a new one takes its place, what is wrong with each, and going back.

    checkpoint.safetensors             the newest: training goes on from it, everything else uses it
    checkpoint-00001200.safetensors    one before it, of step 1,200; so many of them that --keep saves are there
    snapshot-00010000.safetensors      asked for with --snapshot-every, never removed
    aside-1.safetensors                what `swap restore` took out of the way, never removed

A name says what a file is, and each file holds all of a run, with its checksums; there is no list of them that could
be wrong. A save is written under another name and forced to disk; then the newest becomes one before it, by a second
name for the same file, and only then does the new one take the place of the newest, in a single step. So a crash at any
moment leaves the newest whole, be it the old one or the new one.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nn.checkpoint import CheckpointError, DamagedError, read_facts, verify_checkpoint
from nn.files import give_name, sync_folder
from swap.errors import UserError
from swap.lock import RunLock

CHECKPOINT = "checkpoint.safetensors"
KIND = "swap"
KEEP = 3
_NAMES = re.compile(r"(checkpoint|snapshot|aside)-(\d+)\.safetensors")
NEEDED = {
    "preset": str, "recipe": dict | str, "seed": int, "batch_size": int, "crop": dict,
    "steps": int, "seconds": float | int,
}  # fmt: skip


@dataclass(frozen=True)
class Saves:
    """How a run keeps what it saved: so many saves, the newest included, and a snapshot every so many steps."""

    keep: int = KEEP
    snapshot_every: int | None = None

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise UserError(f"--keep must be at least 1, not {self.keep}")
        if self.snapshot_every is not None and self.snapshot_every < 1:
            raise UserError(f"--snapshot-every must be at least 1 step, not {self.snapshot_every}")


@dataclass(frozen=True)
class Generation:
    """One save: its file, what it is ("newest", "earlier", "snapshot", "aside"), the facts, and what is wrong ("" if
    nothing is)."""

    path: Path
    role: str
    facts: dict[str, Any]
    wrong: str

    def __str__(self) -> str:
        size = self.path.stat().st_size / 2**20 if self.path.exists() else 0.0
        text = (
            f"step {self.facts['steps']:,}, {saved_when(self.facts)}"
            if self.facts
            else "unreadable"
        )
        state = self.wrong or "whole: every checksum is right"
        return f"{self.path.name:33} {self.role:9} {text}, {size:,.1f} MiB\n    {state}"


def checkpoint_path(folder: Path) -> Path:
    """Where a run folder keeps its newest save."""
    return folder / CHECKPOINT


def has_run(folder: Path) -> bool:
    """Whether ``folder`` holds a run already, whole or not."""
    return checkpoint_path(folder).exists() or any(_named(folder))


def _named(folder: Path, kind: str = "") -> Iterator[tuple[int, Path]]:
    """(number, path) of the saves beside the newest, of one kind or all, in no order."""
    if folder.is_dir():
        for path in folder.iterdir():
            match = _NAMES.fullmatch(path.name)
            if match and match[1] == (kind or match[1]):
                yield int(match[2]), path


def earlier(folder: Path) -> list[Path]:
    """The saves before the newest, the latest first; a second name of the newest is none."""
    newest = checkpoint_path(folder)
    found = [path for _, path in sorted(_named(folder, "checkpoint"), reverse=True)]
    return [path for path in found if not (newest.exists() and newest.samefile(path))]


def keep_previous(folder: Path, saves: Saves) -> None:
    """Gives the newest save the name of one before it; called when the next one is on disk already."""
    newest = checkpoint_path(folder)
    if saves.keep > 1 and newest.exists():
        try:
            steps = int(read_facts(newest)["steps"])
        except (CheckpointError, KeyError, TypeError, ValueError):
            give_name(
                newest, _aside(folder)
            )  # damaged since it was read: kept, and none of the saves
        else:
            give_name(newest, folder / f"checkpoint-{steps:08d}.safetensors")


def remove_oldest(folder: Path, saves: Saves) -> None:
    """Leaves ``saves.keep`` saves, the newest included."""
    for path in earlier(folder)[saves.keep - 1 :]:
        path.unlink(missing_ok=True)


def take_snapshot(folder: Path, steps: int) -> None:
    """Keeps the newest save for good."""
    give_name(checkpoint_path(folder), folder / f"snapshot-{steps:08d}.safetensors")
    sync_folder(folder)


def remove_unfinished(folder: Path) -> None:
    """Removes what a save that was cut off left behind; only for the owner of the folder's lock."""
    for path in folder.glob("*.safetensors.tmp"):
        path.unlink(missing_ok=True)


def _aside(folder: Path) -> Path:
    number = 1 + max((number for number, _ in _named(folder, "aside")), default=0)
    return folder / f"aside-{number}.safetensors"


@contextmanager
def saying_what_helps(folder: Path) -> Iterator[None]:
    """Adds to what is said of a damaged newest save how to go back to one before it."""
    newest = checkpoint_path(folder)
    try:
        if not newest.exists() and any(_named(folder)):
            raise DamagedError(f"the newest save of the run, {newest}, is missing")
        yield
    except DamagedError as error:
        before = earlier(folder)
        if before:
            helps = f"`swap restore {folder}` goes back to a save before it, {before[0].name}"
        else:
            helps = f"no save before it is left in {folder}"
        raise DamagedError(f"{error}; {helps}") from error


def check_facts(path: Path, facts: dict[str, Any]) -> None:
    """CheckpointError where the facts of ``path`` are not those of a run; a stranger may have written them."""
    for name, kind in NEEDED.items():
        value = facts.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise CheckpointError(
                f"the checkpoint {path} has no {name} that a run could have: {value!r:.60}"
            )
    # The losses so far stand in the file, four bytes for each step and side.
    if not 0 <= facts["steps"] <= path.stat().st_size // 8 or not 0 <= facts["seconds"] < 1e12:
        raise CheckpointError(
            f"the checkpoint {path} cannot be of {facts['steps']} steps in {facts['seconds']} seconds"
        )


def plain(value: object) -> str:
    """A value out of a file as it may be printed: short, and without anything that a terminal would obey."""
    text = str(value)
    return (text if text.isprintable() else repr(text))[:300]


def saved_when(facts: dict[str, Any]) -> str:
    """When a save was made, as far as it says."""
    return f"saved {plain(facts['saved'])}" if "saved" in facts else "saved at an unknown time"


def look_at(path: Path, role: str) -> Generation:
    """Reads all of a save and says what is wrong with it."""
    facts: dict[str, Any] = {}
    try:
        found = read_facts(path)
        if found.get("kind") != KIND:
            return Generation(path, role, {}, "a checkpoint of another kind of network")
        check_facts(path, found)
        facts = found
        verify_checkpoint(path)
    except CheckpointError as error:
        return Generation(path, role, facts, str(error))
    return Generation(path, role, facts, "")


def generations(folder: Path) -> list[Generation]:
    """Every save in ``folder``, the newest first; UserError where it holds no run."""
    if not has_run(folder):
        raise UserError(f"{folder} holds no run (no {CHECKPOINT})")
    found = [look_at(checkpoint_path(folder), "newest")]
    found += [look_at(path, "earlier") for path in earlier(folder)]
    for kind in ("snapshot", "aside"):
        named = sorted(_named(folder, kind), reverse=True)
        found += [look_at(path, kind) for _, path in named]
    return found


def describe_run(path: Path) -> tuple[str, bool]:
    """What `swap inspect` says of a run folder or of one checkpoint, and whether all is well; what was set aside
    before does not count."""
    found = generations(path) if path.is_dir() else [look_at(path, "file")]
    lines = []
    known = next((each.facts for each in found if each.facts), {})
    if known:
        of, recipe = known.get("versions"), known["recipe"]
        recipe = recipe.get("name") if isinstance(recipe, dict) else recipe
        lines.append(
            f"{path}: a run of preset {plain(known['preset'])}, recipe {plain(recipe)}, "
            f"seed {known['seed']}, {known['batch_size']} faces a side, crop {plain(known['crop'])}, "
            f"latentface {plain(of.get('latentface', 'unknown') if isinstance(of, dict) else 'unknown')}"
        )
    lines += [str(each) for each in found]
    wrong = [each for each in found if each.wrong and each.role != "aside"]
    if wrong and path.is_dir() and wrong[0].role == "newest":
        good = next((each for each in found if not each.wrong and each.role == "earlier"), None)
        if good:
            lines.append(f"`swap restore {path}` goes back to {good.path.name}")
    return "\n".join(lines), not wrong


def restore(folder: Path, steps: int | None = None) -> tuple[Generation, list[Path]]:
    """Goes back to the save before the newest that is whole, or to that of ``steps``, a snapshot perhaps. What it
    passes over is set aside, not removed. Returns the save, which is the newest now, and the files set aside.

    UserError, with nothing changed, where there is none, or another process works on the run.
    """
    if not has_run(folder):
        raise UserError(f"{folder} holds no run (no {CHECKPOINT})")
    with RunLock(folder):
        remove_unfinished(folder)
        found = _choose(folder, steps)
        passed = [path for path in (checkpoint_path(folder), *earlier(folder)) if path.exists()]
        passed = passed[: passed.index(found.path)] if found.path in passed else passed
        if steps is not None:  # saves before that step stay what they are
            kept = {path for number, path in _named(folder, "checkpoint") if number < steps}
            passed = [path for path in passed if path not in kept]
        newest, aside = checkpoint_path(folder), []
        try:
            for path in passed:
                aside.append(_aside(folder))
                give_name(path, aside[-1])
            give_name(found.path, newest)
            for path in (*passed, found.path):
                if path != newest and not path.name.startswith("snapshot"):
                    path.unlink()
        except OSError as error:
            raise UserError(
                f"{folder} could not be restored: {error.strerror or error}; nothing was lost, "
                "make room or permissions there and run the same command again"
            ) from error
        sync_folder(folder)
        return Generation(newest, "newest", found.facts, ""), aside


def _choose(folder: Path, steps: int | None) -> Generation:
    """The save to go back to; UserError where there is none."""
    if steps is None:
        candidates = earlier(folder)
        if not candidates:
            raise UserError(
                f"{folder} holds no save before the newest, so there is nothing to go back to"
            )
    else:
        both = [*_named(folder, "checkpoint"), *_named(folder, "snapshot")]
        candidates = [path for number, path in both if number == steps]
        if not candidates:
            there = sorted({number for number, _ in both})
            raise UserError(
                f"{folder} holds no save of step {steps:,}; there are "
                f"{', '.join(f'{n:,}' for n in there) or 'none before the newest'}"
            )
    looked = [look_at(path, "earlier") for path in candidates]
    whole = next((each for each in looked if not each.wrong), None)
    if whole is None:
        raise UserError(f"no save to go back to is whole: {looked[0].wrong}")
    return whole


def saved_now() -> str:
    """The time, for the facts of a save."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
