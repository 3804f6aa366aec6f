"""Lesson 11. A flag into another flag: what a code holds

Australia's flag becomes that of the United States, in the same wind. Both are drawn from four numbers, four knobs: so
we can turn one knob, watch the code move, and ask whether the code of one flag can be read by somebody who only knows
the other. At the end you know what it means that a code says what a subject *does*. Before: lessons 9 and 10.
"""

# %%
import course
import numpy as np
from matplotlib import pyplot as plt

import nn
from swap.evaluate import baselines
from swap.evaluate.measures import psnr
from swap.faces.align import CropDefinition
from swap.match import CodeMatch
from swap.studio import flags
from swap.studio.family import faces

lesson = course.begin("11_flags", __doc__)
rng = np.random.default_rng(lesson.seed)
COUNT, STEPS, BATCH = (160, 200, 16) if lesson.fast else (400, 900, 16)
SIZE, CODE, WIDE, MATCH = 32, 32, 12, np.float32(0.01)
NAMES, OTHER = {"a": "australia", "b": "usa"}, {"a": "b", "b": "a"}

# %% [markdown]
# ## Four knobs
# `flags.Params` has 17 numbers. Here 13 stay as they are, so that the rest can be followed by eye:
#
#     phase   0 to 360 degrees    how far the waves have travelled along the cloth; a whole turn is nothing
#     yaw     -28 to 28 degrees   how far the flag is turned about its pole
#     droop   0 to 20 degrees     how far its free end hangs down
#     light   0.5 to 1.3          how bright the sun is
#
# A setting of the knobs gives two pictures, one of each flag. Training pictures of the two have settings of their
# own.

# %%
KNOBS = {"phase": (0, 360), "yaw": (-28, 28), "droop": (0, 20), "light": (0.5, 1.3)}


def draw_knobs(count):
    """(count, 4): each knob somewhere in its range."""
    return np.stack([rng.uniform(*ends, count) for ends in KNOBS.values()], axis=1)


def render(side, knobs):
    """Pictures (N, 32, 32, 3) in [0, 1] and masks (N, 32, 32) of a flag for knobs (N, 4)."""
    params = [
        flags.Params(wind=0.8, flutter=0, phase_1=p, phase_2=p, yaw=yaw, droop=droop, light=light)
        for p, yaw, droop, light in knobs.tolist()
    ]
    rgb, mask = faces("flags", NAMES[side], params, SIZE, CropDefinition(margin=1.0))
    return np.float32(rgb) / 255, np.float32(mask) / 255


train_knobs = {side: draw_knobs(COUNT) for side in "ab"}
train = {side: render(side, train_knobs[side])[0] for side in "ab"}
test_knobs = draw_knobs(96)
pairs = {side: render(side, test_knobs) for side in "ab"}
test, mask = ({side: pairs[side][part] for side in "ab"} for part in (0, 1))


def turned(knob, count=24):
    """(count, 4): all knobs in the middle, one of them turned from end to end."""
    knobs = np.tile([np.mean(ends) for ends in KNOBS.values()], (count, 1))
    knobs[:, list(KNOBS).index(knob)] = np.linspace(*KNOBS[knob], count)
    return knobs


def show_rows(rows, title, name):
    """One row of eight pictures for each entry of ``rows``."""
    sheet = course.mosaic(np.concatenate([pictures[:8] for pictures in rows.values()]), 8)
    fig, ax = plt.subplots(figsize=(8.4, 0.6 + 0.86 * len(rows)))
    ax.imshow(np.clip(sheet, 0, 1))
    ax.set(xticks=[], yticks=16 + 33 * np.arange(len(rows)), yticklabels=rows, title=title)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    lesson.save(fig, name)


rows = {
    f"{knob}, {ends[0]} to {ends[1]}": render("a", turned(knob, 8))[0]
    for knob, ends in KNOBS.items()
}
show_rows(
    rows | {"the last, usa": render("b", turned("light", 8))[0]},
    "One knob a row, from end to end",
    "knobs",
)

# %% [markdown]
# ## Training
# The network of lesson 9, with a code of 32 numbers; standardised input and matched codes as in lesson 10. In
# formulas, with shown_A(x) = (x - m_A) / (s_A + 0.05), likewise for B, and M for the distance of the codes' means and
# covariances:
#
#     L = mean |D_A(E(shown_A(x_A))) - x_A| + mean |D_B(E(shown_B(x_B))) - x_B| + 0.01 M

