"""Lesson 5. Too wide learns nothing: the bottleneck

A network is asked to give back its own input. If it is wide enough, it just passes the numbers through and learns
nothing about them. If its middle is narrow, it cannot, and has to find out what the data is made of. At the end you
know what an autoencoder, a code and a bottleneck are, and you have drawn digits by typing in two numbers.
Before: lesson 3 (dense and hidden layers, Adam, train and test sets).
"""

# %%
import course
import numpy as np
from matplotlib import pyplot as plt

import nn

lesson = course.begin("05_bottleneck", __doc__)

# %% [markdown]
# ## An autoencoder gives back what it was given
# Until now, somebody had to tell the network the right answer: it rained, or it did not. Here the target is the input
# itself. A network that is trained to answer x with x is called an **autoencoder**, and its answer y is called the
# **reconstruction** of x.
#
#     x (N, I)  --encoder-->  z (N, width)  --decoder-->  y (N, I)          L = mean of (y - x)²
#
# The first half is the **encoder**, the second half is the **decoder**. The numbers z between them are the **code** of
# x, also called latent code: latent means hidden. Everything that the decoder ever learns about x is in z.
#
# What is such a thing good for? That depends on one number, the width of the middle. Here are the two cases.


# %%
def draw(axes, widths, colour, title):
    """One column of circles a layer, one circle for every 10 numbers."""
    axes.set(title=title, xlim=(-0.5, len(widths) - 0.5), ylim=(-8.4, 6))
    axes.axis("off")
    columns = [np.arange(n) - (n - 1) / 2 for n in (max(1, w // 10) for w in widths)]
    for i in range(len(columns) - 1):
        ends = np.array([(a, b) for a in columns[i] for b in columns[i + 1]]).T
        axes.plot([i, i + 1], ends, color=course.GREY, lw=0.35, alpha=0.5, zorder=1)
    for i, (column, width) in enumerate(zip(columns, widths, strict=True)):
        face = colour if i == len(widths) // 2 else "white"
        axes.scatter([i] * len(column), column, s=90, c=face, edgecolors=colour, zorder=2)
        role = "input x" if i == 0 else "output y" if i == len(widths) - 1 else ""
        role = "code z" if i == len(widths) // 2 else role
        axes.text(i, -6.0, f"{width}\n{role}", ha="center", va="top")


figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 4))
draw(left, [100, 100, 100, 100, 100], course.ORANGE, "As wide as its input: nothing to do")
draw(right, [100, 60, 10, 60, 100], course.BLUE, "A narrow middle: the bottleneck")
lesson.save(figure, "two_shapes")

# %% [markdown]
# ## The data
# 5,000 handwritten digits: each is cut to its middle 20 x 20 pixels, then four pixels are averaged to one. That leaves
# 10 x 10 = 100 numbers between 0 (paper) and 1 (ink). 4,000 are trained on, 1,000 are held out for testing.
# Beside them, 1,000 pictures of **noise**: 100 numbers drawn at random. They have nothing to do with digits.

# %%
rng = np.random.default_rng(lesson.seed)
digits = course.data("digits")
small = digits["x"][:, 4:24, 4:24].reshape(-1, 10, 2, 10, 2).mean((2, 4)) / 255
order = rng.permutation(len(small))
x = small.reshape(-1, 100).astype("f4")[order]
train, test, label = x[:4000], x[4000:], digits["label"][order][4000:]
noise = rng.random((1000, 100), dtype="f4")


def fit(net, steps, learning_rate):
    """Trains net to give back the training digits; the steps shrink towards the end, so the last ones are precise."""
    arena = nn.Arena(net.named_parameters())
    adam, mse = nn.Adam(arena, learning_rate), nn.MSE()
    draws = np.random.default_rng(lesson.seed)
    for step in range(steps):
        adam.learning_rate = learning_rate * (1 - step / steps)
        batch = train[draws.integers(0, len(train), 100)]
        y, cache = net.forward(batch)
        _, loss_cache = mse.forward(y, batch)  # the target is the input
        arena.zero_grad()
        # need_dx=False: nobody needs the gradient of the pixels themselves
        net.backward(mse.backward(1.0, loss_cache), cache, need_dx=False)
        adam.step()
    return net


# %% [markdown]
# ## Wide and narrow
# The simplest autoencoder has one dense layer as its encoder and one as its decoder, and no activation:
#
#     z = x We + be        y = z Wd + bd                    so  y = x (We Wd) + (be Wd + bd) = x M + m
#
# Two linear layers in a row are one linear map M (100, 100). The **identity** is the map that changes nothing: M = 1
# on the diagonal, 0 elsewhere, m = 0. It gives a loss of 0. Nothing in the loss asks for more than that.
#
# Two networks, the same in everything but the width of the code: 100 and 4. *Before you look: what will M be for
# each?*


# %%
def linear_autoencoder(width):
    seed = np.random.default_rng([lesson.seed, width])
    return nn.Sequential(nn.Dense(100, width, rng=seed), nn.Dense(width, 100, rng=seed))


def run(net, x):
    return net.forward(x, train=False)[0]  # without a cache: nobody goes backward from here


def learned_map(net):
    """M, row by row: feed a picture in which one pixel is 1 and see what comes out, less what comes out for 0."""
    unit_vectors = np.eye(100, dtype="f4")
    return run(net, unit_vectors) - run(net, np.zeros((1, 100), "f4"))


STEPS, RATE = (500, 1e-2) if lesson.fast else (3000, 5e-3)
wide = fit(linear_autoencoder(100), STEPS, RATE)
narrow = fit(linear_autoencoder(4), STEPS, RATE)

figure, axes = plt.subplots(1, 3, figsize=(8.8, 3.4))
maps = {"the identity": np.eye(100), "learned, code of 100": learned_map(wide)}
maps["learned, code of 4"] = learned_map(narrow)
for ax, (title, m) in zip(axes, maps.items(), strict=True):
    shown = ax.imshow(m, cmap=course.DIVERGING, vmin=-0.2, vmax=0.2)
    ax.set(title=title, xlabel="pixel of y", xticks=[0, 50, 99], yticks=[0, 50, 99])
axes[0].set_ylabel("pixel of x")
figure.colorbar(shown, ax=axes, label="what 1 in x adds to y", shrink=0.62, extend="both")
lesson.save(figure, "learned_map")
lesson.number("code of 100: mean on the diagonal of M", np.diag(learned_map(wide)).mean())
lesson.number("code of 4: mean on the diagonal of M", np.diag(learned_map(narrow)).mean())

# %% [markdown]
# The wide one has found the identity, nearly to the last pixel: the first row is the corner, where digits seldom have
# ink, so it was seldom asked about it.
# The narrow one gives, for one pixel of ink, a smear all over the picture: what usually goes together with that pixel.
#
# ## It copies anything
# If the wide network had learned something about digits, it would do worse on pictures that are none. So feed both of
# them noise. **Share carried** is 1 when y is x, and 0 when y is no better than the mean grey of these pictures:
#
#     share carried = 1 - mean of (y - x)² / variance of x           below 0: worse than plain grey


# %%
def carried(net, x):
    return 1 - float(np.mean((run(net, x) - x) ** 2) / x.var())


for name, net in (("wide", wide), ("narrow", narrow)):
    lesson.number(f"{name}: share of held-out digits carried", carried(net, test))
    lesson.number(f"{name}: share of noise carried", carried(net, noise))

shown = np.concatenate([test[[np.flatnonzero(label == k)[0] for k in (2, 3, 5, 8)]], noise[:4]])
figure, axes = plt.subplots(3, 1, figsize=(8.2, 3.5))
rows = {"x": shown, "y, code of 100": run(wide, shown), "y, code of 4": run(narrow, shown)}
for ax, (name, row) in zip(axes, rows.items(), strict=True):
    ax.imshow(course.mosaic(1 - row.reshape(-1, 10, 10).clip(0, 1), 8), vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    ax.set_ylabel(name, rotation=0, ha="right", va="center")
    ax.spines[:].set_visible(False)
axes[0].set_title("Four digits that were held out, four pictures of noise; below, what comes back")
lesson.save(figure, "copies_anything")

# %% [markdown]
# The wide network brings back noise that it has never seen as well as it brings back digits. A perfect score, and it
# knows nothing. The narrow one has no place for noise, because four numbers cannot hold a hundred unrelated ones. It
# makes something digit-like of it, because digit-like is all that its decoder can draw.
#
# How narrow is narrow? Train one network for each width and watch both shares.
# *Guess first: how many numbers does a digit of 100 pixels need?*

# %%
WIDTHS = (2, 4, 32, 100) if lesson.fast else (1, 2, 4, 8, 16, 32, 64, 100)
nets = {4: narrow, 100: wide}
for width in WIDTHS:
    if width not in nets:
        nets[width] = fit(linear_autoencoder(width), STEPS, RATE)
of_digits = [carried(nets[width], test) for width in WIDTHS]
of_noise = [carried(nets[width], noise) for width in WIDTHS]

figure, ax = plt.subplots(figsize=(7.5, 4))
ax.axhline(0, color=course.GREY, lw=0.8)
ax.plot(WIDTHS, of_digits, "o-", color=course.BLUE)
ax.plot(WIDTHS, of_noise, "s--", color=course.ORANGE)
at = WIDTHS.index(32)
ax.text(29, of_digits[at] + 0.05, "digits", ha="right", color=course.BLUE)
ax.text(36, of_noise[at] - 0.1, "noise", color=course.ORANGE)
ax.set_xscale("log", base=2)
ax.set(xticks=WIDTHS, xticklabels=WIDTHS, xlabel="numbers in the code (input: 100)")
ax.set(ylabel="share carried", ylim=(min(-0.6, min(of_noise) - 0.1), 1.1))
ax.set_title("Where the curves are far apart, the network knows what a digit is")
lesson.save(figure, "width")
lesson.number("code of 32: digits", of_digits[at])
lesson.number("code of 32: noise", of_noise[at])

# %% [markdown]
# Digits do not use all the freedom that 100 pixels have: 32 numbers hold nearly everything that tells one from
# another. Noise uses all of it, so it needs all 100. The bottleneck works because data has fewer degrees of freedom
# than pixels.
#
# ## A code of two numbers
# Two numbers can be drawn: every digit becomes a point of a plane, the **latent plane**. With linear layers two
# numbers carry little, so give the encoder and the decoder hidden layers; the middle stays narrow. Encoder and
# decoder are networks of their own, so that they can be taken apart later; in between they train as one.
#
#     leaky ReLU:   y = x where x > 0, else 0.1 x           a kink at 0, and a slope that is never 0

# %%
encoder = nn.Sequential(
    nn.Dense(100, 128, rng=rng),
    nn.LeakyReLU(),
    nn.Dense(128, 64, rng=rng),
    nn.LeakyReLU(),
    nn.Dense(64, 2, rng=rng),
)
decoder = nn.Sequential(
    nn.Dense(2, 64, rng=rng),
    nn.LeakyReLU(),
    nn.Dense(64, 128, rng=rng),
    nn.LeakyReLU(),
    nn.Dense(128, 100, rng=rng),
)
deep = fit(nn.Sequential(encoder, decoder), 500 if lesson.fast else 4000, 3e-3)
lesson.number("two numbers, linear: digits carried", carried(nets[2], test))
lesson.number("two numbers, with hidden layers: digits carried", carried(deep, test))


# %% [markdown]
# **The encoder alone**: held-out digits in, points out. Nobody told it which digit is which; the labels only choose
# the colours. On the left the linear code of two numbers, on the right the one with hidden layers.


# %%
def plane(ax, codes, title):
    for k in range(10):
        mine = codes[label == k]
        colour = course.COLOURS[k % 7]
        ax.scatter(*mine.T, s=10, color=colour, alpha=0.6, marker="os^"[k // 4], linewidths=0)
    low, high = np.percentile(codes, [0.5, 99.5], axis=0)
    placed = []
    for k in range(10):
        middle = np.median(codes[label == k], 0)
        while any(np.hypot(*((middle - p) / (high - low))) < 0.065 for p in placed):
            middle[0] += 0.01 * (high[0] - low[0])  # to the right, where it would cover another
        placed.append(middle)
        box = {"boxstyle": "circle,pad=0.15", "fc": "white", "ec": course.COLOURS[k % 7], "lw": 1.6}
        ax.text(*middle, str(k), ha="center", va="center", weight="bold", bbox=box)
    ax.set(title=title, xlabel="code, number 1", ylabel="code, number 2")
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))


codes = run(encoder, test)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6))
plane(left, run(nets[2][0], test), "Linear encoder")  # [0]: the first of its two layers
plane(right, codes, "Encoder with hidden layers")
lesson.save(figure, "latent_plane")

