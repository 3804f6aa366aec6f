"""What was recorded and is repeated does, bit for bit, what the function itself would do with the numbers of now."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

import nn
from nn import memory, record
from nn.layer import REGISTRY
from nn.record import Recorded, call

PARTS = [name for name, spec in REGISTRY.items() if spec.kind in ("layer", "activation")]
LOSSES = [name for name, spec in REGISTRY.items() if spec.kind == "loss"]
CALLS = 4  # two that run the function, two that repeat it


def repeated(body: Callable[[], None], inputs: list[np.ndarray], results: list[np.ndarray]) -> list:
    """(what the last of several calls of the recording left in ``results``, what ``body`` itself leaves there).

    The inputs are other numbers in every call; results that body adds to begin with 0.
    """
    rng, step = np.random.default_rng(0), Recorded(body)
    for _ in range(CALLS):
        for array in inputs:
            array[...] = rng.standard_normal(array.shape)
        for array in results:
            array[...] = 0
        step()
    found = [array.copy() for array in results]
    for array in results:
        array[...] = 0
    body()
    return list(zip(found, results, strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", PARTS)
def test_every_layer(name: str, dtype: type) -> None:
    spec = REGISTRY[name]
    options = {"dtype": dtype, "rng": 1} if name in ("Conv2d", "ConvBlock", "Dense") else {}
    for sample in (*spec.samples, spec.bench, *spec.deep):
        layer = spec.make(**sample.kwargs, **options)
        x, dx = np.zeros(sample.shape, dtype), np.zeros(sample.shape, dtype)
        dy, y = (np.zeros(layer.out_shape(sample.shape), dtype) for _ in range(2))

        def body(layer=layer, x=x, y=y, dx=dx, dy=dy) -> None:
            made, cache = layer.forward(x)
            call(np.copyto, y, made)
            call(np.copyto, dx, layer.backward(dy, cache))

        values = [p.value for p in layer.parameters()]
        gradients = [p.grad for p in layer.parameters()]
        for found, expected in repeated(body, [x, dy, *values], [y, dx, *gradients]):
            assert np.array_equal(found, expected), sample
        assert np.abs(y).max() > 0


def test_numbers_that_do_not_lie_in_their_order() -> None:
    """A copy that is made of them once would be of the first call's."""
    layers = [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(2, 16, 3),
        nn.Dense(5, 7),
        nn.PixelShuffle(2),
    ]
    layers += [nn.Flatten(), nn.Reshape((8,)), nn.Sigmoid(), nn.Tanh(), nn.LeakyReLU(0.1)]
    shapes = [(2, 6, 5, 3), (1, 5, 4, 2), (4, 5), (2, 3, 2, 8)] + [(3, 4, 2)] * 5
    for layer, shape in zip(layers, shapes, strict=True):
        turned = np.zeros(shape[::-1], np.float32)
        x, dx = turned.T, np.zeros(shape, np.float32)
        y = np.zeros(layer.out_shape(shape), np.float32)
        back = np.zeros(y.shape[::-1], np.float32)

        def body(layer=layer, x=x, y=y, dx=dx, back=back) -> None:
            made, cache = layer.forward(x)
            call(np.copyto, y, made)
            call(np.copyto, dx, layer.backward(back.T, cache))

        for found, expected in repeated(body, [turned, back], [y, dx]):
            assert np.array_equal(found, expected), layer
        assert np.abs(dx).max() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss(name: str) -> None:
    spec = REGISTRY[name]
    for sample in spec.samples:
        y, target, dy = (np.zeros(sample.shape, np.float32) for _ in range(3))
        loss = np.zeros((), np.float32)

        def body(rule=spec.make(), y=y, target=target, dy=dy, loss=loss) -> None:
            value, cache = rule.forward(y, target)
            call(np.copyto, loss, value)
            call(np.copyto, dy, rule.backward(1.0, cache))

        for found, expected in repeated(body, [y, target], [loss, dy]):
            assert np.array_equal(found, expected), sample
        assert loss > 0


def test_a_whole_network_with_its_arena() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2, padding="same", rng=0), nn.LeakyReLU(0.1),
        nn.Conv2d(16, 64, 3, padding="same", rng=1), nn.LeakyReLU(0.1), nn.PixelShuffle(2),
        nn.Flatten(), nn.Dense(32 * 32 * 16, 10, rng=2),
    )  # fmt: skip
    arena = nn.Arena(net.named_parameters())
    x, target = np.zeros((4, 32, 32, 3), np.float32), np.zeros((4, 10), np.float32)
    loss, rule = np.zeros((), np.float32), nn.MSE()

    def body() -> None:
        arena.zero_grad()
        y, cache = net.forward(x)
        value, kept = rule.forward(y, target)
        call(np.copyto, loss, value)
        net.backward(rule.backward(1.0, kept), cache, need_dx=False)

    for found, expected in repeated(body, [x, target, arena.values], [loss, arena.grads]):
        assert np.array_equal(found, expected)
    assert np.abs(arena.grads).max() > 0


