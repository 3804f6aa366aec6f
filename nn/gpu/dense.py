"""Dense layer on the GPU: three products by cuBLAS. The equations stand in ``nn/reference/dense.py``.

y   starts as the bias and the product is added to it, so no pass follows
dw  is added to in place
"""

from nn.gpu import device, modes
from nn.gpu.device import Array, on_card
from nn.gpu.ends import add_column_sums, fill_with_bias
from nn.reference.dense import DenseCache


@on_card
def dense_forward(x: Array, w: Array, b: Array | None) -> tuple[Array, DenseCache]:
    """y = x w + b for x (N, I), w (I, O), b (O) or None; returns y (N, O) and the cache."""
    x = device.contiguous(x)
    y = device.empty((x.shape[0], w.shape[1]), x.dtype)
    device.product(x, w, y, add=fill_with_bias(b, y), precision=modes.precision())
    return y, DenseCache(x, w)


@on_card
def dense_backward(
    dy: Array,
    cache: DenseCache,
    dw: Array,
    db: Array | None,
    *,
    need_dx: bool = True,
) -> Array | None:
    """Adds xᵀ dy to dw (I, O) and the column sums of dy to db (O); returns dx (N, I), or None."""
    x, w = cache
    x, dy, precision = device.contiguous(x), device.contiguous(dy), modes.precision()
    device.product(x, dy, dw, a_turned=True, add=True, precision=precision)
    if db is not None:
        add_column_sums(dy, db)
    if not need_dx:
        return None
    dx = device.empty(x.shape, x.dtype)
    device.product(dy, w, dx, b_turned=True, precision=precision)
    return dx
