"""What training really takes of memory, beside the estimate that `swap train` prints.

    python -m bench memory --a FACES_A --b FACES_B [--preset original] [--batch 16] [--steps 3]
    python -m bench memory --card [--preset original] [--batch 64] [--precision tf32] [--way implicit]

Trains a few steps in a folder that is then removed, previews and saves included, and reads the peak of the process.

--card: the most that the arrays of a step take of a GPU's memory, beside the estimate. That depends on their sizes
alone, so it needs no GPU: the step runs on the emulated card of the tests, which computes nothing then. CuPy's pool
keeps a little more than that, and its libraries some 512 MiB.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from bench.arguments import count, preset_name
from bench.gpu import PRECISIONS, WAYS
from bench.rivals import size_of
from bench.step import peak_bytes
from nn.train import Budget
from swap.errors import UserError
from swap.memory import LIBRARIES, MIB, estimate_memory
from swap.stages import open_trainer


def main(argv: list[str]) -> int:
    """Prints estimate and peak; 2 for bad input."""
    parser = argparse.ArgumentParser(prog="bench memory", description=__doc__.split("\n")[0])
    parser.add_argument("--a", type=Path, nargs="+")
    parser.add_argument("--b", type=Path, nargs="+")
    parser.add_argument("--preset", type=preset_name, default="original")
    parser.add_argument("--batch", type=count, default=16, help="faces a side")
    parser.add_argument("--steps", type=count, default=3)
    parser.add_argument("--card", action="store_true")
    parser.add_argument("--precision", choices=PRECISIONS, default="tf32")
    parser.add_argument("--way", choices=WAYS, default="implicit")
    options = parser.parse_args(argv)
    if options.card:
        most, estimate = on_card(options.preset, options.batch, options.precision, options.way)
        print(f"estimate {estimate / MIB:,.0f} MiB, arrays {most / MIB:,.0f} MiB")
        return 0
    if not (options.a and options.b):
        parser.error("--a and --b are needed, or --card")
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


def on_card(preset: str, batch: int, precision: str, way: str) -> tuple[int, int]:
    """Bytes that the arrays of a step take of a card at most, and what is estimated of them, libraries left out."""
    import numpy as np

    import nn
    from nn.gpu import device, modes
    from swap.card import CardStep
    from swap.data import Batches, FaceSet
    from swap.model import SIDES, SwapModel
    from tests.nn.gpu.emulator import Emulator, taken

    faces = [FaceSet(np.zeros((2, 64, 64, 3), np.uint8), 1.3) for _ in SIDES]
    with device.use(Emulator(idle=True)), modes.using(precision=precision, way=way):
        before = taken.most = taken.now
        model = SwapModel(size_of(preset))
        adam = nn.Adam(nn.Arena(model.named_parameters()), 1e-4).to("gpu")
        model.to("gpu")
        step = CardStep(model, adam, Batches(*faces, 0, batch), None)
        step.body()
        return taken.most - before, estimate_memory(model, batch).on_card - LIBRARIES
