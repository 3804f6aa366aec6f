"""Lesson 7. Denoising

Noise in, clean out: a network learns to take the noise off digits, and is compared with the filters that people use for
that, each at its best setting. It wins clearly. Then both get photographs, and the network loses. At the end you know
why: what it has learned is not noise, but digits.
Before: lesson 4 (convolution), lesson 6 (pixel shuffle, PSNR).
"""

# %%
import course
import cv2
import numpy as np
from matplotlib import pyplot as plt

import nn
from swap.evaluate import measures

lesson = course.begin("07_denoising", __doc__)
rng = np.random.default_rng(lesson.seed)
digits = course.data("digits")
order = rng.permutation(5000)
x = (digits["x"][order, :, :, None] / 255).astype("f4")
train, test, label = x[:4000], x[4000:], digits["label"][order][4000:]
if lesson.fast:
    test, label = test[:200], label[:200]

# %% [markdown]
# ## The task
# Somebody adds **Gaussian noise** to a picture: to each pixel a random number of its own, normally distributed, with
# mean 0 and standard deviation σ. Black is 0 and white is 1 before; afterwards a number may lie outside, and is left
# there (a camera would cut it off). From the noisy picture, guess the clean one.
#
#     noisy = clean + σ n,   n ~ N(0, 1)                  loss = mean of (y - clean)²
#
# For the network this is an autoencoder with one change: its input is spoiled, its target is not. Giving back what
# came in, as in lesson 5, is now the wrong answer. Since we add the noise ourselves, we always know the right one,
# and every step can use fresh noise.


# %%
def add_noise(clean, sigma, seed):
    draws = np.random.default_rng([lesson.seed, seed])
    return clean + np.float32(sigma) * draws.standard_normal(clean.shape, dtype="f4")


# %% [markdown]
# ## The filters to beat
# - **Gaussian blur**: every pixel becomes the weighted mean of its neighbours.
# - **Median**: the middle value of its neighbours; a single odd one has no say.
# - **Bilateral**: the mean of those neighbours that have about the same brightness, so that edges stay sharp.
# - **Non-local means**: the mean of pixels elsewhere whose surroundings look alike.
#
# Each has settings, and the best ones depend on the noise. So each filter gets, for each noise level, the settings
# with which it does best on training digits. (OpenCV's non-local means takes bytes; -1 .. 2 is mapped to 0 .. 255 for
# it.)


# %%
def non_local_means(x, strength, template, window):
    bytes_in = np.clip(np.round((x + 1) * 85), 0, 255).astype(np.uint8)
    out = cv2.fastNlMeansDenoising(bytes_in, None, strength * 85, template, window)
    return out.astype("f4") / 85 - 1


FILTERS = {
    "Gaussian blur": (
        lambda x, sigma: cv2.GaussianBlur(x, (0, 0), sigma),
        [(s,) for s in (0.5, 0.7, 0.9, 1.2, 1.5, 2, 3)],
    ),
    "median": (cv2.medianBlur, [(3,), (5,)]),
    "bilateral": (
        lambda x, tones, pixels: cv2.bilateralFilter(x, 0, tones, pixels),
        [(c, s) for c in (0.2, 0.4, 0.8, 1.6, 3.2) for s in (0.7, 1, 1.5, 2)],
    ),
    "non-local means": (
        non_local_means,
        [(h, t, w) for h in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8) for t in (3, 5) for w in (15, 27)],
    ),
}


def apply(filter, settings, noisy):
    return np.stack([filter(x[..., 0], *settings) for x in noisy])[..., None].clip(0, 1)


def best_settings(filter, grid, clean, sigma):
    noisy = add_noise(clean, sigma, seed=1)
    return max(grid, key=lambda settings: course.psnr(apply(filter, settings, noisy), clean))


def filtered(noisy, sigma, tuning):
    """{name: pictures} of every filter at its best; the settings are chosen on the clean pictures `tuning`."""
    return {
        name: apply(filter, best_settings(filter, grid, tuning, sigma), noisy)
        for name, (filter, grid) in FILTERS.items()
    }


# %% [markdown]
# ## The network
# Convolutions only, on the halved picture, and a pixel shuffle at the end: no code, no dense layer, because nothing
# has to be squeezed. The filters were told how strong the noise is, by their settings. To be fair, so is the network:
# its input has a second channel, and σ stands in every pixel of it. Then one network serves for all levels.
#
# Strong noise makes large errors, so it would get all the attention. A weight for each picture evens that out. Since
# the backward pass starts with a dy that is ours to hold, it is one multiplication:
#
#     L = mean of v (y - clean)²,   v ~ 1 / σ²             dy = v 2 (y - clean) / M


