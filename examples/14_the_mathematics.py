"""Lesson 14. The mathematics of the swap

Two losses, one shared encoder, and the sum of two gradients: every equation of the face swapper, derived by the chain
rule and compared with numbers that nobody derived. At the end you know what each line of `SwapModel.backpropagate`
does, and why none of them mentions a swap. Before: lessons 1 (gradients are added), 3 (Adam), 9 and 10.
"""

# %%
import copy

import course
import numpy as np
from matplotlib import pyplot as plt

import nn
import nn.check
from swap.data import Batches, face_squares
from swap.model import SwapModel, get_preset
from swap.studio import family

lesson = course.begin("14_the_mathematics", __doc__)
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## The network, and its two losses
# A is an apple, B a kiwi, both rendered (lesson 10). E is the encoder with weights θ; D_A and D_B are decoders with
# weights φ_A and φ_B, and σ is the sigmoid. a and b are batches of pictures; warp(a) is the same batch, bent a little:
# what the network is shown. No weight is in the warp, so no gradient goes there. Forward, in four lines:
#
#     (1)  c_A = E(warp(a))                 c_B = E(warp(b))                   codes; the same θ in both
#     (2)  z_A = D_A(c_A),  y_A = σ(z_A)    z_B = D_B(c_B),  y_B = σ(z_B)      pictures; φ_A here, φ_B there
#     (3)  L_A = 1/M sum |y_A - a|          L_B = 1/M sum |y_B - b|            M numbers in a batch of pictures
#     (4)  L   = L_A + L_B
#
# The cell says the same with the swapper's own layers, in its smallest size. Two passes of E give two caches.


# %%
def make(dtype, backend):
    """The swapper `tiny`, its three networks, and an arena for each."""
    model = SwapModel(get_preset("tiny"), seed=lesson.seed, init="he").to(backend)
    for p in model.parameters():
        p.value, p.grad = p.value.astype(dtype), p.grad.astype(dtype)
    nets = {"E": model.encoder, "D_A": model.decoders["a"], "D_B": model.decoders["b"]}
    return model, nets, {part: nn.Arena(net.named_parameters()) for part, net in nets.items()}


PICTURES, STEPS, EACH, FEW = (24, 12, 4, 1) if lesson.fast else (300, 400, 8, 2)
FROM = 3 * STEPS // 8  # the step in which the saboteur begins
apples = family.face_set("fruit", "apple", family.draws("fruit", PICTURES, lesson.seed), 88)
kiwis = family.face_set("fruit", "kiwi", family.draws("fruit", PICTURES, lesson.seed, 10_000), 88)
batches = Batches(apples, kiwis, lesson.seed, EACH)  # .at(step): warp(a), a, warp(b), b
x_a, a, x_b, b = (pictures[:FEW].astype(np.float64) for pictures in batches.at(0))
model, nets, arenas = make(np.float64, "reference")
E, D_A, D_B = nets.values()
sigmoid, mae = nn.Sigmoid().to("reference"), nn.MAE().to("reference")

(c_a, cache_ea), (c_b, cache_eb) = E.forward(x_a), E.forward(x_b)  # (1)
(z_a, cache_da), (z_b, cache_db) = D_A.forward(c_a), D_B.forward(c_b)  # (2)
(y_a, cache_sa), (y_b, cache_sb) = sigmoid.forward(z_a), sigmoid.forward(z_b)
(loss_a, cache_la), (loss_b, cache_lb) = mae.forward(y_a, a), mae.forward(y_b, b)  # (3)
lesson.number("L = L_A + L_B at the start", loss_a + loss_b)  # (4)

# %% [markdown]
# ## A judge that knows no chain rule
# To check a derivation we need the derivative from elsewhere. Move the weights w by a small step along a direction u,
# but sideways, in the *complex* plane:
#
#     L(w + i h u) = L(w) + i h <dL/dw, u> - h² ...             <dL/dw, u> = Im L(w + i h u) / h
#
# That is the **complex step**. Unlike a finite difference (lesson 2) it subtracts nothing, so h can be 1e-200, and the
# result is right to the last digits. It runs forward passes only. u is +1 or -1, at random, for each weight of one
# part, so that a single wrong entry of a gradient moves the result.

