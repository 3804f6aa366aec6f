"""PyTorch as a second oracle of the whole swapper: twenty Adam steps of `lite`, loss by loss.

The network is written here anew from the description of 2017, with PyTorch's own layers.
"""

from dataclasses import replace

import cv2
import numba
import numpy as np
import pytest

from swap.data import FaceSet
from swap.faces.align import CropDefinition
from swap.match import KEEP
from swap.model import PRESETS
from swap.recipe import RECIPES
from swap.train import Trainer

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[oracle]'")
pytestmark = pytest.mark.oracle

STEPS, BATCH = 20, 16
CODE = 10  # modules of the encoder that end with the narrow code
SLOPE = 0.1


@pytest.fixture(autouse=True)
def one_thread_each():
    """PyTorch's waiting threads would take the cores from ours, and ours from its."""
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


def people():
    """Two people drawn as blurred noise about a mean of their own; 40 pictures each."""
    rng = np.random.default_rng(0)
    sets = {}
    for side in "ab":
        mean = rng.integers(40, 216, (5, 5, 3))
        coarse = np.clip(mean + rng.integers(-60, 61, (40, 5, 5, 3)), 0, 255).astype(np.uint8)
        large = [cv2.resize(c, (96, 96), interpolation=cv2.INTER_CUBIC) for c in coarse]
        sets[side] = FaceSet(np.stack(large), 4 / 3)
    return sets


