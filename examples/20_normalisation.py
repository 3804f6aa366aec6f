"""Lesson 20. Normalisation by hand

Batch normalisation, which this engine has not: forward in small steps, backward one line for each, then all of it in
one formula, then as a layer of your own in a network. At the end you can add any layer to the engine, prove its
backward pass, and say what a mean and a variance do to a gradient. Before: lessons 3, 4, 14 (complex step) and 17.
"""

# %%
import course
import numpy as np
from matplotlib import pyplot as plt

import nn
import nn.check

lesson = course.begin("20_normalisation", __doc__)
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## Forward, in small steps
# A layer deep in a network gets inputs whose size depends on all the weights before it. **Batch normalisation** takes
# that dependence away: each feature (a column of x) is brought to mean 0 and variance 1 over the batch, then to
# a scale γ and a shift β that are learned. x (N, C), γ (C), β (C), y (N, C), all sums over the N examples:
#
#     (1)  μ   = 1/N sum x          (2)  d = x - μ           (3)  s = d²             (4)  v = 1/N sum s
#     (5)  r   = 1 / sqrt(v + ε)    (6)  x̂ = d r             (7)  y = γ x̂ + β
#
# ε is small: a constant feature must not divide by 0. Every step gets a line and a name. The argument `moved` is for
# checking: it adds something to one of the intermediate results, and what follows feels it.

# %%
EPS = 1e-5


def forward(x, gamma, beta, moved=("", 0)):
    """All intermediate results, by name."""
    made = {}

    def keep(name, value):
        made[name] = value + moved[1] if name == moved[0] else value
        return made[name]

    x, gamma, beta = keep("x", x), keep("gamma", gamma), keep("beta", beta)
    mu = keep("mu", x.sum(axis=0) / len(x))  # (1)
    d = keep("d", x - mu)  # (2)
    s = keep("s", d * d)  # (3)
    v = keep("v", s.sum(axis=0) / len(x))  # (4)
    r = keep("r", 1 / np.sqrt(v + EPS))  # (5)
    xhat = keep("xhat", d * r)  # (6)
    keep("y", gamma * xhat + beta)  # (7)
    return made


N, C = 8, 3
size, place = np.array([1, 5, 0.2]), np.array([0, 10, -3])  # of three different features
x = place + size * rng.standard_normal((N, C))
gamma, beta = rng.standard_normal(C) + 1, rng.standard_normal(C)
dy = rng.standard_normal((N, C))  # what the layers behind would send: dL/dy for some loss L
made = forward(x, gamma, beta)
for name in ("x", "xhat", "y"):
    mean, deviation = made[name].mean(axis=0).round(3) + 0, made[name].std(axis=0).round(3)
    print(f"  {name:4}  mean {mean}  deviation {deviation}")

# %% [markdown]
# ## Backward, one line each
# From (7) to (1), each line asks: through which steps does this result reach y? It adds what comes back from each. A
# sum forward (μ and v are sums over the batch) is a copy backward; a copy forward (μ, r, γ, β are used by all N
# examples) is a sum backward.
#
# For each line, `cmp` compares with the complex step (lesson 14): it moves that intermediate result alone, entry by
# entry, and looks at L = <dy, y>. Read a line, then guess the next before you look. Where is the trap? (Two results
# are used twice: d in (3) and (6), and x in (1) and (2). Their gradients arrive in two parts.)


# %%
def cmp(name, found):
    """Prints how well dL/d(name) agrees with the complex step."""
    expected = np.empty_like(made[name])
    for index in np.ndindex(expected.shape):
        step = np.zeros(expected.shape, complex)
        step[index] = 1e-200j
        y = forward(x, gamma, beta, moved=(name, step))["y"]
        expected[index] = np.sum(dy * y).imag / 1e-200
    error = nn.check.compare(name, found, expected).worst
    words = "exact" if error == 0 else f"agrees to {error:.0e}"
    print(f"  d{name:6} {words if error < 1e-11 else f'WRONG, off by {error:.2g}'}")
    return error