# %%
H = 1e-200


def slopes(part, u):
    """dL_A and dL_B along u, in the weights of a part or in "c_A", "c_B": (1) to (3), forward only."""
    twin = copy.deepcopy(nets)
    for p in (p for net in twin.values() for p in net.parameters()):
        p.value = p.value.astype(complex)
    if part in twin:
        nn.Arena(twin[part].named_parameters()).values += 1j * H * u
    found = []
    for side, x, target in (("A", x_a, a), ("B", x_b, b)):
        c = twin["E"].forward(x.astype(complex), train=False)[0]
        c = c + 1j * H * u if part == f"c_{side}" else c
        z = twin[f"D_{side}"].forward(c, train=False)[0]
        d = 1 / (1 + np.exp(-z)) - target
        found.append((d * np.sign(d.real)).mean().imag / H)  # |d|, for complex numbers too
    return found


def cmp(what, found, expected):
    """Prints how well two results agree, relative to the largest number; rounding makes 1e-16 to 1e-12."""
    error = nn.check.compare(what, np.asarray(found), np.asarray(expected)).worst
    words = "exact" if error == 0 else f"agrees to {error:.0e}"
    print(f"  {what:52} {words if error < 1e-10 else f'WRONG, off by {error:.2g}'}")
    return error


# %% [markdown]
# ## Backwards: from the losses to the pictures, through the decoders, to the codes
# (4) is a sum, which hands its gradient on unchanged: dL/dL_A = dL/dL_B = 1. From (3), the slope of |d| is its sign:
#
#     (5)  dy_A = dL/dy_A = sign(y_A - a) / M,     dz_A = dy_A y_A (1 - y_A)     σ' = σ (1 - σ)
#     (6)  dφ_A = dL/dφ_A = (∂D_A/∂φ_A)ᵀ dz_A      φ_A is on no path to L_B, so A alone decides
#     (7)  dc_A = dL/dc_A = (∂D_A/∂c_A)ᵀ dz_A
#
# and the same with B. Nobody ever writes the matrices ∂D/∂φ down: `backward` multiplies by their transposes, layer by
# layer. It adds (6) to the decoder's gradients and returns (7).

# %%
dy_a, dy_b = mae.backward(1.0, cache_la), mae.backward(1.0, cache_lb)  # (5)
dz_a, dz_b = sigmoid.backward(dy_a, cache_sa), sigmoid.backward(dy_b, cache_sb)
cmp("(5) dz_A", dz_a, np.sign(y_a - a) * y_a * (1 - y_a) / a.size)
dc_a = D_A.backward(dz_a, cache_da)  # (6) is added, (7) is returned
dc_b = D_B.backward(dz_b, cache_db)
for part, own, other in (("D_A", 0, 1), ("D_B", 1, 0)):
    u = rng.choice([-1.0, 1.0], arenas[part].values.shape)
    slope = slopes(part, u)
    cmp(f"(6) gradient of {part} along u", arenas[part].grads @ u, slope[own])
    cmp(f"    slope of L_{'AB'[other]} along it: 0", slope[other], 0.0)
for part, dc in (("c_A", dc_a), ("c_B", dc_b)):
    u = rng.choice([-1.0, 1.0], dc.shape)
    cmp(f"(7) d{part} along u", np.sum(dc * u), sum(slopes(part, u)))

# %% [markdown]
# ## The encoder: one θ, two paths, one sum
# θ reaches L through c_A and through c_B. The chain rule adds over all paths (lesson 1):
#
#     (8)  dθ = (∂E(warp(a))/∂θ)ᵀ dc_A  +  (∂E(warp(b))/∂θ)ᵀ dc_B  =  dL_A/dθ + dL_B/dθ
#
# Each term is one `E.backward`, with the cache of its own forward pass. What would happen if `backward` *assigned* its
# result to the gradient instead of adding it? (The second term would wipe out the first. Lesson 15 tries it.)

