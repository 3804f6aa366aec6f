"""Lesson 4. Convolution, by loops, then fast

A dense layer has a weight for every pixel. A convolution uses the same few weights everywhere. You will
write it and its backward pass as plain loops, see which outputs each pixel touched, and turn it all
into one matrix product. Needed: lessons 1 to 3 (forward, backward, batch, dense layers).
"""

# %%
from timeit import repeat

import course
import numpy as np
from matplotlib import pyplot as plt

import nn
import nn.check

lesson = course.begin("04_convolution", __doc__)
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## A small window, moved over the picture
#
# The **kernel** is a small matrix of weights, mostly 3 x 3. It is laid on a corner of the picture, each weight is
# multiplied with the pixel under it, and the sum of the products is one output. Then it moves on by one pixel. The
# outputs make a picture again, a **feature map**. A picture may have several numbers at each pixel, its **channels**:
# red, green and blue, or the feature maps of the layer before. The kernel has weights for each channel, and the sum
# runs over all of them. A layer has K such kernels, and each makes one output channel.
#
#     x (N, H, W, C)     pictures in the batch, height, width, channels in
#     w (KH, KW, C, K)   kernel height and width, channels in, channels out; b (K), a bias for each kernel
#
#     y[n, p, q, k] = b[k] + Σ over i, j, c of  x[n, p + i, q + j, c] w[i, j, c, k]          y (N, OH, OW, K)
#
# At the border the kernel would hang over, so y is smaller than x. **Padding** prevents it: a frame of zeros around x,
# together called xp. And the kernel may move on by more than one pixel, the **stride** S. Then the output (p, q) sees
# xp[S p + i, S q + j], and there are as many rows of outputs as there are places for the kernel:
#
#     OH = (H + padding above + padding below - KH) // S + 1          OW likewise
#
# Before you look: how many rows come out of 7 with a 3 x 3 kernel? And with padding 1? And with stride 2, too?


# %%
def grid(axes, size, words, colour, title):
    """size x size cells; those in ``words``, (row, column): text, are coloured."""
    for r, s in np.ndindex(size, size):
        face = colour if (r, s) in words else "white"
        axes.add_patch(plt.Rectangle((s, r), 1, 1, facecolor=face, edgecolor="0.6", alpha=0.55))
        axes.text(s + 0.5, r + 0.5, words.get((r, s), ""), ha="center", va="center", fontsize=9)
    axes.set(xlim=(-0.1, size + 0.1), ylim=(size + 0.1, -0.1), aspect="equal")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


figure, panels = plt.subplots(1, 3, figsize=(9, 3.9))
for axes, (frame, S) in zip(panels, ((0, 1), (1, 1), (1, 2)), strict=True):
    out = (7 + 2 * frame - 3) // S + 1
    pixels = {(r + frame, s + frame): "" for r, s in np.ndindex(7, 7)}
    grid(axes, 7 + 2 * frame, pixels, "0.75", f"padding {frame}, stride {S}: {out} x {out} outputs")
    p, q = np.indices((out, out))
    axes.plot(S * q + 1.5, S * p + 1.5, "o", color=course.BLUE, markersize=5)
    for q, colour in ((0, course.RED), (1, course.PURPLE)):
        first = plt.Rectangle((S * q, 0.08 * q), 3, 3, fill=False, edgecolor=colour, linewidth=2.5)
        axes.add_patch(first)
figure.supxlabel("grey: pixels   white: zeros   dots: outputs   frames: the first two windows")
lesson.save(figure, "sizes")

# %% [markdown]
# ## The forward pass, by loops
#
# Word for word what the equation says. Slow, and easy to believe.


# %%
def pad(x, padding):
    top, bottom, left, right = padding
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))


def conv2d_forward(x, w, b, stride=(1, 1), padding=(0, 0, 0, 0)):
    xp, (SH, SW), (KH, KW, C, K) = pad(x, padding), stride, w.shape
    OH, OW = (xp.shape[1] - KH) // SH + 1, (xp.shape[2] - KW) // SW + 1
    y = np.zeros((len(x), OH, OW, K))
    for n, p, q, k in np.ndindex(y.shape):  # every output
        y[n, p, q, k] += b[k]
        for i, j, c in np.ndindex(KH, KW, C):  # every number that it sees
            y[n, p, q, k] += xp[n, SH * p + i, SW * q + j, c] * w[i, j, c, k]
    return y


