"""Lesson 6. Digits in, digits out

A convolutional autoencoder squeezes a picture of 784 pixels into a few numbers and draws it again from them. At the end
you know how a decoder makes large pictures from small ones (the pixel shuffle), what is lost first when the code gets
short, how much better this is than the best linear method, and how to walk from one digit to another.
Before: lesson 4 (convolution) and lesson 5 (autoencoder, code, bottleneck).
"""

# %%
import course
import numpy as np
from matplotlib import pyplot as plt

import nn

lesson = course.begin("06_digits", __doc__)
rng = np.random.default_rng(lesson.seed)
digits = course.data("digits")
order = rng.permutation(5000)
x = (digits["x"][order, :, :, None] / 255).astype("f4")  # (N, H, W, C), from 0 (paper) to 1 (ink)
train, test, label = x[:4000], x[4000:], digits["label"][order][4000:]

# %% [markdown]
# ## From channels to pixels
# Lesson 4's convolutions with stride 2 make a picture smaller: 28 -> 14 -> 7 pixels a side. A decoder must go the
# other way. The **pixel shuffle** does it without any arithmetic. With R = 2, four channels of one pixel become four
# pixels:
#
#     x (N, H, W, R R C)  ->  y (N, R H, R W, C)            y[n, R h + i, R w + j, c] = x[n, h, w, (R i + j) C + c]
#
# So a convolution that has to make a picture of twice the size makes four times the channels instead. Since nothing is
# computed, the backward pass just moves every number of dy back to where its number came from.
#
# Here are the channels of a picture of 2 x 2 pixels, and what becomes of them.

# %%
small = np.arange(16, dtype="f4").reshape(1, 2, 2, 4)  # pixel (h, w) holds 4 (2 h + w) + channel
shuffled, _ = nn.PixelShuffle(2).forward(small)


def numbered(ax, values, channel, title):
    for h, w in np.ndindex(values.shape):
        colour = course.COLOURS[int(channel[h, w])]
        ax.add_patch(plt.Rectangle((w, h), 1, 1, fc=colour, ec="white", alpha=0.45))
        ax.text(w + 0.5, h + 0.5, f"{values[h, w]:.0f}", ha="center", va="center")
    ax.set(title=title, xlim=(0, len(values)), ylim=(len(values), 0), aspect="equal")
    ax.axis("off")


figure, axes = plt.subplots(1, 5, figsize=(8.6, 2.2), width_ratios=[1, 1, 1, 1, 2])
for c in range(4):
    numbered(axes[c], small[0, :, :, c], np.full((2, 2), c), f"channel {c}")
numbered(axes[4], shuffled[0, :, :, 0], shuffled[0, :, :, 0] % 4, "after the pixel shuffle")
lesson.save(figure, "pixel_shuffle")

# %% [markdown]
# ## The network
# The encoder halves the picture twice, **flattens** what is left to one row of numbers (`nn.Flatten`: same numbers,
# other shape) and ends in a dense layer: the code. The decoder is its mirror: a dense layer, a **reshape** back to a
# small picture with many channels, then convolutions and pixel shuffles. `padding="same"` chooses the zeros at the
# border so that stride 2 gives exactly half the size.
#
# The loss is the mean squared error: it is what the PSNR measures, in other units (PSNR = -10 log10 MSE, in decibels;
# 3 dB more is half the squared error). MAE, the mean absolute error, would forgive single large errors more;
# `nn.BCEWithLogits` of lesson 3 would keep every pixel between 0 and 1. Try them.

# %%
SLOPE = 0.1  # of the leaky ReLU, for numbers below 0


def autoencoder(size):
    """(encoder, decoder) with a code of `size` numbers."""
    seed = np.random.default_rng([lesson.seed, size])
    encoder = nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding="same", rng=seed),  # 28 -> 14
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(16, 32, 3, stride=2, padding="same", rng=seed),  # 14 -> 7
        nn.LeakyReLU(SLOPE),
        nn.Flatten(),  # (N, 7, 7, 32) -> (N, 1568)
        nn.Dense(1568, size, rng=seed),
    )
    decoder = nn.Sequential(
        nn.Dense(size, 1568, rng=seed),
        nn.LeakyReLU(SLOPE),
        nn.Reshape((7, 7, 32)),
        nn.Conv2d(32, 64, 3, padding="same", rng=seed),
        nn.LeakyReLU(SLOPE),
        nn.PixelShuffle(2),  # (N, 7, 7, 64) -> (N, 14, 14, 16)
        nn.Conv2d(16, 4, 3, padding="same", rng=seed),
        nn.PixelShuffle(2),  # (N, 14, 14, 4) -> (N, 28, 28, 1)
    )
    return encoder, decoder