# %%
theta = arenas["E"]
terms = []
for dc, cache in ((dc_a, cache_ea), (dc_b, cache_eb)):
    theta.zero_grad()
    E.backward(dc, cache, need_dx=False)
    terms.append(theta.grads.copy())
theta_a, theta_b = terms
both = theta_a + theta_b  # (8)
u = rng.choice([-1.0, 1.0], theta.values.shape)
slope_a, slope_b = slopes("E", u)
cmp("    dL_A/dθ along u", theta_a @ u, slope_a)
cmp("    dL_B/dθ along u", theta_b @ u, slope_b)
error = cmp("(8) their sum along u: the whole loss", both @ u, slope_a + slope_b)

theta.zero_grad()
E.backward(dc_b, cache_eb, need_dx=False)  # no zero_grad in between, and B first:
E.backward(dc_a, cache_ea, need_dx=False)  # the engine adds, in any order
cmp("    the sum that the engine makes by itself", theta.grads, both)

# %% [markdown]
# ## The same equations in the running code
# `SwapModel.backpropagate` (swap/model.py) is what trains the face swapper. Its lines, by our numbers:
#
#     (1)      code, to_cache = self.to_code.forward(shown)       E in two halves; the rows of `shown` are
#              wide, from_cache = self.from_code.forward(code)    those of A, then those of B: one batch
#     (2)      logits, cache = self.decoders[side].forward(mine)
#     (3) (5)  losses[side], dy = self._loss(...)
#     (6) (7)  dmine = self.decoders[side].backward(...)          dwide[part] = its rows
#     (8)      dcode = self.from_code.backward(dwide, from_cache)
#              self.to_code.backward(dcode, to_cache, need_dx=False)
#
# (8) needs no plus sign there: a batch is a sum over its examples already, and A and B are examples of one batch.

# %%
ours = {"E": both, "D_A": arenas["D_A"].grads.copy(), "D_B": arenas["D_B"].grads.copy()}
model.zero_grad()
model.backpropagate({"a": (x_a, a), "b": (x_b, b)})
for part, gradient in ours.items():
    cmp(f"its gradient of {part}: {arenas[part].size} numbers", arenas[part].grads, gradient)

# %% [markdown]
# Here is the whole step as a picture. The gradients flow against the forward pass and meet in a sum.

# %%
# fmt: off
figure, axes = plt.subplots(figsize=(9, 3.9))
axes.set(xlim=(0, 19.2), ylim=(-4, 4), title="One step: forward in grey, gradients (their lengths) in colour")
axes.axis("off")
def say(x, y, text, colour="black", **box):
    axes.text(x, y, text, color=colour, ha="center", va="center", size=12 if box else 10, **box)
frame = {"bbox": {"boxstyle": "round,pad=0.45", "facecolor": "white"}}
say(6.8, 0, "E\nθ", **frame)
say(1.6, 0, f"dθ = sum\n{np.linalg.norm(both):.2g}", **frame)
for side, up, colour, loss, dtheta, dc, dz in (
    ("A", 1, course.BLUE, loss_a, theta_a, dc_a, dz_a), ("B", -1, course.RED, loss_b, theta_b, dc_b, dz_b),
):
    for x, text in ((2.9, f"warp({side.lower()})"), (12, f"D_{side}\nφ_{side}"), (17.6, f"L_{side}\n{loss:.3f}")):
        say(x, 2.1 * up, text, **frame)
    for x, y, text, g in ((4.3, 1.0, f"dL_{side}/dθ", dtheta), (8.4, 2.6, f"dc_{side}", dc),
                          (12, 3.5, f"dφ_{side}", ours[f"D_{side}"]), (14.6, 3.1, f"dz_{side}", dz)):
        say(x, y * up, f"{text}  {np.linalg.norm(g):.2g}", colour)
    say(9.6, 0.55 * up, f"c_{side}", course.GREY)
    say(14.6, 1.75 * up, f"z_{side}", course.GREY)
    for x, y, to_x, to_y, forward in ((4.0, 2.1, 6.1, 0.9, 1), (7.5, 0.5, 11.2, 1.9, 1), (12.8, 2.1, 16.7, 2.1, 1),
                                      (16.7, 2.6, 12.8, 2.6, 0), (11.2, 2.5, 7.5, 1.1, 0), (6.1, 0.5, 3.1, 0.2, 0)):
        line = {"arrowstyle": "-|>", "color": course.GREY if forward else colour, "lw": 1.3 if forward else 2.2}
        axes.annotate("", (to_x, to_y * up), (x, y * up), arrowprops=line)
