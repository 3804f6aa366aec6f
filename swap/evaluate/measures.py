"""How far pictures are from the right ones: error, PSNR, SSIM, and how much an error trembles.

Pictures are (N, H, W, 3) in [0, 1], masks (N, H, W) or (H, W) in [0, 1]: how much a pixel counts, the coverage
of a face's truth, say. Every measure gives one float64 number a picture, (N,), and sums in float64. Where a single
number is quoted for a set, it is the mean of these: a PSNR of a set is the mean of the decibels of its pictures, not
the decibels of the mean error.
"""

import cv2
import numpy as np

PSNR_CAP = 99.0  # dB: that of a perfect picture, whose PSNR is infinite
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03  # of SSIM, as published


def mse(x: np.ndarray, y: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Mean squared error (N,) over pixels and channels: sum m (x - y)^2 / sum m.

    Raises ValueError where the shapes differ or a picture's mask is empty.
    """
    return _mean(_difference(x, y) ** 2, mask)


def mae(x: np.ndarray, y: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Mean absolute error (N,) over pixels and channels, black to white = 1; errors as `mse`."""
    return _mean(np.abs(_difference(x, y)), mask)


def psnr(x: np.ndarray, y: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Peak signal-to-noise ratio (N,) in dB: -10 log10 MSE, at most 99; errors as `mse`."""
    return -10 * np.log10(np.maximum(mse(x, y, mask), 10 ** (-PSNR_CAP / 10)))


def ssim(x: np.ndarray, y: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Mean structural similarity (N,), at most 1.

        SSIM(p) = (2 mx my + c1) (2 sxy + c2) / ((mx^2 + my^2 + c1) (sx^2 + sy^2 + c2))

    with mean, variance and covariance under a Gaussian of 11x11 pixels, sigma 1.5, about p, in each channel; c1 =
    0.01^2, c2 = 0.03^2. The mean, weighted by the mask, is over all p whose window lies in the picture, so the outer
    five pixels only count as neighbours. Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, Image quality
    assessment: from error visibility to structural similarity, IEEE TIP 13(4), 2004.
    Raises ValueError as `mse` does, and for pictures smaller than the window.
    """
    _difference(x[:0], y[:0])
    if x.shape != y.shape or min(x.shape[1:3]) < WINDOW:
        raise ValueError(
            f"SSIM needs equal pictures of at least {WINDOW} pixels: {x.shape}, {y.shape}"
        )
    edge = WINDOW // 2
    along = np.exp(-0.5 * (np.arange(-edge, edge + 1) / SIGMA) ** 2)
    along /= along.sum()

    def local(picture: np.ndarray) -> np.ndarray:
        means = cv2.sepFilter2D(picture, cv2.CV_64F, along, along)[edge:-edge, edge:-edge]
        return means.reshape(*means.shape[:2], -1)  # of one channel OpenCV drops the axis

    c1, c2 = K1**2, K2**2
    maps = np.empty((len(x), x.shape[1] - 2 * edge, x.shape[2] - 2 * edge, x.shape[3]))
    for i, (p, q) in enumerate(zip(x, y, strict=True)):
        p, q = (np.ascontiguousarray(v, np.float64) for v in (p, q))
        mp, mq = local(p), local(q)
        vp, vq, cov = local(p * p) - mp**2, local(q * q) - mq**2, local(p * q) - mp * mq
        maps[i] = (2 * mp * mq + c1) * (2 * cov + c2)
        maps[i] /= (mp**2 + mq**2 + c1) * (vp + vq + c2)
    inner = None if mask is None else np.asarray(mask)[..., edge:-edge, edge:-edge]
    return _mean(maps, inner)


def tremble(series: np.ndarray, mask: np.ndarray | None = None) -> float:
    """How much a clip of pictures or of errors trembles: the RMS of its second difference in time.

        root of mean of (e[t-1] - 2 e[t] + e[t+1])^2, pixels weighted by the mask of frame t

    series: (T, H, W, 3), any range; mask: (T, H, W) or (H, W). What stands still or changes evenly gives 0; noise of
    deviation s that is new in each frame gives s sqrt(6). Raises ValueError for fewer than three frames.
    """
    if len(series) < 3:
        raise ValueError(f"trembling needs at least 3 frames, not {len(series)}")
    total = weight = 0.0
    for t in range(1, len(series) - 1):  # one by one: a clip in float64 would be large
        bend = series[t - 1].astype(np.float64) - 2.0 * series[t] + series[t + 1]
        if mask is None:
            counts = np.ones(bend.shape[:2])
        else:
            counts = np.asarray(mask[t] if mask.ndim == 3 else mask, np.float64)
        total += float((bend**2 * counts[..., None]).sum())
        weight += float(counts.sum()) * bend.shape[-1]
    if not weight > 0:
        raise ValueError("a mask that is empty in every frame leaves nothing to measure")
    return float(np.sqrt(total / weight))


def _difference(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.shape != y.shape or x.ndim != 4:
        raise ValueError(f"expected two equal arrays (N, H, W, C), found {x.shape} and {y.shape}")
    return x.astype(np.float64) - y


def _mean(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """(N,) means of values (N, H, W, C), weighted by the mask."""
    if mask is None:
        return values.mean((1, 2, 3))
    weights = np.broadcast_to(np.asarray(mask, np.float64), values.shape[:3])
    sums = weights.sum((1, 2))
    if not (sums > 0).all():
        raise ValueError(f"the mask of picture {int(np.argmin(sums > 0))} is empty")
    return (values * weights[..., None]).sum((1, 2, 3)) / (sums * values.shape[3])
