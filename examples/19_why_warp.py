"""Lesson 19. Why we warp

Since 2017, face swappers bend every training picture like rubber and ask the network for the picture unbent. Here it is
tried with and without, with few faces and with many: reconstruction of the training faces, of faces never seen, and the
swap. At the end you know what the warp is good for, and what it is not. Before: lessons 7 (denoising), 10 and 12.
"""

# %%
import course
import numpy as np
from matplotlib import pyplot as plt

import nn
from swap.data import Augmentation, Batches
from swap.data.faces import stored_side
from swap.evaluate.measures import psnr
from swap.faces.align import CropDefinition
from swap.studio.family import draws, face_set, faces

lesson = course.begin("19_why_warp", __doc__)
STEPS, BATCH, TEST = (60, 16, 32) if lesson.fast else (600, 16, 96)
COUNTS = {"few": 24, "many": 120 if lesson.fast else 400}
SIZE, CODE, WIDE, OTHER = 32, 64, 12, {"a": "b", "b": "a"}

# %% [markdown]
# ## The warp
# The face square has 5 x 5 control points g. Each is moved by a random n, Gaussian with standard deviation `noise` (a
# share of the square's side). Between them the shift is interpolated:
#
#     W(u) = u + interpolate(n)(u)            where the input takes its pixel u from
#     T    = the turn, zoom and shift that is nearest to W     what the target does as well
#
# The *input* is the picture sampled at W(u), the *target* the picture sampled at T(u). So of the bending, the target
# follows what is a mere turn, zoom or shift. What is left over, the rubber, the network has to undo. It is the
# denoising autoencoder of lesson 7, whose noise is in the shape and not in the grey values. Before that, both are
# turned, zoomed and shifted at random together (`rotation` in degrees, `zoom`, `shift`): nothing to undo, only more
# different pictures.
#
# Three ways to train, with `Augmentation` and `Batches` of the product (swap/data/warp.py has the equations in full):

# %%
WAYS = {
    "as they are": Augmentation(rotation=0, zoom=0, shift=0, mirror=0, noise=0),
    "moved": Augmentation(rotation=5, zoom=0.05, shift=0.025, mirror=0, noise=0),
    "moved and warped": Augmentation(rotation=5, zoom=0.05, shift=0.025, mirror=0, noise=0.025),
}
SIDE = stored_side(SIZE, CropDefinition().margin)  # 56 pixels: the face square with a margin


def training_set(side, count):
    """``count`` stored faces of head a or b, with their margin."""
    return face_set("heads", side, draws("heads", count, 4 * lesson.seed + "ab".index(side)), SIDE)


sets = {name: {side: training_set(side, n) for side in "ab"} for name, n in COUNTS.items()}
params = draws("heads", TEST, 4 * lesson.seed + 2)
test = {
    side: np.float32(faces("heads", side, params, SIZE, CropDefinition(margin=1.0))[0]) / 255
    for side in "ab"
}