mu, d, s, v, r, xhat = (made[name] for name in ("mu", "d", "s", "v", "r", "xhat"))
dbeta = dy.sum(axis=0)  # (7) β was added to every example
dgamma = (dy * xhat).sum(axis=0)  # (7) γ multiplied every example
dxhat = dy * gamma  # (7)
dr = (dxhat * d).sum(axis=0)  # (6) r multiplied every example
dv = dr * -0.5 * r**3  # (5) r = (v + ε)^(-1/2), so dr/dv = -1/2 (v + ε)^(-3/2) = -1/2 r³
ds = np.ones((N, 1)) * dv / N  # (4) a mean hands 1/N of its gradient to each
dd = dxhat * r + ds * 2 * d  # (6) and (3): d was used twice
dmu = -dd.sum(axis=0)  # (2) μ was subtracted from every example
dx = dd + dmu / N  # (2) and (1): x was used twice
names = ("beta", "gamma", "xhat", "r", "v", "s", "d", "mu", "x")
for name, found in zip(names, (dbeta, dgamma, dxhat, dr, dv, ds, dd, dmu, dx), strict=True):
    error = cmp(name, found)

# %% [markdown]
# ## All of it in one formula
# Put the lines into each other. With mean() over the batch, dv N = -1/2 r³ sum(dx̂ d) and d r = x̂:
#
#     dd = r (dx̂ - x̂ mean(dx̂ x̂))                                      from (3) to (6)
#     dx = dd - mean(dd) = r (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂))          because mean(x̂) = 0
#
# Read as geometry: dx̂ of one feature is a vector of N numbers, one for each example. Two parts are taken out of it.
# mean(dx̂) is its part along (1, 1, ... 1): pushing all examples up together only moves μ, which is subtracted again.
# x̂ mean(dx̂ x̂) is its part along x̂: stretching all examples only changes v, which is divided out again. What is left is
# at a right angle to both (but for ε): the gradient of what normalisation does not undo.


# %%
def normalise(x, axes):
    """x̂ and r: mean 0 and variance 1 over ``axes``."""
    d = x - x.mean(axis=axes, keepdims=True)
    r = 1 / np.sqrt((d * d).mean(axis=axes, keepdims=True) + EPS)
    return d * r, r


def normalise_backward(dxhat, xhat, r, axes):
    """dx of normalise."""
    along_one = dxhat.mean(axis=axes, keepdims=True)
    along_xhat = xhat * (dxhat * xhat).mean(axis=axes, keepdims=True)
    return r * (dxhat - along_one - along_xhat)


xhat, r = normalise(x, 0)
fused = normalise_backward(dxhat, xhat, r, 0)
lesson.number("the formula against the lines", nn.check.compare("dx", fused, dx).worst)

# A feature of 12 examples, and a gradient that would like to shift it and to shrink it:
h = normalise(rng.standard_normal(12), 0)[0]
g = 0.8 + 1.2 * h + 0.6 * rng.standard_normal(12)
parts = {
    "what comes back: dx̂": g,
    "along 1: taken out by the mean": np.full(12, g.mean()),
    "along x̂: taken out by the variance": h * (g * h).mean(),
    "what is left: dx / r": normalise_backward(g, h, 1.0, 0),
}
# fmt: off
figure, panels = plt.subplots(1, 4, figsize=(9.5, 3), sharey=True)
for panel, (title, part), colour in zip(panels, parts.items(), course.COLOURS, strict=False):
    panel.axhline(0, color="black", lw=0.8)
    panel.vlines(h, 0, part, color=colour, lw=2)
    panel.plot(h, part, "o", color=colour, ms=4)
    words = f"mean {round(part.mean(), 2) + 0:.2f}\nmean with x̂ {round((part * h).mean(), 2) + 0:.2f}"
    panel.text(0.97, 0.03, words, transform=panel.transAxes, ha="right", va="bottom", size=8)
    panel.set_title(title, fontsize=9)
    panel.set(xlabel="x̂ of the example")
panels[0].set_ylabel("gradient")
panels[0].set_ylim(min(g.min(), -2) - 1, None)
lesson.save(figure, "projections")
# fmt: on

