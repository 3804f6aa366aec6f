"""The network of 2017 at every width, and its gradient against the complex step."""

import math

import numpy as np
import pytest

import nn
from swap.errors import UserError
from swap.model import PRESETS, Looks, Preset, SwapModel, get_preset

TINY = Preset("t", 2, 5, "")
FACE = (64, 64, 3)
STEP = 1e-200

# PEERS.md 1.1: (output, parameters, multiply-adds) of `original`, activations and shapes left out.
ENCODER_2017 = [
    ((32, 32, 128), 9_728, 9_830_400),
    ((16, 16, 256), 819_456, 209_715_200),
    ((8, 8, 512), 3_277_312, 209_715_200),
    ((4, 4, 1024), 13_108_224, 209_715_200),
    ((1024,), 16_778_240, 16_777_216),
    ((16384,), 16_793_600, 16_777_216),
    ((4, 4, 2048), 18_876_416, 301_989_888),
]
DECODER_2017 = [
    ((8, 8, 1024), 4_719_616, 301_989_888),
    ((16, 16, 512), 1_180_160, 301_989_888),
    ((32, 32, 256), 295_168, 301_989_888),
    ((64, 64, 3), 4_803, 19_660_800),
]


@pytest.fixture(scope="module")
def original():
    """`original` with zeros for weights: their pages are never touched, so it takes no memory."""

    def zeros(init, shape, rng, dtype):
        return np.zeros(shape, dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nn.layers.conv.make_weight", zeros)
        patch.setattr("nn.layers.dense.make_weight", zeros)
        return SwapModel(PRESETS["original"])


def with_parameters(network, shape):
    rows = nn.summary(network, (1, *shape)).rows
    return [(row.out_shape[1:], row.parameters, row.macs) for row in rows if row.parameters]


def test_original_is_the_network_of_2017(original):
    assert with_parameters(original.encoder, FACE) == ENCODER_2017
    for decoder in original.decoders.values():
        assert with_parameters(decoder, (8, 8, 512)) == DECODER_2017


def test_original_has_the_counts_of_2017(original):
    count = {name: sum(p.size for p in net.parameters()) for name, net in original.children()}
    assert count == {
        "encoder": 69_662_976,
        "decoder_a": 6_199_747,
        "decoder_b": 6_199_747,
        "sigmoid": 0,
    }
    assert sum(p.size for p in original.parameters()) == 82_062_470
    macs = original.encoder.macs((1, *FACE)) + original.decoders["a"].macs((1, 8, 8, 512))
    assert macs == 1_900_150_784  # 1,900.15 M a face


def kinds_and_shapes(network, shape):
    rows = nn.summary(network, (3, *shape)).rows
    return [(type(row.layer).__name__, row.out_shape[1:]) for row in rows]


@pytest.mark.parametrize("preset", [PRESETS["tiny"], PRESETS["lite"], TINY], ids=lambda p: p.name)
def test_the_shapes_of_every_stage(preset):
    c, d = preset.width, preset.code

    def conv(size, channels):
        return [("Conv2d", (size, size, channels)), ("LeakyReLU", (size, size, channels))]

    def upscale(size, channels):
        return [*conv(size // 2, 4 * channels), ("PixelShuffle", (size, size, channels))]

    model = SwapModel(preset)
    assert kinds_and_shapes(model.encoder, FACE) == [
        *conv(32, c),
        *conv(16, 2 * c),
        *conv(8, 4 * c),
        *conv(4, 8 * c),
        ("Flatten", (128 * c,)),
        ("Dense", (d,)),
        ("Dense", (128 * c,)),
        ("Reshape", (4, 4, 8 * c)),
        *upscale(8, 4 * c),
    ]
    for decoder in model.decoders.values():
        assert kinds_and_shapes(decoder, (8, 8, 4 * c)) == [
            *upscale(16, 2 * c),
            *upscale(32, c),
            *upscale(64, c // 2),
            ("Conv2d", FACE),
        ]
    slopes = [
        layer.negative_slope
        for network in (model.encoder, *model.decoders.values())
        for _, layer in network.children()
        if isinstance(layer, nn.LeakyReLU)
    ]
    assert slopes == [0.1] * 11


def test_faces_become_codes_and_codes_faces(rng):
    model = SwapModel(TINY)
    faces = rng.random((3, *FACE), np.float32)
    code = model.encode(faces, "a")
    assert (code.shape, code.dtype) == ((3, 8, 8, 8), np.float32)
    made = model.decode(code, "b")
    assert (made.shape, made.dtype) == (faces.shape, np.float32)
    assert ((made > 0) & (made < 1)).all()
    np.testing.assert_array_equal(made, model.swap(faces, "a", "b"))
    # One encoder, two decoders: the same code gives two people.
    np.testing.assert_array_equal(code, model.encode(faces, "b"))
    assert np.abs(made - model.decode(code, "a")).max() > 1e-3


def test_weights_depend_on_seed_and_network_alone():
    def values(model):
        return {name: p.value for name, p in model.named_parameters()}

    two, three = SwapModel(TINY, seed=3), SwapModel(TINY, seed=3, sides=("a", "b", "c"))
    assert set(values(two)) < set(values(three))
    for name, value in values(two).items():
        np.testing.assert_array_equal(value, values(three)[name], err_msg=name)
    other = values(SwapModel(TINY, seed=4))
    streams = [two.encoder, *two.decoders.values()]
    firsts = [network[0].weight.value.ravel()[:8].tolist() for network in streams]
    assert len({tuple(first) for first in firsts}) == 3
    for name, value in values(two).items():
        assert (value == other[name]).all() == name.endswith("bias"), name


def test_init_is_that_of_the_convolutions():
    glorot, he = SwapModel(TINY), SwapModel(TINY, init="he")
    for (name, p), (_, q) in zip(glorot.named_parameters(), he.named_parameters(), strict=True):
        if p.value.ndim == 4 and p.shape[-1] != 3:
            kh, kw, i, o = p.shape
            assert np.abs(p.value).max() <= math.sqrt(6 / (kh * kw * (i + o))), name
            if p.size > 500:
                assert q.value.std() == pytest.approx(math.sqrt(2 / (kh * kw * i)), rel=0.15), name


def test_an_unknown_preset_names_the_known():
    assert get_preset("lite") is PRESETS["lite"]
    with pytest.raises(UserError, match="tiny, lite, base, original"):
        get_preset("huge")


# ---------------------------------------------------------------- looks


def random_looks(rng):
    return {
        side: Looks(
            rng.uniform(0.3, 0.6, FACE).astype(np.float32),
            rng.uniform(1, 5, FACE).astype(np.float32),
            rng.normal(0, 1, FACE).astype(np.float32),
        )
        for side in "ab"
    }


def test_looks_shift_what_goes_in_and_what_comes_out(rng):
    model = SwapModel(TINY)
    faces = rng.random((2, *FACE), np.float32)
    plain = model.swap(faces, "a", "b")
    model.looks = random_looks(rng)
    a, b = model.looks["a"], model.looks["b"]
    with_looks = model.swap(faces, "a", "b")
    shown = ((faces - a.mean) * a.scale).astype(np.float32)
    np.testing.assert_array_equal(model.show(faces, "a"), shown)
    model.looks = {side: Looks.plain() for side in "ab"}
    np.testing.assert_array_equal(model.show(faces, "a"), faces)
    np.testing.assert_array_equal(plain, model.swap(faces, "a", "b"))
    # The logits are those of the plain model for what was shown, plus the prior of the target.
    y = model.decode(model.encode(shown, "a"), "b").astype(np.float64)
    logits = np.log(y / (1 - y)) + b.prior
    np.testing.assert_allclose(with_looks, 1 / (1 + np.exp(-logits)), atol=1e-5)


def test_a_soft_model_sees_every_face_through_a_gaussian(rng):
    """Against the definition: the sum over neighbours of exp(-d² / 2 sigma²), mirrored at the edges."""
    sigma, reach = 1.3, 6
    model = SwapModel(TINY, soften=sigma)
    model.looks = random_looks(rng)
    faces = rng.random((2, *FACE), np.float32)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    wide = np.pad(faces, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    rows = sum(w * wide[:, i : i + FACE[0]] for i, w in enumerate(weights))
    soft = sum(w * rows[:, :, i : i + FACE[1]] for i, w in enumerate(weights))
    looks = model.looks["a"]
    np.testing.assert_allclose(model.show(faces, "a"), (soft - looks.mean) * looks.scale, atol=2e-3)
    swapped = model.swap(faces, "a", "b")
    model.soften = 0.0
    assert np.abs(model.swap(faces, "a", "b") - swapped).max() > 1e-4
    sharp = model.show(faces, "a")
    np.testing.assert_array_equal(sharp, (faces - looks.mean) * looks.scale)


# ---------------------------------------------------------------- the gradient


def exact_model(rng, looks=False, dtype=np.float64):
    """A model on the reference backend, weights and biases drawn in ``dtype``."""
    model = SwapModel(TINY, seed=1).to("reference")
    for p in model.parameters():
        p.value = (p.value + rng.normal(0, 0.05, p.shape)).astype(dtype)
        p.zero_grad()
        p.grad = np.zeros(p.shape, dtype)
    if looks:
        model.looks = random_looks(rng)
    return model


def batch_of(rng, count=(2, 3)):
    return {
        side: (rng.random((n, *FACE)), rng.random((n, *FACE)))
        for side, n in zip("ab", count, strict=True)
    }


def loss_by_hand(model, batch, weight, trips=None):
    """The loss again, from encode and decode, for real and complex weights. trips: for each side, pictures of it made
    as the other side, and those that they must come back to."""
    total = 0
    for side, (x, target) in batch.items():
        d = model.decode(model.encode(x, side), side) - target
        d = d * np.sign(d.real)
        total = total + (d if weight is None else d * weight).mean()
        if trips:
            swapped, wanted = trips[side]
            d = model.decode(model.encode(swapped, "b" if side == "a" else "a"), side) - wanted
            d = d * np.sign(d.real)
            total = total + (d if weight is None else d * weight).mean() * len(wanted) / len(x)
    return total


@pytest.mark.parametrize("returning", [False, True], ids=["", "round trips"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weight"])
@pytest.mark.parametrize("looks", [False, True], ids=["plain", "looks"])
def test_the_gradient_is_that_of_the_complex_step(rng, looks, weighted, returning):
    """The derivative along random directions of each parameter's space, and of all together."""
    model, batch = exact_model(rng, looks), batch_of(rng, (3, 3) if returning else (2, 3))
    weight = rng.uniform(0.1, 3, (64, 64, 1)) if weighted else None
    returns = np.array([2, 0]) if returning else None
    trips = {
        side: (model.swap(batch[side][1][returns], side, other), batch[side][1][returns])
        for side, other in (("a", "b"), ("b", "a"))
        if returning
    }
    losses = model.backpropagate(batch, weight, returns=returns)
    assert sum(losses.values()) == pytest.approx(loss_by_hand(model, batch, weight), rel=1e-13)
    parameters = dict(model.named_parameters())
    real = {name: p.value for name, p in parameters.items()}
    direction = {name: rng.standard_normal(p.shape) for name, p in parameters.items()}
    along = {name: float((p.grad * direction[name]).sum()) for name, p in parameters.items()}

    def derivative(names):
        for name, p in parameters.items():
            step = 1j * STEP * direction[name] if name in names else 0
            p.value = (real[name] + step).astype(np.complex128)
        stepped = {
            side: tuple(array.astype(np.complex128) for array in pair)
            for side, pair in batch.items()
        }
        stepped_trips = {s: (x.astype(np.complex128), t) for s, (x, t) in trips.items()}
        return loss_by_hand(model, stepped, weight, stepped_trips).imag / STEP

    groups = [[name] for name in parameters] + [list(parameters)]
    for names in groups:
        expected = derivative(names)
        size = math.sqrt(sum((parameters[n].grad ** 2).sum() for n in names))
        assert size > 0, names
        assert abs(sum(along[n] for n in names) - expected) <= 1e-11 * size, names


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_the_gradient_of_both_sides_is_the_sum_of_two_one_sided_ones(rng, backend):
    model, batch = exact_model(rng, looks=True).to(backend), batch_of(rng)
    weight = rng.uniform(0.1, 3, (64, 64, 1))

    def gradient(part):
        model.zero_grad()
        losses = model.backpropagate(part, weight)
        return losses, {name: p.grad.copy() for name, p in model.named_parameters()}

    both, together = gradient(batch)
    only = {side: gradient({side: batch[side]}) for side in "ab"}
    assert both == pytest.approx({side: only[side][0][side] for side in "ab"}, rel=1e-12)
    for name, found in together.items():
        parts = [only[side][1][name] for side in "ab"]
        if name.startswith("decoder_"):
            other = "b" if name.startswith("decoder_a") else "a"
            assert not only[other][1][name].any(), name
        scale = np.abs(found).max()
        np.testing.assert_allclose(found, sum(parts), atol=1e-11 * scale, rtol=0, err_msg=name)
        assert scale > 0, name


def test_gradients_are_added_and_inputs_left_alone(rng):
    model, batch = exact_model(rng), batch_of(rng)
    copies = {side: [array.copy() for array in pair] for side, pair in batch.items()}
    model.backpropagate(batch)
    once = {name: p.grad.copy() for name, p in model.named_parameters()}
    model.backpropagate(batch)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad, 2 * once[name], rtol=1e-12, atol=0, err_msg=name)
    for side, pair in batch.items():
        for found, kept in zip(pair, copies[side], strict=True):
            np.testing.assert_array_equal(found, kept)


def test_cpu_and_reference_agree(rng):
    batch = {
        side: tuple(array.astype(np.float32) for array in pair)
        for side, pair in batch_of(rng, (3, 3)).items()
    }
    weight = rng.uniform(0.1, 3, (64, 64, 1)).astype(np.float32)
    found = {}
    for backend in ("reference", "cpu"):
        model = SwapModel(TINY, seed=2, init="he").to(backend)
        model.looks = random_looks(np.random.default_rng(1))
        losses = model.backpropagate(batch, weight)
        found[backend] = losses, {name: p.grad for name, p in model.named_parameters()}
    assert found["cpu"][0] == pytest.approx(found["reference"][0], rel=1e-6)
    for name, expected in found["reference"][1].items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            found["cpu"][1][name], expected, atol=2e-4 * scale, rtol=0, err_msg=name
        )
