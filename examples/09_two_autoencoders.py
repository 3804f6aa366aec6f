"""Lesson 9. Two autoencoders do not fit together

An apple and a kiwi, each with an autoencoder of its own. Exchange the decoders, and nonsense comes out: measured here,
against the true answer. Then one encoder for both, and the same exchange is a swap. At the end you know why, and what
the step with a shared encoder is, line by line. Before: lessons 5 and 6 (autoencoders), 1 (gradients are added).
"""

# %%
import course
import numpy as np
from matplotlib import pyplot as plt

import nn
from swap.evaluate.measures import psnr
from swap.faces.align import CropDefinition
from swap.studio.family import draws, faces

lesson = course.begin("09_two_autoencoders", __doc__)
rng = np.random.default_rng(lesson.seed)
COUNT, STEPS, BATCH = (120, 130, 16) if lesson.fast else (400, 1000, 16)

# %% [markdown]
# ## Two subjects, and the true answer
# What would this apple look like if it were a kiwi? A photograph cannot say. A renderer can: it draws a **subject**
# (apple or kiwi) from **parameters** (how it is turned, where it lies, where the light stands). The same parameters
# give both the same pose and the same light. So for a picture of A, the apple, the right answer of a **swap** is
# known: B, the kiwi, drawn with the parameters of that picture. We call it the **truth**.
#
# `draws(family, n, seed)` draws n parameters at random, `faces(...)` renders them (for fruit, the "face" is the
# fruit) and gives a **mask** as well: which share of each pixel is fruit. `CropDefinition(margin=1)`: no border
# around it.
#
# Training pictures of A and of B show *different* parameters, as in life: nobody ever sees an apple and a kiwi do the
# same. Only the test pictures, which are not trained on, come in pairs, so that we can measure.

# %%
SIZE, NAMES = 32, {"a": "apple", "b": "kiwi"}


def render(side, count, seed):
    """Pictures (count, 32, 32, 3) in [0, 1] and masks (count, 32, 32) of a side."""
    params = draws("fruit", count, seed)
    rgb, mask = faces("fruit", NAMES[side], params, SIZE, CropDefinition(margin=1.0))
    return np.float32(rgb) / 255, np.float32(mask) / 255


train = {side: render(side, COUNT, 4 * lesson.seed + i)[0] for i, side in enumerate("ab")}
pairs = {side: render(side, 96, 4 * lesson.seed + 2) for side in "ab"}
test, mask = ({side: pairs[side][part] for side in "ab"} for part in (0, 1))


def show_rows(rows, title, name):
    """One row of eight pictures for each entry of ``rows``."""
    sheet = course.mosaic(np.concatenate([pictures[:8] for pictures in rows.values()]), 8)
    fig, ax = plt.subplots(figsize=(8.4, 0.6 + 0.86 * len(rows)))
    ax.imshow(np.clip(sheet, 0, 1))
    ax.set(xticks=[], yticks=16 + 33 * np.arange(len(rows)), yticklabels=rows, title=title)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    lesson.save(fig, name)


rows = {"A: apple": test["a"], "B: kiwi": test["b"]}
show_rows(rows, "Test pictures: one column, one set of parameters", "truth")

# %% [markdown]
# ## Two autoencoders, trained apart
# Encoder and decoder are those of lesson 6, for colours: three convolutions down to 4 x 4, a dense layer to a code of
# 64 numbers; a dense layer back, and three times a convolution with a pixel shuffle up to 32 x 32.
#
#     apart        z = E_A(x)     y = D_A(z)     L_A = mean |y - x|       pictures of A only
#                  z = E_B(x)     y = D_B(z)     L_B = mean |y - x|       pictures of B only
#
# The loss is the mean absolute error, `nn.MAE`. It forgives a few large errors more easily than the mean square, and
# edges come out a little sharper.

# %%
CODE, WIDE, RATE = 64, 12, 1.5e-3


def make_encoder():
    """(N, 32, 32, 3) -> codes (N, 64)."""
    same = {"padding": "same", "init": "he", "rng": rng}
    return nn.Sequential(
        nn.Conv2d(3, WIDE, 5, stride=2, **same), nn.LeakyReLU(0.1),
        nn.Conv2d(WIDE, 2 * WIDE, 5, stride=2, **same), nn.LeakyReLU(0.1),
        nn.Conv2d(2 * WIDE, 4 * WIDE, 5, stride=2, **same), nn.LeakyReLU(0.1),
        nn.Flatten(),
        ("to_code", nn.Dense(64 * WIDE, CODE, rng=rng)),
    )  # fmt: skip


