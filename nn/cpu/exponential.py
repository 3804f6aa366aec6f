"""e^x for x <= 0, in single precision and without branches, so that LLVM makes vectors of it.

    x = k log 2 + r,  |r| <= log(2) / 2        e^x = 2^k e^r

k is what remains in the last digits after adding 1.5 * 2^23, a number so large that its float32 neighbours are whole
numbers apart; shifted to the place of the exponent it is 2^k. e^r is a polynomial (Moshier's Cephes, 1992).
Largest relative error, found by trying every float32 in [-87.3, -1e-9]: 0.9e-7. Double precision keeps ``math.exp``.
"""

import numpy as np
from numba import njit

LOWEST = np.float32(
    -87.3
)  # e^x is taken for this one below it: 1.2e-38, nearly the smallest normal number
LOG2_E = np.float32(1.44269504088896341)
ROUND = np.float32(1.5 * 2**23)
# log 2 in two parts; the first has so few digits that k times it is exact.
LOG_2 = np.float32(0.693359375)
LOG_2_REST = np.float32(-2.12194440e-4)
P6 = np.float32(1.9875691500e-4)
P5 = np.float32(1.3981999507e-3)
P4 = np.float32(8.3334519073e-3)
P3 = np.float32(4.1665795894e-2)
P2 = np.float32(1.6666665459e-1)
P1 = np.float32(5.0000001201e-1)
ONE = np.float32(1)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def exp_single(x: np.float32) -> np.float32:
    """e^x for x <= 0; NaN for NaN."""
    x = LOWEST if x < LOWEST else x
    shifted = x * LOG2_E + ROUND
    k = shifted - ROUND
    r = (x - k * LOG_2) - k * LOG_2_REST
    p = ((((P6 * r + P5) * r + P4) * r + P3) * r + P2) * r + P1
    power = np.int32((np.float32(shifted).view(np.int32) << 23) + (127 << 23))
    return (p * (r * r) + r + ONE) * power.view(np.float32)