# %%
mean = {side: train[side].mean(0) for side in "ab"}
spread = {side: train[side].std(0) + np.float32(0.05) for side in "ab"}
same = {"padding": "same", "init": "he", "rng": rng}
encoder = nn.Sequential(
    nn.Conv2d(3, WIDE, 5, stride=2, **same), nn.LeakyReLU(0.1),
    nn.Conv2d(WIDE, 2 * WIDE, 5, stride=2, **same), nn.LeakyReLU(0.1),
    nn.Conv2d(2 * WIDE, 4 * WIDE, 5, stride=2, **same), nn.LeakyReLU(0.1),
    nn.Flatten(), nn.Dense(64 * WIDE, CODE, rng=rng),
)  # fmt: skip
decoders = {
    side: nn.Sequential(
        nn.Dense(CODE, 64 * WIDE, rng=rng), nn.Reshape((4, 4, 4 * WIDE)),
        nn.Conv2d(4 * WIDE, 8 * WIDE, 3, **same), nn.LeakyReLU(0.1), nn.PixelShuffle(2),
        nn.Conv2d(2 * WIDE, 4 * WIDE, 3, **same), nn.LeakyReLU(0.1), nn.PixelShuffle(2),
        nn.Conv2d(WIDE, 4 * WIDE, 3, **same), nn.LeakyReLU(0.1), nn.PixelShuffle(2),
        nn.Conv2d(WIDE, 3, 3, padding="same", rng=rng), nn.Sigmoid(),
    )
    for side in "ab"
}  # fmt: skip


def show(x, side):
    """What the encoder is shown of pictures of a side."""
    return (x - mean[side]) / spread[side]


def encode(x, side):
    return encoder.forward(show(x, side), train=False)[0]


def decode(z, side):
    return decoders[side].forward(z, train=False)[0]


networks = {"E": encoder, "D_A": decoders["a"], "D_B": decoders["b"]}
arena = nn.Arena(p for name, net in networks.items() for p in net.named_parameters(f"{name}."))
adam, mae = nn.Adam(arena), nn.MAE()
moments = CodeMatch(("a", "b"), CODE, nn.get_backend("cpu"))
for step in range(STEPS):
    arena.zero_grad()
    z, cache_e, dz = {}, {}, {}
    for side in "ab":
        x = train[side][rng.integers(0, COUNT, BATCH)]
        z[side], cache_e[side] = encoder.forward(show(x, side))
        y, cache_d = decoders[side].forward(z[side])
        _, cache_l = mae.forward(y, x)
        dz[side] = decoders[side].backward(mae.backward(1.0, cache_l), cache_d)
    _, dm = moments.gradient(z)
    for side in "ab":
        encoder.backward(dz[side] + MATCH * dm[side], cache_e[side], need_dx=False)
    adam.learning_rate = 1.5e-3 * (1 - step / STEPS)
    adam.step()

score = {}
for side, other in OTHER.items():
    known = train[side], train[other], test[side]
    answers = {
        name: getattr(baselines, name)(*known) for name in ("copy", "mean", "nearest", "linear")
    }
    answers["swap"] = decode(encode(test[side], side), other)
    answers["own reconstruction"] = decode(encode(test[other], other), other)
    for name, pictures in answers.items():
        value = float(psnr(pictures, test[other], mask[other]).mean())
        lesson.number(f"{NAMES[side]} to {NAMES[other]}, {name}", value, "dB")
        score[other, name] = value

# %% [markdown]
# The swap beats the mean picture and the linear answer, and not *nearest*. With four knobs and hundreds of training
# pictures, one of these nearly does what the input does, and it is sharp. With all 17 numbers turned, as `swap demo
# flags` does, no stored picture comes near any more, and nearest falls far behind (README). A baseline is only as
# weak as its task is rich.
#
# ## Turn a knob, and watch the code
# The knobs stand in the middle; one of them is turned from end to end in 24 small steps. Each step is a picture, each
# picture a code, 32 numbers. PCA of these codes, of both flags together, gives the plane to look at them in. The
# whole turn of the phase ends where it began: which shape must its path have? And which shape do you expect of the
# light's?

# %%
codes = {side: encode(train[side], side) for side in "ab"}
fig, axes = plt.subplots(1, 3, figsize=(9.2, 3.8))
for ax, knob in zip(axes, ("phase", "yaw", "light"), strict=True):
    paths = {side: encode(render(side, turned(knob))[0], side) for side in "ab"}
    both = np.concatenate([paths["a"], paths["b"]])
    _, _, directions = np.linalg.svd(both - both.mean(0), full_matrices=False)
    for side, colour, marker in (("a", course.RED, "o"), ("b", course.BLUE, "x")):
        path = (paths[side] - both.mean(0)) @ directions[:2].T
        ax.plot(*path.T, color=colour, lw=1.2, marker=marker, ms=4, label=NAMES[side])
        ax.plot(*path[0], marker="s", ms=9, mfc="none", color=colour)
    ax.set(title=f"{knob}, {KNOBS[knob][0]} to {KNOBS[knob][1]}", xlabel="1st component")
    ax.axis("equal")
