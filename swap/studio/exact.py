"""sin, cos, tan, atan2, exp, log and power for Numba kernels, with the same bits on every machine.

IEEE 754 fixes the result of + - * / and sqrt to the last bit, but not that of a libm's or NumPy's
functions, which differ from one processor to the next. These are made of the exact operations only:
the argument is reduced, and a polynomial is evaluated by Horner's rule. They are accurate to about
1e-15 relative for arguments up to 1e5. The compiler must not contract a * b + c: no fastmath here.
"""

import math

import numba
import numpy as np

# pi / 2 and log 2 in pieces of 33 and 32 bits: their product with a small whole number is exact.
_HALF_PI_1, _HALF_PI_2, _HALF_PI_3 = (
    1.57079632673412561417,
    6.07710050630396597660e-11,
    2.02226624879595063154e-21,
)
_LOG2_1, _LOG2_2 = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_PI, _HALF_PI = 3.141592653589793, 1.5707963267948966
# arctan(k / 8), k = 0 ... 8
_ATAN = (
    0.0, 0.12435499454676144, 0.24497866312686414, 0.3587706702705722, 0.4636476090008061,
    0.5585993153435624, 0.6435011087932844, 0.7188299996216245, 0.7853981633974483,
)  # fmt: skip
_exact = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


@_exact
def _sin_near(r: float) -> float:
    """sin on [-pi/4, pi/4]: Taylor's series to r^17."""
    z = r * r
    p = 1 / 355687428096000.0
    p = p * z - 1 / 1307674368000.0
    p = p * z + 1 / 6227020800.0
    p = p * z - 1 / 39916800.0
    p = p * z + 1 / 362880.0
    p = p * z - 1 / 5040.0
    p = p * z + 1 / 120.0
    p = p * z - 1 / 6.0
    return r + r * (z * p)


@_exact
def _cos_near(r: float) -> float:
    """cos on [-pi/4, pi/4]: Taylor's series to r^16."""
    z = r * r
    p = 1 / 20922789888000.0
    p = p * z - 1 / 87178291200.0
    p = p * z + 1 / 479001600.0
    p = p * z - 1 / 3628800.0
    p = p * z + 1 / 40320.0
    p = p * z - 1 / 720.0
    p = p * z + 1 / 24.0
    return 1.0 + z * (p * z - 0.5)


@_exact
def _quarter(x: float, shift: int) -> float:
    """sin(x + shift pi / 2), by the quarter turn in which x lies."""
    n = math.floor(x / _HALF_PI + 0.5)
    r = ((x - n * _HALF_PI_1) - n * _HALF_PI_2) - n * _HALF_PI_3
    quarter = (int(n) + shift) & 3
    y = _cos_near(r) if quarter & 1 else _sin_near(r)
    return -y if quarter & 2 else y


@_exact
def sin(x: float) -> float:
    """Sine of x radians, |x| up to 1e5."""
    return _quarter(x, 0)


@_exact
def cos(x: float) -> float:
    """Cosine of x radians, |x| up to 1e5."""
    return _quarter(x, 1)


@_exact
def tan(x: float) -> float:
    """Tangent of x radians, |x| up to 1e5."""
    return _quarter(x, 0) / _quarter(x, 1)


@_exact
def _atan(t: float) -> float:
    """arctan on [0, 1]: atan t = atan c + atan((t - c) / (1 + t c)), c the nearest eighth."""
    k = int(t * 8 + 0.5)
    c = k * 0.125
    r = (t - c) / (1 + t * c)
    z = r * r
    p = -1 / 15.0
    p = p * z + 1 / 13.0
    p = p * z - 1 / 11.0
    p = p * z + 1 / 9.0
    p = p * z - 1 / 7.0
    p = p * z + 1 / 5.0
    p = p * z - 1 / 3.0
    return _ATAN[k] + (r + r * (z * p))


