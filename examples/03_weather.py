"""Lesson 3. Weather: the probability of rain in three hours

You will train a first real network and find out what it is worth: against guesses that need no network, against a
single neuron, and on days that it has never seen.
Needed: lessons 1 and 2 (a neuron, the chain rule, following the gradient).
"""

# %%
import course
import numpy as np
from matplotlib import pyplot as plt

import nn

lesson = course.begin("03_weather", __doc__)

# %% [markdown]
# ## The question
# Every hour of 2023, the stations at New York's airports wrote down temperature, humidity, pressure, wind, and
# whether rain fell. From these five numbers at hour h: **how probable is rain at hour h + 3?** "Rain" is `precip >
# 0`, traces included. The inputs are x (N, 5), a row per airport and hour; the answers, called targets, are t (N, 1),
# each 0 or 1.
#
# Three hours later is not three rows later: rows are missing, and after the last hour of one airport comes the first
# of the next. So the row of each (airport, hour) goes into a table, and the target is looked up by the clock.

# %%
data = course.data("weather")
NAMES = ["temperature", "humidity", "pressure", "wind", "rain now"]
raining = (data["precip"] > 0).astype("f4")
columns = [data[k] for k in ("temp", "humid", "pressure", "wind_speed")]
x = np.stack([*columns, raining], axis=1)  # (N, 5)

airport, hour = data["airport"], data["hour"]
row_of = np.full((3, hour.max() + 4), -1)  # -1: there is no such row
row_of[airport, hour] = np.arange(len(hour))
later = row_of[airport, hour + 3]
known = (later >= 0) & np.isfinite(x).all(axis=1)  # nan: not measured; those hours are left out
t = raining[later][:, None]  # (N, 1)

# %% [markdown]
# ## Training, validation, test
# A network with many weights can learn its examples by heart. That is **overfitting**: good on what it was trained
# on, bad on the rest. So the examples are split, once, by the day of the month:
#
#     training     days  1 to 18    the weights are fitted to these
#     validation   days 19 to 23    choices are made on these (when to stop)
#     test         days 24 to 31    looked at once, at the very end: the score
#
# Whole days, because neighbouring hours are nearly copies: drawn hour by hour, the test would ask for what was
# learned by heart. An hour whose target falls into another part is left out.
#
# **Standardising**: x = (x - mean) / deviation, per column. Pressures near 1016 and wind near 10 become numbers near
# 0 of size 1, which one learning rate fits. Mean and deviation are those of the *training* part: the test must not
# leak into training, not even as an average.

# %%
day, month = data["day"], data["month"]
part = np.where(day >= 24, 2, np.where(day >= 19, 1, 0))
use = known & (part[later] == part)
train, valid, test = (use & (part == k) for k in range(3))

mean, deviation = x[train].mean(axis=0), x[train].std(axis=0)
z = (x - mean) / deviation  # standardised
for name, rows in (("training", train), ("validation", valid), ("test", test)):
    lesson.number(f"{name}: rain to come", 100 * t[rows].mean(), f"% of {rows.sum():,} hours")

# %% [markdown]
# The test days were wetter than the training days. Nobody arranged that; it is what a new year would do, too.
#
# ## Two scores
# A forecast p is a probability. **Log loss** asks how probable the forecast made what then happened:
#
#     L = 1/N sum_n  -t[n] log p[n] - (1 - t[n]) log(1 - p[n])         0 is perfect, log 2 = 0.69 is a coin
#
# Sure and wrong costs most. (It is also called binary cross-entropy.) **AUC** asks only about the order: take at
# random one hour with rain to come and one without; how often does the first have the higher p? 1 is perfect, 0.5 a
# coin; a tie counts half. The code is the definition: all pairs.
#
# ## Baselines: what costs nothing
# A score says nothing alone. A **baseline** is the score of a simple rule, fitted to the training hours as well:
#
#     climatology      always the share of training hours with rain; or that share month by month
#     persistence      the weather stays: one share for hours with rain now, one for hours without
#
# Before you run it: which of the three wins, and is a share for each month better than one for the year?


# %%
def log_loss(p, t):
    return float(np.mean(-t * np.log(p) - (1 - t) * np.log(1 - p)))


def auc(p, t):
    wet, dry = p[t == 1], p[t == 0]
    return (wet[:, None] > dry).mean() + (wet[:, None] == dry).mean() / 2


