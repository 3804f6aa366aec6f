"""Lesson 16. Optimisers racing on one surface

Five ways to make a step from a gradient: their equations, their paths down two valleys, how much each cares about its
learning rate, and whether the winner also wins on a network. Needed: lesson 3 (SGD, Adam, the weather network).
"""

# %%
import course
import numpy as np
from matplotlib import pyplot as plt

import nn

lesson = course.begin("16_optimisers", __doc__)

# %% [markdown]
# ## Five rules
# w is a weight, g its gradient now, lr the learning rate. All else starts at 0. (nn/reference/optim.py has the same.)
#
#     SGD         w -= lr g                                          straight down
#     momentum    v = 0.9 v + g               w -= lr v              a ball: old gradients fade, but still push
#     Nesterov    v = 0.9 v + g               w -= lr (g + 0.9 v)    the same, looking one push ahead
#     RMSprop     v = 0.9 v + 0.1 g²          w -= lr g / sqrt(v)    v: mean square of g. Each weight has its own scale
#     Adam        m = 0.9 m + 0.1 g           w -= lr m̂ / sqrt(v̂)    both: a mean of g over a mean of g²
#                 v = 0.999 v + 0.001 g²      m̂ = m / (1 - 0.9^t)    v̂ = v / (1 - 0.999^t)      t = 1, 2, ...
#
# (Roots get 1e-8 added, against 0 / 0.) With a steady g, v of momentum ends at g (1 + 0.9 + 0.81 + ...) = 10 g:
# momentum with lr moves like SGD with 10 lr. RMSprop is written here as Adam with beta1 = 0 and beta2 = 0.9.
#
# The hats: after the first step m = 0.1 g, a tenth of what it should be. In general 1 - 0.9^t of the weights of the
# mean have been given out; dividing by that repairs it. Here is Adam, from the equations, beside `nn.Adam`.


# %%
def own_adam(w, gradient, lr, steps, b1=0.9, b2=0.999):
    m = v = 0
    for t in range(1, steps + 1):
        g = gradient(w)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        w = w - lr * m_hat / (np.sqrt(v_hat) + 1e-8)
    return w


RULES = {
    "SGD": lambda arena, lr: nn.SGD(arena, lr),
    "momentum": lambda arena, lr: nn.SGD(arena, lr, momentum=0.9),
    "Nesterov": lambda arena, lr: nn.SGD(arena, lr, momentum=0.9, nesterov=True),
    "RMSprop": lambda arena, lr: nn.Adam(arena, lr, beta1=0, beta2=0.9),
    "Adam": lambda arena, lr: nn.Adam(arena, lr),
}
LOOKS = dict(zip(RULES, zip(course.COLOURS, ("-", "--", "-.", ":", "-")), strict=False))  # noqa: B905

# %% [markdown]
# ## Two surfaces
# An optimiser sees an arena. So a single `nn.Parameter` of two numbers, w = (a, b), is enough, and its path can be
# drawn.
#
#     valley        f = (a² + 25 b²) / 2                 df/da = a                        df/db = 25 b
#     Rosenbrock    f = (1 - a)² + 100 (b - a²)²         df/da = 2 (a - 1) - 4 a 100 (b - a²)   df/db = 200 (b - a²)
#
# The valley is 25 times as steep across as it is along. Rosenbrock's is curved as well, and its floor is nearly flat.
#
# On the valley SGD can be calculated: b <- b - lr 25 b = (1 - 25 lr) b. **Predict**: from which learning rate on does
# b grow? And at that rate, by what factor does a shrink in a step?


# %%
def valley(w):
    a, b = w
    return (a * a + 25 * b * b) / 2, np.array([a, 25 * b])


def rosenbrock(w):
    a, b = w
    c = b - a * a
    return (1 - a) ** 2 + 100 * c * c, np.array([2 * (a - 1) - 400 * a * c, 200 * c])


def descend(rule, lr, surface, start, steps):
    """The places that an optimiser visits (steps + 1, 2), and f at each; f is 1e9 once it has run away."""
    w = nn.Parameter(np.array(start))
    arena = nn.Arena([("w", w)])
    optimizer = RULES[rule](arena, lr).to("reference")
    path, losses = [], np.full(steps + 1, 1e9)
    for t in range(steps + 1):
        losses[t], w.grad[...] = surface(w.value)
        path.append(w.value.copy())
        if losses[t] > 1e6:
            losses[t:] = 1e9
            break
        optimizer.step()
    return np.array(path), losses