# %% [markdown]
# ## A layer of your own
# A layer of this engine is a class with three methods: `_forward(x)` returns y and what backward needs, `_backward(dy,
# saved, need_dx)` *adds* to the gradients of the parameters and returns dx, `out_shape` is the shape of y.
# A picture (N, H, W, C) has a mean for each channel, over N, H and W. **Layer normalisation** is the same arithmetic
# along other axes: each example by itself, over everything but N. So both are one class.
#
# Batch normalisation has a catch that no layer before had: y of an example depends on the other examples of its batch.
# So where it is used (`train=False`) it takes running averages of μ and v, collected while it trained.


# %%
class Norm(nn.Layer):
    """Normalisation of x (N, ..., C) over the batch, or over each example; then times γ (C), plus β (C)."""

    def __init__(self, channels, over="batch", dtype=np.float32):
        self.over = over
        self.gamma = nn.Parameter(np.ones(channels, dtype))
        self.beta = nn.Parameter(np.zeros(channels, dtype))
        self.mean, self.variance, self.batches = np.zeros(channels), np.zeros(channels), 0

    def forward(self, x, *, train=True):
        if train or self.over != "batch":
            return super().forward(x, train=train)
        xhat = (x - self.mean) / np.sqrt(self.variance + EPS)
        return (self.gamma.value * xhat + self.beta.value).astype(x.dtype), None

    def _forward(self, x):
        axes = tuple(range(x.ndim - 1)) if self.over == "batch" else tuple(range(1, x.ndim))
        xhat, r = normalise(x, axes)
        if self.over == "batch":
            self.batches += 1
            share = max(0.05, 1 / self.batches)  # a plain mean at first, then a running one
            self.mean += share * (x.real.mean(axis=axes) - self.mean)
            self.variance += share * (x.real.var(axis=axes) - self.variance)
        return self.gamma.value * xhat + self.beta.value, (xhat, r, axes)

    def _backward(self, dy, saved, need_dx):
        xhat, r, axes = saved
        every = tuple(range(dy.ndim - 1))
        self.gamma.grad += (dy * xhat).sum(axis=every)
        self.beta.grad += dy.sum(axis=every)
        return normalise_backward(dy * self.gamma.value, xhat, r, axes) if need_dx else None

    def out_shape(self, shape):
        return shape


# %% [markdown]
# How much does the batch matter? y of one example, in two batches:

# %%
norm, some = Norm(3, dtype=np.float64), rng.standard_normal((9, 3))
alone = norm.forward(some[:4])[0][0] - norm.forward(some[[0, 5, 6, 7, 8]])[0][0]
lesson.number("y of the first example moves with the others by up to", np.abs(alone).max())

# %% [markdown]
# Is the layer right? `nn.check.check_case` runs the complex step through any layer, for every entry of x and of every
# parameter. A chain of layers is a layer, too, so the whole network is proved at once, with our layer in it.

# %%
worst = 0.0
for over in ("batch", "example"):
    new = {"rng": rng, "dtype": np.float64}
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding="same", **new), Norm(3, over, np.float64), nn.LeakyReLU(0.1),
        nn.Flatten(), nn.Dense(12, 4, **new), Norm(4, over, np.float64), nn.Tanh(),
    ).to("reference")  # fmt: skip
    case = nn.check.Case(net, rng.standard_normal((5, 4, 4, 2)), rng.standard_normal((5, 4)))
    for finding in nn.check.check_case(case):
        worst = max(worst, finding.worst)
        print(f"  over the {over:8} {finding.tensor:16} off by {finding.worst:.0e}")

# %% [markdown]
# The biases before a batch normalisation get a gradient of 0 (up to rounding): a shift of a whole feature is subtracted
# again. So networks with batch normalisation leave them out: `nn.Conv2d(..., bias=False)`.
#
# ## What it does to training
# Lesson 17 shows how a deep network starts: weights a little too small, and the signal fades from layer to layer, and
# the gradient with it; a little too large, and both explode. Here are digits in ten classes, a net of two convolutions
# and four dense layers, and the weights of a usual start times a factor from 1/10 to 10. The same number of steps for
# all. Guess: how will the accuracy depend on the factor, without and with normalisation?