def share_by(group):
    """For every hour the share of rain among the training hours of its group."""
    share = np.array([t[train & (group == g)].mean() for g in range(13) if g in group])
    return share[np.searchsorted(np.unique(group), group)][:, None]


forecasts = {"climatology": share_by(np.zeros(len(t))), "by month": share_by(month)}
forecasts["persistence"] = share_by(raining)
for name, p in forecasts.items():
    lesson.number(f"log loss on test days, {name}", log_loss(p[test], t[test]))
    lesson.number(f"AUC on test days, {name}", auc(p[test], t[test]))

# %% [markdown]
# Persistence is strong. And twelve shares are *worse* than one: the first 18 days of a month say little about its
# last week. Twelve numbers were fitted to what was chance. That is overfitting, too, without any network.
#
# ## One neuron: logistic regression
# A **dense layer** gives O weighted sums of its I inputs, `nn.Dense(I, O)`:
#
#     forward     y  = x w + b              x (N, I)   w (I, O)   b (O)   y (N, O)
#     backward    dw = xᵀ dy    db = sum over n of dy    dx = dy wᵀ               (nn/reference/dense.py, below forward)
#
# With O = 1, y is one number from -inf to inf, the **logit**; the sigmoid makes a probability of it:
#
#     p = 1 / (1 + e^-y)        y = log(p / (1 - p)),   the logarithm of the odds
#
# That is logistic regression. `nn.BCEWithLogits` is the log loss of sigmoid(y), as a function of y, because its
# gradient is simple then, dy = (p - t) / N: forecast minus truth. The pieces of a training step, as in the README:
#
#     nn.Sequential(...)    layers in a chain: forward runs them left to right, backward right to left
#     y, cache = net.forward(x)                  the cache holds what backward will need of this call
#     nn.Arena(net.named_parameters())           all weights in one flat array, all gradients in another
#     nn.Adam(arena, learning_rate)              turns gradients into steps; see below
#     arena.zero_grad()                          gradients are *added* by backward, so they start from 0
#     .to("reference")      plain NumPy. Arrays this small gain nothing from compiled code
#
# This loss has one valley only. So we go down to its bottom, with all training hours in every step.


# %%
bce = nn.BCEWithLogits().to("reference")


def step(net, arena, optimizer, x, t):
    y, cache = net.forward(x)
    _, loss_cache = bce.forward(y, t)
    arena.zero_grad()
    net.backward(bce.backward(1.0, loss_cache), cache)
    optimizer.step()


def probability(net, z):
    y, _ = net.forward(z, train=False)  # no cache: there will be no backward
    return 1 / (1 + np.exp(-y))


logistic = nn.Sequential(nn.Dense(5, 1, rng=lesson.seed)).to("reference")
arena = nn.Arena(logistic.named_parameters())
adam = nn.Adam(arena, 0.05).to("reference")
for adam.learning_rate in [0.05] * 600 + [0.005] * 400:
    step(logistic, arena, adam, z[train], t[train])
p = forecasts["logistic regression"] = probability(logistic, z)
lesson.number("log loss on test days, logistic regression", log_loss(p[test], t[test]))

# %% [markdown]
# ## A hidden layer
# A weighted sum only adds up evidence. To say "humidity matters more *if* the pressure is low", put layers between,
# with a curve after each. Their outputs are neither input nor answer: **hidden layers**, here of 16 neurons each.
#
#     h1 = tanh(x w1 + b1)      h2 = tanh(h1 w2 + b2)      y = h2 w3 + b3       5 -> 16 -> 16 -> 1
#
# **Mini-batch, epoch.** A step needs no more than an estimate of the gradient: 256 hours drawn at random give one.
# Every training hour once, in a new random order, is an epoch. Following such a noisy gradient g is stochastic
# gradient descent, **SGD**: w -= lr g. **Adam** keeps a running mean m of g and v of g², and divides:
#
#     m = 0.9 m + 0.1 g     v = 0.999 v + 0.001 g²     w -= lr m̂ / (sqrt(v̂) + 1e-8)
#
# (m and v start at 0; the hats scale them up for that in the first steps.) So a weight moves by about lr a step, be
# its gradients large or small. That spares us some tuning; we claim no more for it here. In lesson 16 they race.
#
# **Early stopping.** After each epoch we ask the validation days, and keep the weights of the best epoch.

