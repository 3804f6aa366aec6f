"""Lesson 8. What a layer responds to

Backpropagation does not have to stop at the first weights: one step further down is the picture itself. With that
gradient one can ask any number inside a network what it would like to see. At the end you have asked filters, middle
layers and outputs of a network that reads digits, and you know how far to trust the answers.
Before: lesson 3 (log loss, logits), lesson 4 (convolution).
"""

# %%
import course
import cv2
import numpy as np
from matplotlib import pyplot as plt

import nn

lesson = course.begin("08_what_a_layer_responds_to", __doc__)
rng = np.random.default_rng(lesson.seed)
digits = course.data("digits")
order = rng.permutation(5000)
x = (digits["x"][order, :, :, None] / 255).astype("f4")
label = digits["label"][order]
train, test, train_label, test_label = x[:4000], x[4000:], label[:4000], label[4000:]

# %% [markdown]
# ## A network that reads digits
# Until now a network gave one probability, or a picture. Here it gives ten numbers, one for each digit: a
# **classifier** with ten **classes**. Each output answers a yes-or-no question of its own, "is it a 3?", with a logit
# as in lesson 3. That is called **one against all**. The target is **one-hot**: 1 for the right class, 0 for the nine
# others.
#
#     3  ->  [0 0 0 1 0 0 0 0 0 0]              L = mean over pictures and classes of the log loss of sigmoid(y)
#
# The answer is the class with the largest logit. (Most networks that you will meet couple the ten outputs by a
# "softmax", so that their probabilities add up to 1. It is not needed here, and this engine has none.)


# %%
seed = np.random.default_rng([lesson.seed, 1])
net = nn.Sequential(
    # a layer may have a name: net["conv1"] gives it back, and so does net[0]
    ("conv1", nn.Conv2d(1, 12, 7, rng=seed)),  # 28 -> 22 pixels a side, 12 channels
    nn.LeakyReLU(),
    ("conv2", nn.Conv2d(12, 24, 5, stride=2, rng=seed)),  # 22 -> 9, 24 channels
    nn.LeakyReLU(),
    ("conv3", nn.Conv2d(24, 32, 3, stride=2, rng=seed)),  # 9 -> 4, 32 channels
    nn.LeakyReLU(),
    nn.Flatten(),
    ("answer", nn.Dense(512, 10, rng=seed)),
)
one_hot = np.eye(10, dtype="f4")[train_label]
arena, bce = nn.Arena(net.named_parameters()), nn.BCEWithLogits()
adam, steps = nn.Adam(arena, 3e-3), 250 if lesson.fast else 2500
for i in range(steps):
    adam.learning_rate = 3e-3 * (1 - i / steps)
    batch = rng.integers(0, len(train), 32)
    shifted = np.roll(
        train[batch], rng.integers(-2, 3, 2), (1, 2)
    )  # digits elsewhere are digits, too
    y, cache = net.forward(shifted)
    _, loss_cache = bce.forward(y, one_hot[batch])
    arena.zero_grad()
    net.backward(bce.backward(1.0, loss_cache), cache, need_dx=False)
    adam.step()


def run(net, x):
    return net.forward(x, train=False)[0]


answers = run(net, test).argmax(1)
lesson.number("held-out digits read rightly", 100 * (answers == test_label).mean(), "%")

# %% [markdown]
# ## Looking at weights
# A filter of the first layer is 7 x 7 numbers and meets the picture directly, so it can be drawn. Its output is large
# where the picture looks like it: bright where it is red, dark where it is blue. The outputs of one filter at all
# places are a **feature map**. Here are the twelve filters, and below each its map of one digit.
# *Which of them look for an edge, paper on one side and ink on the other? In which direction?*