RACES = {"valley": (valley, (-4.0, 1.5), 100), "Rosenbrock": (rosenbrock, (-1.2, 1.0), 300)}
RATES = np.geomspace(1e-4, 3, 20 if lesson.fast else 60)
final = {(race, rule): [descend(rule, lr, *setup)[1][-1] for lr in RATES]
         for race, setup in RACES.items() for rule in RULES}  # fmt: skip
best = {key: RATES[np.argmin(losses)] for key, losses in final.items()}

# %% [markdown]
# ## How much each cares about its learning rate
# Before any race: a comparison at one learning rate for all compares nothing but the choice. Each rule runs with
# every rate, and only its best counts. The picture shows all: f after the last step.

# %%
fig, axes = plt.subplots(1, 2, figsize=(9.5, 4), sharey=True)
for ax, (race, setup) in zip(axes, RACES.items(), strict=True):
    for rule, (colour, style) in LOOKS.items():
        ax.loglog(RATES, final[race, rule], style, color=colour, label=rule)
        ax.plot(best[race, rule], min(final[race, rule]), "o", color=colour)
    ax.set(xlabel="learning rate", title=f"{race}, after {setup[2]} steps", ylim=(1e-12, 1e4))
axes[0].set_ylabel("f at the end (0 is the bottom)")
axes[0].legend(loc="lower left")
lesson.save(fig, "rates")
runaway = RATES[np.array(final["valley", "SGD"]) > 1e6].min()
lesson.number("lowest rate of the scan at which SGD runs away on the valley", runaway)

# %% [markdown]
# SGD, momentum and Nesterov fall off a cliff: beyond a certain rate they run away, and their best rate stands near
# the edge. (Calculated: |1 - 25 lr| > 1 from lr = 0.08 on; a shrinks to 92 % a step there.) In this scan RMSprop and
# Adam do not run away. Their steps are about lr long, whatever g is: too large a rate means that they hover around
# the bottom.
#
# ## The race, each at its best rate

# %%
fig, axes = plt.subplots(2, 5, figsize=(10, 4.8), sharex="row", sharey="row")
for row, (race, setup) in zip(axes, RACES.items(), strict=True):
    a, b = np.meshgrid(np.linspace(-4.5, 4.5, 120), np.linspace(-2.5, 2.5, 100))
    if race == "Rosenbrock":
        a, b = np.meshgrid(np.linspace(-2, 2, 120), np.linspace(-1.2, 3, 100))
    f = setup[0]((a, b))[0]
    for ax, rule in zip(row, RULES, strict=True):
        ax.contour(
            a, b, f, np.geomspace(f.max() / 3000, f.max(), 10), colors="#CCCCCC", linewidths=0.7
        )
        path, losses = descend(rule, best[race, rule], *setup)
        ax.plot(*path.T, ".-", color=LOOKS[rule][0], lw=1, ms=3)
        ax.plot(*path[0], "s", color="black", ms=5)
        ax.plot(*((0, 0) if race == "valley" else (1, 1)), "*", color="black", ms=9)
        ax.set_title(f"{rule}, lr {best[race, rule]:.2g}\nends at {losses[-1]:.1e}", fontsize=9)
        ax.set(xlim=(a.min(), a.max()), ylim=(b.min(), b.max()))
        lesson.number(f"{race}, {rule}: f at its best rate", losses[-1])
    row[0].set_ylabel(f"{race}\nb")
for ax in axes[1]:
    ax.set_xlabel("a")
lesson.save(fig, "paths")

fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.8))
for ax, (race, setup) in zip(axes, RACES.items(), strict=True):
    for rule, (colour, style) in LOOKS.items():
        ax.semilogy(descend(rule, best[race, rule], *setup)[1], style, color=colour, label=rule)
    ax.set(xlabel="step", ylabel="f", title=f"{race}, each at its best rate")
axes[0].legend()
lesson.save(fig, "losses")

# %% [markdown]
# Three things to see. SGD jumps from wall to wall, because its rate must suit the steep direction. RMSprop and Adam
# leave at 45 degrees: each weight has its own scale, so steep and flat look alike at first. Momentum with 0.9 *loses*
# to SGD on the valley: it swings. 0.9 is a habit; for this valley ((5 - 1) / (5 + 1))² = 0.44 would be best (5 is the
# root of the 25). On the longer Rosenbrock the same momentum wins. And RMSprop's win on the valley is one sharp spike
# in the scan: a lucky rate.
#
# ## Does the winner also win on a network?
# The network of lesson 3 on its training hours: 5 -> 16 -> 16 -> 1, mini-batches of 256, the same start and the same
# batches for everybody. A mini-batch's gradient is noisy, which none of the surfaces was. Who wins?