def test_it_gives_what_the_recorded_call_gave_with_the_numbers_of_now() -> None:
    x = np.zeros(3000, np.float32)

    def body() -> np.ndarray:
        return nn.Sigmoid().forward(x)[0]

    step = Recorded(body)
    for value in (0, 1, 2, 3):
        x[...] = value
        np.testing.assert_allclose(step(), 1 / (1 + np.exp(-value)), rtol=1e-6)
    assert step() is step()


def test_others_never_get_its_memory() -> None:
    x, y = np.zeros(5000, np.float32), np.zeros(5000, np.float32)
    leaky = nn.LeakyReLU(0.5)

    def body() -> None:
        half, _ = leaky.forward(x)  # three arrays of one size after another in two places
        quarter, _ = leaky.forward(half)
        del half
        eighth, _ = leaky.forward(quarter)
        call(np.copyto, y, eighth)

    step = Recorded(body)
    for number in range(5):
        x[...] = -8 * (number + 1)
        step()
        assert (y == -number - 1).all()
        others = [memory.empty(5000, np.float32) for _ in range(4)]
        for other in others:
            other[...] = 77
        step()
        assert (y == -number - 1).all()
        assert all((other == 77).all() for other in others)
    assert len(step.pool.all) == 2  # one array gets what another has left


def test_memory_of_others_that_it_reads_stays_theirs() -> None:
    """An array made before, whose name is gone since: its memory must not serve anyone else."""
    holder, y = [memory.empty(5000, np.float32)], np.zeros(5000, np.float32)
    holder[0][...] = 3
    step = Recorded(lambda: call(np.copyto, y, holder[0]))
    step()
    step()
    holder.clear()
    other = memory.empty(5000, np.float32)
    other[...] = 77
    step()
    assert (y == 3).all()


def test_forgotten_it_is_taken_down_anew() -> None:
    x, y, factor = np.ones(4), np.zeros(4), [2.0]
    step = Recorded(lambda: call(np.multiply, x, factor[0], y))
    for _ in range(3):
        step()
    factor[0] = 5.0
    step()
    assert (y == 2).all()
    step.forget()
    step()
    assert (y == 5).all()


def test_a_call_that_fails_is_no_recording() -> None:
    y, fails = np.zeros(3), [False, True, False, False]

    def body() -> None:
        call(np.add, y, 1, y)
        if fails.pop(0):
            raise ValueError("of its own")

    step = Recorded(body)
    step()
    with pytest.raises(ValueError, match="of its own"):
        step()
    assert step.calls is None
    for _ in range(4):
        step()
    assert (y == 6).all()
    assert record._here.by is None


def test_what_is_called_may_do_as_it_likes() -> None:
    """Inside ``call`` nothing is taken down, so a layer there runs once each time, and in memory that all share."""
    x, y, seen = np.ones(2000, np.float32), np.zeros(2000, np.float32), []

    def otherwise(x: np.ndarray, y: np.ndarray) -> None:
        seen.append(len(seen))
        y += nn.LeakyReLU(0.5).forward(-x)[0] * len(seen)

    step = Recorded(lambda: call(otherwise, x, y))
    for _ in range(4):
        step()
    assert seen == [0, 1, 2, 3]
    assert (y == -0.5 * (1 + 2 + 3 + 4)).all()
    assert len(step.calls) == 1
    assert step.pool.all == []


def test_one_recording_holds_no_other() -> None:
    inner = Recorded(lambda: None)
    outer = Recorded(lambda: inner())
    outer()
    with pytest.raises(RuntimeError, match="cannot contain"):
        outer()


def test_on_another_thread_it_is_taken_down_again() -> None:
    """A thread's passing arrays lie in memory of its own."""
    layer = nn.Conv2d(16, 16, 3, padding=1, rng=0)
    x, y = np.ones((2, 8, 8, 16), np.float32), np.zeros((2, 8, 8, 16), np.float32)
    step = Recorded(lambda: call(np.copyto, y, layer.forward(x)[0]))
    for _ in range(3):
        step()
    expected, before = y.copy(), step.calls
    thread = threading.Thread(target=step)
    y[...] = 0
    thread.start()
    thread.join()
    assert step.calls is not before
    assert np.array_equal(y, expected)