# %%
def make_net(width, depth, seed):
    seed = np.random.default_rng([lesson.seed, seed])
    middle = [
        layer
        for _ in range(depth)
        for layer in (nn.Conv2d(width, width, 3, padding="same", rng=seed), nn.LeakyReLU())
    ]
    return nn.Sequential(
        nn.Conv2d(2, width, 5, stride=2, padding="same", rng=seed),  # 28 -> 14
        nn.LeakyReLU(),
        *middle,
        nn.Conv2d(width, 4, 3, padding="same", rng=seed),
        nn.PixelShuffle(2),  # (N, 14, 14, 4) -> (N, 28, 28, 1)
    )


def told(noisy, sigma):
    """The noisy pictures with a second channel that holds sigma."""
    return np.concatenate([noisy, np.broadcast_to(np.float32(sigma), noisy.shape)], 3)


def fit(net, draw, steps, learning_rate=3e-3):
    arena, mse = nn.Arena(net.named_parameters()), nn.MSE()
    adam = nn.Adam(arena, learning_rate)
    draws = np.random.default_rng(lesson.seed)
    for step in range(steps):
        adam.learning_rate = learning_rate * (1 - step / steps)
        clean = draw(draws, 32)
        sigma = draws.uniform(0.1, 0.75, (32, 1, 1, 1)).astype("f4")
        noisy = clean + sigma * draws.standard_normal(clean.shape, dtype="f4")
        y, cache = net.forward(told(noisy, sigma))
        _, loss_cache = mse.forward(y, clean)
        arena.zero_grad()
        weight = np.minimum(0.1 / sigma**2, 4)
        net.backward(weight * mse.backward(1.0, loss_cache), cache, need_dx=False)
        adam.step()
    return net


def run(net, noisy, sigma):
    return net.forward(told(noisy, sigma), train=False)[0].clip(0, 1)


WIDTH, DEPTH, STEPS = (16, 2, 400) if lesson.fast else (48, 4, 1900)
net = fit(
    make_net(WIDTH, DEPTH, 1), lambda draws, n: train[draws.integers(0, len(train), n)], STEPS
)

# %% [markdown]
# ## Held-out digits
# Noise of three levels, σ = 0.3, 0.45, 0.6, on digits that neither the network nor the settings have seen. Two
# measures, higher is better: PSNR in dB, and **SSIM**, the structural similarity, which compares means, contrasts and
# patterns under a small window and is 1 for equal pictures. *Guess first: which filter comes second?*


# %%
def ssim(pictures, truth):
    return float(measures.ssim(pictures, truth).mean())


LEVELS = (0.3, 0.45, 0.6)
ALL = LEVELS if lesson.fast else (0.1, 0.2, *LEVELS, 0.75)
tuning = train[: 24 if lesson.fast else 60]
results = {}  # (name, sigma): pictures
for sigma in ALL:
    noisy = add_noise(test, sigma, seed=2)
    found = {"noisy": noisy} | filtered(noisy, sigma, tuning) | {"network": run(net, noisy, sigma)}
    results |= {(name, sigma): pictures for name, pictures in found.items()}
names = list(FILTERS)
psnr = {key: course.psnr(pictures, test) for key, pictures in results.items()}
margin = {s: psnr["network", s] - max(psnr[name, s] for name in names) for s in ALL}
for sigma in LEVELS:
    print(f"  sigma {sigma}                PSNR     SSIM")
    for name in ("noisy", *names, "network"):
        likeness = ssim(results[name, sigma], test)
        print(f"    {name:<18} {psnr[name, sigma]:6.2f} dB  {likeness:.3f}")
        lesson.numbers[f"sigma {sigma}, {name}: PSNR [dB]"] = psnr[name, sigma]
        lesson.numbers[f"sigma {sigma}, {name}: SSIM"] = likeness

for sigma in ALL:
    lesson.number(f"sigma {sigma}: network above the best filter", margin[sigma], "dB")

chosen = [np.flatnonzero(label == k)[0] for k in range(10)]


def show_rows(rows, title, name):
    figure, axes = plt.subplots(len(rows), 1, figsize=(8.4, 0.82 * len(rows) + 0.4))
    for ax, (text, pictures) in zip(axes, rows.items(), strict=True):
        ax.imshow(course.mosaic(pictures[..., 0].clip(0, 1), 10, gap=2), vmin=0, vmax=1)
        ax.set_ylabel(text, rotation=0, ha="right", va="center")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    axes[0].set_title(title)
    lesson.save(figure, name)


