"""``nn.check.mine`` on functions as learners write them."""

import numpy as np
import pytest

from nn.check import mine


def conv2d_backward(dy, x, w, stride, padding):
    """By loops over taps, returning its gradients."""
    top, bottom, left, right = padding
    xp = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            rows = slice(i, i + stride[0] * dy.shape[1], stride[0])
            columns = slice(j, j + stride[1] * dy.shape[2], stride[1])
            seen = xp[:, rows, columns][:, : dy.shape[1], : dy.shape[2]]
            dw[i, j] = np.einsum("npqc,npqk->ck", seen, dy)
            dxp[:, rows, columns][:, : dy.shape[1], : dy.shape[2]] += dy @ w[i, j].T
    h, w_ = x.shape[1:3]
    return dxp[:, top : top + h, left : left + w_], dw, dy.sum((0, 1, 2))


def dense_backward(dy, cache, dw, db, *, need_dx=True):
    dw += cache.x.T @ dy
    if db is not None:
        db += dy.sum(0)
    return dy @ cache.w.T if need_dx else None


def my_relu_backward(dout, x):
    return dout * (x > 0)


def sigmoid_backward(dy, y):
    return dy * y * (1 - y)


def adam_step(w, dw, m, v, t, lr, beta1, beta2, eps, weight_decay):
    g = dw + weight_decay * w
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


def mae_backward(dloss, y, target):
    return dloss * np.sign(y - target) / y.size


def leaky_relu_forward(x, slope=0.1):
    return np.where(x > 0, x, slope * x)


RIGHT = [
    conv2d_backward,
    dense_backward,
    my_relu_backward,
    sigmoid_backward,
    adam_step,
    mae_backward,
]


@pytest.mark.parametrize("function", [*RIGHT, leaky_relu_forward], ids=lambda f: f.__name__)
def test_a_right_function_is_called_right(function):
    answer = mine(function)
    assert answer.right, answer
    assert answer.mistakes == []
    assert "right" in str(answer)


def flipped(dy, x, w, stride, padding):
    dx, dw, db = conv2d_backward(dy, x, w, stride, padding)
    return dx, dw[::-1, ::-1], db / len(x)


def test_two_mistakes_are_two_sentences():
    answer = mine(flipped, of="conv2d_backward")
    assert not answer.right
    assert "dw looks like the kernel is flipped" in answer.mistakes
    assert "db looks like it is a mean over the batch, where it should be a sum" in answer.mistakes
    assert [o.right for o in answer.outputs] == [True, False, False]
    dw = answer.outputs[1]
    assert dw.worst > 0.1
    assert dw.rounding < 1e-14
    assert "first at [0, 0, 0, 0]" in dw.where
    assert "in_channels=2" in dw.where


WRONG = {
    "3 times what it should be": (lambda dy, y: 3 * dy * y * (1 - y), "sigmoid_backward"),
    "its sign is wrong": (lambda dy, y: -dy * (1 - y * y), "tanh_backward"),
    "float32": (
        lambda dy, y: (dy * y * (1 - y)).astype("f4").astype("f8"),
        "sigmoid_backward",
    ),
    "at the kink": (lambda dy, x: dy * (x >= 0), "relu_backward"),
    "NaN": (lambda dy, y: dy / (y - y), "tanh_backward"),
    "0 throughout": (lambda dy, y: 0 * dy, "tanh_backward"),
    "sum, where it should be a mean": (lambda y, target: ((y - target) ** 2).sum(), "mse_forward"),
    "not corrected for their bias": (
        lambda w, dw, m, v, lr, beta1, beta2, eps, weight_decay: (
            w
            - lr
            * (m1 := beta1 * m + (1 - beta1) * (dw + weight_decay * w))
            / (np.sqrt(v1 := beta2 * v + (1 - beta2) * (dw + weight_decay * w) ** 2) + eps),
            m1,
            v1,
        ),
        "adam_step",
    ),
}


@pytest.mark.parametrize(("words", "wrong"), WRONG.items(), ids=WRONG)
def test_a_mistake_is_described(words, wrong):
    function, of = wrong
    answer = mine(function, of=of)
    assert not answer.right
    assert any(words in sentence for sentence in answer.mistakes), answer


def test_a_factor_that_is_in_no_table_is_told():
    answer = mine(lambda dy, cache: 0.37 * dy * (1 - cache.y**2), of="tanh_backward")
    assert answer.mistakes == ["dx looks like it is 0.37 times what it should be"]


def test_what_is_wrong_only_with_an_option_is_told():
    def not_that_stride(dy, x, w, stride, padding):
        dx, dw, db = conv2d_backward(dy, x, w, stride, padding)
        return (dx if stride != (2, 1) else dx * 1.1 + 0.01), dw, db

    answer = mine(not_that_stride, of="conv2d_backward")
    assert any("wherever" in s and "stride=(2,1)" in s for s in answer.mistakes), answer


def test_an_exception_is_part_of_the_answer():
    answer = mine(lambda dy, x: dy[:, :99] @ x[99], of="relu_backward")
    assert not answer.right
    assert "stops with" in str(answer)


def test_a_wrong_shape_or_nothing_is_told():
    assert "shape" in str(mine(lambda dy, y: dy[..., :1], of="tanh_backward"))
    assert "nothing came back" in str(mine(lambda dy, y: None, of="tanh_backward"))


def test_an_input_that_is_written_to_is_told():
    def relu_backward(dy, x):
        dy *= x > 0
        return dy

    answer = mine(relu_backward)
    assert any(s.startswith("dy looks like") for s in answer.mistakes), answer


@pytest.mark.parametrize(
    ("function", "of", "words"),
    [
        (lambda dy, x: dy, None, "of="),
        (lambda dy, x: dy, "conv3d_backward", "conv2d_backward"),
        (lambda dy, momentum_of_inertia: dy, "relu_backward", "momentum_of_inertia"),
    ],
)
def test_what_cannot_be_called_is_refused_in_one_sentence(function, of, words):
    with pytest.raises(ValueError, match=words) as error:
        mine(function, of)
    assert "\n" not in str(error.value)


def test_the_function_is_found_by_its_name():
    def my_own_conv_backward(dy, x, w, stride, padding):
        return conv2d_backward(dy, x, w, stride, padding)

    assert mine(my_own_conv_backward).of == "conv2d_backward"