# %%
w = net["conv1"].weight.value  # (7, 7, 1, 12)
picture = test[np.flatnonzero(test_label == 4)[:1]]
# Layers of a network make another network, with the same weights.
first = nn.Sequential(net[0], net[1])
maps = run(first, picture)[0]
figure, axes = plt.subplots(2, 12, figsize=(9, 2.2))
for k in range(12):
    axes[0, k].imshow(w[:, :, 0, k], cmap=course.DIVERGING, vmin=-abs(w).max(), vmax=abs(w).max())
    axes[1, k].imshow(maps[:, :, k], cmap=course.DIVERGING, vmin=-abs(maps).max(), vmax=abs(maps).max())  # fmt: skip
    axes[0, k].set_title(f"{k}")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
axes[0, 0].set_ylabel("filter")
axes[1, 0].set_ylabel("its map")
figure.suptitle(
    "The first layer's filters and what they see (red above 0, blue below, white 0)", fontsize=11
)
lesson.save(figure, "filters")

# %% [markdown]
# The second layer's filters are 5 x 5 numbers for each of 12 channels. Drawing them tells nobody anything. So ask
# another question: *which picture would make this unit's output largest?*
#
# ## Backpropagation down to the picture
# A **unit** is one number inside the network, a channel at one place. Call it u(x). Its gradient with respect to the
# picture says how to change each pixel to make u larger. The backward pass computes it: put 1 where the unit is and 0
# elsewhere as dy, and what comes out at the bottom is dx = du/dx. Then go up instead of down, **gradient ascent**:
#
#     x <- x + step dx / |dx|
#
# The weights stay as they are; only the picture learns. (`backward` adds to their gradients, too. Nobody looks at
# those.)
#
# A picture of exactly the size that a unit of a layer sees, its **receptive field**, makes that layer's map 1 x 1. So
# K pictures at once, one for each channel, need dy (K, 1, 1, K) = the identity matrix.


# %%
def lengths(x):
    return np.sqrt((x**2).sum((1, 2, 3)))


def excite(net, x, *, steps=60, step=0.5, norm=None, box=False, blur=0.0):
    """Pictures x (K, H, W, 1), changed so that picture k excites unit k of the net's K units more and more.

    norm (K) is the most that the length |x| may be; box keeps pixels between paper and ink; blur smooths a little
    at every step, sigma in pixels.
    """
    x = x.copy()
    for _ in range(steps):
        y, cache = net.forward(x)
        dy = np.eye(len(x), dtype="f4").reshape(y.shape)
        dx = net.backward(dy, cache)
        dx /= lengths(dx).reshape(-1, 1, 1, 1) + 1e-9
        x = x + np.float32(step) * dx
        if blur:
            x = np.stack([cv2.GaussianBlur(p[..., 0], (0, 0), blur) for p in x])[..., None]
        if box:
            x = x.clip(0, 1)
        if norm is not None:
            x *= np.minimum(1, norm / lengths(x)).reshape(-1, 1, 1, 1)
    return x


def excitation(net, x):
    """u of picture k for unit k."""
    return np.diagonal(run(net, x).reshape(len(x), -1))


# %% [markdown]
# ### First layer: a test of the method
# Here we know the answer. u = x · w + b, so among all pictures of one length |x| the largest u belongs to x = w / |w|,
# the filter itself. If gradient ascent finds anything else, it is wrong.

# %%
start = rng.normal(0, 0.1, (12, 7, 7, 1)).astype("f4")
found = excite(first, start, norm=np.ones(12, "f4"))
filters = w[:, :, 0].transpose(2, 0, 1)[..., None]
cosine = (found * filters).sum((1, 2, 3)) / (lengths(found) * lengths(filters))
lesson.number("cosine between found picture and filter, smallest of 12", cosine.min())

# %% [markdown]
# ### Middle layers: parts
# For the second layer (each unit sees 11 x 11 pixels) and the third (15 x 15) nobody knows the answer before. To have
# something to compare with, look for the patches of real held-out digits that excite each unit most. The picture that
# we make may be as long, |x|, as the best of them and no longer; its pixels are between 0 and 1, and slightly blurred.


