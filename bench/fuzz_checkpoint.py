"""Mutated checkpoints: is each loaded as the original, or refused in one sentence, quickly and in little memory?

    python -m bench fuzz_checkpoint [--count 20000] [--seed 0] [--seconds 2] [--keep FOLDER]

Each file is a small run's checkpoint with one to three of these done to it: bits flipped, bytes set, a piece cut out,
doubled, or put elsewhere, the end cut off or grown; the header's length set, its JSON replaced piece by piece (other
shapes, offsets, dtypes, names, numbers, depths; entries that overlap, leave holes, come twice, are missing), the header
of another checkpoint put on, with the seal and the checksums made to match or not. What is asked of the reader:

    right     the facts and every array are the original's, or a CheckpointError of one line that names the file and
              leaves every target as it was
    quick     within --seconds
    small     at its peak no more memory, as Python's allocator counts it, than twice the file's size (or 256 KiB,
              since a message alone may be larger than a file that was cut)

Every thousandth file is also opened in a process that may have no more address space than it has and twice the file.
Exit status 1 if one was not so; with --keep such files are kept.
"""

import argparse
import collections
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.arguments import count
from nn import checkpoint
from nn.checkpoint import CheckpointError, load_checkpoint, save_checkpoint, verify_checkpoint

NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    63,
    64,
    2**16,
    2**31 - 1,
    2**31,
    2**32,
    2**53,
    2**62,
    2**63 - 1,
    2**63,
    2**64,
    10**40,
)
VALUES = (None, True, 1.5, "", "F32", [], {}, [[]], "x" * 300, float("nan"))


def original() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and facts like those of a run, a few hundred kilobytes."""
    rng = np.random.default_rng(0)
    shapes = {"conv.weight": (5, 5, 3, 32), "conv.bias": (32,), "dense.weight": (256, 128)}
    arrays = {
        prefix + name: rng.standard_normal(shape).astype(np.float32)
        for prefix in ("", "m/", "v/")
        for name, shape in shapes.items()
    }
    arrays |= {"history/a": rng.random(500).astype(np.float32), "empty": np.zeros((0, 3))}
    arrays |= {"count": np.array(7), "mask": np.ones(33, bool), "wide": rng.random((4, 4))}
    return arrays, {"kind": "swap", "steps": 500, "crop": {"size": 256}, "recipe": {"name": "x"}}


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 8, 100))):
        place = rng.randrange(min(len(data), rng.choice((16, 8192, len(data)))))
        data[place] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    length = rng.choice((1, 4, 8, 512, 4096, 65536))
    fill = rng.choice((b"\0", b"\xff", b'"', b"{", b"[", b"9", None))
    piece = data[start : start + length]
    data[start : start + length] = rng.randbytes(len(piece)) if fill is None else fill * len(piece)


def cut(data: bytearray, rng: random.Random) -> None:
    places = (
        rng.randrange(len(data)),
        rng.randrange(min(len(data), 4096)),
        len(data) // 4096 * 4096,
    )
    del data[rng.choice(places) :]


def grow(data: bytearray, rng: random.Random) -> None:
    data += rng.randbytes(rng.choice((1, 8, 4096))) if rng.random() < 0.5 else bytes(4096)


def rearrange(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    piece = bytes(data[start : start + rng.choice((1, 16, 512, 4096))])
    if rng.random() < 0.7:
        del data[start : start + len(piece)]
    at = rng.randrange(len(data) + 1)
    data[at:at] = piece if rng.random() < 0.8 else b""


def length(data: bytearray, rng: random.Random) -> None:
    known = int.from_bytes(data[:8], "little")
    new = rng.choice(
        (
            0,
            1,
            known - 1,
            known + 1,
            known // 2,
            len(data),
            len(data) - 8,
            2**20,
            2**31,
            2**63,
            2**64 - 1,
        )
    )
    data[:8] = max(0, new).to_bytes(8, "little")


def header(data: bytearray, rng: random.Random) -> None:
    """Rewrites the header's JSON, and makes seal and checksums match as often as not."""
    size = int.from_bytes(data[:8], "little")
    fields, body = {}, bytes(data)
    try:
        fields = json.loads(data[8 : 8 + size])
        names = [name for name in fields if name != "__metadata__"]
        body = data[8 + size :]
        for _ in range(rng.choice((1, 1, 2, 5))):
            rng.choice(FIELDS)(fields, rng.choice(names), rng, names)
        if rng.random() < 0.5:
            digests = {
                name: hashlib.sha256(body[slice(*entry["data_offsets"])]).hexdigest()
                for name, entry in fields.items()
                if name != "__metadata__"
            }
            fields["__metadata__"]["sha256"] = json.dumps(digests)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        pass  # an earlier mutation has left nothing to work on
    text = json.dumps(fields)
    if rng.random() < 0.6:
        try:
            fields["__metadata__"]["seal"] = checkpoint._seal(fields)
            text = json.dumps(fields)
        except (AttributeError, KeyError, TypeError, ValueError):
            pass
    kind = rng.random()
    if kind < 0.05:
        text = rng.choice(
            ("[" * 9000, '{"a":' * 9000, "9" * 5000, "[" + "{}," * 9000, text * 2, text[:-1])
        )
    elif kind < 0.1:
        entry = text[1:-1]
        text = "{" + entry + "," + entry + "}"  # every name twice
    raw = text.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-16")))
    data[:] = len(raw).to_bytes(8, "little") + raw + body


