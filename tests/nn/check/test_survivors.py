"""What nothing else noticed when errors were put into the source one by one (bench/MUTATION.md)."""

import numpy as np
import pytest

import nn
from nn.backend import get_backend
from nn.check import make_case
from nn.check.properties import outcome
from nn.layer import REGISTRY, Sample
from nn.reference.losses import LossCache
from tests.nn.helpers import each_backend, each_fast_backend


def test_padding_same_follows_the_stride_of_its_own_axis():
    """OH = ceil(H / SH) by rows, OW = ceil(W / SW) by columns."""
    layer = nn.Conv2d(1, 1, (5, 3), stride=(2, 3), padding="same")
    assert layer.pads(9, 9) == (2, 2, 0, 0)
    assert layer.out_shape((1, 9, 9, 1)) == (1, 5, 3, 1)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 2, 3), (1, 8, 8, 4)),
        (nn.Conv2d(3, 2, 3), (1, 8, 8, 3, 1)),
        (nn.Dense(3, 2), (4, 5)),
        (nn.Dense(3, 2), (4, 3, 1)),
        (nn.PixelShuffle(2), (1, 2, 2, 4, 1)),
    ],
    ids=str,
)
def test_more_channels_or_axes_than_a_layer_takes_are_refused_too(layer, shape):
    with pytest.raises(ValueError, match=rf"{type(layer).__name__}.* takes .*{shape[-1]}\)"):
        layer.forward(np.zeros(shape, np.float32))


def test_the_multiplications_of_a_kernel_that_is_not_square():
    """N OH OW KH KW C K, by hand."""
    assert nn.Conv2d(2, 5, (3, 4)).macs((1, 6, 7, 2)) == 1 * 4 * 4 * 3 * 4 * 2 * 5


def test_reshape_takes_what_has_as_many_numbers_and_nothing_else():
    """One number an item is an item, too; no axis at all is no batch; too many numbers are refused by name."""
    assert nn.Reshape((1,)).forward(np.zeros(5, np.float32))[0].shape == (5, 1)
    for layer, shape in ((nn.Reshape((1,)), ()), (nn.Reshape((2, 3)), (4, 7))):
        with pytest.raises(ValueError, match=r"Reshape.* numbers an item"):
            layer.forward(np.zeros(shape, np.float32))


@pytest.mark.parametrize("padding", ["full", "Same", "samex", (1, 1, 1, 1, 1)])
def test_padding_is_up_to_four_numbers_or_same_and_nothing_else(padding):
    with pytest.raises(ValueError, match="padding"):
        nn.Conv2d(1, 1, 3, padding=padding)


@each_backend
@pytest.mark.parametrize("op", ["mse", "mae", "bce_with_logits"])
def test_the_gradient_of_a_loss_of_nothing_is_nothing(op, backend):
    """``Loss.forward`` refuses an empty batch; whoever calls the arithmetic itself gets no division by 0."""
    nothing = np.zeros((0, 3), np.float32)
    dy = getattr(get_backend(backend), f"{op}_backward")(1.0, LossCache(nothing, nothing))
    assert (dy.shape, dy.dtype) == (nothing.shape, nothing.dtype)


@each_fast_backend
@pytest.mark.parametrize("stride", [1, 2, (2, 1)])
@pytest.mark.parametrize("channels", [(3, 5), (5, 3), (2, 9)], ids=str)
def test_many_small_pictures_share_a_task(channels, stride, backend):
    """A batch so large that a thread takes several pictures at once; whole numbers, so bit for bit."""
    c, k = channels
    options = {
        "in_channels": c,
        "out_channels": k,
        "kernel_size": 3,
        "stride": stride,
        "padding": 1,
    }
    case = make_case(
        REGISTRY["Conv2d"], Sample(options, (203, 3, 4, c)), dtype=np.float32, integers=True
    )
    expected, found = outcome(case), outcome(case.to(backend=backend))
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