# %% [markdown]
# **The decoder alone**: it takes any two numbers, whether a digit has them or not. Type in a grid of codes, and read
# the whole plane as a picture. Compare it with the plane above: digits lie where the decoder draws them. Between two
# of them it draws things that are a bit of both, and some that nobody ever wrote.

# %%
low, high = np.percentile(codes, [1, 99], axis=0)
first, second = np.meshgrid(np.linspace(low[0], high[0], 18), np.linspace(high[1], low[1], 14))
typed = np.stack([first.ravel(), second.ravel()], 1).astype("f4")
half = (high - low) / (17, 13) / 2  # a tile's code is in its middle
drawn = run(decoder, typed).reshape(-1, 10, 10).clip(0, 1)
figure, ax = plt.subplots(figsize=(8, 6.4))
ax.imshow(course.mosaic(1 - drawn, 18), vmin=0, vmax=1, aspect="auto",
          extent=(low[0] - half[0], high[0] + half[0], low[1] - half[1], high[1] + half[1]))  # fmt: skip
ax.set(xlabel="code, number 1", ylabel="code, number 2")
ax.set_title("What the decoder draws for codes typed in by hand")
lesson.save(figure, "decoded_plane")

# %% [markdown]
# ## What to keep
# - The width of the code decides what an autoencoder has to learn. Too wide, and the identity is the best answer.
# - A low loss says nothing by itself. Ask what the network does with something that it should not be able to do.
# - The face swapper of the later lessons is this: one encoder, a narrow code, and two decoders to choose from.
#
# ## Break it
# The check says that a narrow code has no place for noise. Make the narrow one wide, and see which words in this
# lesson stop being true. Then try 50.

# %%
# break: `linear_autoencoder(4)` -> `linear_autoencoder(100)`
share = carried(narrow, noise)
lesson.check(
    "the narrow autoencoder carries digits and no noise",
    share < 0.2 < carried(narrow, test),
    f"{share:.2f} of the noise, {carried(narrow, test):.2f} of the digits",
)
lesson.check("the wide one carries both", carried(wide, noise) > 0.5, f"{carried(wide, noise):.2f}")
lesson.end()