# %%
data = course.data("digits")
mixed = rng.permutation(5000)
digits, label = data["x"][mixed][..., None] / np.float32(255), data["label"][mixed]
target = np.eye(10, dtype=np.float32)[label]
STEPS, FACTORS = (30, (0.1, 1.0)) if lesson.fast else (200, (0.1, 0.2, 0.5, 1, 2, 5, 10))


def train(over, factor, rate=1e-3):
    """The losses, and the share of unseen digits that are recognised."""
    new = np.random.default_rng(lesson.seed)
    norm = lambda c: [] if over is None else [Norm(c, over)]  # noqa: E731
    layers, c = [], 1
    for k in (8, 16):
        conv = nn.Conv2d(
            c, k, 3, stride=2, padding="same", init="he", rng=new, bias=over != "batch"
        )
        layers, c = [*layers, conv, *norm(k), nn.LeakyReLU(0.1)], k
    layers, c = [*layers, nn.Flatten()], 7 * 7 * 16
    for k in (64, 64, 64):
        layers, c = [*layers, nn.Dense(c, k, init="he", rng=new), *norm(k), nn.LeakyReLU(0.1)], k
    net = nn.Sequential(*layers, nn.Dense(c, 10, rng=new))
    for name, p in net.named_parameters():
        if name.endswith("weight"):
            p.value *= np.float32(factor)
    arena, loss_of, losses = nn.Arena(net.named_parameters()), nn.BCEWithLogits(), []
    adam = nn.Adam(arena, rate)
    for _ in range(STEPS):
        rows = new.integers(0, 4000, 64)
        y, cache = net.forward(digits[rows])
        loss, loss_cache = loss_of.forward(y, target[rows])
        arena.zero_grad()
        net.backward(loss_of.backward(1.0, loss_cache), cache, need_dx=False)
        adam.step()
        losses.append(loss)
    y, _ = net.forward(digits[4000:], train=False)
    return losses, np.mean(y.argmax(axis=1) == label[4000:])


kinds = {"without": None, "batch normalisation": "batch", "layer normalisation": "example"}
runs = {kind: [train(over, factor) for factor in FACTORS] for kind, over in kinds.items()}
for kind, found in runs.items():
    for factor, (_, accuracy) in zip(FACTORS, found, strict=True):
        if factor in (0.1, 1.0, 10.0):
            lesson.number(f"{kind}, weights times {factor:g}: recognised", 100 * accuracy, "%")
_, accuracy = train("batch", 10.0, rate=1e-2)
lesson.number("batch normalisation, weights and learning rate times 10", 100 * accuracy, "%")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
for (kind, found), style in zip(runs.items(), ("-o", "--s", ":^"), strict=True):
    left.semilogx(FACTORS, [100 * accuracy for _, accuracy in found], style, label=kind)
    right.plot(found[0][0], style[:-1], label=kind)
left.set(xlabel="factor on the usual starting weights", ylabel="unseen digits recognised (%)")
left.set(ylim=(0, 100), xticks=FACTORS, xticklabels=FACTORS, title=f"After {STEPS} steps")
left.minorticks_off()
left.legend(loc="lower center")
right.set(xlabel="step", ylabel="log loss of a batch", ylim=(0, None), title="Weights times 0.1")
lesson.save(figure, "training")

# %% [markdown]
# Without normalisation there is a window around the usual size. Below it nothing is learned: the network says the same
# of every digit, with a log loss of 0.33, which is that of one class in ten. Normalised, small weights do no harm.
#
# Large ones do, although the variance divides any factor f out of y. Surprised? Forward, all factors are the same
# network, L(f w) = L(w). But then dL/d(f w) = 1/f dL/dw, and Adam's steps have one size whatever the gradient's: 1e-3
# for each weight, which turns weights ten times as large a tenth as far. The size of the weights has become a learning
# rate. So 1/10 does best here, and with weights and steps both ten times as large most of the trouble is gone (the last
# number above).

# %%
# Forget what the variance takes out, as many first attempts do, and look whether the training would have told you.
# break: `dxhat - along_one - along_xhat` -> `dxhat - along_one`
lesson.check("dx, line by line, is right", error < 1e-11, f"error {error:.1e}")
lesson.check("the whole network's gradient is right", worst < 1e-11, f"error {worst:.1e}")
lesson.end()
