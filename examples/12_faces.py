"""Lesson 12. Faces

Two heads, nobody's likeness, and now with the classes of the product: the network of 2017 on 64 x 64 pixels, batches
with the random warp, the trainer of `swap demo`. Two recipes are trained and watched. At the end you know why the two
losses that every face swapper shows say nothing about its swap, and what does. Before: lessons 9 and 10.
"""

# %%
from dataclasses import replace

import course
import numpy as np
from matplotlib import pyplot as plt

from swap.data.faces import stored_side
from swap.evaluate import baselines
from swap.evaluate.measures import psnr
from swap.evaluate.regressor import params_table, recovery
from swap.evaluate.rendered import Rendered
from swap.faces.align import CropDefinition
from swap.model import PRESETS
from swap.recipe import RECIPES
from swap.train import Trainer

lesson = course.begin("12_faces", __doc__)
COUNT, STEPS, TEST = (50, 30, 32) if lesson.fast else (300, 500, 96)

# %% [markdown]
# ## Two heads
# `Rendered` says which pictures a run is trained on and measured by: here heads a and b, with a seed. Its parameters
# are 22 numbers: yaw, pitch and roll of the head, the eyes, the eyelids, smile, jaw, ... and the light. Training
# pictures of A and of B show different ones; test pictures come in pairs, as in lesson 9.
#
# The training pictures are stored with a margin around the face, 112 pixels wide for the 64 that the network sees. So
# there is some picture left when a face is turned or shifted. That is what the **random warp** does: in each step
# every face is turned and moved a little and bent like rubber, anew. The network is shown the bent face (*input*),
# and must answer with the face that is only turned and moved (*target*). Lesson 19 asks what that is good for.

# %%
SIDE = stored_side(64, CropDefinition().margin)
rendered = Rendered("heads", "a", "b", COUNT, lesson.seed)
sets = rendered.training(SIDE, lambda *_: None)
test = rendered.test(SIDE, lambda *_: None, TEST)
NAMES, OTHER = {"a": "head a", "b": "head b"}, {"a": "b", "b": "a"}


def new_trainer(recipe):
    """The network `tiny` (16 filters in its first convolution), its batches and its optimizer."""
    folder = lesson.folder / "run"  # where `swap train` would save: nothing is saved here
    return Trainer(folder, sets, CropDefinition(), PRESETS["tiny"], recipe, seed=lesson.seed)


def show_rows(rows, title, name):
    """One row of eight pictures for each entry of ``rows``."""
    sheet = course.mosaic(np.concatenate([pictures[:8] for pictures in rows.values()]), 8, gap=2)
    fig, ax = plt.subplots(figsize=(8.4, 0.6 + 0.9 * len(rows)))
    ax.imshow(np.clip(sheet, 0, 1), interpolation="antialiased")
    ax.set(xticks=[], yticks=32 + 66 * np.arange(len(rows)), yticklabels=rows, title=title)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    lesson.save(fig, name)


# %% [markdown]
# ## Two recipes
# A *recipe* is all that a run does besides the network. **alike** is that of `swap demo`: standardised input, round
# trips, matched codes (lesson 10), every picture seen through a small blur, so that swapped pictures, which are soft,
# look like true ones, and a *prior*: each decoder starts from its side's mean picture. **plain** is the same without
# these: the method of 2017, with today's learning rate.