# %%
def best_patches(part, size, stride, count):
    """Patches (K, count, size, size, 1) of different held-out digits that excite each unit most; and the digits."""
    y = run(part, test)  # (N, OH, OW, K)
    n, _, width, k = y.shape
    y = y.reshape(n, -1, k)
    place, strength = y.argmax(1), y.max(1)  # (N, K): each digit's best place
    top = np.argsort(-strength, axis=0)[:count].T  # (K, count)
    patches = np.zeros((k, count, size, size, 1), "f4")
    for unit, row in enumerate(top):
        for j, i in enumerate(row):
            r, c = divmod(int(place[i, unit]), width)
            patches[unit, j] = test[i, r * stride :, c * stride :][:size, :size]
    return patches, top


# How many of the net's layers; how many pixels a unit sees; how many pixels lie between neighbouring units.
layers = {"second": (4, 11, 2), "third": (6, 15, 4)}
figure, axes = plt.subplots(1, 2, figsize=(9, 5))
for ax, (name, (depth, size, stride)) in zip(axes, layers.items(), strict=True):
    part = nn.Sequential(*[net[i] for i in range(depth)])
    real, top = best_patches(part, size, stride, 20)
    gray = rng.uniform(0.2, 0.4, (len(real), size, size, 1)).astype("f4")
    made = excite(part, gray, norm=lengths(real[:, 0]), box=True, blur=0.4)
    gain = excitation(part, made) / excitation(part, real[:, 0])
    lesson.number(f"{name} layer: made picture against best real patch, median", np.median(gain), "times")  # fmt: skip
    shown = np.concatenate([made[:8, None], real[:8, :5]], 1).reshape(-1, size, size)
    ax.imshow(course.mosaic(shown.clip(0, 1), 6, gap=2, paper=0.6), vmin=0, vmax=1)
    ax.axvline(size + 0.5, color=course.ORANGE, lw=3)
    ax.set(
        title=f"{name.capitalize()} layer, {size} x {size} pixels",
        xticks=[(size - 1) / 2, 3.5 * size + 5],
    )
    ax.set_xticklabels(["made", "real patches that excite it most"])
    ax.set_yticks([(size + 2) * k + size / 2 for k in range(8)], [f"unit {k}" for k in range(8)])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
lesson.save(figure, "parts")

# %% [markdown]
# Most made pictures excite their unit more than any patch of 1,000 real digits does, though only by some percent: for
# a picture that may not be longer, a real one is close to the best already. One sees what the real ones share: a
# bend, an end, two strokes side by side, a stroke with paper above it. The second layer's answers are short strokes
# and ends, the third layer's are longer and have more than one part.
#
# ### Outputs: digits?
# The outputs see the whole picture. *What will the perfect 3 look like?* Three attempts, from weaker to stronger
# demands on the picture: nothing at all; only pixels between 0 and 1; and also the length of a real digit and a
# slight blur.

# %%
logits = run(net, test)
favourite = test[logits.argmax(0)]
gray = rng.uniform(0.0, 0.1, (10, 28, 28, 1)).astype("f4")
free = excite(net, gray)
boxed = excite(net, gray, box=True)
tamed = excite(net, gray, step=1.0, box=True, blur=0.45, norm=lengths(favourite))
rows = {
    "no demands": free,
    "0 to 1": boxed,
    "and blur, length": tamed,
    "best real digit": favourite,
}
figure, axes = plt.subplots(4, 1, figsize=(9, 4.6))
for ax, (name, pictures) in zip(axes, rows.items(), strict=True):
    u = excitation(net, pictures)
    lesson.number(f"logit, mean of ten outputs: {name}", u.mean())
    low, high = (pictures.min(), pictures.max()) if name == "no demands" else (0, 1)
    ax.imshow(course.mosaic(pictures[..., 0], 10, gap=3, paper=high), vmin=low, vmax=high)
    ax.set_ylabel(name, rotation=0, ha="right", va="center")
    ax.set(xticks=[31 * k + 13.5 for k in range(10)], yticks=[])
    ax.set_xticklabels([f"{v:.0f}" for v in u])
    ax.tick_params(length=0, pad=1)
    ax.spines[:].set_visible(False)