def make_decoder():
    """Codes (N, 64) -> (N, 32, 32, 3), each number in (0, 1)."""
    same = {"padding": "same", "init": "he", "rng": rng}
    return nn.Sequential(
        ("from_code", nn.Dense(CODE, 64 * WIDE, rng=rng)), nn.Reshape((4, 4, 4 * WIDE)),
        nn.Conv2d(4 * WIDE, 8 * WIDE, 3, **same), nn.LeakyReLU(0.1), nn.PixelShuffle(2),
        nn.Conv2d(2 * WIDE, 4 * WIDE, 3, **same), nn.LeakyReLU(0.1), nn.PixelShuffle(2),
        nn.Conv2d(WIDE, 4 * WIDE, 3, **same), nn.LeakyReLU(0.1), nn.PixelShuffle(2),
        nn.Conv2d(WIDE, 3, 3, padding="same", rng=rng), nn.Sigmoid(),
    )  # fmt: skip


mae = nn.MAE()


def batch(side):
    """BATCH training pictures of a side, drawn at random."""
    return train[side][rng.integers(0, COUNT, BATCH)]


apart_encoders, apart_decoders = {}, {}
for side in "ab":
    encoder, decoder = make_encoder(), make_decoder()
    net = nn.Sequential(encoder, decoder)
    arena = nn.Arena(net.named_parameters())
    adam = nn.Adam(arena)
    for step in range(STEPS):
        x = batch(side)
        arena.zero_grad()
        y, cache = net.forward(x)
        loss, mae_cache = mae.forward(y, x)
        net.backward(mae.backward(1.0, mae_cache), cache, need_dx=False)
        adam.learning_rate = RATE * (1 - step / STEPS)  # the last steps are small
        adam.step()
    print(f"  apart, {NAMES[side]}: loss {loss:.4f} after {STEPS} steps")
    apart_encoders[side], apart_decoders[side] = encoder, decoder

# %% [markdown]
# ## Exchange the decoders
# Each of the two does its own job well. Now encode an apple with the apple's encoder, and decode with the kiwi's
# decoder: D_B(E_A(x)). Both codes have 64 numbers, so it fits. What will it show: a kiwi in the apple's pose, some
# other kiwi, an apple? Decide, then look.


# %%
def encode(encoder, x):
    return encoder.forward(x, train=False)[0]


def decode(decoder, z):
    return decoder.forward(z, train=False)[0]


def quality(pictures, side):
    """PSNR in dB over the fruit: the mean over the test pictures."""
    return float(psnr(pictures, test[side], mask[side]).mean())


apart_z = {side: encode(apart_encoders[side], test[side]) for side in "ab"}
own = {side: decode(apart_decoders[side], apart_z[side]) for side in "ab"}
exchanged = {a: decode(apart_decoders[a], apart_z[b]) for a, b in ("ab", "ba")}
rows = {
    "A: input x": test["a"],
    f"D_A(E_A(x))\n{quality(own['a'], 'a'):.1f} dB": own["a"],
    f"D_B(E_A(x))\n{quality(exchanged['b'], 'b'):.1f} dB": exchanged["b"],
    "B: truth": test["b"],
}
show_rows(rows, "Trained apart: the reconstruction is good, the exchange means nothing", "apart")

# %% [markdown]
# The decibels beside the rows are the PSNR (lesson 6) against the truth, over the fruit only: pixels count by their
# mask, so that the table top gives no points. They need a baseline (lesson 3) to compare with: the answer *mean
# picture of B*, the same for every input. It knows nothing of the input at all. Whoever is below it would do better
# not to look.

# %%
score = {}
for side in "ab":
    mean_picture = np.broadcast_to(train[side].mean(0), test[side].shape)
    score["mean", side] = quality(mean_picture, side)
    score["exchanged", side] = quality(exchanged[side], side)
    lesson.number(f"{NAMES[side]}, own reconstruction", quality(own[side], side), "dB")
    lesson.number(f"{NAMES[side]}, decoders exchanged", score["exchanged", side], "dB")
    lesson.number(f"{NAMES[side]}, mean picture", score["mean", side], "dB")

