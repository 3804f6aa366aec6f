"""What training really takes of memory, beside the estimate that `swap train` prints.

    python -m bench memory --a FACES_A --b FACES_B [--preset original] [--batch 16] [--steps 3]

Trains a few steps in a folder that is then removed, previews and saves included, and reads the peak of the process.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from bench.arguments import count
from bench.step import peak_bytes
from nn.train import Budget
from swap.errors import UserError
from swap.stages import open_trainer


def main(argv: list[str]) -> int:
    """Prints estimate and peak; 2 for bad input."""
    parser = argparse.ArgumentParser(prog="bench memory", description=__doc__.split("\n")[0])
    parser.add_argument("--a", type=Path, nargs="+", required=True)
    parser.add_argument("--b", type=Path, nargs="+", required=True)
    parser.add_argument("--preset", default="original")
    parser.add_argument("--batch", type=count, default=16, help="faces a side")
    parser.add_argument("--steps", type=count, default=3)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        try:
            trainer = open_trainer(
                options.a,
                options.b,
                Path(folder),
                options.preset,
                "latentface",
                0,
                options.batch,
                print,
            )
        except UserError as error:
            print(error, file=sys.stderr)
            return 2
        estimate = trainer.memory().total
        trainer.run(Budget(steps=options.steps))
    print(f"estimate {estimate / 2**30:.2f} GiB, peak {peak_bytes() / 2**30:.2f} GiB")
    return 0
