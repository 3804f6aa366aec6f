"""Lesson 13. Faces into fruit, which does not work

Everything that made an apple a kiwi and one head another is done once more, with a head and an apple. Nothing fails: no
error, both losses fall, and what comes out looks like an apple. At the end you know how to see that it means nothing,
and a number that says so before anything is trained. Before: lessons 9 to 12.
"""

# %%
import course
import numpy as np
from matplotlib import pyplot as plt

import nn
from swap.data import FaceSet
from swap.evaluate import overlap
from swap.evaluate.measures import psnr
from swap.evaluate.regressor import Regressor
from swap.faces.align import CropDefinition
from swap.studio import fruit
from swap.studio.family import draws, faces

lesson = course.begin("13_faces_into_fruit", __doc__)
COUNT, STEPS, BATCH, TEST = (32, 26, 16, 20) if lesson.fast else (300, 500, 16, 96)
CODE, WIDE, OTHER = 64, 12, {"a": "b", "b": "a"}

# %% [markdown]
# ## What would be right?
# There is no true answer to "this face as an apple". So we are generous and make one: both have a yaw, a pitch and a
# roll, and stand in a light. An apple that is turned like the head and lit like the head shall be the right answer.
# The training apples, too, are turned and lit as heads are. If the network finds *anything* that both do alike, it
# can score.
#
# Four pairs, then: the three of lessons 10 to 12, and this one. All with the same network and as many steps, so that
# they can be compared.

# %%
PAIRS = {
    "apple and kiwi": (("fruit", "apple"), ("fruit", "kiwi")),
    "two flags": (("flags", "australia"), ("flags", "usa")),
    "two heads": (("heads", "a"), ("heads", "b")),
    "head and apple": (("heads", "a"), ("fruit", "apple")),
}
if lesson.fast:
    del PAIRS["two flags"]


def as_fruit(p):
    """A fruit's parameters for a head's: turned and lit alike."""
    return fruit.Params(
        yaw=p.yaw, pitch=p.pitch, roll=p.roll, light_x=p.light_x, light_y=p.light_y, light=p.light, warmth=p.warmth
    )  # fmt: skip


def render(subject, params):
    """Pictures uint8 (N, 64, 64, 3) and masks of a subject; parameters of a head are turned into a fruit's."""
    family, name = subject
    if family == "fruit" and not isinstance(params[0], fruit.Params):
        params = [as_fruit(p) for p in params]
    return faces(family, name, params, 64, CropDefinition(margin=1.0))


def halved(pictures):
    """Pictures or masks of 64 x 64, uint8, as 32 x 32 in [0, 1]: means of 2 x 2."""
    n, *_ = pictures.shape
    return pictures.reshape(n, 32, 2, 32, 2, -1).mean((2, 4), dtype=np.float32) / 255


data = {}
for pair, subjects in PAIRS.items():
    family = subjects[0][0]
    params = {side: draws(family, COUNT, 4 * lesson.seed + i) for i, side in enumerate("ab")}
    params["test"] = draws(family, TEST, 4 * lesson.seed + 2)
    data[pair] = {"params": params, "sets": {}, "train": {}, "test": {}, "mask": {}}
    for side, subject in zip("ab", subjects, strict=True):
        pictures, _ = render(subject, params[side])
        data[pair]["sets"][side] = FaceSet(pictures, margin=1.0)
        data[pair]["train"][side] = halved(pictures)
        pictures, masks = render(subject, params["test"])
        data[pair]["test"][side] = halved(pictures)
        data[pair]["mask"][side] = halved(masks)[..., 0]

# %% [markdown]
# ## The number that could have told you before
# `swap.evaluate.overlap` compares two sets of pictures before training; `swap train` prints it. It asks four things,
# each answered from 0 to 1: do brightness, sharpness and what lies at eyes and mouth cover the same range in both
# sets, and are both the same kind of thing at all? The last is called **kinship**:
#
#     e(A, B)  = share of B's deviations that 20 principal components of A's deviations explain
#     shared   = (e(A, B) - e(A upside down, B)) / (e(B, B) - e(A upside down, B))
#     alike    = correlation of the two mean pictures
#
# *What varies in A, does it vary in B?* Any smooth components explain something of any smooth picture, so what A's
# components explain when they stand on their heads is taken off: that is chance. Either `shared` or `alike` is enough
# for kinship. The total is kinship times the geometric mean of the others. Which pair will have the lowest?

