"""Lesson 17. How to begin: initial weights, and gradients that vanish or explode

Why a deep network cannot learn from careless random weights, how large they should be and why, layer by layer, in
pictures of y and dy. Needed: lesson 3 (dense layers, Adam), lesson 1 (the chain rule).
"""

# %%
from itertools import pairwise

import course
import numpy as np
from matplotlib import pyplot as plt

import nn

lesson = course.begin("17_initialisation", __doc__)
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## What one layer does to the size of its numbers
# A dense layer with I inputs, one of its outputs, before the activation:
#
#     y = sum_i x[i] w[i]                       x[i] and w[i] independent, w with mean 0 and variance v:
#     var(y) = sum_i E(x[i]²) v = I v E(x²)     the I terms are uncorrelated, so their variances add
#
# So every layer *multiplies* the mean square by I v. Thirty layers multiply it by (I v)^30: with I v = 2 by 10^9,
# with I v = 1/2 by 10^-9. There is no safe side; only I v = 1 keeps the size. Backwards the same holds with O
# outputs, because dx[i] = sum_o dy[o] w[i, o]:
#
#     var(dx) = O v var(dy)
#
# Forwards wants v = 1/I, backwards v = 1/O. The activation takes its share, too:
#
#     Glorot   v = 2 / (I + O)     between the two wishes; for tanh, which is nearly y = x for small x
#     He       v = 2 / I           for ReLU: it drops the negative half, and with it half of the mean square
#
# `nn.Dense(I, O, init="glorot")` (the default) or `init="he"`. **Predict** for 30 layers of 128: with which of the
# two will ReLU's signal be alive at the end, and how small is it with the other?

# %%
DEPTH, WIDTH = 30, 128
STARTS = {
    "too small": 0.5,
    "Glorot": 1.0,
    "He": 2.0,
    "too large": 4.0,
}  # I v; I = O, so Glorot is I v = 1
LOOKS = dict(zip(STARTS, zip(course.COLOURS, "ovsD", strict=False), strict=True))


def deep(curve, start, inputs=WIDTH, width=WIDTH, outputs=WIDTH, dtype=np.float64):
    """DEPTH dense layers, a curve after each but the last; weights of variance STARTS[start] / I."""
    rng, sizes = np.random.default_rng(lesson.seed), [inputs] + [width] * (DEPTH - 1) + [outputs]
    layers = []
    for i, o in pairwise(sizes):
        dense = nn.Dense(i, o, rng=rng, dtype=dtype)
        dense.weight.value[...] = rng.normal(0, np.sqrt(STARTS[start] / i), (i, o))
        layers += [dense, curve()]
    return nn.Sequential(*layers[:-1])


he = nn.Dense(1000, 500, init="he", rng=rng).weight.value
glorot = nn.Dense(1000, 500, init="glorot", rng=rng).weight.value
lesson.number("I v of init='he', 1000 -> 500", 1000 * he.var())
lesson.number("(I + O) / 2 v of init='glorot', 1000 -> 500", 750 * glorot.var())

# %% [markdown]
# ## Forwards: y, and backwards: dy
# Random numbers of size 1 go in at the bottom, y is measured after every layer; then random dy of size 1 go in at the
# top, and dx is measured below every layer. `forward` and `backward` of each layer are called by hand, for their
# caches. dw, the gradient of each layer's weights, is dy times the layer's input: it needs *both* alive.


# %%
def sizes_through(net, x):
    """Root mean squares per dense layer: of y behind its curve, of dy at its output, of dw."""
    ys, caches = [], []
    for _, layer in net.layers:
        x, cache = layer.forward(x)
        ys.append(x)
        caches.append(cache)
    dy, dys, dws = rng.standard_normal(x.shape), [], []
    for (_, layer), cache in zip(reversed(net.layers), reversed(caches), strict=True):
        if isinstance(layer, nn.Dense):
            dys.insert(0, rms(dy))
        dy = layer.backward(dy, cache)
        if isinstance(layer, nn.Dense):
            dws.insert(0, rms(layer.weight.grad))
    ys = [rms(y) for y in ys[1::2]] + [rms(ys[-1])]  # behind each curve; the last layer has none
    return np.array([ys, dys, dws])


def rms(a):
    return np.sqrt(np.mean(a * a))


x = rng.standard_normal((256, WIDTH))
CURVES = {"tanh": nn.Tanh, "ReLU": nn.ReLU}
sizes = {
    (c, s): sizes_through(deep(curve, s).to("reference"), x)
    for c, curve in CURVES.items()
    for s in STARTS
}

fig, axes = plt.subplots(2, 3, figsize=(9.5, 6), sharex=True)
for row, c in zip(axes, CURVES, strict=True):
    for k, (ax, what) in enumerate(zip(row, ("y", "dy", "dw"), strict=True)):
        for s, (colour, marker) in LOOKS.items():
            ax.semilogy(
                range(1, DEPTH + 1),
                sizes[c, s][k],
                marker + "-",
                color=colour,
                ms=3,
                lw=1.2,
                label=s,
            )
        ax.set_title(f"{c}: size of {what}")
        ax.grid(alpha=0.3)
for ax in axes[1]:
    ax.set_xlabel("layer (1 is next to the input)")
for ax in axes[:, 0]:
    ax.set_ylabel("root mean square")
handles, labels = axes[0, 0].get_legend_handles_labels()
fig.legend(handles, labels, loc="outside lower center", ncols=4)
lesson.save(fig, "layers")
for c in CURVES:
    for s in STARTS:
        y, dy, dw = sizes[c, s]
        lesson.number(f"{c}, {s}: y, layer 29 over layer 1", y[-2] / y[0])
        lesson.number(f"{c}, {s}: dw, layer 1 over layer 30", dw[0] / dw[-1])

