"""The ledger of a model against numbers counted by hand."""

import numpy as np
import pytest

import nn


@pytest.fixture
def net():
    return nn.Sequential(
        ("conv1", nn.Conv2d(3, 8, 5, stride=2, padding="same")),
        nn.LeakyReLU(0.1),
        ("up", nn.Sequential(nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.PixelShuffle(2))),
        nn.Flatten(),
        ("code", nn.Dense(1024, 10)),
    )


def test_every_row_by_hand(net):
    ledger = nn.summary(net, (2, 16, 16, 3))
    rows = [(r.name, r.out_shape, r.parameters, r.macs, r.activation_bytes) for r in ledger.rows]
    assert rows == [
        # 5 5 3 8 + 8 parameters; 2 8 8 8 numbers, each of 75 products
        ("conv1", (2, 8, 8, 8), 608, 76_800, 4096),
        ("leakyrelu2", (2, 8, 8, 8), 0, 0, 4096),
        # 3 3 8 16 parameters, no bias; 2 8 8 16 numbers, each of 72 products
        ("up.conv2d1", (2, 8, 8, 16), 1152, 147_456, 8192),
        ("up.pixelshuffle2", (2, 16, 16, 4), 0, 0, 8192),
        ("flatten4", (2, 1024), 0, 0, 8192),
        ("code", (2, 10), 10_250, 20_480, 80),
    ]
    assert ledger.parameters == 12_010
    assert ledger.macs == net.macs((2, 16, 16, 3)) == 244_736
    assert ledger.activation_bytes == 32_848


def test_the_batch_scales_work_and_memory_but_not_parameters(net):
    one, four = (nn.summary(net, (n, 16, 16, 3)) for n in (1, 4))
    assert four.parameters == one.parameters
    assert four.macs == 4 * one.macs
    assert four.activation_bytes == 4 * one.activation_bytes


def test_float64_keeps_twice_the_bytes():
    sizes = [
        nn.summary(nn.Dense(3, 5, dtype=dtype), (2, 3)).activation_bytes
        for dtype in (np.float32, np.float64)
    ]
    assert sizes == [2 * 5 * 4, 2 * 5 * 8]


def test_a_single_layer_is_one_row():
    (row,) = nn.summary(nn.Dense(3, 5), (2, 3)).rows
    assert (row.name, row.parameters, row.macs) == ("dense", 20, 30)


def test_the_table_shows_every_row_and_the_sums(net):
    text = str(nn.summary(net, (1, 16, 16, 3)))
    lines = text.splitlines()
    assert len(lines) == 1 + 1 + 6 + 1 + 1
    assert lines[0].split() == [
        "layer",
        "kind",
        "output",
        "parameters",
        "multiply-adds",
        "MiB",
        "kept",
    ]
    assert "1x8x8x8" in lines[2]
    assert lines[-1].split()[:2] == ["total", f"{608 + 1152 + 1024 * 10 + 10:,}"]


def test_an_input_that_does_not_fit_names_the_layer(net):
    with pytest.raises(ValueError, match=r"Dense\(1024, 10\) takes"):
        nn.summary(net, (1, 32, 32, 3))