# %% [markdown]
# What does a kernel see? Four made by hand: two subtract what is on one side of a pixel from what is on the other, one
# takes the mean, and one compares a pixel with its neighbours. Where is each 0, and where is it far from 0? The digit
# goes through our loops; the cat is larger and goes through the engine.

# %%
across = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
centre = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]) / 8
w = np.stack([across, across.T, np.full((3, 3), 1 / 9), centre], -1)[:, :, None, :]  # (3, 3, 1, 4)
digit = course.data("digits")["x"][2018][None, :, :, None] / 255
cat = course.data("photos")["cat"][None, 20:260, 70:390, None] / 255
conv = nn.Conv2d(1, 4, 3, dtype=np.float64).to("reference")
conv.weight.value[:] = w
outputs = conv2d_forward(digit, w, np.zeros(4)), conv.forward(cat, train=False)[0]
figure, panels = plt.subplots(2, 5, figsize=(10, 4), height_ratios=(1.25, 1))
titles = ("x", "right - left", "below - above", "mean", "pixel - neighbours")
for row, x, y in zip(panels, (digit, cat), outputs, strict=True):
    row[0].imshow(x[0, :, :, 0], vmin=0, vmax=1)
    for k, axes in enumerate(row[1:]):
        most = np.quantile(abs(y[..., k]), 0.995)
        axes.imshow(y[0, :, :, k], cmap=course.DIVERGING, vmin=-most, vmax=most)
    row[3].images[0].set(cmap="gray", clim=(0, 1))
for axes, title in zip(panels[0], titles, strict=True):
    axes.set_title(title, fontsize=10)
for axes in panels.flat:
    axes.set_axis_off()
figure.supxlabel("red: above 0    white: 0    blue: below 0    (the mean: black is 0)", fontsize=9)
lesson.save(figure, "kernels")

# %% [markdown]
# Nobody makes kernels by hand in a network. It learns them, and for that it needs dw.
#
# ## The backward pass: who touched whom
#
# Two questions about the forward loops, without padding. **dx**: which outputs did the pixel x[r, s] touch, and through
# which weight? Through w[i, j] it reached the output with S p + i = r and S q + j = s. **dw**: which pixels did the
# weight w[i, j] meet, and for which output? For each output one, x[S p + i, S q + j]. Watch the order in which the
# weights appear among the outputs.


# %%
def reached(r, s, S, size):
    """The outputs that saw the pixel (r, s), (p, q): through which weight of a 3 x 3 kernel."""
    ways = {(p, q): (r - S * p, s - S * q) for p, q in np.ndindex(size, size)}
    return {at: f"{i}, {j}" for at, (i, j) in ways.items() if 0 <= i < 3 and 0 <= j < 3}


def met(i, j, S, size):
    """The pixels that w[i, j] met, (r, s): for which output."""
    return {(S * p + i, S * q + j): f"{p}, {q}" for p, q in np.ndindex(size, size)}


figure, panels = plt.subplots(2, 3, figsize=(9, 6.2))
grid(panels[0, 0], 7, {(2, 4): "x"}, course.ORANGE, "the pixel x[2, 4] ...")
grid(
    panels[0, 1],
    5,
    reached(2, 4, 1, 5),
    course.ORANGE,
    "... reached these outputs,\nthrough w[i, j]",
)
grid(panels[0, 2], 3, reached(2, 4, 2, 3), course.ORANGE, "the same with stride 2")
grid(panels[1, 0], 3, {(0, 2): "w"}, course.SKY, "the weight w[0, 2] ...")
grid(panels[1, 1], 7, met(0, 2, 1, 5), course.SKY, "... met these pixels,\nfor y[p, q]")
grid(panels[1, 2], 7, met(0, 2, 2, 3), course.SKY, "the same with stride 2")
lesson.save(figure, "who_touched_whom")

# %% [markdown]
# The weights stand among the outputs in reverse: the output to the upper left saw the pixel through the weight to the
# lower right. This is the flipped kernel of the textbooks. In loops it never comes up. Lesson 1 said it all: a product
# swaps its factors, and what is used several times collects a sum. So each `+=` line of the forward pass with
# a product becomes two lines, in the same loops:
#
#     forward                     backward
#     y[..] += b[k]               db[k]   += dy[..]
#     y[..] += xp[..] w[..]       dxp[..] += dy[..] w[..]
#                                 dw[..]  += dy[..] xp[..]