shown = {}
for name, way in WAYS.items():
    batch = Batches(
        sets["many"]["a"], sets["many"]["b"], lesson.seed, 8, SIZE, augmentation=way
    ).at(0)
    shown |= {f"{name}: input": batch.input_a, "target " * (1 + len(shown) // 2): batch.target_a}
sheet = course.mosaic(np.concatenate(list(shown.values())), 8)
fig, ax = plt.subplots(figsize=(8.4, 5.6))
ax.imshow(sheet)
labels = [name if "input" in name else "target" for name in shown]
ax.set(xticks=[], yticks=16 + 33 * np.arange(6), yticklabels=labels)
ax.set_title("The same eight faces: what the network is shown, and what it must answer")
ax.tick_params(length=0)
ax.spines[:].set_visible(False)
lesson.save(fig, "warped")

# %% [markdown]
# ## Six trainings
# Few faces or many, three ways each; the network of lesson 9, the standardised input of lesson 10, as many steps for
# all. Few faces are what one has after a short clip. Then every face is shown hundreds of times. What will the
# network without the warp do?


# %%
def learn(sets, way):
    """swap(x, source, target) after training on ``sets`` with the augmentation ``way``."""
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
    squares = {side: s.squares(np.arange(len(s)), SIZE) for side, s in sets.items()}
    mean = {side: x.mean(0) for side, x in squares.items()}
    spread = {side: x.std(0) + np.float32(0.05) for side, x in squares.items()}

    def show(x, side):
        return (x - mean[side]) / spread[side]

    def swap(x, source, target):
        z, _ = encoder.forward(show(x, source), train=False)
        return decoders[target].forward(z, train=False)[0]

    networks = {"E": encoder, "D_A": decoders["a"], "D_B": decoders["b"]}
    arena = nn.Arena(p for name, net in networks.items() for p in net.named_parameters(f"{name}."))
    adam, mae = nn.Adam(arena), nn.MAE()
    batches = Batches(sets["a"], sets["b"], lesson.seed, BATCH, SIZE, augmentation=way)
    for step in range(STEPS):
        input_a, target_a, input_b, target_b = batches.at(step)
        arena.zero_grad()
        for side, x, target in (("a", input_a, target_a), ("b", input_b, target_b)):
            z, cache_e = encoder.forward(show(x, side))
            y, cache_d = decoders[side].forward(z)
            _, cache_l = mae.forward(y, target)  # the unbent picture
            dz = decoders[side].backward(mae.backward(1.0, cache_l), cache_d)
            encoder.backward(dz, cache_e, need_dx=False)
        adam.learning_rate = 1.5e-3 * (1 - step / STEPS)
        adam.step()
    return swap


MEASURES = ("reconstruction of training faces", "of faces never seen", "swap")
score = {}
for count in COUNTS:
    for name, way in WAYS.items():
        swap = learn(sets[count], way)
        values = []
        for side, other in OTHER.items():
            seen = sets[count][side].squares(np.arange(24), SIZE)
            values.append((
                psnr(swap(seen, side, side), seen).mean(),
                psnr(swap(test[side], side, side), test[side]).mean(),
                psnr(swap(test[side], side, other), test[other]).mean(),
            ))  # fmt: skip
        score[count, name] = np.mean(values, axis=0)
        for what, value in zip(MEASURES, score[count, name], strict=True):
            lesson.number(f"{count}, {name}: {what}", value, "dB")

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharex=True)
styles = ((course.GREY, "s", 9), (course.BLUE, "o", 9), (course.ORANGE, "D", -16))
for ax, count in zip(axes, COUNTS, strict=True):
    for row, name in enumerate(WAYS):
        ax.plot(score[count, name][:2], [row, row], color="0.8", zorder=1)
        for what, value, (colour, marker, up) in zip(
            MEASURES, score[count, name], styles, strict=True
        ):
            ax.plot(value, row, marker, ms=8, color=colour, label=what if row == 0 else None)
            ax.annotate(
                f"{value:.1f}",
                (value, row),
                (0, up),
                textcoords="offset points",
                ha="center",
                size=9,
            )
    ax.set(title=f"{count}: {COUNTS[count]} faces a side", xlabel="PSNR in dB", ylim=(2.6, -0.6))
axes[0].set_yticks(range(3), WAYS)
axes[1].set_yticks([])
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
lesson.save(fig, "decibels")

# %% [markdown]
# Read the left half first. As they are, 24 faces are learned by heart: their reconstruction is several decibels
# better than that of faces never seen. That is overfitting (lesson 3), and both ways to change the pictures take from
# it. But look at which of the two does it: *moving* the faces brings the unseen ones up, and the swap with them.
# *Bending* them as well takes a little more off the training faces, and gives next to nothing for it. With many faces
# there is less to learn by heart in so few steps; then each change costs a little, because capacity goes into what no
# test picture asks for, and the swap hardly moves.
#
# So, measured on these heads, the famous part of the warp is not the part that helps. What speaks for keeping a
# little of it: it costs little, and recorded faces are aligned by a detector that trembles, which bends them a little
# anyhow. There nobody knows the right swap, so nobody can measure it as here. The recipe of this project bends less
# than that of 2017 did (swap/recipe.py, "gentle").
#
# And no augmentation asks for a swap: standardised input does more for it than all of this (lesson 10).
#
# ## Break it

# %%
# Forget to tell the batches how to warp, so that all faces stay as they are:
# break: `BATCH, SIZE, augmentation=way` -> `BATCH, SIZE, augmentation=WAYS["as they are"]`
gap = {way: score["few", way][0] - score["few", way][1] for way in WAYS}
found = f"{gap['as they are']:.2f} dB without, {gap['moved and warped']:.2f} dB with"
lesson.check(
    "warped, few faces are learned by heart less",
    gap["moved and warped"] < 0.8 * gap["as they are"],
    found,
)
lesson.end()