# %%
scores = {}
for pair, found in data.items():
    scores[pair] = overlap(found["sets"]["a"], found["sets"]["b"])
    lesson.number(f"{pair}: overlap", scores[pair].total)
    lesson.number(f"{pair}: kinship", scores[pair].parts["kinship"])
usual = overlap(data["two heads"]["sets"]["a"], data["apple and kiwi"]["sets"]["a"])
lesson.number("head, and apple as in lesson 10: overlap", usual.total)
print(f"  and the advice: {usual.advice[0]}")

# %% [markdown]
# ## Train all four
# The network of lesson 9, the standardised input of lesson 10.


# %%
def learn(train):
    """swap(x, source, target) after training, and the mean loss at the begin and at the end."""
    rng = np.random.default_rng(lesson.seed)
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
    mean = {side: train[side].mean(0) for side in "ab"}
    spread = {side: train[side].std(0) + np.float32(0.05) for side in "ab"}

    def show(x, side):
        return (x - mean[side]) / spread[side]

    def swap(x, source, target):
        z, _ = encoder.forward(show(x, source), train=False)
        return decoders[target].forward(z, train=False)[0]

    networks = {"E": encoder, "D_A": decoders["a"], "D_B": decoders["b"]}
    arena = nn.Arena(p for name, net in networks.items() for p in net.named_parameters(f"{name}."))
    adam, mae, losses = nn.Adam(arena), nn.MAE(), []
    for step in range(STEPS):
        arena.zero_grad()
        for side in "ab":
            x = train[side][rng.integers(0, COUNT, BATCH)]
            z, cache_e = encoder.forward(show(x, side))
            y, cache_d = decoders[side].forward(z)
            loss, cache_l = mae.forward(y, x)
            dz = decoders[side].backward(mae.backward(1.0, cache_l), cache_d)
            encoder.backward(dz, cache_e, need_dx=False)
            losses.append(float(loss))
        adam.learning_rate = 1.5e-3 * (1 - step / STEPS)
        adam.step()
    return swap, np.mean(losses[:10]), np.mean(losses[-10:])


swaps, gain, own_gain = {}, {}, {}
for pair, found in data.items():
    swaps[pair], first, last = learn(found["train"])
    print(f"  {pair}: the loss fell from {first:.3f} to {last:.3f}")
    for side, other in OTHER.items():
        truth, mask = found["test"][other], found["mask"][other]
        answers = {
            "mean": np.broadcast_to(found["train"][other].mean(0), truth.shape),
            "swap": swaps[pair](found["test"][side], side, other),
            "own": swaps[pair](truth, other, other),
        }
        decibels = {name: float(psnr(made, truth, mask).mean()) for name, made in answers.items()}
        gain[pair, other] = decibels["swap"] - decibels["mean"]
        own_gain[pair, other] = decibels["own"] - decibels["mean"]
    for what, gains in (("swap", gain), ("own reconstruction", own_gain)):
        lesson.number(
            f"{pair}: {what} above the mean picture, mean of both ways",
            np.mean([gains[pair, s] for s in "ab"]),
            "dB",
        )


# %%
def show_rows(rows, title, name):
    """One row of eight pictures for each entry of ``rows``."""
    sheet = course.mosaic(np.concatenate([pictures[:8] for pictures in rows.values()]), 8)
    fig, ax = plt.subplots(figsize=(8.4, 0.6 + 0.86 * len(rows)))
    ax.imshow(np.clip(sheet, 0, 1))
    ax.set(xticks=[], yticks=16 + 33 * np.arange(len(rows)), yticklabels=rows, title=title)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    lesson.save(fig, name)


heads, apples = (data["head and apple"]["test"][side] for side in "ab")
swap = swaps["head and apple"]
rows = {
    "input": heads,
    "own reconstruction": swap(heads, "a", "a"),
    "as an apple": swap(heads, "a", "b"),
    "generous truth": apples,
    "an apple as a head": swap(apples, "b", "a"),
}
show_rows(rows, "It looks like an apple. Does it do what the head does?", "fruit")

# %% [markdown]
# Every one is an apple, and they differ. Whoever sees only the third row could believe that it worked. One can check
# without any truth: *read* the turn off the picture. A linear regression from pixels to yaw (lesson 12) is fitted on
# training pictures of the target, and reads the swaps. What will it find for the apples: that they follow the head,
# or that they do not care?