lesson.save(figure, "graph")
# fmt: on

# %% [markdown]
# ## Joint steps or alternating steps?
# The code of 2017 alternates: a step on A, then one on B. `backpropagate` makes one step on the sum. For the decoders
# that is the same. For θ it is not: Adam's step (lesson 3) goes with m / sqrt(v), and for g_A = dL_A/dθ, g_B = dL_B/dθ
#
#     m averages g_A + g_B, a sum of two averages          v averages (g_A + g_B)² = g_A² + g_B² + 2 g_A g_B
#
# The last term is in no step on one side alone. (Each part has an Adam of its own here. One Adam over everything would
# go on moving D_B during A's steps, by its momentum m.)
#
# A third run is a **saboteur**. Its steps are joint ones, but later on with a loss added that no swapper has,
# mean |D_B(E(warp(a))) - grey|: swapped apples shall be grey squares. Guess: what will that do to L_A and L_B?
#
# On the way we measure the cosine of the angle between dL_A/dθ and dL_B/dθ: 1 where A and B want the same of the
# encoder, 0 where they are at a right angle, -1 where they want the opposite. As a yardstick, the same for
# dL_A/dθ of two different batches of A.

# %%
sigmoid, mae = nn.Sigmoid(), nn.MAE()


def cosine(g, h):
    return float(g @ h / np.sqrt((g @ g) * (h @ h)))


def train(way):
    model, nets, arenas = make(np.float32, "cpu")
    adams = {part: nn.Adam(arena, 1e-3) for part, arena in arenas.items()}
    losses, cosines = [], []

    def step(parts, *tasks):
        """(1) to (8) for a sum of losses, then ``parts`` move; returns the losses, and the gradient of θ."""
        model.zero_grad()
        found = []
        for x, decoder, target in tasks:
            c, cache_e = nets["E"].forward(x)
            z, cache_d = nets[decoder].forward(c)
            y, cache_s = sigmoid.forward(z)
            loss, cache_l = mae.forward(y, target)
            dz = sigmoid.backward(mae.backward(1.0, cache_l), cache_s)
            nets["E"].backward(nets[decoder].backward(dz, cache_d), cache_e, need_dx=False)
            found.append(loss)
        for part in parts:
            adams[part].step()
        return found, arenas["E"].grads.copy()

    for number in range(STEPS):
        x_a, a, x_b, b = batches.at(number)
        of_a, of_b = (x_a, "D_A", a), (x_b, "D_B", b)
        if way == "joint" and number % 10 == 0:  # measures angles, moves nothing
            x_other, other, _, _ = batches.at(number + 100_000)
            tasks = of_a, of_b, (x_other, "D_A", other)
            g_a, g_b, g_other = (step((), task)[1] for task in tasks)
            cosines.append((cosine(g_a, g_b), cosine(g_a, g_other)))
        if way == "alternating":
            losses.append(step(("E", "D_A"), of_a)[0] + step(("E", "D_B"), of_b)[0])
        else:
            grey = [(x_a, "D_B", np.full_like(a, 0.5))] * (way == "sabotage" and number >= FROM)
            losses.append(step(nets, of_a, of_b, *grey)[0][:2])
    return model, np.sum(losses, axis=1), np.array(cosines)