axes[0].set_ylabel("2nd component")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
lesson.save(fig, "paths")

# %% [markdown]
# Squares mark the first step. The phase draws a closed curve, because its end is its beginning; both flags go round
# it in the same sense and begin at about the same place. Light is a line, and yaw a bent one. Where the two paths lie
# apart, as two parallels do, the code still knows which flag it sees, and where they run in different directions, the
# swap is wrong. No picture of the one flag has ever been shown together with one of the other that did the same.
#
# Decode the path of the phase with both decoders, and every third picture of it looks so:

# %%
path = turned("phase", 9)[:8]
australia, usa = (render(side, path)[0] for side in "ab")
z = encode(australia, "a")
rows = {
    "input": australia,
    "D_A(z)": decode(z, "a"),
    "D_B(z): the swap": decode(z, "b"),
    "truth": usa,
}
show_rows(rows, "The wave travels: one code, two decoders", "wave")

# %% [markdown]
# ## Reading one flag's code with the other flag's key
# Paths that look alike are one thing. A number is better. Fit a linear reader on codes of Australia's flag alone, by
# least squares: it gives each knob as a weighted sum of the 32 code numbers. (The phase jumps from 360 to 0, so its
# cosine and sine are read instead.)
#
#     knob ≈ z W + w          W, w from A's training pictures
#
# Then let it read test pictures of A, and codes of the other flag, of which it has never seen one. The measure is R²,
# the share of a knob's variance that is read correctly: 1 is perfect, 0 is no better than always saying the mean, and
# below 0 is worse.


# %%
def to_read(knobs):
    """(N, 5): cosine and sine of the phase, and the other knobs."""
    phase = np.deg2rad(knobs[:, 0])
    return np.column_stack([np.cos(phase), np.sin(phase), knobs[:, 1:]])


def with_one(z):
    return np.column_stack([z, np.ones(len(z))])


names = ["cos phase", "sin phase", *list(KNOBS)[1:]]
reader, *_ = np.linalg.lstsq(with_one(codes["a"]), to_read(train_knobs["a"]), rcond=None)
true = to_read(test_knobs)
r2 = {}
for side in "ab":
    wrong = with_one(encode(test[side], side)) @ reader - true
    r2[side] = 1 - wrong.var(0) / true.var(0) - wrong.mean(0) ** 2 / true.var(0)
    for name, value in zip(names, r2[side], strict=True):
        lesson.number(f"R² of {name}, read off {NAMES[side]} by Australia's reader", value)

fig, ax = plt.subplots(figsize=(7.6, 3.2))
places = np.arange(len(names))
ax.bar(places - 0.2, r2["a"], 0.38, color=course.RED, label="test pictures of Australia's flag")
ax.bar(places + 0.2, np.maximum(r2["b"], -0.2), 0.38, color=course.BLUE, label="of the other flag")
for place in places:
    for offset, side in ((-0.2, "a"), (0.2, "b")):
        value = r2[side][place]
        ax.text(place + offset, max(value, 0) + 0.02, f"{value:.2f}", ha="center", size=9)
ax.set_xticks(places, names)
ax.axhline(0, color="0.3", lw=0.8)
ax.set(ylabel="R²", ylim=(-0.25, 1.45), title="A reader fitted on Australia's codes alone")
ax.legend(loc="upper center", ncols=2)
lesson.save(fig, "reader")

# %% [markdown]
# ## Break it
# The code says what a flag does; the decoder says which flag. Give the code back to the decoder of its own side: every
# line still runs, the pictures are even sharper, and nothing was swapped.

# %%
# break: `decode(encode(test[side], side), other)` -> `decode(encode(test[side], side), side)`
read = float(np.mean(r2["b"][[0, 1, 2]]))
lesson.check(
    "Australia's reader reads phase and yaw off the other flag", read > 0.15, f"mean R² {read:.2f}"
)
above = min(score[s, "swap"] - score[s, "copy"] for s in "ab")
lesson.check(
    "the swap is nearer to the truth than the input", above > 3, f"{above:+.1f} dB at least"
)
lesson.end()