# %% [markdown]
# Why? Because the loss never sees the code. Take the trained autoencoder of A and any rotation Q of the 64 code
# numbers (QᵀQ = I). Rotate the code where it leaves the encoder, and back where it enters the decoder:
#
#     encoder's last layer      W, b  ->  W Q, b Q          z  ->  z Q
#     decoder's first layer     V     ->  Qᵀ V              (z Q) (Qᵀ V) = z V
#
# Every picture stays as it was, so the loss does, too, and every number of every code is another. Training has no
# reason to prefer one of these codes. Which it finds depends on the random initial weights. Two trainings find two,
# and the decoder of one reads the code of the other as you would read a text in an alphabet you never learned.

# %%
Q, _ = np.linalg.qr(rng.standard_normal((CODE, CODE)))
Q = Q.astype(np.float32)
last, first = apart_encoders["a"]["to_code"], apart_decoders["a"]["from_code"]
last.weight.value[...] = last.weight.value @ Q
last.bias.value[...] = last.bias.value @ Q
first.weight.value[...] = Q.T @ first.weight.value
after = encode(apart_encoders["a"], test["a"])
moved = np.abs(decode(apart_decoders["a"], after) - own["a"]).max()
same = np.corrcoef(apart_z["a"].ravel(), after.ravel())[0, 1]
lesson.number("rotated: correlation of new codes with old ones", same)
lesson.number("rotated: largest change of any pixel (black to white is 1)", moved)

# %% [markdown]
# ## One encoder, two decoders
# The idea of every face swapper since 2017: let both share the encoder.
#
#     z_A = E(x_A)     y_A = D_A(z_A)     L_A = mean |y_A - x_A|
#     z_B = E(x_B)     y_B = D_B(z_B)     L_B = mean |y_B - x_B|           L = L_A + L_B
#
# E is used twice in a step. So it runs forward twice, and each run has a **cache** of its own: what that run must
# remember for its way back. And its weights reach L by two ways, so their gradient is the sum of two (lesson 1):
#
#     dL/dE = dL_A/dE + dL_B/dE            dL/dD_A = dL_A/dD_A            dL/dD_B = dL_B/dD_B
#
# In this engine `backward` *adds* to the gradients that are there. That is all that sharing needs.

# %%
encoder = make_encoder()
decoders = {"a": make_decoder(), "b": make_decoder()}
shared = {"E": encoder, "D_A": decoders["a"], "D_B": decoders["b"]}
arena = nn.Arena(p for name, net in shared.items() for p in net.named_parameters(f"{name}."))
adam = nn.Adam(arena)


def shared_step(xa, xb):
    """Adds the gradient of L_A + L_B to all weights; returns L_A and L_B."""
    za, cache_ea = encoder.forward(xa)  # the same weights twice, and two caches
    zb, cache_eb = encoder.forward(xb)
    ya, cache_da = decoders["a"].forward(za)
    yb, cache_db = decoders["b"].forward(zb)
    loss_a, cache_la = mae.forward(ya, xa)
    loss_b, cache_lb = mae.forward(yb, xb)
    dza = decoders["a"].backward(mae.backward(1.0, cache_la), cache_da)
    dzb = decoders["b"].backward(mae.backward(1.0, cache_lb), cache_db)
    encoder.backward(dza, cache_ea)  # adds dL_A/dE
    encoder.backward(dzb, cache_eb)  # adds dL_B/dE
    return loss_a, loss_b


for step in range(STEPS):
    arena.zero_grad()  # once a step, not once a side
    losses = shared_step(batch("a"), batch("b"))
    adam.learning_rate = RATE * (1 - step / STEPS)
    adam.step()
print(f"  shared: losses {losses[0]:.4f} and {losses[1]:.4f} after {STEPS} steps")

z = {side: encode(encoder, test[side]) for side in "ab"}
swap = {"a": decode(decoders["a"], z["b"]), "b": decode(decoders["b"], z["a"])}
for side in "ab":
    score["swap", side] = quality(swap[side], side)
    lesson.number(f"{NAMES[side]}, swap with the shared encoder", score["swap", side], "dB")
