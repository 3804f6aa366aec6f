"""Lesson 18. Batch size

How noisy the gradient of a mini-batch is, how many steps and how many pictures it takes to reach a goal with batches of
1 to 1,024, where a bigger batch stops helping, and what the machine makes of it. Needed: lesson 3 (mini-batches, SGD).
"""

# %%
import time

import course
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator

import nn

lesson = course.begin("18_batch_size", __doc__)
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## The noise of a gradient
# The loss is a mean over all M pictures, and so is its gradient g. A batch of N pictures gives an estimate of it:
#
#     g_N = 1/N sum over the batch of g[n]         on average it is g: the noise does not pull to one side
#     E |g_N - g|² = S / N,    S = E |g[n] - g|²   the variance of a mean of N independent draws
#     E |g_N - g|  ~ sqrt(S / N)                   four times the batch, half the noise
#
# Measured here, on the digits: a dense network 784 -> 32 -> 10, ten outputs (is it a 0? a 1? ...), log loss of each.
# Batches are drawn with replacement, so that the draws are independent. Twice: at the start, and after some training.
# **Predict**: which of the two gradients is noisier, compared with its own length?

# %%
digits = course.data("digits")
x = (digits["x"].reshape(5000, 784) / 255.0).astype("f4")
t = np.eye(10, dtype="f4")[digits["label"]]
bce = nn.BCEWithLogits()


def network(seed):
    draw = np.random.default_rng(seed)
    layers = (nn.Dense(784, 32, init="he", rng=draw), nn.ReLU(), nn.Dense(32, 10, rng=draw))
    net = nn.Sequential(*layers)
    return net, nn.Arena(net.named_parameters())


def gradient(net, arena, rows):
    """Leaves the gradient of these pictures in arena.grads; their loss."""
    y, cache = net.forward(x[rows])
    loss, loss_cache = bce.forward(y, t[rows])
    arena.zero_grad()
    net.backward(bce.backward(1.0, loss_cache), cache, need_dx=False)
    return loss


SIZES = np.array([4**k for k in range(6)])
net, arena = network(lesson.seed)
sgd, everything, noise = nn.SGD(arena, 0.5), np.arange(len(x)), {}
for when, steps in (("at the start", 0), ("after 300 steps", 300)):
    for _ in range(steps):
        gradient(net, arena, rng.integers(0, len(x), 64))
        sgd.step()
    gradient(net, arena, everything)
    full = arena.grads.copy()
    for n in SIZES:
        off = []
        for _ in range(40 if lesson.fast else 100):
            gradient(net, arena, rng.integers(0, len(x), n))
            off.append(np.sum((arena.grads - full) ** 2))
        noise[when, n] = np.sqrt(np.mean(off)) / np.linalg.norm(full)

fig, ax = plt.subplots(figsize=(7.5, 4))
slopes = []
for when, colour, marker in (
    ("at the start", course.BLUE, "o"),
    ("after 300 steps", course.RED, "s"),
):
    values = np.array([noise[when, n] for n in SIZES])
    slope, height = np.polyfit(np.log(SIZES), np.log(values), 1)
    slopes.append(slope)
    lesson.number(f"exponent of the noise, {when} (-0.5 expected)", slope)
    lesson.number(
        f"batch at which noise and gradient are equally long, {when}", np.exp(-height / slope)
    )
    ax.loglog(SIZES, values, marker, color=colour, label=f"measured {when}")
    ax.loglog(SIZES, values[0] * (SIZES / SIZES[0]) ** -0.5, "-", color=colour, lw=1)
ax.axhline(1, color=course.GREY, ls="--", lw=1)
ax.text(8, 1.07, "noise as long as the gradient", color=course.GREY)
ax.set(xlabel="batch size N", ylabel="|g_N - g| / |g|", title="Noise falls as 1 / sqrt(N) (lines)")
ax.legend(loc="lower left")
lesson.save(fig, "noise")

# %% [markdown]
# Where the noise is as long as the gradient itself, a step is half signal. Below, a bigger batch means a much better
# step; far above, it polishes what is good already. And training itself moves that point: near the goal the pictures
# disagree about what is left to do, g gets small, and its noise does not.
#
# ## How many steps, how many pictures
# The race: SGD until the loss over all 5,000 pictures is below a goal. Each batch size may choose its best learning
# rate out of a scan; at one rate for all, the race would be about the rate. A small batch needs a small rate: its
# noise, times lr, is what it trembles by. **Predict**: a batch of 1,024 costs 1,024 times the arithmetic of a batch
# of 1. Does it need 1,024 times fewer steps?

