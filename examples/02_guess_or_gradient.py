"""Lesson 2. Guessing against following the gradient

A reader of the article behind this project asked how a stored good result steers the next try. Four
ways to find weights answer it, from blind guessing to backpropagation. All solve the same task and pay
the same price for each look at the loss. At the end you know what the gradient buys, and why it buys
more, the more weights there are. Needed: lesson 1.
"""

# %%
import course
import numpy as np
from matplotlib import pyplot as plt

import nn

lesson = course.begin("02_guess_or_gradient", __doc__)

# %% [markdown]
# ## The task, and its price
#
# A **layer** is a row of O neurons that all see the same I inputs. Each has its own weights, so w has I · O of them,
# and one matrix product computes all sums. The activation is **tanh** here: a sigmoid's shape, from -1 to 1. No bias.
#
#     y = tanh(x w)          x (N, I)   w (I, O)   y (N, O)
#
# We draw x and the right weights w* at random, and let them make the targets. So we know that an answer exists, and
# which it is. Then w* is hidden, and the methods start from other weights. Their loss is the mean squared error as
# a share of the targets' variance: always answering the mean would score 1.
#
# The price is counted in **forward passes** over all N examples. A backward pass does two products where the forward
# pass does one (for dx and for dw), so it counts as two, although this single layer would not even need dx.


# %%
class Task:
    """Inputs, targets and a layer to be trained; counts forward passes and keeps the best loss so far."""

    def __init__(self, inputs, outputs, seed, *, budget, goal=0.0):
        rng = np.random.default_rng([lesson.seed, seed, inputs, outputs])
        self.x = rng.normal(size=(4 * inputs + 10, inputs))
        self.answer = rng.normal(size=(inputs, outputs)) / np.sqrt(inputs)
        self.target = np.tanh(self.x @ self.answer)
        dense = nn.Dense(inputs, outputs, bias=False, rng=rng, dtype=np.float64)
        self.net = nn.Sequential(dense, nn.Tanh()).to("reference")
        self.mse = nn.MSE().to("reference")
        self.w, self.dw = dense.weight.value, dense.weight.grad
        self.rng, self.budget, self.goal = rng, budget, goal
        self.passes, self.best, self.best_w, self.curve = 0, np.inf, None, []

    def loss(self):
        """One forward pass."""
        self.passes += 1
        y, self.cache = self.net.forward(self.x)
        loss, self.loss_cache = self.mse.forward(y, self.target)
        loss /= self.target.var()
        if loss < self.best:
            self.best, self.best_w = loss, self.w.copy()
            self.curve.append((self.passes, loss))
        return loss

    def gradient(self):
        """The backward pass of the latest forward pass."""
        self.passes += 2
        self.net.zero_grad()
        dy = self.mse.backward(1 / self.target.var(), self.loss_cache)
        self.net.backward(dy, self.cache, need_dx=False)
        return self.dw

    def goes_on(self):
        return self.passes < self.budget and self.best > self.goal


# %% [markdown]
# ## Four ways to look for weights
#
# What does each of them keep from one try, and how does that decide where the next one goes?
#
# **Random search** draws new weights every time and remembers the best. The next try knows nothing of the last.


# %%
def random_search(task, size):
    while task.goes_on():
        task.w[:] = size * task.rng.normal(size=task.w.shape)
        task.loss()


# %% [markdown]
# **Hill climbing** keeps the best weights and tries others nearby. So the stored result does steer: it says where to
# look. It does not say in which direction. Steps grow after a success and shrink after a failure, so that about one
# try in five succeeds; without this, hill climbing would be far worse.


# %%
def hill_climbing(task, size):
    best, best_loss = task.w.copy(), task.loss()
    while task.goes_on():
        task.w[:] = best + size * task.rng.normal(size=task.w.shape)
        loss = task.loss()
        if loss < best_loss:
            best, best_loss, size = task.w.copy(), loss, size * 1.5
        else:
            size *= 1.5**-0.25


# %% [markdown]
# **Finite differences** wiggle each weight alone, as in lesson 1. The stored loss is what each wiggle is compared with,
# and after I · O wiggles the direction is known. **Backpropagation** stores what the forward pass computed on
# its way, the cache, and gets the same direction from it in one backward pass.


# %%
def finite_differences(task, rate, h=1e-6):
    while task.goes_on():
        here, dw = task.loss(), np.zeros_like(task.w)
        for i in np.ndindex(task.w.shape):
            task.w[i] += h
            dw[i] = (task.loss() - here) / h
            task.w[i] -= h
        task.w -= rate * dw


def backpropagation(task, rate):
    while task.goes_on():
        task.loss()
        task.w -= rate * task.gradient()