# %%
fig, axes = plt.subplots(1, 2, figsize=(8.6, 3.9), sharex=True)
follows = {}
for ax, pair in zip(axes, ("two heads", "head and apple"), strict=True):
    found = data[pair]
    yaw = {part: np.array([[p.yaw] for p in params]) for part, params in found["params"].items()}
    reader = Regressor(found["train"]["b"], yaw["b"])
    read = reader.read(swaps[pair](found["test"]["a"], "a", "b"))[:, 0]
    of_truth = reader.read(found["test"]["b"])[:, 0]
    follows[pair] = np.corrcoef(yaw["test"][:, 0], read)[0, 1]
    lesson.number(
        f"{pair}: yaw read off the truth, correlation",
        np.corrcoef(yaw["test"][:, 0], of_truth)[0, 1],
    )
    lesson.number(f"{pair}: yaw read off the swap, correlation", follows[pair])
    ax.plot(yaw["test"], of_truth, "s", ms=4, color="0.75", label="truth")
    ax.plot(yaw["test"], read, "o", ms=5, color=course.BLUE, label="swap")
    ax.set(title=f"{pair}: r = {follows[pair]:.2f}", xlabel="yaw of the input, degrees")
axes[0].set_ylabel("yaw read off the picture, degrees")
axes[0].legend()
lesson.save(fig, "yaw")

# %% [markdown]
# A correlation of 1 is a subject that turns as the input does, 0 one that does not care, and below 0 it turns the
# *other* way. Two heads follow each other. The apple turns against the head, and with other seeds as well: to the
# encoder the deviations of a head that turns left, brighter here and darker there, evidently look like those of an
# apple that turns right. It compares pixels. What is the same turn of a head and of an apple, no loss ever told it.
#
# Now the number from before the training, beside what came of it: for each pair how far the swap is above the mean
# picture, which knows nothing of the input, and how far the target's own reconstruction is, which is the most there
# is to win.

# %%
fig, ax = plt.subplots(figsize=(7.4, 4))
for pair in PAIRS:
    total = scores[pair].total
    values = [np.mean([g[pair, side] for side in "ab"]) for g in (gain, own_gain)]
    ax.plot([total, total], values, color="0.8", zorder=1)
    ax.plot(total, values[0], "o", ms=9, color=course.RED if values[0] < 0 else course.BLUE)
    ax.plot(total, values[1], "o", ms=9, mfc="white", color=course.GREY)
    ax.annotate(pair, (total, values[0]), (8, -4), textcoords="offset points")
ax.axhline(0, color="0.4", lw=0.8, ls="--")
ax.text(1.0, 0.1, "mean picture", ha="right", va="bottom", color="0.35")
ax.plot([], [], "o", color=course.BLUE, label="swap")
ax.plot([], [], "o", mfc="white", color=course.GREY, label="own reconstruction")
ax.set(xlabel="overlap, before training", ylabel="dB above the mean picture", xlim=(-0.06, 1.02))
ax.set_title("The overlap score knows which swap will mean nothing")
ax.legend(loc="upper left")
lesson.save(fig, "overlap")

# %% [markdown]
# The score is no forecast of decibels: among related pairs, more of it does not mean a better swap. It is a warning.
# A low kinship says that the two sets do not vary in the same way. Own reconstructions get better and better all the
# same, and the swap stays an answer to a question that nobody asked. It is not 0 here, because we were generous: our
# apples turn and are lit as heads are, and light is light. With the apples of lesson 10 it is, and `swap train` says
# so in words.
#
# ## Break it

# %%
# Ask for the overlap of the heads with themselves in place of the apples:
# break: `overlap(found["sets"]["a"], found["sets"]["b"])` -> `overlap(found["sets"]["a"], found["sets"]["a"])`
others = [pair for pair in PAIRS if pair != "head and apple"]
kin = min(scores[pair].parts["kinship"] for pair in others)
mixed = scores["head and apple"].parts["kinship"]
found = f"{mixed:.2f}, the others {kin:.2f} or more"
lesson.check("kinship is lowest for the head and the apple", mixed < 0.75 * kin, found)
mixed = np.mean([gain["head and apple", side] for side in "ab"])
worst = min(np.mean([gain[pair, side] for side in "ab"]) for pair in others)
found = f"{mixed:+.1f} dB, the others {worst:+.1f} or more"
lesson.check("its swap is the worst of all", mixed < worst, found)
lesson.end()