# %%
GOAL, MOST = (0.2, 600) if lesson.fast else (0.1, 2500)
RATES = [1.6, 0.4] if lesson.fast else [6.4, 3.2, 1.6, 0.8, 0.4, 0.2, 0.1]
judge = rng.permutation(len(x))[:1000]


def steps_to_goal(n, lr, most):
    """Steps of SGD until the loss of 1,000 pictures is below GOAL; ``most`` if it is not by then."""
    net, arena = network(lesson.seed)
    sgd, draw, often = nn.SGD(arena, lr), np.random.default_rng(lesson.seed), max(1, 128 // n)
    for step in range(1, most + 1):
        loss = gradient(net, arena, draw.integers(0, len(x), n))
        if not loss < 100:  # run away
            return most
        sgd.step()
        if step % often == 0:
            y, _ = net.forward(x[judge], train=False)
            if bce.forward(y, t[judge])[0] < GOAL:
                return step
    return most


steps, chosen = {}, dict.fromkeys(SIZES, np.nan)
for n in SIZES:
    steps[n] = min(MOST, 300_000 // n)
    for lr in RATES:  # a rate that is slower than the best so far need not run to its end
        found = steps_to_goal(n, lr, steps[n])
        if found < steps[n]:
            steps[n], chosen[n] = found, lr
    lesson.number(f"batch {n}: steps to the goal", steps[n])
    lesson.number(f"batch {n}: best rate", chosen[n])

# %% [markdown]
# ## What the machine makes of it
# Per picture the arithmetic is the same in any batch. But a step has costs of its own: Python, calling a kernel, and
# the optimiser, which walks over all weights however small the batch was.

# %%
per_picture = {}
for n in SIZES:
    rows, taken = rng.integers(0, len(x), n), []
    for _ in range(20):
        began = time.perf_counter()
        gradient(net, arena, rows)
        sgd.step()
        taken.append(time.perf_counter() - began)
    per_picture[n] = np.median(taken) / n
small, large = per_picture[SIZES[0]], per_picture[SIZES[-1]]
lesson.number(f"time per picture, batch {SIZES[0]} over batch {SIZES[-1]}", small / large)

fig, axes = plt.subplots(2, 2, figsize=(9, 6.4), sharex=True)
measured = np.array([steps[n] for n in SIZES])
times = np.array([per_picture[n] for n in SIZES])
panels = {
    "Steps to the goal": ("steps", measured),
    "Pictures looked at until then": ("pictures", measured * SIZES),
    "Time per picture": ("microseconds", 1e6 * times),
    "Time to the goal": ("seconds", times * SIZES * measured),
}
for ax, (title, (unit, values)) in zip(axes.flat, panels.items(), strict=True):
    ax.loglog(SIZES, values, "o-", color=course.BLUE)
    ax.set(title=title, ylabel=unit)
    ax.grid(alpha=0.3)
axes[0, 0].loglog(SIZES, measured[0] * SIZES[0] / SIZES, "--", color=course.GREY)
axes[0, 0].text(SIZES[2], measured[0] / SIZES[2] / 2, "twice the batch,\nhalf the steps", color=course.GREY,
                ha="right", va="top")  # fmt: skip
for ax in axes[1]:
    ax.set_xlabel("batch size N")
axes[1, 1].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
axes[1, 1].yaxis.set_major_formatter("{x:g}")
axes[1, 1].yaxis.set_minor_formatter("")
lesson.save(fig, "race")
quickest = SIZES[np.argmin(times * SIZES * measured)]
lesson.number("batch that reaches the goal soonest on this machine", quickest)
lesson.number("steps, batch 1 over the largest batch", measured[0] / measured[-1])

# %% [markdown]
# Up to about 64, a bigger batch pays: fewer steps, and a step costs hardly more than before. Beyond, the steps stop
# falling. The gradient is good enough by then, and what holds training back is the learning rate: above some value
# every batch size runs away, however exact its gradient is. More pictures are looked at, for nothing.
#
# In pictures looked at, small batches are the cheapest: the largest takes some thirty times as many. In time a batch
# of 1 is the dearest, because of what a step costs besides arithmetic. The best size is a meeting of the two: of this
# problem (its noise) and of this machine. For a big network, whose single picture keeps the machine busy, the second
# half of the argument goes away.

# %%
# Break it: draw neighbours. The digits lie in the order of their labels, so such a batch is all threes, its pictures
# are not independent, and the noise hardly falls. That is why data are shuffled.
# break: `arena, rng.integers(0, len(x), n)` -> `arena, rng.integers(2500) + np.arange(n)`
worst = max(slopes, key=lambda s: abs(s + 0.5))
lesson.check("the noise falls as 1 / sqrt(N)", abs(worst + 0.5) < 0.08, f"exponent {worst:.3f}")
lesson.end()