def _number(fields: dict, name: str, rng: random.Random, names: list[str]) -> None:
    entry = fields[name]
    key = rng.choice(("shape", "data_offsets"))
    if entry[key]:
        entry[key][rng.randrange(len(entry[key]))] = rng.choice(NUMBERS)


def _value(fields: dict, name: str, rng: random.Random, names: list[str]) -> None:
    fields[name][rng.choice(("dtype", "shape", "data_offsets", "more"))] = rng.choice(VALUES)


def _dtype(fields: dict, name: str, rng: random.Random, names: list[str]) -> None:
    fields[name]["dtype"] = rng.choice((*checkpoint.DTYPES, "BF16", "F8_E4M3", "f32", ""))


def _shape(fields: dict, name: str, rng: random.Random, names: list[str]) -> None:
    count = int(np.prod(fields[name]["shape"], dtype=object))
    fields[name]["shape"] = rng.choice(
        (
            [count],
            [1] * 40 + [count],
            [count, 1],
            fields[name]["shape"][::-1],
            [0, count],
            [2**32] * 3,
        )
    )


def _overlap(fields: dict, name: str, rng: random.Random, names: list[str]) -> None:
    other = fields[rng.choice(names)]
    fields[name]["data_offsets"] = list(other["data_offsets"])
    if rng.random() < 0.5:
        fields[name]["shape"] = list(other["shape"])


def _exchange(fields: dict, name: str, rng: random.Random, names: list[str]) -> None:
    other = rng.choice(names)
    fields[name], fields[other] = fields[other], fields[name]


def _drop(fields: dict, name: str, rng: random.Random, names: list[str]) -> None:
    fields.pop(rng.choice((name, "__metadata__", name)))


def _rename(fields: dict, name: str, rng: random.Random, names: list[str]) -> None:
    fields[rng.choice(("", name + "\n", "../../etc", "\ud800", "x" * 5000))] = fields.pop(name)


def _many(fields: dict, name: str, rng: random.Random, names: list[str]) -> None:
    end = fields[name]["data_offsets"][1]
    for i in range(rng.choice((10, 300))):
        fields[f"more{i}"] = {"dtype": "F32", "shape": [0], "data_offsets": [end, end]}


def _metadata(fields: dict, name: str, rng: random.Random, names: list[str]) -> None:
    metadata = fields["__metadata__"]
    key = rng.choice(list(metadata))
    new = rng.choice(
        ("", "{", "[]", "{}", "null", "[" * 3000, "1e999", "2", 3, None, metadata[key] * 2, "x")
    )
    if rng.random() < 0.2:
        del metadata[key]
    else:
        metadata[rng.choice((key, key, "more"))] = new


FIELDS = (
    _number,
    _number,
    _value,
    _dtype,
    _shape,
    _overlap,
    _exchange,
    _drop,
    _rename,
    _many,
    _metadata,
)
WAYS = (flip, overwrite, cut, grow, rearrange, length, header, header, header, header)


def mutate(whole: bytes, other: bytes, seed: int) -> tuple[bytes, str]:
    """Mutation number ``seed``, and how it was made."""
    rng = random.Random(seed)
    data, done = bytearray(whole), []
    if rng.random() < 0.05:  # a header of another file
        sizes = [8 + int.from_bytes(each[:8], "little") for each in (whole, other)]
        data = bytearray(other[: sizes[1]] + whole[sizes[0] :])
        done.append("splice")
    for _ in range(rng.choice((1, 1, 2, 3)) - bool(done)):
        way = rng.choice(WAYS)
        if len(data) > 16:
            way(data, rng)
            done.append(way.__name__)
    return bytes(data), "+".join(done)