# %%
def conv2d_backward(dy, x, w, stride=(1, 1), padding=(0, 0, 0, 0)):
    xp, (SH, SW), (KH, KW, C, K) = pad(x, padding), stride, w.shape
    dxp, dw, db = np.zeros_like(xp), np.zeros_like(w), np.zeros(K)
    for n, p, q, k in np.ndindex(dy.shape):
        db[k] += dy[n, p, q, k]
        for i, j, c in np.ndindex(KH, KW, C):
            dxp[n, SH * p + i, SW * q + j, c] += dy[n, p, q, k] * w[i, j, c, k]
            dw[i, j, c, k] += dy[n, p, q, k] * xp[n, SH * p + i, SW * q + j, c]
    top, _, left, _ = padding
    dx = dxp[:, top : top + x.shape[1], left : left + x.shape[2]]  # the frame is cut off
    return dx, dw, db


# %% [markdown]
# Two checks, with a stride and uneven padding: against the engine's layer, and by a wiggle. dy is random, because that
# stands for any loss: L = Σ dy y has just this dy.

# %%
options = {"stride": (2, 1), "padding": (1, 0, 2, 1)}
conv = nn.Conv2d(2, 3, 3, **options, rng=rng, dtype=np.float64).to("reference")
x, w, b = rng.normal(size=(2, 6, 5, 2)), conv.weight.value, conv.bias.value
y, cache = conv.forward(x)
dy = rng.normal(size=y.shape)
dx, dw, db = conv2d_backward(dy, x, w, **options)
pairs = {"y": (conv2d_forward(x, w, b, **options), y), "dx": (dx, conv.backward(dy, cache))}
pairs |= {"dw": (dw, conv.weight.grad), "db": (db, conv.bias.grad)}
for name, (loops, engine) in pairs.items():
    error = abs(loops - engine).max()
    lesson.check(f"{name} of the loops is that of nn.Conv2d", error < 1e-12, f"{error:.0e}")
aside = np.zeros_like(x)
aside[1, 3, 2, 0] = 1e-5
more, less = (conv2d_forward(x + m * aside, w, b, **options) for m in (1, -1))
print(f"    dx[1, 3, 2, 0] = {dx[1, 3, 2, 0]:.9f}, wiggled {(dy * (more - less)).sum() / 2e-5:.9f}")

# %% [markdown]
# Errors near 1e-15 are rounding; a mistake is never that small. `nn.check.mine` runs your function on many shapes and,
# where it is wrong, says what the mistake looks like. Here is a common one: the kernel is turned around once too often.


# %%
def flipped_conv2d_backward(dy, x, w, stride, padding):
    dx, _, _ = conv2d_backward(dy, x, w[::-1, ::-1], stride, padding)
    return dx, *conv2d_backward(dy, x, w, stride, padding)[1:]


print(nn.check.mine(flipped_conv2d_backward))

# %% [markdown]
# ## The same as one matrix product
#
# Write the KH KW C numbers that an output sees in a row, one row for each output. This is **im2col**, "image to
# columns". Each output is its row times the kernel, written as a column: a dense layer, applied to patches.
#
#     cols (N OH OW, KH KW C)     w (KH KW C, K)          y = cols w + b
#
# So the backward pass is that of a dense layer, too: dw = colsᵀ dy and dcols = dy wᵀ. What is left is the way from rows
# back to pixels. A pixel is in several rows, and what is used several times collects a sum: **col2im** adds each number
# of dcols to the pixel that it came from.


# %%
def windows(xp, i, j, stride, OH, OW):
    """For one place (i, j) of the kernel: the pixels that all outputs see there."""
    return xp[:, i : i + stride[0] * OH : stride[0], j : j + stride[1] * OW : stride[1]]


def fast_forward(x, w, b, stride, padding):
    xp, (KH, KW, C, K) = pad(x, padding), w.shape
    OH, OW = (xp.shape[1] - KH) // stride[0] + 1, (xp.shape[2] - KW) // stride[1] + 1
    cols = np.empty((len(x), OH, OW, KH, KW, C), x.dtype)
    for i, j in np.ndindex(KH, KW):  # im2col
        cols[:, :, :, i, j] = windows(xp, i, j, stride, OH, OW)
    cols = cols.reshape(-1, KH * KW * C)
    return (cols @ w.reshape(-1, K) + b).reshape(len(x), OH, OW, K), cols


def fast_backward(dy, cols, x, w, stride, padding):
    (N, OH, OW, K), (KH, KW, C, _), (top, _, left, _) = dy.shape, w.shape, padding
    rows = dy.reshape(-1, K)
    dw = (cols.T @ rows).reshape(w.shape)
    dcols = (rows @ w.reshape(-1, K).T).reshape(N, OH, OW, KH, KW, C)
    dxp = np.zeros_like(pad(x, padding))
    for i, j in np.ndindex(KH, KW):  # col2im
        windows(dxp, i, j, stride, OH, OW)[:] += dcols[:, :, :, i, j]
    return dxp[:, top : top + x.shape[1], left : left + x.shape[2]], dw, rows.sum(0)


