"""Checkpoints: everything a run needs to go on, in one safetensors file.

A checkpoint is a table of named arrays (weights, and for each array of the optimizer's state the same
names under ``m/``, ``v/`` ...) and a small dictionary of facts (step, seed, preset ...). It is written
to a temporary file beside the target, forced to disk, and moved over it in one step, so that at every
moment the name holds the whole old file or the whole new one. A SHA-256 of every array and of the
facts stands in the header; a file that was cut or altered is refused. Nothing is ever unpickled.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

FORMAT = "latentface-checkpoint"
VERSION = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be read; the message is one sentence for a person."""


def _digest(array: np.ndarray) -> str:
    flat = np.ascontiguousarray(array).reshape(-1)
    return hashlib.sha256(flat.view(np.uint8).data).hexdigest() if flat.size else ""


def save_checkpoint(path: Path, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    """Writes ``arrays`` and the JSON-able ``facts`` to ``path``, atomically; an OSError leaves the old file whole."""
    facts_text = json.dumps(facts)
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "facts": facts_text,
        "facts_sha256": hashlib.sha256(facts_text.encode()).hexdigest(),
        "sha256": json.dumps({name: _digest(a) for name, a in arrays.items()}),
    }
    temporary = path.with_name(path.name + ".tmp")
    try:
        save_file(
            {name: np.asarray(a, order="C") for name, a in arrays.items()}, temporary, metadata
        )
        temporary.chmod(0o644)  # safetensors makes it for its owner alone
        with temporary.open("rb+") as f:
            os.fsync(f.fileno())
        temporary.replace(path)
    except SafetensorError as error:  # what it raises when the disk is full
        raise OSError(f"could not write {temporary}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not every system lets a folder be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load_checkpoint(
    path: Path, into: Callable[[dict[str, Any]], dict[str, np.ndarray]]
) -> dict[str, Any]:
    """Reads a checkpoint into arrays that exist already; returns its facts.

    ``into(facts)`` gives the arrays to fill, by name. Every checksum is verified before the first number
    is written, so a refused file changes nothing. Raises CheckpointError, in one sentence, where the file is
    missing, cut, altered, of another kind or a newer version, or holds other names, shapes or dtypes.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        with safe_open(path, framework="numpy") as f:
            facts, digests = _read_header(path, f.metadata() or {})
            targets = into(facts)
            names = set(f.keys())
            for name, target in targets.items():
                if name not in names:
                    raise CheckpointError(f"the checkpoint {path} does not hold {name!r}")
                part = f.get_slice(name)
                if tuple(part.get_shape()) != target.shape:
                    raise CheckpointError(
                        f"{name!r} has shape {tuple(part.get_shape())} in the checkpoint {path}, "
                        f"and {target.shape} is needed"
                    )
            for verified in (False, True):  # first check all of it, then take it
                for name, target in targets.items():
                    array = f.get_tensor(name)
                    if verified:
                        target[...] = array
                    elif array.dtype != target.dtype or _digest(array) != digests.get(name):
                        raise CheckpointError(
                            f"{name!r} in the checkpoint {path} is not what was saved "
                            "(its checksum or its dtype differs)"
                        )
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole checkpoint, it may have been cut short ({error})"
        ) from error
    return facts


def read_facts(path: Path) -> dict[str, Any]:
    """The facts of a checkpoint without its arrays; CheckpointError as in ``load_checkpoint``."""
    return load_checkpoint(path, lambda facts: {})


def _read_header(path: Path, metadata: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is a safetensors file, but not a latentface checkpoint")
    version = metadata.get("version", "")
    if version != str(VERSION):
        raise CheckpointError(
            f"the checkpoint {path} has format version {version!r} and this program reads {VERSION}: "
            "use the latentface that wrote it, or a newer one"
        )
    try:
        facts, digests = json.loads(metadata["facts"]), json.loads(metadata["sha256"])
        if not isinstance(facts, dict) or not isinstance(digests, dict):
            raise TypeError
        if hashlib.sha256(metadata["facts"].encode()).hexdigest() != metadata["facts_sha256"]:
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the header of the checkpoint {path} is damaged") from error
    return facts, digests
