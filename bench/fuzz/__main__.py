"""python -m bench.fuzz TARGET [--minutes 10] [--keep]: see bench/fuzz/__init__.py."""

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
KEPT = 150  # inputs of a target in the repository, the smallest first
LONGEST = 4096  # bytes of an input


def main(argv: list[str]) -> int:
    """Hunts for so many minutes; the status of libFuzzer, which is not 0 where it found something."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("target", choices=("records", "provenance", "checkpoint", "commands"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"), help="inputs and findings")
    parser.add_argument("--keep", action="store_true", help="write corpus/TARGET.json anew")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args(argv)
    folder = options.out / options.target
    if options.child:
        return _hunt(options.target, rest)
    if options.keep:
        return _keep(options.target, folder)
    _unpack(options.target, folder)
    flags = [f"-max_total_time={round(60 * options.minutes)}", f"-max_len={LONGEST}"]
    flags += [
        "-timeout=5",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={folder.parent}/{options.target}-",
    ]
    return _child(options.target, [*flags, *rest, str(folder)])


def _child(target: str, flags: list[str]) -> int:
    command = [sys.executable, "-m", "bench.fuzz", target, "--child", *flags]
    return subprocess.run(command, check=False).returncode


def _hunt(target: str, flags: list[str]) -> int:
    import atheris

    with atheris.instrument_imports(include=["swap", "nn.checkpoint", "nn.files"]):
        from bench.fuzz.targets import TARGETS, Target

    atheris.Setup([sys.argv[0], *flags], Target(TARGETS[target]))
    atheris.Fuzz()
    return 0


def _unpack(target: str, folder: Path) -> None:
    """The kept inputs and the seeds, as files."""
    from bench.fuzz.corpus import kept
    from bench.fuzz.seeds import seeds

    folder.mkdir(parents=True, exist_ok=True)
    for data in kept(target) + seeds(target):
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def _keep(target: str, folder: Path) -> int:
    """Of the inputs that reached anything new, the smallest."""
    from bench.fuzz.corpus import keep

    found = sorted((path.read_bytes() for path in folder.iterdir()), key=lambda d: (len(d), d))
    keep(target, found[:KEPT])
    print(f"{min(len(found), KEPT)} of {len(found)} inputs kept")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