y_fast, cols = fast_forward(x, w, b, **options)
fast = (y_fast, *fast_backward(dy, cols, x, w, **options))
error = max(abs(f - s).max() for f, s in zip(fast, (y, dx, dw, db), strict=True))
lesson.check("im2col makes the same y, dx, dw and db", error < 1e-12, f"{error:.0e}")

# %% [markdown]
# Left: the four 3 x 3 patches of a 4 x 4 picture, as rows. Right: how many rows is each of 7 x 7 pixels in? That is
# col2im of ones. With stride 2 some pixels are heard four times as often as others: remember it when a network's
# pictures show a checkerboard.

# %%
shown = {"x": np.arange(16.0).reshape(4, 4)}
picture, kernel = shown["x"].reshape(1, 4, 4, 1), np.ones((3, 3, 1, 1))
shown["cols: a row for each output"] = fast_forward(picture, kernel, 0, (1, 1), (0,) * 4)[1]
picture = np.zeros((1, 7, 7, 1))
for S, out in ((1, 5), (2, 3)):
    ones = np.ones((1, out, out, 1))
    counts, _, _ = fast_backward(ones, np.ones((out**2, 9)), picture, kernel, (S, S), (0,) * 4)
    shown[f"rows a pixel is in, stride {S}"] = counts[0, :, :, 0]
figure, panels = plt.subplots(1, 4, figsize=(10, 3), width_ratios=(0.8, 2, 1.3, 1.3))
for axes, (title, numbers) in zip(panels, shown.items(), strict=True):
    axes.imshow(numbers, cmap="Blues", vmin=0, vmax=2 * numbers.max())
    for (r, s), number in np.ndenumerate(numbers):
        axes.text(s, r, f"{number:.0f}", ha="center", va="center", fontsize=9)
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
lesson.save(figure, "im2col")

# %% [markdown]
# ## How much faster?
#
# Forward and backward: guess two ratios. On one small picture, loops in Python against NumPy's matrix product. On a
# batch of 8 larger ones, the matrix product against the engine, which Numba compiles. (The engine never writes the
# whole matrix, nine times as large as x, and for 3 x 3 kernels it knows a way with fewer multiplications.)

# %%
same = (1, 1), (1, 1, 1, 1)  # stride, padding
STEPS = {
    "loops": lambda conv, x, w, b, dy: (conv2d_forward(x, w, b, *same), conv2d_backward(dy, x, w, *same)),
    "im2col": lambda conv, x, w, b, dy: fast_backward(dy, fast_forward(x, w, b, *same)[1], x, w, *same),
    "engine": lambda conv, x, w, b, dy: conv.backward(dy, conv.forward(x)[1]),
}  # fmt: skip


def seconds(way, times, N, H, C, K):
    conv = nn.Conv2d(C, K, 3, padding=1, rng=rng)  # on the backend "cpu", in float32
    x, dy = (rng.normal(size=(N, H, H, n)).astype(np.float32) for n in (C, K))
    given = conv, x, conv.weight.value, conv.bias.value, dy
    return min(repeat(lambda: STEPS[way](*given), number=1, repeat=times))


small, large = (1, 8, 4, 4) if lesson.fast else (1, 28, 8, 16), (8, 32, 32, 64)
slow = seconds("loops", 1, *small)
lesson.number("loops, one picture, forward and backward", slow, "s")
lesson.number("im2col: times as fast as the loops", slow / seconds("im2col", 20, *small))
if not lesson.fast:  # the engine's first run compiles, which takes a while
    ratio = seconds("im2col", 10, *large) / seconds("engine", 30, *large)
    lesson.number("the engine: times as fast as im2col, on the batch", ratio)

# %% [markdown]
# Write the loops first, to know what is right. Then make it fast, and compare.
#
# ## Break it
#
# Forget the stride in the line for dw. With stride 1 nothing changes. `nn.check.mine` tries others, too.

# %%
# break: `* xp[n, SH * p + i, SW * q + j, c]` -> `* xp[n, p + i, q + j, c]`
answer = nn.check.mine(conv2d_backward)
print(answer)
lesson.check("conv2d_backward is right", answer.right, "; ".join(answer.mistakes) or "dx, dw, db")
lesson.end()
