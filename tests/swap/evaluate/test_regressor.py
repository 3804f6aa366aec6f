from dataclasses import dataclass

import numpy as np
import pytest

from swap.evaluate.regressor import compare, params_table, recovery


@dataclass(frozen=True)
class Params:
    left: float = 0.0
    right: float = 0.0
    still: float = 0.5


def draw(params):
    """(N, 32, 32, 3): two patches as bright as their parameters."""
    made = np.full((len(params), 32, 32, 3), 0.3, np.float32)
    made[:, 4:12, 4:12] += 0.5 * params[:, 0, None, None, None]
    made[:, 16:28, 16:28, 1] += 0.3 * params[:, 1, None, None]
    return made


def sets():
    rng = np.random.default_rng(0)
    train, test = (np.c_[rng.random((n, 2)), np.full(n, 0.5)] for n in (80, 40))
    return train, test


def test_parameters_are_read_off_the_truth_and_not_off_a_constant_picture():
    train, test = sets()
    half = test.copy()
    half[:, 1] = 0.5
    shown = {
        "truth": draw(test),
        "mean": np.broadcast_to(draw(train).mean(0), (40, 32, 32, 3)),
        "half": draw(half),
        "damped": draw(np.c_[0.5 * test[:, 0], test[:, 1:]]),
    }
    found = recovery(("left", "right", "still"), draw(train), train, test, shown)
    assert found.names == ("left", "right")  # what never varies is left out
    assert found.readable == ("left", "right")
    for read in found.rows["truth"]:
        assert read.correlation > 0.99
        assert read.slope == pytest.approx(1, abs=0.05)
    assert [read.correlation for read in found.rows["mean"]] == [0, 0]
    assert found.rows["half"][0].correlation > 0.99
    assert abs(found.rows["half"][1].correlation) < 0.5
    assert found.rows["damped"][0].slope == pytest.approx(0.5, abs=0.05)
    assert found.summary("truth") > 0.99
    assert found.summary("mean") == 0


def test_what_cannot_be_read_off_the_truth_does_not_count():
    train, test = sets()
    hidden = draw(np.c_[test[:, 0], np.full(40, 0.5), test[:, 2]])
    rows = {"truth": hidden, "swap": hidden}
    seen = draw(np.c_[train[:, 0], np.full(80, 0.5), train[:, 2]])
    found = recovery(("left", "right", "still"), seen, train, test, rows)
    assert found.readable == ("left",)
    assert found.summary("swap") == pytest.approx(found.rows["swap"][0].correlation)
    assert set(found.to_json()["parameters"]) == {"left", "right"}


def test_correlation_and_slope_are_numpys():
    rng = np.random.default_rng(0)
    true = rng.random(50)
    read = 0.6 * true + 0.1 * rng.random(50) + 3
    found = compare(read, true)
    assert found.correlation == pytest.approx(np.corrcoef(read, true)[0, 1])
    assert found.slope == pytest.approx(np.polyfit(true, read, 1)[0])


def test_a_table_of_dataclasses():
    names, values = params_table([Params(), Params(1, 2)])
    assert names == ("left", "right", "still")
    assert values.tolist() == [[0, 0, 0.5], [1, 2, 0.5]]