# %% [markdown]
# Straight lines on a logarithmic scale: that is multiplying. ReLU behaves as calculated: He is level, Glorot loses a
# factor of sqrt(2) a layer. tanh is different. It cannot explode, because it ends at 1; but with large weights most
# of it stands at 1 or -1, where its slope is nearly 0.
#
# Look at dw. In a ReLU network it has one size in *all* layers, whatever the start: layer l has seen the factor l - 1
# times on the way up and DEPTH - l times on the way down, and the product is the same. So "the first layers learn
# slowest", often said, is not what a poor start does here. With small weights *nothing* learns: everything is equally
# tiny. With tanh and large weights the first layers' gradients are the largest.
#
# ## What training does from each start
# Digits (MNIST, 28 x 28 numbers from 0 to 1, ten outputs: is it a 0? a 1? ...), log loss of each output, mini-batches
# of 64. Twice: SGD, at the best of three rates, and Adam at 1e-3. Adam divides by the size of the gradient. Does that
# save it?

# %%
digits = course.data("digits")
pictures = (digits["x"].reshape(5000, 784) / 255.0).astype("f4")
labels = np.eye(10, dtype="f4")[digits["label"]]
STEPS = 10 if lesson.fast else 120
RATES = (0.1,) if lesson.fast else (0.01, 0.1, 1.0)
bce = nn.BCEWithLogits()


def losses_of(curve, start, make):
    net = deep(curve, start, 784, 64, 10, np.float32)
    arena, draw = nn.Arena(net.named_parameters()), np.random.default_rng(lesson.seed)
    optimizer, losses = make(arena), []
    for _ in range(STEPS):
        batch = draw.integers(0, 5000, 64)
        y, cache = net.forward(pictures[batch])
        loss, loss_cache = bce.forward(y, labels[batch])
        losses.append(loss)
        if not loss < 1e3:  # exploded
            return np.array(losses + [1e3] * (STEPS - len(losses)))
        arena.zero_grad()
        net.backward(bce.backward(1.0, loss_cache), cache, need_dx=False)
        optimizer.step()
    return np.array(losses)


def last(losses):
    return float(np.mean(losses[-10:]))


constant = -(0.1 * np.log(0.1) + 0.9 * np.log(0.9))  # always answering 10 %
lesson.number("loss of always answering 10 %", constant)
results = {}
with np.errstate(over="ignore", invalid="ignore"):  # exploding is what some of these do
    for c, curve in CURVES.items():
        for s in STARTS:
            tries = [losses_of(curve, s, lambda a, lr=lr: nn.SGD(a, lr)) for lr in RATES]
            results["SGD", c, s] = min(tries, key=last)
            results["Adam", c, s] = losses_of(curve, s, lambda a: nn.Adam(a, 1e-3))
fig, axes = plt.subplots(2, 2, figsize=(9, 6), sharex=True, sharey=True)
for row, rule in zip(axes, ("SGD", "Adam"), strict=True):
    for ax, c in zip(row, CURVES, strict=True):
        for s, (colour, marker) in LOOKS.items():
            smooth = np.convolve(results[rule, c, s], np.ones(5) / 5, "valid")
            ax.plot(smooth, marker + "-", color=colour, ms=4, markevery=0.13, label=s)
            lesson.number(f"{rule}, {c}, {s}: loss at the end", last(results[rule, c, s]))
        ax.axhline(constant, color="black", ls=":", lw=1)
        ax.set(title=f"{c}, {rule}", ylim=(0, 0.75))
    row[0].set_ylabel("log loss, mean of 5 steps")
for ax in axes[1]:
    ax.set_xlabel("step")
axes[0, 0].text(STEPS, constant, "always 10 %", ha="right", va="bottom", fontsize=8)
handles, labels_ = axes[0, 0].get_legend_handles_labels()
fig.legend(handles, labels_, loc="outside lower center", ncols=4)
lesson.save(fig, "training")

# %% [markdown]
# Most starts stay on the dotted line: the last bias learns to answer "10 %" to everything, and that is all, because
# hardly anything of the picture arrives at the end, or of the error at the beginning. Adam does not save them: it
# makes the *steps* large, but the gradient that it follows says next to nothing. ReLU with too large weights explodes
# at once. What learns is what was alive in y and in dy: He.
#
# What surprised: for tanh, Glorot gets nowhere in these steps, and He, made for ReLU, does. tanh is a little flatter
# than y = x, so thirty of them shrink the signal at I v = 1, as the first picture shows; a value somewhat above 1
# makes up for it. And with ReLU, SGD has not begun where Adam has learned, from the same good start. Starting well is
# needed, not enough. Very deep networks therefore normalise between layers, or lead shortcuts around them; our face
# swapper is simply not deep.

# %%
# Break it: start ReLU without the factor 2 that makes up for the half it drops.
# break: `"He": 2.0` -> `"He": 1.0`
he, glorot = (sizes["ReLU", s][0][-2] / sizes["ReLU", s][0][0] for s in ("He", "Glorot"))
lesson.check("ReLU with He keeps the size of y, within a factor of 5", 0.2 < he < 5, f"{he:.3g}")
expected = 0.5 ** ((DEPTH - 2) / 2)  # from layer 1 to the last but one
lesson.check(
    "with Glorot it shrinks as calculated, within 5", 0.2 < glorot / expected < 5, f"{glorot:.1e}"
)
lesson.end()
