"""Checkpoints: everything a run needs to go on, in one safetensors file.

A checkpoint is a table of named arrays (weights, and for each array of the optimizer's state the same
names under ``m/``, ``v/`` ...) and a small dictionary of facts (step, seed, preset ...). It is written
to a temporary file beside the target, forced to disk, and moved over it in one step, so that at every
moment the name holds the whole old file or the whole new one. Nothing is ever unpickled.

    8 bytes    length of the header, little-endian                                 safetensors' own layout, so
    header     JSON: {"__metadata__": {...}, name: {dtype, shape, data_offsets}}   that anybody can read it
    data       the arrays, one after the other

    __metadata__    format, version, facts (JSON), facts_sha256, sha256 (JSON: of each array), seal

The seal is the SHA-256 of the header without it, so names, shapes and offsets are covered as well. (Files of earlier
versions of this program have none; their facts and arrays are covered.) A file that was cut or altered is refused.
The reader believes nothing: the header may not be longer than the file nor hold more than can be parsed in its size,
every array must lie where the one before it ends, and no memory is asked for that the caller has not got already;
arrays are hashed in small pieces and then read into their places. Not memory-mapped: a mapped file that is cut while it
is read ends the process.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nn.files import sync_folder

FORMAT = "latentface-checkpoint"
VERSION = 1
MAX_HEADER = 2**20  # bytes, and a sixteenth of the file besides
LITTLE = (
    2**18
)  # bytes of memory that reading any header may take; above that, not more than the file has
PIECE = 2**20  # bytes that are hashed at a time
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "|b1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip
_CODES = {np.dtype(kind): code for code, kind in DTYPES.items()}
_METADATA = {"format", "version", "facts", "facts_sha256", "sha256", "seal"}


class CheckpointError(ValueError):
    """A checkpoint that cannot be read; the message is one sentence for a person."""


class DamagedError(CheckpointError):
    """A checkpoint that was cut or altered, or is none at all: nothing in it can be believed."""


def _flat(array: np.ndarray) -> memoryview:
    """Its bytes in order; a copy only where they do not lie so."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(_flat(array)).hexdigest() if array.size else ""


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _seal(header: dict[str, Any]) -> str:
    """SHA-256 of a header, without its seal."""
    metadata = {key: v for key, v in header["__metadata__"].items() if key != "seal"}
    text = json.dumps(header | {"__metadata__": metadata}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def save_checkpoint(
    path: Path,
    arrays: dict[str, np.ndarray],
    facts: dict[str, Any],
    before_replacing: Callable[[], None] | None = None,
) -> None:
    """Writes ``arrays`` and the JSON-able ``facts`` to ``path``, atomically; an OSError leaves the old file whole.

    before_replacing: called when the new file is on disk and the old one still has its name.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as f:
            _write(f, arrays, facts)
            f.flush()
            os.fsync(f.fileno())
        if before_replacing is not None:
            before_replacing()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write(f: BinaryIO, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    facts_text = json.dumps(facts)
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "facts": facts_text,
        "facts_sha256": hashlib.sha256(facts_text.encode()).hexdigest(),
        "sha256": json.dumps({name: _digest(a) for name, a in arrays.items()}),
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    # The widest first, so that each array starts at a multiple of its own width.
    ordered = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    end = 0
    for name in ordered:
        array = arrays[name]
        begin, end = end, end + array.nbytes
        code = _CODES[array.dtype.newbyteorder("<")]
        header[name] = {
            "dtype": code,
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    metadata["seal"] = _seal(header)
    text = _dumps(header).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER + end // 16 or _appetite(text) > max(LITTLE, end):
        raise ValueError(f"names and facts of {len(text):,} bytes are too much for a checkpoint")
    f.write(len(text).to_bytes(8, "little"))
    f.write(text)
    for name in ordered:
        f.write(_flat(arrays[name].astype(arrays[name].dtype.newbyteorder("<"), copy=False)))


def load_checkpoint(
    path: Path, into: Callable[[dict[str, Any]], dict[str, np.ndarray]]
) -> dict[str, Any]:
    """Reads a checkpoint into arrays that exist already; returns its facts.

    ``into(facts)`` gives the arrays to fill, by name. Every checksum is verified before the first number
    is written, so a refused file changes nothing. Raises CheckpointError, in one sentence, where the file is
    missing, of a newer version, or holds other names, shapes or dtypes, and DamagedError, which is one,
    where it was cut or altered or is something else.
    """
    with _open(path) as f:
        contents = _Contents(path, f)
        targets = into(contents.facts)
        for name, target in targets.items():
            contents.check_fits(name, target)
        for name in targets:
            contents.check_digest(name)
        for name, target in targets.items():
            contents.read(name, target)
        return contents.facts


def read_facts(path: Path) -> dict[str, Any]:
    """The facts of a checkpoint without its arrays; CheckpointError as in ``load_checkpoint``."""
    return load_checkpoint(path, lambda facts: {})


def verify_checkpoint(path: Path) -> dict[str, Any]:
    """The facts of a checkpoint after every array in it was found to be what was saved; CheckpointError otherwise."""
    with _open(path) as f:
        contents = _Contents(path, f)
        for name in contents.tensors:
            contents.check_digest(name)
        return contents.facts


def _open(path: Path) -> BinaryIO:
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read: {error.strerror}") from error


class _Contents:
    """An open checkpoint whose header was found to be right."""

    def __init__(self, path: Path, f: BinaryIO) -> None:
        self.path, self._file = path, f
        header, self._start = self._read_header()
        metadata = header.pop("__metadata__", None)
        if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
            raise DamagedError(
                f"{path} looks like a safetensors file, but not like a latentface checkpoint"
            )
        version = metadata.get("version", "")
        if version != str(VERSION):
            raise CheckpointError(
                f"the checkpoint {path} has format version {version!r:.40} and this program reads {VERSION}: "
                "use the latentface that wrote it, or a newer one"
            )
        self.tensors: dict[str, dict[str, Any]] = header
        try:
            if not set(metadata) <= _METADATA:
                raise ValueError
            if metadata.get("seal", "") != _seal({"__metadata__": metadata, **header}) and (
                "seal" in metadata
            ):
                raise ValueError
            text = metadata["facts"]
            if hashlib.sha256(text.encode()).hexdigest() != metadata["facts_sha256"]:
                raise ValueError
            self.facts, self._digests = _loads(text), _loads(metadata["sha256"])
            if not isinstance(self.facts, dict) or set(self._digests) != set(header):
                raise TypeError
            self._check_layout()
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise DamagedError(f"the header of the checkpoint {path} is damaged") from error

    def _read_header(self) -> tuple[dict[str, Any], int]:
        """The JSON of the header, and where the data begin."""
        try:
            size = os.fstat(self._file.fileno()).st_size
            first = self._file.read(8)
            length = int.from_bytes(first, "little")
            if len(first) < 8 or length > size - 8:
                raise self._cut(
                    f"it has {size:,} bytes, and its header alone should have {length:,}"
                )
            if length > MAX_HEADER + size // 16:
                raise DamagedError(
                    f"{self.path} is no checkpoint: its header would be {length:,} of {size:,} bytes"
                )
            self._size = size - 8 - length
            raw = self._file.read(length)
            if not raw.startswith(b"{") or not raw.isascii() or _appetite(raw) > max(LITTLE, size):
                raise ValueError
            header = _loads(raw.decode("ascii"))
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise DamagedError(
                f"{self.path} is no checkpoint: its header makes no sense"
            ) from error
        if not isinstance(header, dict):
            raise DamagedError(f"{self.path} is no checkpoint: its header makes no sense")
        return header, 8 + length

    def _cut(self, why: str) -> DamagedError:
        return DamagedError(
            f"{self.path} is not a whole checkpoint, it may have been cut short ({why})"
        )

    def _check_layout(self) -> None:
        """ValueError, TypeError or KeyError where an entry is not as it should be; DamagedError where the arrays are
        not as long together as the data."""
        for entry in self.tensors.values():
            if set(entry) != {"dtype", "shape", "data_offsets"}:
                raise ValueError
            begin, end = entry["data_offsets"]
            numbers = [*entry["shape"], begin, end]
            if any(type(n) is not int or not 0 <= n < 2**62 for n in numbers) or len(numbers) > 34:
                raise ValueError
            if end - begin != math.prod(entry["shape"]) * np.dtype(DTYPES[entry["dtype"]]).itemsize:
                raise ValueError
        at = 0
        for begin, end in sorted(entry["data_offsets"] for entry in self.tensors.values()):
            if begin != at:
                raise ValueError
            at = end
        if at != self._size:
            raise self._cut(f"its data have {self._size:,} bytes instead of {at:,}")

    def check_fits(self, name: str, target: np.ndarray) -> None:
        if name not in self.tensors:
            raise CheckpointError(f"the checkpoint {self.path} does not hold {name!r}")
        shape = tuple(self.tensors[name]["shape"])
        if shape != target.shape:
            raise CheckpointError(
                f"{name!r} has shape {shape} in the checkpoint {self.path}, "
                f"and {target.shape} is needed"
            )
        dtype = np.dtype(DTYPES[self.tensors[name]["dtype"]])
        if dtype != target.dtype:
            raise CheckpointError(
                f"{name!r} has dtype {dtype} in the checkpoint {self.path}, and {target.dtype} is needed"
            )

    def check_digest(self, name: str) -> None:
        """DamagedError where an array is not what was saved; it is read in pieces, and kept nowhere."""
        begin, end = self.tensors[name]["data_offsets"]
        found, piece, left = (
            hashlib.sha256(),
            memoryview(bytearray(min(PIECE, end - begin))),
            end - begin,
        )
        try:
            self._file.seek(self._start + begin)
            while left:
                got = self._file.readinto(piece[: min(PIECE, left)])
                if not got:
                    raise self._cut("it became shorter while it was read")
                found.update(piece[:got])
                left -= got
        except OSError as error:
            raise DamagedError(f"{self.path} cannot be read: {error.strerror}") from error
        if self._digests[name] != (found.hexdigest() if end > begin else ""):
            raise DamagedError(
                f"{name!r} in the checkpoint {self.path} is not what was saved (its checksum differs)"
            )

    def read(self, name: str, target: np.ndarray) -> None:
        """Fills ``target``, of the right shape and dtype."""
        begin, _ = self.tensors[name]["data_offsets"]
        whole = target.flags.c_contiguous and target.dtype.newbyteorder("<") == target.dtype
        into = target if whole else np.empty(target.shape, DTYPES[self.tensors[name]["dtype"]])
        left = into.reshape(-1).view(np.uint8).data if into.size else memoryview(b"")
        try:
            self._file.seek(self._start + begin)
            while len(left):
                got = self._file.readinto(left)
                if not got:
                    raise self._cut("it became shorter while it was read")
                left = left[got:]
        except OSError as error:
            raise DamagedError(f"{self.path} cannot be read: {error.strerror}") from error
        if into is not target:
            target[...] = into


def _appetite(raw: bytes) -> int:
    """Bytes of memory that a header may take when it is parsed, at most: as text, and 128 for every item."""
    return 2 * len(raw) + 128 * (raw.count(b",") + raw.count(b"{") + raw.count(b"["))


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dictionary; ValueError where a name comes twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found
