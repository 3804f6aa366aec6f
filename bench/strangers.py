"""What bad and unusual pictures and videos do to `swap extract`: bench/STRANGERS.md.

    python -m bench strangers [--only TEXT] [--json FILE] [--markdown FILE]

Each file is made anew (bench/stranger_pictures.py, bench/stranger_videos.py) and read by a process of its own, with
4 GiB of address space. It must be read, every face found, or be refused in one sentence with status 2; within 30
seconds of processor time, 120 in all, and 1 GiB. Exit status 1 where one is not.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.arguments import file_to_write
from bench.stranger_pictures import FINE, PICTURES, Case
from bench.stranger_videos import VIDEOS

ADDRESS_SPACE, MOST_MEMORY = 4 << 30, 1 << 30
MOST_SECONDS, MOST_WALL = 30, 120
CASES = [*PICTURES, *VIDEOS]

CHILD = f"""
import atexit, re, resource
resource.setrlimit(resource.RLIMIT_AS, ({ADDRESS_SPACE}, {ADDRESS_SPACE}))
def tell():
    try:
        print(re.search("\\nVmHWM:.*", open("/proc/self/status").read())[0], flush=True)
    except OSError:
        pass
atexit.register(tell)
from swap.cli import main
main()
"""


@dataclass(frozen=True)
class Outcome:
    """what happened: what was printed last, processor seconds, peak bytes, and what is wrong with that, if anything."""

    what: str
    happened: str
    seconds: float
    peak: int
    wrong: str


def main(argv: list[str]) -> int:
    """Prints the table; 1 where something is wrong with an outcome."""
    parser = argparse.ArgumentParser(prog="python -m bench strangers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", default="", help="cases whose description contains this")
    parser.add_argument("--json", type=file_to_write)
    parser.add_argument(
        "--markdown", type=file_to_write, help="the table, to be put into STRANGERS.md"
    )
    options = parser.parse_args(argv)
    outcomes = []
    for case in CASES:
        if options.only not in case.what:
            continue
        outcome = try_case(case)
        outcomes.append(outcome)
        print(_row(outcome), flush=True)
    wrong = [outcome for outcome in outcomes if outcome.wrong]
    print(f"{len(outcomes)} files, {len(wrong)} wrong")
    if options.json:
        options.json.write_text(json.dumps([asdict(o) for o in outcomes], indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(_table(outcomes))
    return 1 if wrong else 0


def try_case(case: Case) -> Outcome:
    """Makes the file and has `swap extract` read it."""
    with tempfile.TemporaryDirectory(prefix="strangers-") as place:
        folder = Path(place) / "in"
        folder.mkdir()
        path = case.make(folder)
        out = Path(place) / "out"
        status, heard, seconds, peak = run_limited(["extract", path, "--out", out, "--size", "64"])
        lines = [line for line in heard.split("\n") if line.strip()]
        told = lines[-1] if lines else "nothing was said"
        found = re.search(r"a face in ([\d,]+) of ([\d,]+) frames", heard)
        if status == 0 and found:
            told = f"read: {found[0]}"
            told += "".join(f"; {line.strip()}" for line in lines if line.startswith("  skipped"))
        wrong = _wrong(case, status, heard, lines, found, seconds, peak, out)
        told = told.replace(str(path), path.name if path != folder else "FOLDER").replace(place, "")
        return Outcome(case.what, told.removeprefix("swap: "), seconds, peak, wrong)


def _wrong(
    case: Case,
    status: int,
    heard: str,
    lines: list[str],
    found: re.Match[str] | None,
    seconds: float,
    peak: int,
    out: Path,
) -> str:
    if "Traceback" in heard or status not in (0, 2):
        return f"status {status}: {heard[-1500:]}"
    if seconds > MOST_SECONDS or peak > MOST_MEMORY:
        return f"{seconds:.0f} s, {peak >> 20} MiB"
    if case.says == FINE:
        if status or not found or found[1] != found[2]:
            return f"it should have been read: {lines[-1:]}"
        if case.frames and int(found[1]) != case.frames:
            return f"{case.frames} frames were expected"
        return ""
    if status != 2 or case.says not in lines[-1] or not lines[-1].startswith("swap: "):
        return f'it should have been refused with "{case.says}": status {status}, {lines[-1:]}'
    return "" if not out.exists() else "something was written"


def run_limited(arguments: list[object]) -> tuple[int, str, float, int]:
    """`swap ARGUMENTS` with limits: status, what it printed, processor seconds, peak bytes."""
    with tempfile.TemporaryFile() as heard:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *map(os.fspath, arguments)],
            stdout=heard,
            stderr=subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "500"},
        )
        end = time.monotonic() + MOST_WALL
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        heard.seek(0)
        text = heard.read().decode(errors="replace")
    text, _, told = text.partition("\nVmHWM:")
    # What the system says of a child begins with what its parent had.
    peak = int(told.split()[0]) if told else usage.ru_maxrss
    return process.returncode, text, usage.ru_utime + usage.ru_stime, peak * 1024


def _row(outcome: Outcome) -> str:
    text = f"{outcome.what:<66.66} {outcome.seconds:5.1f} s {outcome.peak >> 20:5} MiB  {outcome.happened:.150}"
    return text + (f"\n  WRONG: {outcome.wrong}" if outcome.wrong else "")


def _table(outcomes: list[Outcome]) -> str:
    rows = ["| what it is | what happens | seconds | peak MiB |", "|---|---|---|---|"]
    for o in outcomes:
        told = o.happened.replace("|", "/").replace("`", "'")
        rows.append(f"| {o.what} | {told} | {o.seconds:.1f} | {o.peak >> 20} |")
    return "\n".join(rows) + "\n"
