"""Lesson 15. Break it

The same autoencoder is trained nine times, seven of them with a mistake that people make in backward passes, and the
loss falls every time. At the end you know why a falling loss proves nothing, which error of a gradient is rounding and
which is a mistake, and how to find out. Before: lessons 4 (convolution), 6 (autoencoder of digits), 14 (complex step).
"""

# %%
import copy
import textwrap

import course
import numpy as np
from matplotlib import pyplot as plt

import nn
import nn.check
from nn.check.mutants import MUTANTS, Mutant, planted

lesson = course.begin("15_break_it", __doc__)
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## The network
# The convolutional autoencoder of lesson 6, small: 28 x 28 pixels to 16 numbers and back. Its layers are run one by
# one, so that each calls its own function of the engine. (nn.Sequential runs a convolution and its activation as one.)
# Every step takes two batches of 16 digits, one after the other, before Adam moves: their gradients are *added*.

# %%
digits = course.data("digits")["x"][rng.permutation(5000)][..., None] / np.float32(255)
train_x, test_x = digits[:4000], digits[4000:4500]
STEPS = 50 if lesson.fast else 300


def make(dtype, backend):
    """The layers, always from the same start, and the arena of their weights."""
    new = {"rng": np.random.default_rng(lesson.seed), "dtype": dtype}
    same = new | {"padding": "same"}
    layers = [
        nn.Conv2d(1, 8, 3, stride=2, **same), nn.LeakyReLU(0.1),
        nn.Conv2d(8, 16, 3, stride=2, **same), nn.LeakyReLU(0.1),
        nn.Flatten(), nn.Dense(784, 16, **new),
        nn.Dense(16, 784, **new), nn.LeakyReLU(0.1), nn.Reshape((7, 7, 16)),
        nn.Conv2d(16, 32, 3, **same), nn.LeakyReLU(0.1), nn.PixelShuffle(2),
        nn.Conv2d(8, 4, 3, **same), nn.PixelShuffle(2), nn.Sigmoid(),
    ]  # fmt: skip
    return layers, arena_of([layer.to(backend) for layer in layers])


def arena_of(layers):
    return nn.Arena(
        (f"{i}.{n}", p) for i, layer in enumerate(layers) for n, p in layer.named_parameters()
    )


def forward(layers, x):
    caches = []
    for layer in layers:
        x, cache = layer.forward(x)
        caches.append(cache)
    return x, caches


def add_gradients(layers, x):
    """Forward and backward; adds to the gradients and returns the loss."""
    mse = nn.MSE().to(layers[0].backend)
    y, caches = forward(layers, x)
    loss, cache = mse.forward(y, x)
    dy = mse.backward(1.0, cache)
    for layer, cache in zip(layers[::-1], caches[::-1], strict=True):
        dy = layer.backward(dy, cache)
    return loss


def train():
    """The losses of every step, and what becomes of digits that were not trained on."""
    layers, arena = make(np.float32, "cpu")
    adam, order = nn.Adam(arena, 2e-3), np.random.default_rng(lesson.seed)
    losses = []
    for _ in range(STEPS):
        x = train_x[order.integers(0, len(train_x), 32)]
        arena.zero_grad()
        losses.append((add_gradients(layers, x[:16]) + add_gradients(layers, x[16:])) / 2)
        adam.step()
    return np.array(losses), forward(layers, test_x)[0]


def gradient():
    """The gradient of the first step, in float64 on the reference backend, as one flat array."""
    layers, arena = make(np.float64, "reference")
    for x in (train_x[:16], train_x[16:32]):
        add_gradients(layers, x.astype(np.float64))
    return arena.grads.copy()


# %% [markdown]
# ## Seven mistakes, and yours
# `nn.check.mutants` is a table of wrong versions of every function of the engine, each a mistake that people make.
# `with planted(mistake, backend)` puts one in the place of the right function. We take seven:

# %%
CHOSEN = (
    ("conv2d_backward", "the kernel is flipped"),
    ("conv2d_backward", "it is a mean over the batch, where it should be a sum"),
    ("conv2d_backward", "it is assigned, where it should be added"),
    ("conv2d_backward", "the bias gets no gradient"),
    ("dense_backward", "a reshape stands for the transpose of the weights"),
    ("leaky_relu_backward", "dy passes unchanged"),
    ("adam_step", "m and v are not corrected for their bias"),
)
LAYER = {
    "conv2d_backward": "Conv2d",
    "dense_backward": "Dense",
    "leaky_relu_backward": "LeakyReLU",
    "adam_step": "Adam",
}
mistakes = [m for chosen in CHOSEN for m in MUTANTS if (m.of, m.name) == chosen]

# %% [markdown]
# The eighth is yours. Below is the backward pass of convolution by taps, as in lesson 4, and it stands in for the
# engine's in a run of its own. It is right, for now: swap two letters, forget a sum, and run the lesson again.


# %%
def my_conv2d_backward(dy, x, w, stride, padding):
    (_, H, W, C), (KH, KW, _, K), (_, OH, OW, _) = x.shape, w.shape, dy.shape
    (SH, SW), (top, bottom, left, right) = stride, padding
    xp = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + SH * (OH - 1) + 1, SH)
            columns = slice(j, j + SW * (OW - 1) + 1, SW)
            patch = xp[:, rows, columns]  # (N, OH, OW, C): the pixels that met tap (i, j)
            dw[i, j] = patch.reshape(-1, C).T @ dy.reshape(-1, K)
            dxp[:, rows, columns] += dy @ w[i, j].T
    dx = dxp[:, top : top + H, left : left + W]
    db = dy.sum(axis=(0, 1, 2))
    return dx, dw, db


def stand_in(engine):
    """Yours, with the arguments of the engine's: gradients are added to dw and db."""

    def yours(dy, cache, dw, db, *, need_dx=True):
        dx, my_dw, my_db = my_conv2d_backward(dy, cache.x, cache.w, cache.stride, cache.padding)
        dw += my_dw
        db += my_db
        return np.ascontiguousarray(dx) if need_dx else None

    return yours


mistakes.append(Mutant("conv2d_backward", "yours", ("dx", "dw", "db"), stand_in))

# %% [markdown]
# Train the right one first, then each of the others, from the same start with the same digits. Before you look: in how
# many of the seven does the loss *not* fall? Which will end worst, and will any end better than the right one?

# %%
right_losses, right_y = train()
right_gradient, right_end = gradient(), np.mean((right_y - test_x) ** 2)
lesson.number("right: loss on unseen digits", right_end)
lesson.number("a black picture for every digit", np.mean(test_x**2))
runs = {}
for mistake in mistakes:
    with planted(mistake, "cpu"):
        losses, y = train()
    with planted(mistake, "reference"):
        error = np.linalg.norm(gradient() - right_gradient) / np.linalg.norm(right_gradient)
    runs[mistake.name] = losses, y, np.mean((y - test_x) ** 2), error
    lesson.number(f"{mistake.name}: loss on unseen digits", runs[mistake.name][2])
    lesson.number(f"{mistake.name}: first gradient off by", 100 * error, "%")

# %%
# fmt: off
figure, panels = plt.subplots(2, 4, figsize=(9.5, 4.8), sharex=True, sharey=True)
for panel, (name, (losses, _, end, error)) in zip(panels.flat, runs.items(), strict=True):
    panel.plot(right_losses, color=course.GREY, lw=3, alpha=0.6, label="right")
    panel.plot(losses, color=course.RED, lw=1.2, label="this one")
    panel.set_title(textwrap.fill(name, 31), fontsize=8.5)
    words = f"ends at {end:.4f}\ngradient off by {error:.0%}"
    panel.text(0.97, 0.95, words, transform=panel.transAxes, ha="right", va="top", size=8)
