"""One function for each thing that is fuzzed: it takes bytes, and raises only where something is wrong."""

import contextlib
import hashlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nn.checkpoint import CheckpointError, _seal, load_checkpoint
from swap import cli
from swap.errors import UserError
from swap.faces.records import FILE_NAME, read_alignments
from swap.provenance import Mark, SourceType, describe, mark_file, read_mark

LONGEST = 4000  # characters of an answer, names of files included


class Finding(AssertionError):
    """What must not happen did."""


def _one_sentence(text: str) -> None:
    if not text.strip() or "\n" in text.strip() or len(text) > LONGEST:
        raise Finding(f"an answer that is not one sentence: {text[:400]!r}")


class Target:
    """A folder of its own, and the function that is fuzzed in it."""

    def __init__(self, run: Callable[[Path, bytes], None]) -> None:
        memory = (
            "/dev/shm" if Path("/dev/shm").is_dir() else None
        )  # a disk would be the slowest part
        self._folder = tempfile.TemporaryDirectory(prefix="latentface-fuzz-", dir=memory)
        self._run = run

    def __call__(self, data: bytes) -> None:
        """Raises Finding, or whatever the reader raised that it must not."""
        self._run(Path(self._folder.name), data)


def records(folder: Path, data: bytes) -> None:
    """alignments.jsonl: read, or refused in one sentence; what was read is what is written again."""
    (folder / FILE_NAME).write_bytes(data)
    try:
        header, alignments = read_alignments(folder)
    except UserError as error:
        _one_sentence(str(error))
        return
    if header["faces"] != len(alignments):
        raise Finding("the header promises another number of faces")
    for alignment in alignments:
        again = type(alignment).from_dict(alignment.to_dict())
        if not np.array_equal(again.matrix, alignment.matrix):
            raise Finding("a matrix changes as it is written and read")


def provenance(folder: Path, data: bytes) -> None:
    """The mark of a file: read, described in printable text, and where a mark goes in, it comes out again."""
    path = folder / "file"
    path.write_bytes(data)
    try:
        read_mark(path)
        if not all(c.isprintable() or c == "\n" for c in describe(path)):
            raise Finding("text that could steer a terminal")
        mark = Mark(SourceType.SWAPPED, "fuzz", "A mark.", {"Key": "value"})
        mark_file(path, mark)
    except (UserError, ValueError) as error:
        _one_sentence(str(error))
        return
    if read_mark(path) != mark:
        raise Finding("a mark that was put in does not come out")


def checkpoint(folder: Path, data: bytes) -> None:
    """A checkpoint: read as it was saved, or refused in one sentence. After a ! its checksums are made right."""
    path = folder / "checkpoint.safetensors"
    path.write_bytes(_resealed(data[1:]) if data[:1] == b"!" else data)
    target = {"w": np.full((3, 4), 7, np.float32), "m/w": np.full(4, 7, np.float32)}
    try:
        facts = load_checkpoint(path, lambda facts: target)
    except CheckpointError as error:
        _one_sentence(str(error))
        if any((array != 7).any() for array in target.values()):
            raise Finding("a refused checkpoint has changed an array") from error
        return
    if not isinstance(facts, dict):
        raise Finding("the facts are no dictionary")


def _resealed(data: bytes) -> bytes:
    """The same file with checksums that hold, so that what stands behind them is reached, too."""
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
        meta, body = header["__metadata__"], data[8 + length :]
        meta["facts_sha256"] = hashlib.sha256(meta["facts"].encode()).hexdigest()
        parts = {name: part["data_offsets"] for name, part in header.items() if "__" not in name}
        sums = {name: hashlib.sha256(body[a:b]).hexdigest() for name, (a, b) in parts.items()}
        meta["sha256"] = json.dumps(sums)
        meta["seal"] = _seal(header)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return data
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


# The words of a command line; a byte chooses one. What the input holds besides becomes the file "input".
WORDS = [
    "extract", "convert", "inspect", "model", "evaluate", "train", "run", "--help",
    "--out", "--size", "--every", "--frames", "--run", "--to", "--faces", "--side-by-side",
    "--a", "--b", "--preset", "--steps", "--minutes", "--seed", "--batch-size", "--recipe", "--studio",
    "input.png", "input.jpg", "input.mp4", "input.webp", "input.tif", "input.mkv", "folder", "new",
    "run", "alignments", "tiny", "lite", "huge", "a", "b", "B", "c", "heads", "fruit", "latentface", "2017",
    "0", "1", "2", "-1", "33", "64", "4096", "1e9", "nan", "x", "", "--", "-", "é\u2028", "a b\nc", "\x1b[31m",
]  # fmt: skip
INPUTS = [word for word in WORDS if word.startswith("input.")]


def commands(folder: Path, data: bytes) -> None:
    """`swap WORDS` on a file that may be anything: exit status 0 or 2, one sentence, no traceback."""
    count = data[0] % 12 if data else 0
    words = [WORDS[byte % len(WORDS)] for byte in data[1 : 1 + count]]
    content = data[1 + count :]
    inside = {"folder": "folder/input.png", "alignments": f"alignments/{FILE_NAME}"}
    for word in words:
        if word in INPUTS or word in inside:
            name = folder / inside.get(word, word)
            name.parent.mkdir(exist_ok=True)
            name.write_bytes(content)
    status, heard = _call(words, folder)
    if status not in (0, 2) or "Traceback" in heard:
        raise Finding(f"swap {words}: status {status}: {heard[-800:]}")
    if status == 2 and "Usage: swap" not in heard and "─ Error ─" not in heard:
        last = (heard.strip().split("\n") or [""])[-1]
        _one_sentence(last)
        if not last.startswith("swap: "):
            raise Finding(f"swap {words}: no sentence of its own: {last!r}")


def _call(words: list[str], folder: Path) -> tuple[object, str]:
    """Exit status, and what was printed."""
    heard, status, argv = io.StringIO(), 0, sys.argv
    sys.argv = ["swap", *words]
    try:
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stderr(heard),
            contextlib.redirect_stdout(heard),
        ):
            cli.main()
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.argv = argv
        for made in folder.iterdir():
            shutil.rmtree(made) if made.is_dir() else made.unlink()
    return status, heard.getvalue()


TARGETS = {run.__name__: run for run in (records, provenance, checkpoint, commands)}
