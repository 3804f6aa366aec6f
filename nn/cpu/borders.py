"""A picture with its border of zeros written out, and without it: kernels then need no test for an edge."""

from numba import prange

from nn.cpu.kernel import kernel
from nn.cpu.simd import clear_span, copy_span


@kernel
def pad(x, n, h, w, c, top, left, xp, hp, wp, cp) -> None:
    """xp (N, HP, WP, CP): x (N, H, W, C) from row ``top`` and column ``left`` on, zeros around it and, where CP > C,
    in the further channels."""
    for line in prange(n * hp):
        i, row = line // hp, line % hp - top
        at = line * wp * cp
        if not 0 <= row < h:
            clear_span(xp, at, xp, 0, wp * cp)
            continue
        source = (i * h + row) * w * c
        clear_span(xp, at, xp, 0, left * cp)
        if c == cp:
            copy_span(xp, at + left * c, x, source, w * c)
        else:
            clear_span(xp, at + left * cp, xp, 0, w * cp)
            for j in range(w):
                copy_span(xp, at + (left + j) * cp, x, source + j * c, c)
        clear_span(xp, at + (left + w) * cp, xp, 0, (wp - left - w) * cp)


@kernel
def crop(yp, hp, wp, top, left, y, n, h, w, k) -> None:
    """y (N, H, W, K): each picture of yp (N, HP, WP, K) from (``top``, ``left``) on, zeros where it ends."""
    seen = min(w, wp - left)
    for line in prange(n * h):
        i, row = line // h, line % h + top
        if row < hp:
            copy_span(y, line * w * k, yp, ((i * hp + row) * wp + left) * k, seen * k)
            clear_span(y, (line * w + seen) * k, y, 0, (w - seen) * k)
        else:
            clear_span(y, line * w * k, y, 0, w * k)