axes[0].set_title("What excites the outputs for 0, 1, ... 9 most; below each, its logit")
lesson.save(figure, "outputs")
lesson.number("no demands: darkest pixel (paper is 0)", free.min())
lesson.number("no demands: brightest pixel (ink is 1)", free.max())

# %% [markdown]
# With no demands the answer is a storm of pixels, far below paper and far above ink (the first row is drawn from its
# own darkest to its brightest): far more of "a 3" than any 3, to this network and to nobody else. It was only ever
# asked about pictures of digits; about all others it says whatever its weights happen to say. The stronger the
# demands, the more one sees strokes where this digit has them, and paper where another digit would have ink. But the
# demands are ours. Part of what we see here is what we asked for.
#
# In some one can read the digit: a 6, an 8 (seed 0). Others are no digit: the 4 is a row of upright strokes, of which
# every 4 has two somewhere, and the 5 is little more than a spot where no other digit has ink.
#
# ## It is rarely so simple
# A story is often told: first layers see edges, middle ones see parts, last ones see faces. Edges we saw. But is a
# unit in the middle *for* one thing? Take the third layer and look at the 20 patches of different held-out digits
# that excite a unit most. How alike are they? The **correlation** of two patches is 1 where they are the same but for
# brightness and contrast, 0 where they have nothing to do with each other.

# %%
flat = real.reshape(len(real), 20, -1)  # the third layer's 32 units, from above
off_diagonal = ~np.eye(20, dtype=bool)
alike = np.array([np.corrcoef(patches)[off_diagonal].mean() for patches in flat])
others = np.array([np.corrcoef(flat[:, i])[~np.eye(32, dtype=bool)].mean() for i in range(20)])
lesson.number("correlation of a unit's 20 patches, the most alike of 32 units", alike.max())
lesson.number("correlation of a unit's 20 patches, mean of 32 units", alike.mean())
lesson.number("correlation of a unit's 20 patches, the least alike of 32 units", alike.min())
lesson.number("correlation of patches of different units", others.mean())

figure, axes = plt.subplots(2, 1, figsize=(9, 2.3))
for ax, unit in zip(axes, (alike.argmax(), alike.argmin()), strict=True):
    order = np.argsort(-np.corrcoef(flat[unit])[0])  # the most like the strongest first
    ax.imshow(course.mosaic(real[unit, order, ..., 0], 20, gap=2, paper=0.6), vmin=0, vmax=1)
    ax.set_title(f"Unit {unit}: its 20 strongest patches, and the digits they are from")
    ax.set_xticks([17 * i + 7 for i in range(20)], [str(c) for c in test_label[top[unit, order]]])
    ax.set_yticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
lesson.save(figure, "rarely_so_simple")

# %% [markdown]
# The unit above responds to one thing that has a name. The one below responds to several that nobody would give one.
# Nothing in the training asks a unit to have a meaning; only the ten outputs were asked anything. What a unit says is
# used together with what all the others say. So read "this unit detects X" as "X is among the things that excite it".
#
# ## Break it
# Change one sign and the pictures learn what the units want least. Which of the pictures above would you still
# believe?

# %%
# break: `x + np.float32(step) * dx` -> `x - np.float32(step) * dx`
lesson.check(
    "gradient ascent finds the first layer's filters", cosine.min() > 0.99, f"{cosine.min():.4f}"
)
above = (excitation(net, boxed) > excitation(net, favourite)).sum()
lesson.check(
    "pixels from 0 to 1 can excite an output more than the best real digit does",
    above >= 7,
    f"{above} of 10",
)
lesson.end()