@_exact
def atan2(y: float, x: float) -> float:
    """The angle of the point (x, y) from the x axis, in [-pi, pi]; 0 for the origin."""
    ax, ay = abs(x), abs(y)
    if ax == 0 and ay == 0:
        return 0.0
    angle = _atan(ay / ax) if ay <= ax else _HALF_PI - _atan(ax / ay)
    if x < 0:
        angle = _PI - angle
    return -angle if y < 0 else angle


@_exact
def exp(x: float) -> float:
    """e to the x; 0 below -708 and infinity above 709."""
    if x < -708:
        return 0.0
    if x > 709:
        return np.inf
    k = math.floor(x / 0.6931471805599453 + 0.5)
    r = (x - k * _LOG2_1) - k * _LOG2_2
    p = 1 / 6227020800.0
    p = p * r + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    power_of_two = np.int64((np.int64(k) + np.int64(1023)) << np.int64(52)).view(np.float64)
    return (1.0 + (r + r * r * p)) * power_of_two


@_exact
def log(x: float) -> float:
    """The natural logarithm; minus infinity at 0, nan below. Numbers under 2e-308 count as 0."""
    if not x >= 2.3e-308:
        return -np.inf if x >= 0 else np.nan
    if x == np.inf:
        return x
    bits = np.float64(x).view(np.int64)
    k = (bits >> np.int64(52)) - np.int64(1023)
    fraction = np.int64(0x000FFFFFFFFFFFFF)
    m = np.int64((bits & fraction) | np.int64(0x3FF0000000000000)).view(np.float64)
    if m > 1.4142135623730951:
        m *= 0.5
        k += 1
    # log m = 2 artanh f
    f = (m - 1) / (m + 1)
    z = f * f
    p = 1 / 23.0
    p = p * z + 1 / 21.0
    p = p * z + 1 / 19.0
    p = p * z + 1 / 17.0
    p = p * z + 1 / 15.0
    p = p * z + 1 / 13.0
    p = p * z + 1 / 11.0
    p = p * z + 1 / 9.0
    p = p * z + 1 / 7.0
    p = p * z + 1 / 5.0
    p = p * z + 1 / 3.0
    return k * _LOG2_1 + (k * _LOG2_2 + 2 * (f + f * (z * p)))


@_exact
def power(x: float, y: float) -> float:
    """x to the y for x >= 0, as exp(y log x); 0 to the 0 is 1."""
    if y == 0:
        return 1.0
    if x == 0:
        return 0.0 if y > 0 else np.inf
    return exp(y * log(x))


@_exact
def _map(function: int, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    for i in range(out.size):
        if function == 0:
            out[i] = sin(x[i])
        elif function == 1:
            out[i] = cos(x[i])
        elif function == 2:
            out[i] = exp(x[i])
        elif function == 3:
            out[i] = power(x[i], y[i])
        else:
            out[i] = atan2(x[i], y[i])


def _each(function: int, x: np.ndarray, y: np.ndarray | float = 0.0) -> np.ndarray:
    first, second = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    out = np.empty(first.shape)
    _map(function, np.ravel(first), np.ravel(second), out.reshape(-1))
    return out


def sines(x: np.ndarray) -> np.ndarray:
    """float64 (...): `sin` of each number of x (...)."""
    return _each(0, x)


def cosines(x: np.ndarray) -> np.ndarray:
    """float64 (...): `cos` of each number of x (...)."""
    return _each(1, x)


def exponentials(x: np.ndarray) -> np.ndarray:
    """float64 (...): `exp` of each number of x (...)."""
    return _each(2, x)


def powers(x: np.ndarray, y: np.ndarray | float) -> np.ndarray:
    """float64 (...): `power` of the numbers of x (...) and y, which is broadcast."""
    return _each(3, x, y)


def angles(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """float64 (...): `atan2` of the numbers of y and x, broadcast."""
    return _each(4, y, x)