# %%
data = course.data("weather")
raining = (data["precip"] > 0).astype("f4")
x = np.stack([*(data[k] for k in ("temp", "humid", "pressure", "wind_speed")), raining], axis=1)
row_of = np.full((3, data["hour"].max() + 4), -1)
row_of[data["airport"], data["hour"]] = np.arange(len(x))
later = row_of[data["airport"], data["hour"] + 3]
train = (later >= 0) & np.isfinite(x).all(axis=1) & (data["day"] <= 18) & (data["day"][later] <= 18)
x, t = x[train], raining[later][train][:, None]
x = (x - x.mean(axis=0)) / x.std(axis=0)
bce = nn.BCEWithLogits().to("reference")


def train_network(rule, lr, seed, epochs):
    """Log loss on all training hours after each epoch."""
    rng = np.random.default_rng(seed)
    first, second, last = (nn.Dense(*io, rng=rng) for io in ((5, 16), (16, 16), (16, 1)))
    net = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), last).to("reference")
    arena = nn.Arena(net.named_parameters())
    optimizer, losses = RULES[rule](arena, lr).to("reference"), []
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for batch in np.split(order, range(256, len(x), 256)):
            y, cache = net.forward(x[batch])
            arena.zero_grad()
            net.backward(bce.backward(1.0, bce.forward(y, t[batch])[1]), cache, need_dx=False)
            optimizer.step()
        losses.append(bce.forward(net.forward(x, train=False)[0], t)[0])
    return np.array(losses)


EPOCHS, SEEDS = (2, 1) if lesson.fast else (6, 2)
rates = np.geomspace(1e-4, 10, 6 if lesson.fast else 13)
runs = {(rule, lr): np.mean([train_network(rule, lr, lesson.seed + k, EPOCHS) for k in range(SEEDS)], axis=0)
        for rule in RULES for lr in rates}  # fmt: skip
fig, (ax, track) = plt.subplots(1, 2, figsize=(9.5, 4))
for rule, (colour, style) in LOOKS.items():
    ends = np.array([runs[rule, lr][-1] for lr in rates])
    ax.semilogx(rates, ends, style, color=colour)
    ax.plot(rates[ends.argmin()], ends.min(), "o", color=colour)
    track.plot(
        range(1, EPOCHS + 1), runs[rule, rates[ends.argmin()]], style, color=colour, label=rule
    )
    lesson.number(f"weather, {rule}: best rate", rates[ends.argmin()])
    lesson.number(f"weather, {rule}: training loss at its best rate", ends.min())
    within = ends < min(r[-1] for r in runs.values()) * 1.02
    lesson.number(
        f"weather, {rule}: share of rates within 2 % of the best of all", 100 * within.mean(), "%"
    )
ax.set(xlabel="learning rate", ylabel="log loss, training hours", ylim=(0.23, 0.4),
       title=f"Weather, after {EPOCHS} epochs")  # fmt: skip
track.set(xlabel="epoch", ylabel="log loss (larger scale)", title="Each at its best rate")
track.legend()
lesson.save(fig, "weather")

# %% [markdown]
# Not the valley's winner: RMSprop's lucky rate has no like here. Momentum, Nesterov and Adam lead by a little. SGD is
# not far behind, at a rate some forty times that of Adam. What a race on a surface does show: every rule has its own
# scale of rates, and outside of its basin everybody loses; on this noisy problem the basins are wide. Why does nearly
# everyone use Adam, then? Its best rate changes less from problem to problem, since it does not depend on how large
# the gradients are. That is a convenience, not a law.

# %%
# Break it: forget the hats. Then the first steps are wrong: 0.1 g / sqrt(0.001 g²) is 3.2 lr long instead of lr.
# break: `m / (1 - b1**t), v / (1 - b2**t)` -> `m, v`
start = np.array([-1.2, 1.0])
ours = own_adam(start, lambda w: rosenbrock(w)[1], 0.3, 200)
theirs = descend("Adam", 0.3, rosenbrock, start, 200)[0][-1]
apart = np.abs(ours - theirs).max()
lesson.check("own Adam is nn.Adam after 200 steps, to 1e-12", apart < 1e-12, f"{apart:.1e} apart")
lesson.check(
    "SGD runs away on the valley where calculated, at 0.08", 0.08 < runaway < 0.15, f"{runaway:.3f}"
)
lesson.end()
