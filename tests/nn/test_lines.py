"""Fewer products along the rows (nn/cpu/lines.py): its matrices, its error, what it is for."""

import numpy as np
import pytest

from nn import memory, reference
from nn.cpu import direct, lines
from nn.cpu.ends import Finish

KERNELS = [(kw, s) for kw in range(1, 10) for s in (1, 2, 3)]


@pytest.mark.parametrize(("kw", "stride"), KERNELS)
def test_every_tap_is_in_one_group(kw: int, stride: int) -> None:
    taps = [first + t * stride for first, n in lines.groups_of(kw, stride) for t in range(n)]
    assert sorted(taps) == list(range(kw))
    assert all(1 <= n <= lines.MOST_TAPS for _, n in lines.groups_of(kw, stride))


@pytest.mark.parametrize(("kw", "stride"), KERNELS)
def test_the_matrices_are_a_correlation(kw: int, stride: int) -> None:
    """Aᵀ (G w * Bᵀ d) against the definition, y[m] = sum over t of w[t] d[m S + t]."""
    rng = np.random.default_rng(kw)
    a_t, b_t, g, starts = lines.matrices(kw, stride)
    point = np.repeat(np.arange(a_t.shape[1]), np.diff(starts))  # of each product
    w, d = rng.standard_normal(kw), rng.standard_normal(3 * stride + kw)
    y = [w @ d[m * stride : m * stride + kw] for m in range(4)]
    np.testing.assert_allclose(a_t[:, point] @ ((g @ w) * (b_t @ d)), y, atol=1e-12)


def test_the_number_of_products_is_the_one_stated() -> None:
    stated = {(3, 1): 6, (5, 1): 8, (5, 2): 11, (7, 2): 13, (7, 1): 13}
    assert {k: len(lines.matrices(*k).g) for k in stated} == stated


@pytest.mark.parametrize(
    ("kernel", "stride", "shape", "outputs"),
    [(5, 2, (4, 64, 64, 3), 32), (3, 1, (4, 32, 32, 3), 16), (7, 2, (4, 40, 40, 3), 32), (5, 1, (2, 24, 24, 16), 48)],
)  # fmt: skip
def test_the_error_is_at_most_three_times_that_of_the_direct_way(
    kernel: int, stride: int, shape: tuple[int, ...], outputs: int
) -> None:
    """Root mean square error in float32 against the reference in float64."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, np.float32)
    w = rng.standard_normal((kernel, kernel, shape[3], outputs), np.float32)
    pads = (kernel // 2,) * 4
    truth, _ = reference.conv2d_forward(
        x.astype(float), w.astype(float), None, stride=(stride, stride), padding=pads
    )
    finish = Finish.make(None, outputs, x.dtype)
    errors = []
    for way in (lines, direct):
        y = np.full(truth.shape, np.nan, np.float32)
        with memory.frame():
            way.forward(x, w, finish, y, (stride, stride), pads)
        errors.append(np.sqrt(np.mean((y - truth) ** 2)))
    assert errors[0] < 3 * errors[1]


@pytest.mark.parametrize(
    ("w_shape", "y_shape", "stride", "dtype", "expected"),
    [
        ((5, 5, 3, 32), (1, 32, 32, 32), (2, 2), np.float32, True),
        (
            (5, 5, 3, 32),
            (1, 32, 32, 32),
            (2, 2),
            np.float64,
            False,
        ),  # fewer digits than float64 has
        ((5, 5, 3, 40), (1, 32, 32, 40), (2, 2), np.float32, False),  # parts of vectors
        ((1, 1, 64, 64), (1, 32, 32, 64), (1, 1), np.float32, False),  # nothing to save
        ((5, 5, 3, 32), (1, 32, 3, 32), (2, 2), np.float32, False),  # rows shorter than four places
        ((5, 5, 512, 512), (1, 32, 32, 512), (1, 1), np.float32, False),  # weights beyond the cache
    ],
)
def test_what_it_is_for(w_shape, y_shape, stride, dtype, expected) -> None:
    if lines.FLOATS == 8 and w_shape[3] == 40:
        pytest.skip("40 outputs are whole vectors of 8")
    assert lines.fits(w_shape, y_shape, stride, np.dtype(dtype)) == expected


@pytest.mark.parametrize("channels", [3, 16])
def test_places_that_two_fours_share_count_once(channels: int) -> None:
    """The gradients where OW is no multiple of four, in float64 by definition, strips cut off too."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 21, 19, channels), np.float32)
    dy = rng.standard_normal((2, 21, 19, 32), np.float32)
    dw, db = np.ones((5, 5, channels, 32), np.float32), np.ones(32, np.float32)
    with memory.frame():
        lines.weights(x, dy, dw, (1, 1), (2, 2, 2, 2), db)
    truth_w, truth_b = np.ones(dw.shape), np.ones(db.shape)
    w = np.zeros(dw.shape)
    _, cache = reference.conv2d_forward(x.astype(float), w, None, padding=(2, 2, 2, 2))
    reference.conv2d_backward(dy.astype(float), cache, truth_w, truth_b, need_dx=False)
    np.testing.assert_allclose(dw, truth_w, atol=2e-4)
    np.testing.assert_allclose(db, truth_b, atol=2e-5)
    with memory.frame():
        alone = np.ones_like(dw)
        lines.weights(x, dy, alone, (1, 1), (2, 2, 2, 2))
    np.testing.assert_array_equal(alone, dw)


@pytest.mark.parametrize("columns", [32, 30])
def test_results_written_past_the_caches_are_the_same(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4, 64, 2 * columns, 3), np.float32)
    w, bias = rng.standard_normal((5, 5, 3, 32), np.float32), rng.standard_normal(32, np.float32)
    found = []
    for least in (0, 2**40):
        monkeypatch.setattr(lines, "STREAM_BYTES", least)
        y = memory.empty((4, 32, columns, 32), np.float32)
        y[...] = np.nan
        assert y.ctypes.data % lines.VECTOR_BYTES == 0
        with memory.frame():
            lines.forward(x, w, Finish.make(bias, 32, x.dtype, 0.1), y, (2, 2), (1, 2, 1, 2))
        found.append(y)
    assert found[0].ctypes.data != found[1].ctypes.data
    np.testing.assert_array_equal(*found)


def test_a_place_does_not_depend_on_the_rest_of_its_row() -> None:
    """Where the last four of a row overlaps the one before, each place is the earlier one's: bit for bit what it is in
    a picture that ends there. Stored twice, it would be that of the thread that came last."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((1, 16, 33, 3), np.float32)
    w = rng.standard_normal((5, 5, 3, 32), np.float32)
    finish = Finish.make(None, 32, x.dtype)
    found = []
    for columns in (29, 28):  # places: one more than fours hold, and seven fours
        y = np.empty((1, 16, columns, 32), np.float32)
        with memory.frame():
            lines.forward(
                np.ascontiguousarray(x[:, :, : columns + 4]), w, finish, y, (1, 1), (2, 2, 0, 0)
            )
        found.append(y)
    np.testing.assert_array_equal(found[0][:, :, :28], found[1])
