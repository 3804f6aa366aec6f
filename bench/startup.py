"""How long one waits: importing, the first step where nothing is compiled yet, and where all is.

    python -m bench startup [--preset lite] [--rounds 5] [--json FILE]

numpy, import nn       a process that imports it and ends; nn counts over numpy
cold                   from the start of the process to the end of the first training step, with an empty cache of
                       compiled kernels (a folder of its own: the machine's cache stays as it is), with the second
                       process that `swap train` then has compile the way back (swap/ahead.py); once
warm                   the same with a full cache, which is what every later start has

Processes of their own, asked in turn; medians.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from bench.arguments import count, file_to_write, preset_name

STEP = """
import sys
from bench.step import our_step
from swap.ahead import compiling_ahead
from swap.model import PRESETS
with compiling_ahead(PRESETS[sys.argv[1]], 16):
    our_step(sys.argv[1], 16)()
"""


def main(argv: list[str]) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="bench startup", description=__doc__.split("\n")[0])
    parser.add_argument("--preset", type=preset_name, default="lite")
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--json", type=file_to_write)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        found = {"cold": _seconds([STEP, options.preset], environment)}
        commands = {
            "python": ["pass"],
            "numpy": ["import numpy"],
            "nn": ["import nn"],
            "warm": [STEP, options.preset],
        }
        times = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                times[name].append(_seconds(command, environment))
    found |= {name: float(np.median(values)) for name, values in times.items()}
    found["nn over numpy"] = float(np.median(np.array(times["nn"]) - np.array(times["numpy"])))
    for name, value in found.items():
        print(f"{name:14} {value:7.2f} s")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", *command], env=environment, check=True)
    return time.perf_counter() - begin