class Conv(torch.nn.Conv2d):
    """TensorFlow's "same": a 5x5 kernel of stride 2 on an even size takes 1 pixel before, 2 after."""

    def __init__(self, i, o, kernel, stride=1):
        super().__init__(i, o, kernel, stride)
        total = kernel - stride
        self.border = (total // 2, total - total // 2) * 2

    def forward(self, x):
        return super().forward(torch.nn.functional.pad(x, self.border))


class DepthToSpace(torch.nn.Module):
    """y[c, 2h + i, 2w + j] = x[(2i + j) C + c, h, w], by slices."""

    def forward(self, x):
        n, channels, h, w = x.shape
        c = channels // 4
        y = x.new_empty(n, c, 2 * h, 2 * w)
        for part in range(4):
            i, j = divmod(part, 2)
            y[:, :, i::2, j::2] = x[:, part * c : (part + 1) * c]
        return y


class FlattenNhwc(torch.nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


class UnflattenNhwc(torch.nn.Module):
    def forward(self, x):
        return x.reshape(len(x), 4, 4, -1).permute(0, 3, 1, 2)


def down(i, o):
    return [Conv(i, o, 5, 2), torch.nn.LeakyReLU(SLOPE)]


def upscale(i, o):
    return [Conv(i, 4 * o, 3), torch.nn.LeakyReLU(SLOPE), DepthToSpace()]


def encoder(c, d):
    return torch.nn.Sequential(
        *down(3, c), *down(c, 2 * c), *down(2 * c, 4 * c), *down(4 * c, 8 * c),
        FlattenNhwc(), torch.nn.Linear(128 * c, d), torch.nn.Linear(d, 128 * c), UnflattenNhwc(),
        *upscale(8 * c, 4 * c),
    )  # fmt: skip


def decoder(c):
    return torch.nn.Sequential(
        *upscale(4 * c, 2 * c), *upscale(2 * c, c), *upscale(c, c // 2), Conv(c // 2, 3, 5)
    )


def copy_weights(ours, theirs):
    """Kernels (KH, KW, C, K) to (K, C, KH, KW), matrices (I, O) to (O, I); all of them, in order."""
    ours, theirs = ours.parameters(), list(theirs.parameters())
    assert len(ours) == len(theirs)
    for p, q in zip(ours, theirs, strict=True):
        value = torch.from_numpy(p.value.copy())
        with torch.no_grad():
            q.copy_(
                {4: lambda v: v.permute(3, 2, 0, 1), 2: torch.t, 1: torch.clone}[p.value.ndim](
                    value
                )
            )


def as_torch(array):
    """(..., H, W, C) to (..., C, H, W)."""
    return torch.from_numpy(np.moveaxis(array, -1, -3).copy())


def softened(faces, sigma):
    """faces (N, C, H, W) through a Gaussian of ``sigma`` pixels, mirrored at the edges."""
    if not sigma:
        return faces
    reach = (round(8 * sigma + 1) | 1) // 2
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    wide = np.pad(faces.numpy(), ((0, 0), (0, 0), (reach, reach), (reach, reach)), "symmetric")
    rows = sum(w * wide[:, :, i : i + 64] for i, w in enumerate(weights))
    return torch.from_numpy(sum(w * rows[..., i : i + 64] for i, w in enumerate(weights))).float()


def through(nets, looks, faces, source, target):
    """The narrow codes of faces of source, and what target's decoder makes of them."""
    shown = (softened(faces, looks["soften"]) - looks[source]["mean"]) * looks[source]["scale"]
    z = nets["encoder"][:CODE](shown)
    return z, torch.sigmoid(nets[target](nets["encoder"][CODE:](z)) + looks[target]["prior"])


def distance(y, target, weight):
    apart = (y - target).abs()
    return (apart if weight is None else apart * weight).mean()


class Moments:
    """Mean and covariance of each side's codes: averages whose past is fixed and whose present is differentiated, as
    if all of the average were the present batch's."""

    def __init__(self):
        self.past, self.steps = {}, 0

    def distance(self, narrow):
        self.steps += 1
        share, now = 1 - KEEP**self.steps, {}
        for side, z in narrow.items():
            centred = z - z.mean(0)
            fresh = z.mean(0), centred.T @ centred / len(z)
            old = self.past.get(side, (torch.zeros_like(fresh[0]), torch.zeros_like(fresh[1])))
            held = [KEEP * p + (1 - KEEP) * f.detach() for p, f in zip(old, fresh, strict=True)]
            self.past[side] = held
            now[side] = [h / share + f - f.detach() for h, f in zip(held, fresh, strict=True)]
        (m_a, c_a), (m_b, c_b) = now["a"], now["b"]
        tau = ((c_a.trace() + c_b.trace()) / 2).detach()
        nu = ((c_a**2).sum() / 2 + (c_b**2).sum() / 2).detach()
        return ((m_a - m_b) ** 2).sum() / tau + ((c_a - c_b) ** 2).sum() / nu


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_twenty_steps_of_lite_follow_pytorch(recipe, tmp_path):
    """At the learning rate of 2017. At 1e-3 each step magnifies what rounding the last one left: there,
    float32 PyTorch itself is 1e-3 away from float64 PyTorch after ten steps, and so are we."""
    recipe = replace(
        recipe, learning_rate=RECIPES["2017"].learning_rate, warm_up=0, round_trips_from=2
    )
    preset = PRESETS["lite"]
    trainer = Trainer(tmp_path, people(), CropDefinition(), preset, recipe, batch_size=BATCH)
    nets = {"encoder": encoder(preset.width, preset.code)}
    nets |= {side: decoder(preset.width) for side in "ab"}
    copy_weights(trainer.model.encoder, nets["encoder"])
    for side in "ab":
        copy_weights(trainer.model.decoders[side], nets[side])
    looks = {
        side: {name: as_torch(array) for name, array in trainer.model.looks[side].arrays().items()}
        for side in "ab"
    }
    looks["soften"] = recipe.soften
    weight = None if trainer.weight is None else as_torch(trainer.weight)
    assert (weight is not None) == recipe.focus
    adam = torch.optim.Adam(
        [p for net in nets.values() for p in net.parameters()],
        recipe.learning_rate,
        betas=(recipe.beta1, 0.999),
        eps=recipe.eps,
    )
    moments = Moments()
    for number in range(STEPS):
        rate = recipe.rate_at(number, number / STEPS)
        batch = trainer.batches.at(number)
        ours = trainer.step(number, batch, rate)

        adam.param_groups[0]["lr"] = rate
        adam.zero_grad()
        theirs, more, narrow = [], [], {}
        returns = recipe.returns_at(number, BATCH)
        for side, x, target in (("a", *batch[:2]), ("b", *batch[2:])):
            z, y = through(nets, looks, as_torch(x), side, side)
            narrow[side] = z
            theirs.append(distance(y, as_torch(target), weight))
            if returns is not None:
                other = "b" if side == "a" else "a"
                wanted = as_torch(target[returns])
                with torch.no_grad():
                    swapped = through(nets, looks, wanted, side, other)[1]
                back = through(nets, looks, swapped, other, side)[1]
                more.append(distance(back, wanted, weight) * len(returns) / BATCH)
        if recipe.match:
            more.append(recipe.match * moments.distance(narrow))
        (sum(theirs) + sum(more)).backward()
        adam.step()
        assert ours == pytest.approx([loss.item() for loss in theirs], rel=1e-4), number
    assert (trainer.model.looks["a"].prior != 0).any() == recipe.prior