def fit(encoder, decoder, steps, learning_rate=3e-3):
    net, mse = nn.Sequential(encoder, decoder), nn.MSE()
    arena = nn.Arena(net.named_parameters())
    adam = nn.Adam(arena, learning_rate)
    draws = np.random.default_rng(lesson.seed)
    for step in range(steps):
        adam.learning_rate = learning_rate * (1 - step / steps)
        batch = train[draws.integers(0, len(train), 32)]
        y, cache = net.forward(batch)
        _, loss_cache = mse.forward(y, batch)
        arena.zero_grad()
        net.backward(mse.backward(1.0, loss_cache), cache, need_dx=False)
        adam.step()


def run(net, x):
    return net.forward(x, train=False)[0]


# %% [markdown]
# ## The baseline to beat
# A network should be compared with the best that a simple method can do. **Principal component analysis** (PCA) is an
# autoencoder without a hidden layer, solved in closed form. V holds the k directions in which the training pictures
# differ most (the eigenvectors of their covariance with the largest eigenvalues), m is their mean:
#
#     z = (x - m) V            y = m + z Vᵀ                 V (784, k)
#
# No linear encoder and decoder with a code of k numbers has a smaller squared error on the training pictures.
# *Guess: how many decibels will the network, which may bend its maps, win over that?*

# %%
flat = train.reshape(len(train), -1)
m = flat.mean(0)
_, vectors = np.linalg.eigh(np.cov(flat.T))
vectors = vectors[:, ::-1].astype("f4")  # the largest eigenvalue first


def pca(x, size):
    v = vectors[:, :size]
    z = (x.reshape(len(x), -1) - m) @ v
    return (m + z @ v.T).reshape(x.shape).clip(0, 1)


SIZES = (8, 32) if lesson.fast else (2, 4, 8, 16, 32)
pairs = {size: autoencoder(size) for size in SIZES}
for encoder, decoder in pairs.values():
    fit(encoder, decoder, 350 if lesson.fast else 1500)
back = {size: run(d, run(e, test)).clip(0, 1) for size, (e, d) in pairs.items()}
ours = [course.psnr(back[size], test) for size in SIZES]
theirs = [course.psnr(pca(test, size), test) for size in SIZES]
for size, a, b in zip(SIZES, ours, theirs, strict=True):
    lesson.number(f"code of {size}: network, held-out digits", a, "dB")
    lesson.number(f"code of {size}: PCA, held-out digits", b, "dB")

figure, ax = plt.subplots(figsize=(7.5, 3.8))
ax.plot(SIZES, ours, "o-", color=course.BLUE)
ax.plot(SIZES, theirs, "s--", color=course.ORANGE)
at = SIZES.index(8)
ax.text(8, ours[at] + 0.35, "autoencoder", ha="right", color=course.BLUE)
ax.text(8.6, theirs[at] - 0.65, "PCA", color=course.ORANGE)
ax.set_xscale("log", base=2)
ax.set(xticks=SIZES, xticklabels=SIZES, xlabel="numbers in the code (the picture has 784)")
ax.set(ylabel="PSNR of held-out digits, dB")
ax.set_title("The same number of numbers, a better picture")
lesson.save(figure, "against_pca")

# %% [markdown]
# ## Two rows
# Digits that the network has never seen; what it draws from its code; what PCA draws from as many numbers.

# %%
SHORT = 8
chosen = [np.flatnonzero(label == k)[0] for k in range(10)]
rows = {"in": test, f"out, code of {SHORT}": back[SHORT], f"PCA, {SHORT} numbers": pca(test, SHORT)}


def show_rows(rows, columns, title, name):
    figure, axes = plt.subplots(len(rows), 1, figsize=(8.4, 0.85 * len(rows) + 0.4), squeeze=False)
    for ax, (text, pictures) in zip(axes[:, 0], rows.items(), strict=True):
        ax.imshow(course.mosaic(1 - pictures[..., 0], columns), vmin=0, vmax=1)
        ax.set_ylabel(text, rotation=0, ha="right", va="center")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    axes[0, 0].set_title(title)
    lesson.save(figure, name)


rows = {text: pictures[chosen] for text, pictures in rows.items()}
show_rows(rows, 10, "Digits in, digits out", "two_rows")