# %%
EPOCHS, BATCH, RATE = (10 if lesson.fast else 40), 256, 3e-3


def network(seed, curve):
    rng = np.random.default_rng(seed)
    layers = [nn.Dense(5, 16, rng=rng), curve(), nn.Dense(16, 16, rng=rng), curve()]
    return nn.Sequential(*layers, nn.Dense(16, 1, rng=rng)).to("reference")


def fit(net, seed):
    """The net with the weights of its best epoch, and log losses (epochs, 2): training, validation."""
    rng = np.random.default_rng(seed)
    arena = nn.Arena(net.named_parameters())
    adam = nn.Adam(arena, RATE).to("reference")
    rows, history, best = np.flatnonzero(train), [], arena.values.copy()
    for _ in range(EPOCHS):
        order = rng.permutation(rows)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            step(net, arena, adam, z[batch], t[batch])
        p = probability(net, z)
        history.append([log_loss(p[train], t[train]), log_loss(p[valid], t[valid])])
        if history[-1][1] == min(h[1] for h in history):
            best = arena.values.copy()
    arena.values[:] = best
    return net, np.array(history)


seeds = [lesson.seed + k for k in range(2 if lesson.fast else 5)]
nets, histories = zip(*[fit(network(seed, nn.Tanh), seed) for seed in seeds], strict=True)
forecasts["network"] = probability(nets[0], z)

fig, ax = plt.subplots(figsize=(7.5, 3.8))
ax.plot(
    np.arange(1, EPOCHS + 1), histories[0], label=["training days", "validation days (easier ones)"]
)
best = histories[0][:, 1].argmin()
ax.plot(best + 1, histories[0][best, 1], "o", color=course.RED, label="kept")
ax.set(xlabel="epoch", ylabel="log loss", title="It goes on learning, but only the training days")
ax.legend(ncols=3)
lesson.save(fig, "training")

# %% [markdown]
# ## The scores
# Now, and once, the test days. The start of a network is random, so there are five networks from five seeds: a gain
# smaller than their spread would be luck. And each has a twin without curves, y instead of tanh y, trained and
# stopped in the same way. Three dense layers without curves are one, because a sum of sums is a sum: whatever a
# network gains on its twin, the curves gained. What do you expect of the twins: logistic regression's scores?

# %%
flat = lambda: nn.LeakyReLU(1.0)  # noqa: E731  slope 1 on both sides: y = x
twins = [fit(network(seed, flat), seed)[0] for seed in seeds]
rivals = {name: [p[test]] for name, p in forecasts.items() if name != "network"}
rivals["network, no curves"] = [probability(net, z[test]) for net in twins]
rivals["network"] = [probability(net, z[test]) for net in nets]

fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
scores = {}
for ax, score, what in zip(axes, (log_loss, auc), ("log loss", "AUC"), strict=True):
    for i, (name, ps) in enumerate(rivals.items()):
        points = scores[what, name] = [score(p, t[test]) for p in ps]
        if len(points) > 1:
            for which in (np.mean, np.min, np.max):
                lesson.number(f"{what}, {name}, {which.__name__} over seeds", which(points))
        colour = course.RED if name == "network" else course.BLUE
        ax.plot(points, [i] * len(points), "o", color=colour, alpha=0.5)
        ax.text(np.mean(points), i - 0.2, f"{np.mean(points):.3f}", ha="center", color=colour)
    ax.set(xlabel=f"{what}, test days", yticks=range(len(rivals)), yticklabels=rivals)
    ax.set_title("less is better" if what == "log loss" else "more is better")
    ax.margins(0.12)
axes[0].invert_yaxis()
lesson.save(fig, "scores")

# %% [markdown]
# Read it soberly. Most of the way is persistence. Logistic regression orders the hours far better. The network adds
# next to nothing to the order, but its probabilities are better: about 0.01 of log loss, with every seed. And nearly
# half of that is not the curves': the twins have it, too. They *are* logistic regressions, not at the bottom of the
# training loss, but where the validation days liked them best. The rest is what hidden layers with curves add.
#
# Were the test days luck? Storms last for days and cover all three airports, so these hours are really 96 days. Draw
# 96 of them with replacement, again and again: how often is the network ahead of logistic regression?