rows = {"clean": test[chosen]} | {n: results[n, 0.45][chosen] for n in ("noisy", *names, "network")}
show_rows(rows, "Noise of σ = 0.45, every filter at its best setting", "digits")

figure, ax = plt.subplots(figsize=(7.6, 4.2))
for i, name in enumerate((*names, "network")):
    ax.plot(ALL, [psnr[name, s] for s in ALL], marker="s^Dvo"[i], ls="-" if i == 4 else "--",
            color=(course.GREY, course.PURPLE, course.GREEN, course.ORANGE, course.BLUE)[i], label=name)  # fmt: skip
ax.set(xlabel="σ of the noise (white - black = 1)", ylabel="PSNR of held-out digits, dB")
ax.set_xticks(ALL)
ax.set_title("Knowing what a digit looks like helps at every level, most in the middle")
ax.legend(loc="upper right")
lesson.save(figure, "levels")

# %% [markdown]
# The network is ahead everywhere, by more than 3 dB from σ = 0.3 on. Where the noise is weak its lead is smaller, 2
# dB at 0.2 and less than 1 at 0.1: there non-local means finds enough to go by in the picture itself. In the middle
# the filters can only blur, and the network fills in what it knows: strokes are dark or they are not, they have a
# certain width, and they go on. At the right end the lead shrinks again: where hardly anything is left to see, nobody
# sees much.
#
# ## A photograph
# Now the same noise on something else: a cup of coffee, cut into patches of 28 x 28 pixels. The filters get settings
# that suit photographs (chosen on a picture of a cat). The network stays as it is. *What will it make of a cup?*
#
# Beside it, a third party: the same network, trained in the same way, but on patches of the cat.

# %%
photos = {name: (v / 255).astype("f4") for name, v in course.data("photos").items()}


def patches(photo):
    h, w = photo.shape[0] // 28, photo.shape[1] // 28
    cut = photo[: h * 28, : w * 28].reshape(h, 28, w, 28).transpose(0, 2, 1, 3)
    return cut.reshape(-1, 28, 28, 1)


def cat_patches(draws, n):
    cat = photos["cat"]
    rows, columns = draws.integers(0, cat.shape[0] - 27, n), draws.integers(0, cat.shape[1] - 27, n)
    cut = np.stack([cat[r : r + 28, c : c + 28] for r, c in zip(rows, columns, strict=True)])
    return cut[..., None]


cups, cats = patches(photos["coffee"]), patches(photos["cat"])
cat_net = fit(make_net(WIDTH, DEPTH, 2), cat_patches, STEPS // 2)
SIGMA = 0.3
noisy = add_noise(cups, SIGMA, seed=3)
found = {"noisy": noisy} | filtered(noisy, SIGMA, cats[:: 8 if lesson.fast else 3])
found |= {"network of digits": run(net, noisy, SIGMA), "network of the cat": run(cat_net, noisy, SIGMA)}  # fmt: skip
for name, pictures in found.items():
    lesson.number(f"coffee, sigma {SIGMA}, {name}", course.psnr(pictures, cups), "dB")
best = max(names, key=lambda name: course.psnr(found[name], cups))
lost = course.psnr(found[best], cups) - course.psnr(found["network of digits"], cups)
lesson.number("coffee: network of digits below the best filter", lost, "dB")

busy = np.argsort(cups.std((1, 2, 3)))[-60::6]
kept = ("noisy", best, "network of digits", "network of the cat")
rows = {"clean": cups[busy]} | {name: found[name][busy] for name in kept}
show_rows(rows, "Patches of a photograph, σ = 0.3", "photographs")

# %% [markdown]
# The network of digits knows two things: paper and ink. It forces a cup into them, and is worse than the plainest
# filter. It was never a remover of noise; it was a drawer of digits that takes noisy hints. The one that saw one cat
# has learned something that coffee shares with cats (areas are smooth, edges are sharp and go on), and comes level
# with the best filter. It is no better than that: half as many steps, one picture to learn from, and no simple world
# of paper and ink.
#
# Keep this for the face swapper: its decoder, too, makes what it was trained on out of whatever it is given.
#
# ## Break it
# One word: give the network its noisy input as the target instead of the clean picture. The loss still falls.

# %%
# break: `mse.forward(y, clean)` -> `mse.forward(y, noisy)`
NEEDED = 0.5 if lesson.fast else 3
worst = min(margin[s] for s in LEVELS)
lesson.check(
    f"on digits the network is at least {NEEDED} dB above the best filter, at three noise levels",
    worst >= NEEDED,
    f"{worst:+.2f} dB where it is closest",
)
lesson.check("on photographs the best filter beats it", lost > 1, f"by {lost:.2f} dB")
lesson.end()
