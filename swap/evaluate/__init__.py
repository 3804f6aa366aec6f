"""Measuring a swap: against the truth on rendered subjects, and what can be said of real people.

measures.py    PSNR, MAE, SSIM, trembling
baselines.py   copy, mean, nearest, linear
regressor.py   what a face does, read off the picture
truth.py       measure(swap, test, training) -> Results
real.py        measure_real(swap, a, b) -> RealResults
overlap.py     overlap(a, b) -> Overlap, before training (statistics.py, advice.py)
table.py       all three on the terminal
picture.py     the error sheet
"""

from swap.evaluate.overlap import Overlap, overlap
from swap.evaluate.picture import error_sheet, write_error_sheet
from swap.evaluate.real import CANNOT_KNOW, RealResults, measure_real
from swap.evaluate.table import overlap_report, real_report, report, sentences, verdict
from swap.evaluate.truth import Direction, Pairs, Results, Training, measure

__all__ = [
    "CANNOT_KNOW",
    "Direction",
    "Overlap",
    "Pairs",
    "RealResults",
    "Results",
    "Training",
    "error_sheet",
    "measure",
    "measure_real",
    "overlap",
    "overlap_report",
    "real_report",
    "report",
    "sentences",
    "verdict",
    "write_error_sheet",
]