# %%
p, q = forecasts["network"][test], forecasts["logistic regression"][test]
gain = np.log(np.where(t[test] == 1, p / q, (1 - p) / (1 - q)))  # in log loss, hour by hour
date = np.unique(month[test] * 32 + day[test], return_inverse=True)[1]
gain = np.bincount(date, gain[:, 0])  # day by day
draws = np.random.default_rng(lesson.seed).integers(len(gain), size=(2000, len(gain)))
lesson.number("network ahead, of 2,000 draws", 100 * (gain[draws].sum(axis=1) > 0).mean(), "%")

# %% [markdown]
# ## Calibration: does 30 % mean 30 %?
# Take all test hours whose forecast was between 20 and 30 %, and count in how many it rained. On the dashed line a
# forecast keeps its word. The right half says how many hours a point stands for: few hours, a shaky point.

# %%
fig, (ax, counts) = plt.subplots(1, 2, figsize=(9, 3.7))
pair, colours = ("logistic regression", "network"), (course.BLUE, course.RED)
for name, style, colour in zip(pair, "os", colours, strict=True):
    p = forecasts[name][test]
    boxes = [np.floor(p * 10) == k for k in range(10)]
    points = [(p[box].mean(), t[test][box].mean()) for box in boxes if box.any()]
    ax.plot(*np.transpose(points), style + "-", color=colour, label=name)
ax.plot([0, 1], [0, 1], "--", color=course.GREY)
ax.set(xlabel="forecast", ylabel="share with rain", title="Above the line: more rain than said")
ax.legend(loc="upper left")
two = [forecasts[name][test][:, 0] for name in pair]
counts.hist(two, np.linspace(0, 1, 11), log=True, color=colours)
counts.set(xlabel="forecast", ylabel="test hours (log scale)", title="Hours behind each point")
lesson.save(fig, "calibration")

# %% [markdown]
# ## What a weight learned, and what the hidden layers bend
# A weight of logistic regression has a meaning: one deviation more of an input, and the odds of rain are multiplied
# by e^w. The network has no such list. But it can be asked: no rain now, average temperature and wind, and every pair
# of humidity and pressure. What must logistic regression's lines of equal probability look like?

# %%
w = logistic[0].weight.value[:, 0]
for name, weight in zip(NAMES, w, strict=True):
    lesson.number(f"one deviation more {name} multiplies the odds by", np.exp(weight))
fig, (ax, *maps) = plt.subplots(1, 3, figsize=(10, 3.6))
ax.barh(NAMES[::-1], w[::-1], color=course.BLUE)
ax.set(xlabel="w (inputs standardised)", title="Logistic regression's weights")
humid, pressure = np.meshgrid(np.linspace(20, 100, 61), np.linspace(990, 1040, 61))
ask = np.tile(mean, (*humid.shape, 1))
ask[..., 1], ask[..., 2], ask[..., 4] = humid, pressure, 0
ask = ((ask - mean) / deviation).reshape(-1, 5)
for k, (ax, net) in enumerate(zip(maps, (logistic, nets[0]), strict=True)):
    p = probability(net, ask).reshape(humid.shape)
    ax.plot(*x[test & (raining == 0)][::4, 1:3].T, ".", ms=1.5, color=course.GREY, alpha=0.35)
    lines = ax.contour(humid, pressure, p, [0.02, 0.05, 0.1, 0.2, 0.3], colors=colours[k])
    ax.clabel(lines, fmt=lambda v: f"{v:.0%}")
    ax.set(xlabel="humidity in %", ylabel="pressure in hPa", title=f"Rain in 3 h: {pair[k]}")
lesson.save(fig, "hidden")

# %% [markdown]
# Straight, parallel lines: logistic regression can draw nothing else. The network bends them: under low pressure each
# hPa counts, under high pressure it hardly does. Where no grey dots are, no hour was like that, and both are guessing.

# %%
# Break it: leave out the standardising. Pressures near 1016 drive every tanh to its flat end, where its slope is 0.
# break: `z = (x - mean) / deviation` -> `z = x`
lowest, worst = min(scores["AUC", "network"]), max(scores["log loss", "network"])
lesson.check("AUC is at least 0.83 on days never seen", lowest >= 0.83, f"{lowest:.4f}")
gap = scores["log loss", "logistic regression"][0] - worst
lesson.check("every seed beats logistic regression's log loss", gap > 0, f"by {gap:.4f}")
lesson.end()