runs = {way: train(way) for way in ("joint", "alternating", "sabotage")}
test = family.draws("fruit", 32 if lesson.fast else 128, lesson.seed, 20_000)
pictures = {}
for row, subject in (("apple", "apple"), ("its kiwi: the truth", "kiwi")):
    faces, _ = family.faces("fruit", subject, test, 88)
    pictures[row] = face_squares(faces, 64, margin=apples.margin).astype(np.float32) / 255
truth = pictures["its kiwi: the truth"]
mean = face_squares(kiwis.images, 64, margin=kiwis.margin).mean(axis=0) / 255
for way, (model, losses, _) in runs.items():
    pictures[f"D_B(E(apple)), {way}"] = y = model.swap(pictures["apple"], "a", "b")
    lesson.number(f"{way}: L_A + L_B, last 30 steps", losses[-30:].mean())
    lesson.number(f"{way}: swap of unseen apples", course.psnr(y, truth), "dB")
lesson.number("the mean kiwi for every apple", course.psnr(mean, truth), "dB")
cosines = runs["joint"][2]
lesson.number("mean cosine, A and B", cosines[:, 0].mean())
lesson.number("mean cosine, A and other pictures of A", cosines[:, 1].mean())

# %%
# fmt: off
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
for (way, (_, losses, _)), style in zip(runs.items(), ("-", "--", ":"), strict=True):
    left.plot(np.arange(10, STEPS + 1), np.convolve(losses, np.ones(10) / 10, "valid"), style, label=way)
left.set(xlabel="pairs of batches seen", ylabel="L_A + L_B, mean of 10", title="Three trainings", ylim=(0, None))
left.legend()
for column, (what, mark) in enumerate((("A and B", "o"), ("A and other pictures of A", "x"))):
    right.plot(np.arange(0, STEPS, 10), cosines[:, column], mark, ms=4, label=what)
right.set(xlabel="step", ylabel="cosine", title="Two gradients of θ: how alike?", ylim=(-1, 1.45), yticks=(-1, 0, 1))
right.axhline(0, color="black", lw=0.8)
right.legend(ncols=2, loc="upper center")
lesson.save(figure, "training")
figure, rows = plt.subplots(len(pictures), 1, figsize=(7.5, 5.4))
for axes, (what, row) in zip(rows, pictures.items(), strict=True):
    axes.imshow(course.mosaic(row[:8], 8, gap=4))
    axes.set_title(what, size=10, loc="left")
    axes.axis("off")
lesson.save(figure, "swaps")
# fmt: on

# %% [markdown]
# ## Nothing here mentions the swap
# Look for D_B(E(a)) in (1) to (8): it is not there. Nobody has the picture that it should be, so no loss asks for it.
# The saboteur's swap is a grey square, and its two losses come back to nearly those of the others. All have the right
# gradients: no longer training, better optimizer or gradient check could tell you which one swaps.
#
# Why, then, do the other two swap at all, several dB better than the mean kiwi? Because it is the cheap way: one θ, a
# narrow code, and pictures of A and B that turn alike and are lit alike. After the first steps, what helps A mostly
# helps B (a cosine above 0, if a lower one than among pictures of A). So codes of A and B come to lie together, and D_B
# is asked for something near to what it knows. Nothing forbids the encoder to keep A and B apart, and on heads it does:
# the method of 2017 stays at B's mean picture while both losses fall (README, "Is the swap right?"). What helps are two
# losses that do mention the swap: `returns` and `match` in `backpropagate`. (Joint or alternating makes little
# difference here. Joint sends one batch through E instead of two, and is faster.)

# %%
# Break (8): take a mean where it says sum, or leave out a side, and see what `cmp` says.
# break: `both = theta_a + theta_b` -> `both = (theta_a + theta_b) / 2`
lesson.check("the sum of both sides' gradients is that of L", error < 1e-10, f"error {error:.1e}")
lesson.end()