panels[0, 0].set(yscale="log", ylim=(0.02, 0.4))
panels[0, 0].set_yticks((0.02, 0.05, 0.1, 0.2), ("0.02", "0.05", "0.1", "0.2"))
panels[0, 0].minorticks_off()
panels[0, 0].legend(loc="lower left", fontsize=8)
figure.supxlabel("step", size=10)
figure.supylabel("mean squared error of a batch", size=10)
lesson.save(figure, "losses")

rows = {"digits": test_x, "right": right_y} | {name: y for name, (_, y, _, _) in runs.items()}
figure, panels = plt.subplots(len(rows), 1, figsize=(8, 6))
for panel, (name, y) in zip(panels, rows.items(), strict=True):
    panel.imshow(course.mosaic(y[:14, :, :, 0], 14), vmin=0, vmax=1)
    panel.set_ylabel(textwrap.fill(name, 34), rotation=0, ha="right", va="center", size=8)
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
lesson.save(figure, "digits")
# fmt: on

# %% [markdown]
# The loss falls in all seven, and soon it has halved. (Numbers are those of seed 0.) But 0.11 is the loss of a black
# picture: it takes only biases to get there, and two of the seven stay there. One of these two has no wrong gradient at
# all. Without the correction of their bias (lesson 3), Adam's first step is 0.1 g / sqrt(0.001 g²) = 3.2 steps long,
# and it stays too long for hundreds of steps: the network runs into the black picture and does not come out.
#
# Of the other five, no curve gives one away. A mean for a sum is 94 % off, and changes nothing: Adam divides by the
# size of the gradient, so a constant factor drops out. (Under plain gradient descent it would be a learning rate 16
# times too small.) Assigned for added throws half of the digits away in every step. Here that is a smaller batch; in
# equation (8) of lesson 14 it would be all that A says to the encoder. And what is 100 % off, the biases without a
# gradient, ends even a little better than the right one. How wrong a gradient is says little about how badly it trains.
# That is what makes such mistakes live for years: the network only learns a little worse than it could.
#
# ## What finds them
# `nn.check` compares every entry of every gradient with the complex step (lesson 14), in float64, and tries what every
# backward pass promises: that gradients are added, that nothing is written to, ... `first_failure` runs it while the
# mistake is planted. `nn.check.mine` is handed the wrong function and asked what is wrong with it.

# %%
accepted = []
for mistake in mistakes[:-1]:
    with planted(mistake, "reference"):
        row = nn.check.first_failure(nn.REGISTRY[LAYER[mistake.of]], "reference", lesson.seed)
    answer = nn.check.mine(
        mistake.make(getattr(nn.get_backend("reference"), mistake.of)), of=mistake.of
    )
    if row is None:
        accepted.append(mistake.name)
    print(f"  {mistake.of}: {mistake.name}")
    print("    check:", row and f"rejected by {row.check!r}: {row.worst.sentence()}")
    print("    mine: ", "; ".join(answer.mistakes))

# %% [markdown]
# All are rejected, in a fraction of a second, and named. Two need more than a derivative. "Assigned" has the right dw;
# that it is not *added* shows only where the gradient array does not start from 0. And a step of Adam has no derivative
# to compare with: it is compared with another implementation, step by step.
#
# ## Which error is rounding, and which is a mistake?
# Now take one derivative, that of the loss by one weight of the first kernel, in four ways, with steps h of all sizes:
#
#     forward difference     (L(w + h) - L(w)) / h            off by  h L'' / 2 + rounding / h
#     central difference     (L(w + h) - L(w - h)) / 2h       off by  h² L''' / 6 + rounding / h
#     complex step           Im L(w + i h) / h                off by  h² L''' / 6, and nothing is subtracted
#
# and compare with what backpropagation says: the right one, then one that is 1.0005 times too large. A rule of thumb
# calls a relative error below 1e-6 right. Guess: which of the curves go below that line, and where?

# %%
layers, arena = make(np.float64, "reference")
x = train_x[:8].astype(np.float64)
add_gradients(layers, x)
at = int(np.argmax(np.abs(layers[0].weight.grad)))  # arena.values begins with the first kernel


