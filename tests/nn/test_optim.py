"""Optimizers against their documented equations, written here as loops over plain Python floats."""

import math

import numpy as np
import pytest

import nn.reference
from nn import SGD, Adam, Arena, Parameter
from tests.nn.helpers import each_backend, each_fast_backend, relative_error

SIZE, STEPS = 21, 7
SGD_OPTIONS = [
    {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
    for momentum, nesterov in ((0.0, False), (0.75, False), (0.75, True))
    for decay in (0.0, 0.125)
]
ADAM_OPTIONS = [
    {},
    {"beta1": 0.5, "beta2": 0.9},
    {"beta1": 0.0},
    {"beta2": 0.0},
    {"eps": 0.1},
    {"weight_decay": 0.1},
    {"eps": 1e-3, "weight_decay": 0.5},
]


def book_sgd(w, gradients, lr, momentum, nesterov, weight_decay):
    v = 0.0
    for dw in gradients:
        g = dw + weight_decay * w
        if momentum:
            v = momentum * v + g
            g = g + momentum * v if nesterov else v
        w = w - lr * g
    return w


def book_adam(w, gradients, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    m = v = 0.0
    for t, dw in enumerate(gradients, start=1):
        g = dw + weight_decay * w
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        w = w - lr * m_hat / (math.sqrt(v_hat) + eps)
    return w


def run(make, start, gradients, backend):
    p = Parameter(start.copy())
    optimizer = make(Arena([("w", p)])).to(backend)
    for gradient in gradients:
        p.grad[...] = gradient
        optimizer.step()
    assert optimizer.steps == len(gradients)
    return p.value, optimizer


@pytest.fixture
def start(rng):
    return rng.standard_normal(SIZE)


@pytest.fixture
def gradients(rng):
    return rng.standard_normal((STEPS, SIZE))


@each_backend
@pytest.mark.parametrize("options", SGD_OPTIONS, ids=str)
def test_sgd_follows_its_equations(options, start, gradients, backend):
    found, _ = run(lambda arena: SGD(arena, 0.3, **options), start, gradients, backend)
    expected = [
        book_sgd(w, column, 0.3, **options)
        for w, column in zip(start.tolist(), gradients.T.tolist(), strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


@each_backend
@pytest.mark.parametrize("options", ADAM_OPTIONS, ids=str)
def test_adam_follows_its_equations(options, start, gradients, backend):
    found, _ = run(lambda arena: Adam(arena, 0.03, **options), start, gradients, backend)
    expected = [
        book_adam(w, column, 0.03, **options)
        for w, column in zip(start.tolist(), gradients.T.tolist(), strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


# One step changes a loss at the rate that the equations give. With learning rate i h the weights become
# w - i h d, so Im L(w - i h d) / h = -<dL/dw, d> to the last digit: that is the direction d, measured.

H = 1e-200


def quadratic(w):
    """L = 1/2 sum a w² + sum w, and its gradient."""
    a = np.linspace(0.5, 2, SIZE)
    return (0.5 * a * w * w + w).sum(), a * w + 1


@pytest.mark.parametrize("options", SGD_OPTIONS, ids=str)
def test_a_complex_learning_rate_measures_the_direction_of_sgd(options, start, rng):
    _, dw = quadratic(start)
    v = rng.standard_normal(SIZE) if options["momentum"] else None
    g = dw + options["weight_decay"] * start
    if v is None:
        direction = g
    else:
        new_v = options["momentum"] * v + g
        direction = g + options["momentum"] * new_v if options["nesterov"] else new_v
    w = start.astype(complex)
    velocity = None if v is None else v.astype(complex)
    nn.reference.sgd_step(w, dw.astype(complex), velocity, learning_rate=1j * H, **options)
    rate = quadratic(w)[0].imag / H
    assert rate == pytest.approx(-np.dot(dw, direction), rel=1e-13)


@pytest.mark.parametrize("options", ADAM_OPTIONS, ids=str)
@pytest.mark.parametrize("step", [1, 2, 1000])
def test_a_complex_learning_rate_measures_the_direction_of_adam(options, step, start, rng):
    o = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0} | options
    _, dw = quadratic(start)
    m, v = rng.standard_normal(SIZE), rng.random(SIZE)
    g = dw + o["weight_decay"] * start
    m_hat = (o["beta1"] * m + (1 - o["beta1"]) * g) / (1 - o["beta1"] ** step)
    v_hat = (o["beta2"] * v + (1 - o["beta2"]) * g * g) / (1 - o["beta2"] ** step)
    direction = m_hat / (np.sqrt(v_hat) + o["eps"])
    w, *moments = (a.astype(complex) for a in (start, m, v))
    nn.reference.adam_step(
        w, dw.astype(complex), *moments, step=step, learning_rate=1j * H, **options
    )
    rate = quadratic(w)[0].imag / H
    assert rate == pytest.approx(-np.dot(dw, direction), rel=1e-13)


# Backends, and what an optimizer must leave alone


@each_fast_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", SGD_OPTIONS, ids=str)
def test_sgd_is_equal_to_the_bit_where_it_is_exact(options, dtype, backend, rng):
    """Whole numbers and powers of two: nothing is rounded in three steps, whatever the order."""
    start = rng.integers(-8, 9, 1003).astype(dtype)
    gradients = rng.integers(-8, 9, (3, 1003)).astype(dtype)
    make = lambda arena: SGD(arena, 0.5, **options)  # noqa: E731
    book, fast = (run(make, start, gradients, b)[0] for b in ("reference", backend))
    assert fast.dtype == dtype
    np.testing.assert_array_equal(fast, book)


@each_fast_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", ADAM_OPTIONS, ids=str)
@pytest.mark.parametrize("size", [1, 1003, 70_001])
def test_adam_is_equal_to_rounding(options, dtype, size, backend, rng):
    start = rng.standard_normal(size).astype(dtype)
    gradients = rng.standard_normal((4, size)).astype(dtype)
    make = lambda arena: Adam(arena, 1e-2, **options)  # noqa: E731
    (book, one), (fast, two) = (run(make, start, gradients, b) for b in ("reference", backend))
    limit = 1e-6 if dtype == np.float32 else 1e-14
    assert fast.dtype == dtype
    assert relative_error(fast, book) <= limit
    for name in one.state:
        assert relative_error(two.state[name], one.state[name]) <= limit, name


@each_backend
@pytest.mark.parametrize(
    "make",
    [lambda a: SGD(a, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1), lambda a: Adam(a, 0.1)],
    ids=["SGD", "Adam"],
)
def test_gradients_are_left_alone_and_padding_stays_zero(make, backend, rng):
    parameters = [Parameter(rng.standard_normal(n).astype(np.float32)) for n in (3, 17)]
    arena = Arena(zip(("small", "large"), parameters, strict=True))
    optimizer = make(arena).to(backend)
    for _ in range(3):
        for p in parameters:
            p.grad[...] = rng.standard_normal(p.shape)
        before = arena.grads.copy()
        optimizer.step()
        np.testing.assert_array_equal(arena.grads, before)
    padding = np.ones(arena.values.size, bool)
    for p in parameters:
        arena.view(padding, p.name)[...] = False
    assert padding.sum() == 13 + 15
    for flat in (arena.values, *optimizer.state.values()):
        assert not np.any(flat[padding])
        assert np.all(flat[~padding] != 0)


@each_backend
def test_a_learning_rate_may_be_changed_between_steps(backend):
    p = Parameter(np.zeros(2, np.float32))
    optimizer = SGD(Arena([("w", p)]), 1.0).to(backend)
    p.grad[...] = 1
    optimizer.step()
    optimizer.learning_rate = 0.5
    optimizer.step()
    np.testing.assert_array_equal(p.value, -1.5)


@each_backend
def test_state_put_back_goes_on_to_the_bit(backend, start, gradients):
    """What ``state`` and ``steps`` hold is all that an optimizer remembers."""
    make = lambda arena: Adam(arena, 0.1)  # noqa: E731
    whole, _ = run(make, start, gradients, backend)
    half, first = run(make, start, gradients[:3], backend)
    p = Parameter(half.copy())
    second = make(Arena([("w", p)])).to(backend)
    second.steps = first.steps
    for name, array in first.state.items():
        second.state[name][...] = array
    for gradient in gradients[3:]:
        p.grad[...] = gradient
        second.step()
    np.testing.assert_array_equal(p.value, whole)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a: SGD(a, 0), "learning rate"),
        (lambda a: SGD(a, float("nan")), "learning rate"),
        (lambda a: SGD(a, 0.1, momentum=1), "momentum"),
        (lambda a: SGD(a, 0.1, nesterov=True), "momentum"),
        (lambda a: SGD(a, 0.1, weight_decay=-1), "weight decay"),
        (lambda a: Adam(a, -1), "learning rate"),
        (lambda a: Adam(a, beta1=1.0), "beta1"),
        (lambda a: Adam(a, beta2=-0.1), "beta2"),
        (lambda a: Adam(a, eps=0), "eps"),
    ],
)
def test_an_option_out_of_range_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(Arena([("w", Parameter(np.zeros(2)))]))
