"""The record of a step against the step itself, and every explanation against the number that it explains."""

import numpy as np
import pytest

import nn
from nn.trace.terms import explain_call


def network(dtype: type) -> nn.Sequential:
    """Every kind of layer, strides, borders that are not alike."""
    return nn.Sequential(
        ("conv1", nn.Conv2d(2, 8, 5, stride=2, padding="same", rng=0, dtype=dtype)),
        nn.LeakyReLU(0.1),
        ("up", nn.Conv2d(8, 12, (3, 2), padding=(1, 1, 0, 1), rng=1, dtype=dtype)),
        nn.ReLU(),
        nn.PixelShuffle(2),
        nn.Flatten(),
        ("narrow", nn.Dense(192, 10, rng=2, dtype=dtype)),
        nn.Tanh(),
        nn.Reshape((5, 2, 1)),
        ("plain", nn.Conv2d(1, 2, 2, stride=(3, 1), bias=False, rng=3, dtype=dtype)),
        nn.Flatten(),
        nn.Dense(4, 4, rng=4, dtype=dtype),
        nn.Sigmoid(),
    )


@pytest.fixture(params=[("reference", np.float64), ("cpu", np.float32)], ids=lambda p: p[0])
def step(request) -> tuple[nn.Sequential, np.ndarray, np.ndarray]:
    backend, dtype = request.param
    rng = np.random.default_rng(7)
    net = network(dtype).to(backend)
    for p in net.parameters():
        p.value[...] = rng.standard_normal(p.shape) * 0.3
    return net, rng.standard_normal((3, 8, 8, 2)).astype(dtype), rng.random((3, 4)).astype(dtype)


def test_the_record_is_the_step(step):
    """x, y, dx and gradients are those of forward and backward as they run without a trace, blocks and all."""
    net, x, target = step
    trace = nn.trace(net, x, nn.MSE(), target)
    y, cache = net.forward(x)
    loss, loss_cache = nn.MSE().to(net.backend).forward(y, target)
    net.zero_grad()
    dx = net.backward(nn.MSE().backward(1.0, loss_cache), cache)
    close = {"rtol": 1e-4, "atol": 1e-6} if x.dtype == np.float32 else {"rtol": 1e-12}
    np.testing.assert_allclose(trace.calls[-1].y, y, **close)
    np.testing.assert_allclose(trace.calls[0].dx, dx, **close)
    assert trace.loss == pytest.approx(float(loss), rel=1e-5)
    for name, p in net.named_parameters():
        layer, _, kind = name.rpartition(".")
        np.testing.assert_allclose(trace.gradient(layer, kind[0]), p.grad, **close)


def test_a_trace_leaves_gradients_as_they_were(step):
    net, x, target = step
    rng = np.random.default_rng(1)
    for p in net.parameters():
        p.grad[...] = rng.standard_normal(p.shape)
    before = [p.grad.copy() for p in net.parameters()]
    nn.trace(net, x, nn.MSE(), target)
    for p, grad in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.grad, grad)


def test_a_step_taken_later_does_not_change_the_record(step):
    net, x, target = step
    trace = nn.trace(net, x, nn.MSE(), target)
    before = str(nn.explain(trace, "conv1.y[0,1,1,3]"))
    for p in net.parameters():
        p.value += 1
    assert str(nn.explain(trace, "conv1.y[0,1,1,3]")) == before


def test_gradients_stay_as_they_were_where_the_step_fails(step):
    net, x, target = step
    net.parameters()[0].grad[...] = 3
    with pytest.raises(ValueError, match="the target"):
        nn.trace(net, x, nn.MSE(), target[:, :3])
    assert (net.parameters()[0].grad == 3).all()


@pytest.mark.parametrize("loss", [nn.MSE(), nn.MAE(), nn.BCEWithLogits()], ids=repr)
def test_every_explanation_adds_up_to_the_engines_number(step, loss):
    net, x, target = step
    trace = nn.trace(net, x, loss, target)
    rng = np.random.default_rng(3)
    for call in trace.calls:
        arrays = {"x": call.x, "y": call.y, "dx": call.dx, "dy": call.dy}
        arrays |= {f"d{name}": grad for name, grad in call.grads.items()} | call.parameters
        for tensor, array in arrays.items():
            for _ in range(6):
                index = tuple(int(rng.integers(size)) for size in array.shape)
                terms = nn.explain(trace, f"{call.name}.{tensor}[{','.join(map(str, index))}]")
                assert terms.value == array[index]
                assert terms.right, str(terms)
    start = nn.explain(trace, "loss.dy[2,1]")
    assert start.value == trace.ends[0].dy[2, 1]
    assert start.right
    assert nn.explain(trace, "loss").computed == pytest.approx(trace.loss, rel=1e-6)


def test_a_number_that_is_wrong_is_not_called_rounding(step):
    net, x, target = step
    trace = nn.trace(net, x, nn.MSE(), target)
    trace.calls[0].grads["w"][1, 2, 0, 5] *= 1.001
    terms = nn.explain(trace, "conv1.dw[1,2,0,5]")
    assert not terms.right
    assert "more than rounding" in str(terms)