# %%
recipes = {"alike": replace(RECIPES["alike"], warm_up=STEPS // 8, round_trips_from=STEPS // 2)}
recipes["plain"] = replace(
    recipes["alike"], standardise=False, prior=False, round_trips=0.0, match=0.0, soften=0.0
)
trainers = {name: new_trainer(recipe) for name, recipe in recipes.items()}
lesson.number("parameters", trainers["alike"].arena.size)
batch = trainers["alike"].batches.at(0)
rows = {
    "A: input": batch.input_a,
    "A: target": batch.target_a,
    "B: input": batch.input_b,
    "B: target": batch.target_b,
}
show_rows(rows, "The first batch: what the network is shown, and what it must answer", "batch")

# %% [markdown]
# ## Training
# One step is `Trainer.step`, and it is lesson 9's, in the product's words:
#
#     arena.zero_grad()
#     losses = model.backpropagate({"a": (input_a, target_a), "b": (input_b, target_b)}, weight, ...)
#     adam.step()
#
# `weight` makes pixels of the face count more than those around it, and eyes and mouth most. Along the way we do what
# no face swapper can do: ask for the swap's decibels. Both losses will fall, with both recipes. Will both swaps get
# better?


# %%
def quality(pictures, side):
    """PSNR in dB against the truth, over the face: the mean over the test pictures."""
    return float(psnr(pictures, test.faces[side], test.masks[side]).mean())


curves = {}
for name, recipe in recipes.items():
    trainer, model, losses, points = trainers[name], trainers[name].model, [], []
    for step in range(STEPS):
        rate = recipe.rate_at(step, step / STEPS)
        losses.append(trainer.step(step, trainer.batches.at(step), rate))
        if (step + 1) % (STEPS // 10) == 0:
            made = model.swap(test.faces["a"], "a", "b")
            own = model.swap(test.faces["b"], "b", "b")
            points.append((step + 1, quality(made, "b"), quality(own, "b")))
    curves[name] = np.array(losses), np.array(points)
    first, last = curves[name][0][: STEPS // 10].mean(), curves[name][0][-STEPS // 10 :].mean()
    lesson.number(f"{name}: mean loss, first tenth of the steps", first)
    lesson.number(f"{name}: mean loss, last tenth", last)
    lesson.number(f"{name}: swap a to b at the end", points[-1][1], "dB")
    lesson.number(f"{name}: b's own reconstruction", points[-1][2], "dB")

squares = {side: faces.squares(np.arange(COUNT), 64) for side, faces in sets.items()}
known = squares["a"], squares["b"], test.faces["a"]
mean, nearest = baselines.mean(*known), baselines.nearest(*known)
floor = {"mean": quality(mean, "b"), "nearest": quality(nearest, "b")}
for name, value in floor.items():
    lesson.number(f"a to b, {name}", value, "dB")

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.8))
for name, colour in (("alike", course.BLUE), ("plain", course.ORANGE)):
    losses, points = curves[name]
    window = max(1, STEPS // 40)
    smooth = np.convolve(losses.mean(1), np.ones(window) / window, "valid")
    axes[0].plot(np.arange(len(smooth)) + window, smooth, color=colour, label=name)
    axes[1].plot(points[:, 0], points[:, 1], color=colour, marker="o", ms=4, label=f"{name}: swap")
    axes[1].plot(points[:, 0], points[:, 2], color=colour, ls=":", label=f"{name}: B's own")
axes[0].set(xlabel="step", ylabel="mean of both losses", title="Both losses fall", ylim=(0, None))
axes[0].legend()
for name, style in (("nearest", "--"), ("mean", "-.")):
    axes[1].axhline(floor[name], color=course.GREY, ls=style, lw=1.2)
    axes[1].annotate(
        name, (1, floor[name]), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
        ha="right", color="0.35", size=9,
    )  # fmt: skip
axes[1].set(xlabel="step", ylabel="PSNR over the face, in dB", title="The swap, against its truth")
fig.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4)
lesson.save(fig, "curves")

# %% [markdown]
# ## The pictures
# Input, both swaps, truth. Look at the mouths and at the direction of the heads, not only at the likeness: a mean
# picture of B is a perfect likeness.

# %%
swaps = {name: trainers[name].model.swap(test.faces["a"], "a", "b") for name in recipes}
rows = {
    "input: head a": test.faces["a"],
    f"plain\n{quality(swaps['plain'], 'b'):.1f} dB": swaps["plain"],
    f"alike\n{quality(swaps['alike'], 'b'):.1f} dB": swaps["alike"],
    "truth: head b": test.faces["b"],
}
show_rows(rows, "Head b does what head a does", "swap")

# %% [markdown]
# ## Does it smile when A smiles?
# Decibels add up everything. Expression is small: a few pixels at the mouth. So read it off the picture. A linear
# **regression** (`swap.evaluate.regressor`) is fitted on training pictures of B, whose parameters are known: from the
# pixels to yaw, jaw, smile and all others. Then it reads the swap, and what it reads is compared with what A really
# did: the correlation is 1 for a perfect transfer, and 0 where the swap does not care. How well it reads the truth
# itself is the most that can be asked; parameters that it reads off the truth with less than 0.5 are left out.

# %%
names, known_params = params_table(rendered.training_params("b"))
_, test_params = params_table(test.params)
pictures = {
    "truth": test.faces["b"],
    "alike": swaps["alike"],
    "plain": swaps["plain"],
    "nearest": nearest,
}
read = recovery(names, squares["b"], known_params, test_params, pictures)
kept = [i for i, r in enumerate(read.rows["truth"]) if r.correlation >= 0.5]
kept.sort(key=lambda i: -read.rows["truth"][i].correlation)
average = {}
fig, ax = plt.subplots(figsize=(8.6, 3.6))
styles = (
    ("truth", "0.5", "s"),
    ("alike", course.BLUE, "o"),
    ("plain", course.ORANGE, "^"),
    ("nearest", course.GREEN, "x"),
)
for kind, colour, marker in styles:
    values = [read.rows[kind][i].correlation for i in kept]
    average[kind] = float(np.mean(values))
    lesson.number(f"{kind}: mean correlation of {len(kept)} parameters read", average[kind])
    ax.plot(values, color=colour, marker=marker, ls="none", ms=7, label=kind)
ax.set_xticks(range(len(kept)), [read.names[i] for i in kept], rotation=35, ha="right")
ax.set(
    ylabel="correlation with what A did",
    ylim=(-0.25, 1.05),
    title="Read off the picture: does B do it?",
)
ax.axhline(0, color="0.7", lw=0.8)
ax.legend(loc="lower left", ncols=4)
lesson.save(fig, "expression")

# %% [markdown]
# ## What can be learned from it
# Look at the curves again. The losses of `plain` fall as nicely as those of `alike`, B's own reconstruction climbs as
# high, and nobody who sees only these could tell the two apart. But its swap stops climbing half way, about where
# *nearest* stands, and no number that a face swapper shows will say so.
#
# What is wrong with it? Not what one would think: it turns its head and opens its mouth nearly as well. Its colours
# are wrong. What the skin and the wall of A look like is in its code, and the decoder of B does what it can with it.
# And what is wrong with both? Eyelids, brows and gaze hardly come through in so few steps; the correlation says it,
# the decibels do not, because these are a few pixels. Twelve times as many steps with twice the filters, `swap demo`,
# do better (README). One number is never enough.
#
# ## Break it

# %%
# Decode with the decoder of A, as if nothing were to be swapped:
# break: `made = model.swap(test.faces["a"], "a", "b")` -> `made = model.swap(test.faces["a"], "a", "a")`
# Or say "b", "b": the pictures of A are taken for pictures of B, and the wrong mean picture is taken off them.
for name in recipes:
    losses = curves[name][0]
    fell = losses[-STEPS // 10 :].mean(0) / losses[: STEPS // 10].mean(0)
    lesson.check(
        f"{name}: both losses fall", fell.max() < 1, f"to {100 * fell.max():.0f} % or less"
    )
gain = curves["alike"][1][-1, 1] - curves["plain"][1][-1, 1]
lesson.check("the recipe's swap is better", gain > 0, f"{gain:+.2f} dB")
above = curves["alike"][1][-1, 1] - floor["mean"]
lesson.check("and better than the mean picture", above > 0, f"{above:+.2f} dB")
lesson.end()
