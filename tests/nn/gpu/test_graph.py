"""A recorded step, and the scale of the loss."""

import numpy as np
import pytest

from nn.gpu import device
from nn.gpu.graph import LossScale, Recorded
from nn.gpu.optim import adam_arena, look_for_infinities, numbers_now
from nn.reference.optim import adam_step


def test_what_was_recorded_runs_again_with_what_lies_on_the_card_by_then(card, rng):
    w, dw, m, v = (device.zeros(5, np.float32) for _ in range(4))
    now = device.zeros(3, np.float32)
    runs = []

    def body():
        runs.append(len(runs))
        adam_arena(w, dw, m, v, now, beta1=0.9, beta2=0.99, eps=1e-8)

    step, book = Recorded(body), [np.zeros(5, np.float32) for _ in range(3)]
    for number in range(1, 6):
        gradient = rng.standard_normal(5).astype(np.float32)
        rate = 0.1 / number
        device.write(dw, gradient)
        device.write(now, numbers_now(np.float32, rate, step=number, betas=(0.9, 0.99)))
        step()
        options = {"beta1": 0.9, "beta2": 0.99, "learning_rate": rate}
        adam_step(book[0], gradient, *book[1:], step=number, **options)
        np.testing.assert_allclose(device.download(w), book[0], rtol=1e-5, atol=1e-7)
    assert len(runs) == 2  # once for its own sake, once to be recorded
    step.forget()
    step()
    assert len(runs) == 4


def test_a_recorded_step_may_not_wait_for_the_card(emulated):
    """As a card would refuse it: the emulator does, too."""
    x = device.zeros(3, np.float32)
    with pytest.raises(AssertionError, match="download while"):
        Recorded(lambda: device.download(x))()


def test_a_gradient_that_is_no_number_stops_the_step(card):
    for bad in (np.nan, np.inf, -np.inf):
        w, m, v = (device.zeros(4, np.float32) for _ in range(3))
        dw, flag = device.upload(np.array([1, 2, bad, 3], np.float32)), device.zeros(1, np.int32)
        now = device.upload(numbers_now(np.float32, 0.1, step=1, betas=(0.9, 0.99)))
        look_for_infinities(dw, flag)
        adam_arena(w, dw, m, v, now, beta1=0.9, beta2=0.99, eps=1e-8, flag=flag)
        assert device.download(flag)[0] == 1
        assert not device.download(w).any()
    flag = device.zeros(1, np.int32)
    look_for_infinities(device.upload(np.array([1, -3e38], np.float32)), flag)
    assert device.download(flag)[0] == 0


def test_the_scale_falls_at_once_and_rises_slowly():
    scale = LossScale(used=True, first=8.0, most=16.0, patience=3)
    assert scale.after(False)
    assert scale.value == 4
    assert [scale.after(True) for _ in range(3)] == [False, False, True]
    assert scale.value == 8
    for _ in range(9):
        scale.after(True)
    assert scale.value == 16
    for _ in range(9):
        scale.after(False)
    assert scale.value == 1
    assert not scale.after(False)  # nothing is left to try
    assert not LossScale(used=False).after(False)
    assert LossScale(used=False).value == 1


def test_a_scaled_gradient_makes_the_same_step(card, rng):
    dw = rng.standard_normal(64).astype(np.float32)
    ends = []
    for scale in (1.0, 1024.0):
        w, m, v = (device.zeros(64, np.float32) for _ in range(3))
        now = numbers_now(np.float32, 0.1, step=1, betas=(0.9, 0.99), loss_scale=scale)
        given = device.upload(dw * np.float32(scale))
        adam_arena(w, given, m, v, device.upload(now), beta1=0.9, beta2=0.99, eps=1e-8)
        ends.append(device.download(w))
    np.testing.assert_array_equal(*ends)