def loss_at(h, dtype=np.float64):
    """The loss with h, which may be complex, added to one weight."""
    twin = copy.deepcopy(layers)
    for layer in twin:
        for p in layer.parameters():
            p.value = p.value.astype(dtype)
    arena_of(twin).values[at] += h
    y, _ = forward(twin, x.astype(dtype))
    return nn.MSE().to("reference").forward(y, x.astype(dtype))[0]


def central(h, dtype):
    return float(loss_at(h, dtype) - loss_at(-h, dtype)) / (2 * h)


# fmt: off
steps = 10.0 ** -np.arange(0.5, 16.1, 0.5)
slopes = {
    "forward difference": [(loss_at(h) - loss_at(0)) / h for h in steps],
    "central difference": [central(h, np.float64) for h in steps],
    "complex step": [loss_at(1j * h, complex).imag / h for h in steps],
    "central, in float32": [central(h, np.float32) for h in steps],
}
figure, panels = plt.subplots(1, 2, figsize=(9, 3.9), sharey=True)
for panel, factor in zip(panels, (1.0, 1.0005), strict=True):
    said = factor * arena.grads[at]
    for (name, found), style in zip(slopes.items(), ("--", "-.", "-", ":"), strict=True):
        panel.loglog(steps, np.maximum(np.abs(np.array(found) / said - 1), 1e-17), style, label=name)
    panel.axhline(1e-6, color="black", lw=0.8)
    panel.set(xlabel="step h (smaller to the right)", xlim=(steps[0], steps[-1]), ylim=(5e-18, 30))
    panel.set_title("against the right gradient" if factor == 1 else "against 1.0005 times the gradient")
panels[0].set_ylabel("relative difference")
panels[1].legend(loc="lower right")
lesson.save(figure, "steps")
# fmt: on
for name, found in slopes.items():
    best = np.abs(np.array(found) / arena.grads[at] - 1)
    lesson.number(f"{name}: best, at h = {steps[best.argmin()]:.0e}", best.min())
tiny = loss_at(1e-200j, complex).imag / 1e-200
lesson.number("complex step at h = 1e-200", abs(tiny / arena.grads[at] - 1))

# %% [markdown]
# **Left**, from large steps to small ones. Above h = 1e-5 the finite differences are off by 1e-3: the step carries some
# unit of the network across the kink of its LeakyReLU. (The complex step moves sideways and crosses none.) Then they
# reach 1e-7 and 1e-8, and from there each ten times smaller step costs a digit: L(w + h) and L(w) share nearly all of
# their digits, and the difference keeps the rest. In float32 there is no good step at all. The complex step subtracts
# nothing, and stays at 1e-16.
#
# **Right**, the mistake puts a floor under every curve, at 5e-4. In float32 it cannot be seen: the error of the method
# is larger. So whether 1e-6 is right or wrong depends on what measured it. From a forward difference it is as good as
# can be had; from a complex step it is ten thousand million times the rounding, a mistake. When in doubt change h, or
# the numbers' precision: what is rounding moves, and what is a mistake stays.
#
#     1e-16 to 1e-12    rounding in float64: complex step, or the same sum in another order
#     1e-10 to 1e-6     the best that finite differences do in float64
#     1e-7 to 1e-4      rounding in float32
#     any size, and it stays when h or the precision changes: a mistake
#
# ## Break it yourself
# Change `my_conv2d_backward` above: exchange `rows` and `columns`, write `=` for `+=`, forget a sum. Look at the panel
# "yours" first and guess whether anybody would have noticed. Then read what `mine` says.

# %%
# break: `db = dy.sum(axis=(0, 1, 2))` -> `db = dy.mean(axis=(0, 1, 2))`
answer = nn.check.mine(my_conv2d_backward)
print(answer)
lesson.check(
    "none of the seven is accepted", set(accepted) <= {"yours"}, f"{len(accepted)} accepted"
)
lesson.check("your backward is right", answer.right, "; ".join(answer.mistakes))
lesson.end()