# %% [markdown]
# ## What is lost first
# *Before you look: which digits suffer, and what about them?* From the bottom up, the code gets longer.

# %%
rows = {f"code of {size}": back[size][chosen] for size in SIZES} | {"in": test[chosen]}
show_rows(
    rows, 10, "The shorter the code, the more a digit looks like its neighbours", "code_sizes"
)

# %% [markdown]
# First goes what only this writer did: a gap, a hook, a slant, a thin line. What stays longest is what digits have in
# common. With very few numbers some digits turn into other ones: the net draws the most likely thing.
#
# The same in numbers: any picture is a sum of waves (its Fourier transform F). Coarse waves are large shapes, fine
# waves are edges and thin strokes. For each fineness, how much of the waves' power survives?
#
#     share kept(f) = 1 - sum |F(y - x)|² / sum |F(x)|²            sums over the waves of f cycles across the picture

# %%
cycles = np.hypot(*np.meshgrid(np.fft.fftfreq(28, 1 / 28), np.fft.fftfreq(28, 1 / 28)))
ring = np.round(cycles).astype(int)


def power(pictures):
    waves = np.abs(np.fft.fft2(pictures[..., 0])) ** 2
    return np.bincount(ring.ravel(), waves.sum(0).ravel())[:13]


figure, ax = plt.subplots(figsize=(7.5, 3.8))
kept = {size: 1 - power(back[size] - test) / power(test) for size in SIZES}
for i, (size, share) in enumerate(kept.items()):
    ax.plot(share, marker="os^Dv"[i], ms=4, color=course.COLOURS[i], label=f"code of {size}")
half = [int(np.argmax(share < 0.5)) for share in kept.values()]
ax.axhline(0.5, color=course.GREY, lw=0.8, ls=":")
ax.set(xlabel="fineness: cycles across the picture", ylabel="share of the power kept")
ax.set_title("Fine waves are lost first")
ax.legend(loc="lower left", bbox_to_anchor=(0.0, 0.0))
lesson.save(figure, "waves")
for size, f in zip(SIZES, half, strict=True):
    lesson.number(f"code of {size}: half of the power is gone from", f, "cycles on")

# %% [markdown]
# ## Walking from one digit to another
# Two digits have codes za and zb. The points between them, (1 - t) za + t zb, are codes, too. Decode them, and compare
# with the **cross-fade**, which mixes the pixels: (1 - t) a + t b.

# %%
WALK = 32
encoder, decoder = pairs[WALK]
z, t = run(encoder, test), np.linspace(0, 1, 10, dtype="f4")[:, None]
first = {k: np.flatnonzero(label == k)[1] for k in range(10)}
rows = {}
for a, b in ((first[3], first[8]), (first[4], first[9]), (first[1], first[7])):
    walk = run(decoder, (1 - t) * z[a] + t * z[b]).clip(0, 1)
    fade = (1 - t[..., None, None]) * walk[0] + t[..., None, None] * walk[-1]
    rows |= {f"walk, {label[a]} to {label[b]}": walk, f"fade, {label[a]} to {label[b]}": fade}
show_rows(rows, 10, "Walking in the code moves strokes; cross-fading shows two ghosts", "walk")

# %% [markdown]
# A number for "ghost": of the pixels that have any ink (above 0.25), how many are only half dark (below 0.75)?
# 400 pairs of held-out digits, each halfway.

# %%
a, b = rng.integers(0, len(test), (2, 400))


def half_dark(pictures):
    ink = pictures > 0.25
    return float((ink & (pictures < 0.75)).sum() / ink.sum())


ends = run(decoder, z)
middle = run(decoder, (z[a] + z[b]) / 2)
lesson.number("half-dark share of the ink: reconstructions", half_dark(ends))
lesson.number("half-dark share of the ink: halfway by walking", half_dark(middle))
lesson.number("half-dark share of the ink: halfway by fading", half_dark((ends[a] + ends[b]) / 2))

# %% [markdown]
# Not every point between two codes is a digit: halfway it is often no character at all, and paler than the ends.
# Nobody asked this network that all points mean something; it was only ever asked about the codes of real digits.
#
# ## Break it
# With SLOPE = 1 the leaky ReLU is a straight line and the whole network is one linear map, large as it is. PCA is the
# best of those. So the check below must fail, whatever you do to the rest.

# %%
# break: `SLOPE = 0.1` -> `SLOPE = 1.0`
gain = ours[at] - theirs[at]
lesson.check("the network beats PCA by more than half a decibel", gain > 0.5, f"{gain:+.2f} dB")
lesson.end()