def test_products_name_the_numbers_that_they_are_made_of(step):
    """Each factor's name, looked up in the trace, is the factor's value."""
    net, x, target = step
    trace = nn.trace(net, x, nn.MSE(), target)
    call = trace.calls_of("conv1")[0]
    tensors = {"x": call.x, "dy": call.dy, **call.parameters}
    for tensor, index in (("y", (1, 0, 3, 2)), ("dx", (2, 7, 0, 1)), ("dw", (0, 4, 1, 7))):
        terms = explain_call(call, tensor, index)
        assert terms.terms
        for term in terms.terms:
            for name, value in ((term.left, term.left_value), (term.right, term.right_value)):
                letter, _, at = name.rstrip("]").partition("[")
                assert tensors[letter][tuple(map(int, at.split(",")))] == value


def chains() -> tuple[dict[str, nn.Sequential], dict[str, np.ndarray]]:
    encoder = nn.Sequential(
        ("wide", nn.Dense(6, 5, rng=0)), nn.Tanh(), ("code", nn.Dense(5, 2, rng=1))
    )
    model = {
        side: nn.Sequential(("encoder", encoder), ("decoder", nn.Dense(2, 6, rng=2 + i)))
        for i, side in enumerate("ab")
    }
    rng = np.random.default_rng(0)
    return model, {side: rng.standard_normal((4 + i, 6)).astype("f4") for i, side in enumerate("ab")}  # fmt: skip


def test_a_shared_layer_has_a_gradient_from_each_chain_and_their_sum():
    model, x = chains()
    trace = nn.trace(model, x, nn.MAE())
    assert [c.chain for c in trace.calls_of("encoder.wide")] == ["a", "b"]
    assert "decoder" in trace.names
    assert "b.decoder" in trace.names  # another layer under the same name
    alone = {side: nn.trace(model[side], x[side], nn.MAE()) for side in "ab"}
    for name, letter in (("encoder.wide", "w"), ("encoder.code", "b")):
        parts = [alone[side].gradient(name, letter) for side in "ab"]
        np.testing.assert_allclose(trace.gradient(name, letter), parts[0] + parts[1], rtol=1e-5, atol=1e-8)  # fmt: skip
    terms = nn.explain(trace, "encoder.wide.dw[3,1]")
    assert set(terms.parts) == {"a", "b"}
    assert len(terms.parts["b"].terms) == 5  # one for each of b's five
    assert terms.right
    assert trace.loss == pytest.approx(sum(t.loss for t in alone.values()))


def test_a_block_is_seen_as_its_three_layers():
    block = nn.ConvBlock(2, 8, 3, padding=1, negative_slope=0.2, factor=2, rng=0)
    x = np.random.default_rng(0).standard_normal((2, 4, 4, 2)).astype("f4")
    trace = nn.trace(block, x, nn.MSE(), np.zeros((2, 8, 8, 2), "f4"))
    assert [type(c.layer).__name__ for c in trace.calls] == ["Conv2d", "LeakyReLU", "PixelShuffle"]
    y, _ = block.forward(x, train=False)
    np.testing.assert_allclose(trace.calls[-1].y, y, rtol=1e-5, atol=1e-6)


class Doubled(nn.Layer):
    """y = 2 x, a learner's own layer."""

    def _forward(self, x):
        return 2 * x, None

    def _backward(self, dy, saved, need_dx):
        return 2 * dy


def test_a_layer_that_nobody_explained_is_shown_and_says_so():
    x = np.ones((2, 3), "f4")
    trace = nn.trace(nn.Sequential(("mine", Doubled())), x, nn.MSE(), x)
    assert "explains(Doubled)" in str(nn.explain(trace, "mine.y[0,1]"))
    assert nn.explain(trace, "mine.y[0,1]").value == 2


@pytest.mark.parametrize(
    ("number", "says"),
    [
        ("conv1", "is written like"),
        ("conv9.y[0,0,0,0]", "no layer 'conv9'"),
        ("a:conv1.y[0,0,0,0]", "no chain 'a'"),
        ("conv1.q[0]", "has no 'q'; it has x, y, dx, dy, w, b, dw, db"),
        ("conv1.dw[0,0]", "takes 4 indices, found 2"),
        ("conv1.dw[9,0,0,0]", "so 9 lies outside"),
    ],
)
def test_a_number_that_is_not_there_is_one_sentence(step, number, says):
    net, x, target = step
    with pytest.raises(ValueError, match=r"^[^\n]*\Z") as error:
        nn.explain(nn.trace(net, x, nn.MSE(), target), number)
    assert says in str(error.value)


def test_which_chain_must_be_said_where_there_are_two():
    model, x = chains()
    trace = nn.trace(model, x, nn.MAE())
    with pytest.raises(ValueError, match=r"say a:encoder.wide.y\[0,0\] or b:encoder.wide.y\[0,0\]"):
        nn.explain(trace, "encoder.wide.y[0,0]")
    with pytest.raises(ValueError, match="x has one array for each of the chains a, b"):
        nn.trace(model, {"a": x["a"]}, nn.MAE())


def test_the_table_has_a_row_for_every_call_and_every_shared_layer(capsys):
    model, x = chains()
    nn.trace(model, x, nn.MAE()).print()
    out = capsys.readouterr().out
    for text in ("encoder.wide", "decoder", "b.decoder", "shared: the sum", "loss a: MAE()"):
        assert text in out
    assert out.count("encoder.wide") == 3


def test_the_plot_is_a_picture(tmp_path):
    model, x = chains()
    figure = nn.trace(model, x, nn.MAE()).plot(tmp_path / "step.png")
    assert (tmp_path / "step.png").read_bytes()[:4] == b"\x89PNG"
    dots = figure.axes[0].get_lines()[0].get_ydata()
    assert len(dots) == 8