# %% [markdown]
# ## Step sizes, chosen fairly
#
# Each method has one size to choose: of a guess, of the first step, or the learning rate. Each gets five candidates,
# tried on two tasks that are not used again. The winner needs the fewest passes to reach the goal; if none gets
# there, it is the one with the lowest loss. Learning rates are in units of O, since the mean in the loss divides the
# gradient by it.

# %%
RATES = (0.1, 0.2, 0.4, 0.8, 1.6)
METHODS = {
    "random search": (random_search, (0.05, 0.1, 0.2, 0.4, 0.8), course.GREY, "-"),
    "hill climbing": (hill_climbing, (0.01, 0.03, 0.1, 0.3, 1.0), course.ORANGE, "--"),
    "finite differences": (finite_differences, RATES, course.BLUE, "-."),
    "backpropagation": (backpropagation, RATES, course.GREEN, "-"),
}


def tuned(name, inputs, outputs, **until):
    """The method's best size on two tasks of this shape."""
    method, candidates, *_ = METHODS[name]
    scores = []
    for size in candidates:
        size = size * outputs if candidates is RATES else size
        tasks = [Task(inputs, outputs, 100 + s, **until) for s in range(2)]
        for task in tasks:
            method(task, size)
        passes = sum(min(task.passes, task.budget) for task in tasks)
        scores.append((passes, sum(task.best for task in tasks), size))
    return min(scores)[2]


# %% [markdown]
# ## The same budget for all
#
# 300 weights, 10,000 forward passes. Who reaches a millionth of the variance may stop. Guess first: how far does each
# get?