reconstruction = decode(decoders["a"], z["a"])
rows = {
    "A: input x": test["a"],
    f"D_A(E(x))\n{quality(reconstruction, 'a'):.1f} dB": reconstruction,
    f"D_B(E(x))\n{score['swap', 'b']:.1f} dB": swap["b"],
    "B: truth": test["b"],
}
show_rows(rows, "One encoder, two decoders: the same exchange is a swap", "shared")
# %% [markdown]
# ## The codes on a map
# 64 numbers do not fit on paper. PCA (lesson 6) finds the plane in which all codes together spread most, and each
# code becomes a point in it. Each test picture of A has a partner of B, with the same parameters; thin lines join
# partners. If the code says what the fruit *does*, and not what it *is*, partners lie close together. Predict both
# maps.

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 4.4))
for ax, title, codes in zip(axes, ("Two encoders", "One encoder"), (apart_z, z), strict=True):
    both = np.concatenate([codes["a"], codes["b"]])  # (192, 64)
    _, _, directions = np.linalg.svd(both - both.mean(0), full_matrices=False)
    plane = (both - both.mean(0)) @ directions[:2].T
    pa, pb = plane[:96], plane[96:]
    ax.plot(*np.stack([pa, pb])[:, :40].transpose(2, 0, 1), color="0.75", lw=0.7, zorder=1)
    ax.scatter(*pa.T, s=16, color=course.RED, label="A: apple")
    ax.scatter(*pb.T, s=22, color=course.BLUE, marker="x", label="B: kiwi")
    distance = np.linalg.norm(codes["a"][:, None] - codes["b"], axis=-1)  # (96, 96)
    found = float(np.mean(distance.argmin(1) == np.arange(96)))
    lesson.number(f"{title.lower()}: partner is the nearest of 96 codes of B", 100 * found, "%")
    ax.set(title=f"{title}: partner nearest in {100 * found:.0f} %", xlabel="1st component")
axes[0].set_ylabel("2nd component")
axes[0].legend()
lesson.save(fig, "codes")

# %% [markdown]
# Guessing would find the partner in 1 % of the cases. So one encoder is enough for a common code; nothing else was
# changed. But the swap stays far below the target's own reconstruction. One reason can be read off the codes, in the
# directions that the map does not show: fit a straight line of best fit (least squares) that says +1 for codes of A
# and -1 for codes of B.

# %%
seen = np.concatenate([encode(encoder, train[side]) for side in "ab"])
centre, label = seen.mean(0), np.repeat([1.0, -1.0], COUNT)
line, *_ = np.linalg.lstsq(seen - centre, label, rcond=None)
told = np.mean([(z["a"] - centre) @ line > 0, (z["b"] - centre) @ line < 0])
lesson.number("sides told apart by a linear function of the code, test pictures", 100 * told, "%")

# %% [markdown]
# Half of them would be guessing. The encoder sees that it is shown an apple, and writes it into the code, because no
# loss forbids it. So each decoder knows only its own part of the space of codes, and a swap asks it for another. That
# is the weakness of the plain method. On faces its swap is often hardly better than the mean picture, however low
# both losses are. Lesson 10 says what to do about it.
#
# ## Break it

# %%
# Forget A's gradient before B's arrives, so that it is overwritten in place of added to:
# break: `encoder.backward(dzb, cache_eb)` -> `encoder.zero_grad(); encoder.backward(dzb, cache_eb)`
# Or make the swap with the wrong decoder, or give the second forward a different encoder, and see which check fails.
xa, xb = batch("a"), batch("b")
gradient = {}
for side, x in (("a", xa), ("b", xb)):  # each side alone
    arena.zero_grad()
    code, cache_e = encoder.forward(x)
    y, cache_d = decoders[side].forward(code)
    _, cache_l = mae.forward(y, x)
    encoder.backward(decoders[side].backward(mae.backward(1.0, cache_l), cache_d), cache_e)
    gradient[side] = encoder["to_code"].weight.grad.copy()
arena.zero_grad()
shared_step(xa, xb)
together = encoder["to_code"].weight.grad
error = np.abs(together - gradient["a"] - gradient["b"]).max() / np.abs(together).max()
lesson.check("the encoder's gradient is A's plus B's", error < 1e-4, f"relative error {error:.1e}")
above = min(score["swap", side] - score["mean", side] for side in "ab")
below = max(score["exchanged", side] - score["mean", side] for side in "ab")
lesson.check("the swap beats the mean picture", above > 0, f"{above:+.1f} dB at least")
lesson.check("exchanged decoders do not", below < 0, f"{below:+.1f} dB at most")
lesson.end()
