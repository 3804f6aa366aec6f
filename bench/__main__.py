"""``python -m bench NAME``: one measurement; without a name, what there is.

card       everything that a GPU has to show, in one go
ceiling    what the processor can do at most, in GFLOP/s
crash      training that is killed, a full disk, torn files: is anything lost?
step       a training step: time by preset, against PyTorch where it is installed
flat       memory over a long conversion and a long training, as a plot
kill       an extraction and a conversion, killed at random moments and continued
fuzz_checkpoint   20,000 mutated checkpoints: refused or right, quick, in little memory
layers     each layer of a preset, forward and backward: time, GFLOP/s, error, against PyTorch
lessons    the lessons of examples/ in full: times and numbers (examples/README.md)
startup    importing, and the first step: nothing compiled yet, everything compiled
warp       a training batch, beside OpenCV's remap and beside a step
convert    frames a second of a conversion
extract    faces found, and how exactly a crop goes back into its frame
mutation   errors put into the source one at a time: do the tests fail? (bench/MUTATION.md)
memory     what training takes: estimated before it, and measured
picture    the picture at the top of the README, from what `make demo` made
plots      the plots of speed, from the results under bench/results/
recipes    what makes a swap right: each idea over several seeds (bench/RECIPES.md)
seeds      nn check with many seeds: wrong backward passes all rejected, right ones never
stream     a training step on faces that are mapped from disk, against one on faces in memory
strangers  bad and unusual pictures and videos: read, or refused in one sentence (bench/STRANGERS.md)
studio     heads a second; how far the detector's landmarks lie from the true ones
real       a swapped video measured by models that had no part in it (see the top of bench/real.py)
"""

import importlib
import sys

from swap.errors import UserError

NAMES = (
    "card",
    "ceiling",
    "crash",
    "step",
    "layers",
    "extract",
    "flat",
    "kill",
    "fuzz_checkpoint",
    "convert",
    "startup",
    "warp",
    "lessons",
    "memory",
    "mutation",
    "picture",
    "plots",
    "real",
    "recipes",
    "seeds",
    "strangers",
    "stream",
    "studio",
)


def main(argv: list[str]) -> int:
    """Runs the measurement that ``argv`` names, with the rest of it; the exit status."""
    if not argv or argv[0] not in NAMES:
        print(__doc__)
        return 0 if not argv else 2
    try:
        return importlib.import_module(f"bench.{argv[0]}").main(argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