# %%
inputs, outputs = (5, 6) if lesson.fast else (10, 30)
until = {"budget": 1000 if lesson.fast else 10_000, "goal": 1e-6}
seeds = 3 if lesson.fast else 5
grid = np.unique(np.geomspace(1, until["budget"], 200).astype(int))
figure, axes = plt.subplots(figsize=(8, 4.5))
found, finals = {}, {}
for name, (method, _, colour, dash) in METHODS.items():
    size = tuned(name, inputs, outputs, **until)
    curves = []
    for seed in range(seeds):
        task = Task(inputs, outputs, seed, **until)
        method(task, size)
        passes, losses = np.array(task.curve).T
        curves.append(losses[np.searchsorted(passes, grid, side="right") - 1])
    low, middle, high = np.quantile(curves, (0, 0.5, 1), axis=0)
    axes.fill_between(grid, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.loglog(grid, middle, dash, color=colour, label=name)
    found[name], finals[name] = task, middle[-1]
    lesson.number(f"size chosen for {name}", size)
    lesson.number(f"loss after {until['budget']} passes, {name}", middle[-1])
axes.set(xlabel="forward passes", ylabel="best loss so far, share of variance", ylim=(5e-7, 4))
axes.set_title(f"{inputs * outputs} weights: median and range of {seeds} tasks", loc="left")
axes.legend(loc="lower left")
lesson.save(figure, "same_budget")

# %% [markdown]
# Did they find the right weights? Each dot is a weight: what it should be, and what was found.

# %%
figure, panels = plt.subplots(1, 4, figsize=(9, 2.9), sharex=True, sharey=True)
for axes, (name, task) in zip(panels, found.items(), strict=True):
    axes.plot([-2, 2], [-2, 2], color="0.8", zorder=0)
    axes.plot(task.answer.ravel(), task.best_w.ravel(), ".", color=METHODS[name][2], markersize=4)
    axes.set(title=name, xlabel="right weight", aspect="equal")
panels[0].set_ylabel("weight found")
lesson.save(figure, "weights")

# %% [markdown]
# Random search found that small weights are better than large ones, and nothing else. Hill climbing works. It needs
# patience.
#
# ## How the gap grows
#
# Now from 9 to 3000 weights: how many passes until a tenth of the variance is left? Sizes are those chosen for 100
# weights: hill climbing corrects its own, learning rates are in units of O, and finite differences take
# backpropagation's rate, because both make the same steps. Predict the slopes: what does one step of each method cost,
# and how much does it achieve? (Random search is given 9 weights only, and a size of its own. Watch where it ends.)

# %%
SHAPES = [(3, 3), (5, 6), (10, 10), (10, 30), (20, 50), (20, 150)]
shapes = SHAPES[:3] if lesson.fast else SHAPES
weights = np.array([inputs * outputs for inputs, outputs in shapes])
until = {"budget": 3000 if lesson.fast else 60_000, "goal": 0.1}
little = until | {"budget": 1000 if lesson.fast else 10_000}
task = Task(*shapes[0], 0, **little)
random_search(task, tuned("random search", *shapes[0], **little))
lesson.number(f"loss of random search after {task.passes} passes, 9 weights", task.best)
sizes = {name: tuned(name, 10, 10, **little) / 10 for name in ("hill climbing", "backpropagation")}
sizes["finite differences"] = sizes["backpropagation"]
needed = {}  # method: a row for each shape, of three tasks
for name, (method, candidates, *_) in list(METHODS.items())[1:]:
    rows = []
    for inputs, outputs in shapes:
        tasks = [Task(inputs, outputs, seed, **until) for seed in range(3)]
        for task in tasks:
            method(task, sizes[name] * (outputs if candidates is RATES else 10))
        rows.append([task.passes if task.best <= task.goal else np.nan for task in tasks])
    needed[name] = np.sort(rows)  # what was not reached comes last
    middle = needed[name][-1, 1]
    if np.isfinite(middle):
        lesson.number(f"passes for {weights[-1]} weights, {name}", middle)
        lesson.number(f"passes a weight, {name}", middle / weights[-1])

# %% [markdown]
# And why: take 1000 random directions and measure the angle between each and the direction straight down the slope.
# A cosine of 1 is straight down, 0 is level, and a step that goes level does not improve anything.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), width_ratios=(1.25, 1))
for name, rows in needed.items():
    _, _, colour, dash = METHODS[name]
    left.fill_between(weights, rows[:, 0], rows[:, 2], color=colour, alpha=0.2, linewidth=0)
    left.loglog(weights, rows[:, 1], dash, color=colour, marker="o", markersize=4, label=name)
left.set(xlabel="weights", ylabel="forward passes to a tenth of the variance")
left.set_title("Weights cost passes, but not with backpropagation", loc="left")
left.legend(loc="upper left")
rng = np.random.default_rng(lesson.seed)
for (inputs, outputs), colour in zip(
    shapes[::2], (course.PURPLE, course.SKY, "black"), strict=False
):
    task = Task(inputs, outputs, 0, budget=0)
    task.loss()
    down = -task.gradient().ravel() / np.linalg.norm(task.dw)
    guesses = rng.normal(size=(1000, down.size))
    cosines = guesses @ down / np.linalg.norm(guesses, axis=1)
    right.hist(cosines, bins=np.linspace(-1, 1, 61), histtype="step", density=True, color=colour,
               linewidth=1.6, label=f"{down.size} weights")  # fmt: skip
    lesson.number(f"cosine of a typical guess, {down.size} weights", np.sqrt((cosines**2).mean()))
right.set(
    xlabel="cosine of guess and steepest descent", ylabel="density of 1000 guesses", xlim=(-1, 1)
)
right.set_title("Most directions go neither up nor down", loc="left")
right.legend(loc="upper left")
lesson.save(figure, "gap")

# %% [markdown]
# ## The reader's answer
#
# How does a stored good result steer the next try?
#
# - **Random search**: not at all.
# - **Hill climbing**: it is the place to start from. Where to go from there is a coin toss, and each try brings one
#   bit: better or worse. For P weights the typical cosine is 1/√P: the more weights, the less of a step is useful. The
#   passes grow with P, about nine a weight.
# - **Finite differences**: the stored loss is what each wiggle is compared with. P + 1 passes bring the one direction
#   that is best for all weights together. The passes grow with P, too, about three a weight: knowing beats tossing.
# - **Backpropagation**: what is stored is not the result but the way to it, x, w and y of each layer. From these the
#   chain rule makes all P derivatives in one backward pass. The passes do not grow with P.
#
# What this does not say: with a few weights hill climbing is good enough, and it works where a loss has no slope, such
# as a count of mistakes. One layer is the easy case; deeper networks have places where the gradient is small or leads
# astray, and then all four get stuck in their ways. The face swapper at the end of this course has millions of weights.
# There the left picture leaves no choice.
#
# ## Break it
#
# Leave out `zero_grad`, as in lesson 1. The loss still falls, but no longer along the gradient.

# %%
# break: `self.net.zero_grad()` -> `pass`
task = Task(5, 6, 0, budget=60)
backpropagation(task, 6 * sizes["backpropagation"])
here, dw, wiggled = task.loss(), task.gradient().copy(), np.zeros_like(task.w)
for i in np.ndindex(task.w.shape):
    task.w[i] += 1e-6
    wiggled[i] = (task.loss() - here) / 1e-6
    task.w[i] -= 1e-6
error = abs(dw - wiggled).max()
lesson.check(
    "after twenty steps, the gradient is what wiggling says", error < 1e-5, f"off by {error:.1e}"
)
fewest = min(needed, key=lambda name: np.nan_to_num(needed[name][-1, 1], nan=np.inf))
lesson.check("backpropagation needed the fewest passes", fewest == "backpropagation", fewest)
lesson.end()
