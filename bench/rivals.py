"""Asking several processes in turn: ours and PyTorch's never share a process, a thread pool or a warm cache."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

KINDS = ("ours", "torch", "torch channels_last")
UNRECORDED = "ours unrecorded"  # as Python calls it, see nn/record.py


def has_torch() -> bool:
    """Whether PyTorch is installed; says what to do on standard error where it is not."""
    if importlib.util.find_spec("torch") is not None:
        return True
    print("torch is not installed: pip install 'latentface[oracle]'", file=sys.stderr)
    return False


def size_of(preset: str) -> Any:
    """The Preset called so; "c32" is one of width 32 and code 256."""
    from swap.model import Preset, get_preset

    width = re.fullmatch(r"c([1-9]\d*)", preset)
    return Preset(preset, int(width[1]), 8 * int(width[1]), "") if width else get_preset(preset)


def answers(
    command: list[str], kinds: Iterable[str], rounds: int, threads: int | None = None
) -> dict[str, list[Any]]:
    """What each kind says in ``rounds`` rounds, one process each, asked in turn after one question to warm up.

    command: of a program that takes ``--worker KIND`` and answers every line of standard input with a line of JSON.
    threads: that each may use; None: all.
    """
    counts = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | ({name: str(threads) for name in counts} if threads else {})
    workers = {
        kind: subprocess.Popen(
            [sys.executable, "-m", "bench", *command, "--worker", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for kind in kinds
    }

    def ask(kind: str) -> Any:
        worker = workers[kind]
        worker.stdin.write("go\n")
        worker.stdin.flush()
        return json.loads(worker.stdout.readline())

    for kind in workers:
        ask(kind)
    found: dict[str, list[Any]] = {kind: [] for kind in workers}
    for _ in range(rounds):
        for kind in workers:
            found[kind].append(ask(kind))
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    return found


def answer(once: Callable[[], Any]) -> int:
    """The worker's side: every line is answered with the JSON of ``once()``."""
    for _ in sys.stdin:
        print(json.dumps(once()), flush=True)
    return 0