class Judge:
    """Reads mutated files and says what is wrong with what the reader did."""

    def __init__(self, folder: Path) -> None:
        self.arrays, self.facts = original()
        self.path = folder / "mutated.safetensors"
        save_checkpoint(self.path, self.arrays, self.facts)
        self.whole = self.path.read_bytes()
        halves = {
            name: array[: len(array) // 2] for name, array in self.arrays.items() if array.ndim
        }
        save_checkpoint(self.path, halves, self.facts | {"steps": 3})
        self.other = self.path.read_bytes()
        self.targets = {name: np.empty_like(array) for name, array in self.arrays.items()}

    def check(self, data: bytes, seconds: float) -> tuple[str, str, float, float]:
        """(what the reader did, what is wrong with that or "", seconds it took, peak of memory by the file's size)."""
        self.path.write_bytes(data)
        for target in self.targets.values():
            target.view(np.uint8).fill(77) if target.ndim else target.fill(77)
        before = {name: target.tobytes() for name, target in self.targets.items()}
        error: BaseException | None = None
        facts: dict[str, Any] = {}
        tracemalloc.start()
        began = time.process_time()
        try:
            facts = load_checkpoint(self.path, lambda facts: self.targets)
        except BaseException as raised:
            error = raised
        took = time.process_time() - began
        peak = tracemalloc.get_traced_memory()[1] / max(len(data), 1)
        tracemalloc.stop()
        if error is None:
            done, wrong = "loaded", self._is_original(facts)
        elif isinstance(error, CheckpointError):
            done, wrong = "refused", self._is_sentence(str(error))
            if {name: target.tobytes() for name, target in self.targets.items()} != before:
                wrong = "targets were changed"
        else:
            done, wrong = "failed", f"{type(error).__name__}: {error}"[:200]
        if done == "refused" and not wrong:
            wrong = self._verify_refuses()
        if took > seconds:
            wrong = wrong or f"took {took:.1f} s"
        if peak > 2 and peak * len(data) > 2**18:
            wrong = wrong or f"needed {peak:.1f} times the file's size"
        return done, wrong, took, peak

    def _is_original(self, facts: dict[str, Any]) -> str:
        if facts != self.facts:
            return "other facts were loaded"
        same = all(self.targets[n].tobytes() == a.tobytes() for n, a in self.arrays.items())
        return "" if same else "other numbers were loaded"

    def _is_sentence(self, text: str) -> str:
        if "\n" in text or str(self.path) not in text or len(text) > 600:
            return f"no sentence: {text[:300]!r}"
        return ""

    def _verify_refuses(self) -> str:
        """The other reader, that of `swap inspect`: what it accepts must be whole in itself."""
        try:
            verify_checkpoint(self.path)
        except CheckpointError as error:
            return self._is_sentence(str(error))
        except BaseException as error:
            return f"verify: {type(error).__name__}: {error}"[:200]
        return ""


LIMITED = """
import resource, sys
from pathlib import Path
from nn.checkpoint import CheckpointError, verify_checkpoint
path = Path(sys.argv[1])
have = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
room = have + 2 * path.stat().st_size + 2**20
resource.setrlimit(resource.RLIMIT_AS, (room, room))
try:
    verify_checkpoint(path)
except CheckpointError as error:
    print("refused")
"""


def limited(path: Path) -> str:
    """Reads a file in a process with little address space; what went wrong, or ""."""
    if not Path("/proc/self/statm").exists():
        return ""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return "" if done.returncode == 0 else f"status {done.returncode}: {done.stderr[-200:]}"


def fuzz(
    count: int, seed: int, seconds: float, say: Callable[[str], None], keep: Path | None, spare: int
) -> int:
    """Tries ``count`` mutations; the number of those that were not handled rightly."""
    done, ways, bad, slowest, largest = collections.Counter(), set(), 0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        judge = Judge(Path(folder))
        for number in range(count):
            data, how = mutate(judge.whole, judge.other, seed * 10**9 + number)
            ways.add(how)
            what, wrong, took, peak = judge.check(data, seconds)
            if not wrong and spare and number % spare == 0:
                wrong = limited(judge.path)
            slowest, largest = max(slowest, took), max(largest, peak if len(data) > 2**17 else 0)
            done[what] += 1
            if wrong:
                bad += 1
                say(f"mutation {number} ({how}): {what}, {wrong}")
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{number}.safetensors").write_bytes(data)
        say(
            f"{count:,} mutations of a file of {len(judge.whole):,} bytes, {len(ways)} ways: "
            + ", ".join(f"{number:,} {what}" for what, number in done.most_common())
            + f"; {bad} wrong; slowest {1000 * slowest:.0f} ms, peak of memory {largest:.2f} times the file "
            "(of those above 128 KiB)"
        )
    return bad


def main(argv: list[str]) -> int:
    """Prints what was tried and found; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(
        prog="bench fuzz_checkpoint", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--count", type=count, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=2.0, help="longest time for one file")
    parser.add_argument("--keep", type=Path, help="folder for files that were handled wrongly")
    options = parser.parse_args(argv)
    say = lambda line: print(line, flush=True)  # noqa: E731
    return 1 if fuzz(options.count, options.seed, options.seconds, say, options.keep, 1000) else 0
