"""Lesson 1. One neuron

A network learns by asking each of its numbers one question: if you were a little larger, would the
result be better or worse, and by how much? This lesson answers it for a single neuron, with numbers
small enough for paper. At the end you know what a forward pass, a backward pass and a gradient are,
and why gradients are added. Needed: Python, a little NumPy, and what a derivative is.
"""

# %%
import course
import numpy as np
from matplotlib import pyplot as plt

import nn

lesson = course.begin("01_one_neuron", __doc__)

# %% [markdown]
# ## The forward pass: multiply, add, squeeze, compare
#
# A **neuron** takes some numbers (here two, x1 and x2), multiplies each with a **weight**, adds the
# products and one more number, the **bias**, and sends the sum through an **activation**, a curve.
# The curve here is the **sigmoid** σ, which squeezes any number into the range from 0 to 1.
# What comes out is compared with the number that we want, the **target** t. The **loss** says how
# far off it is: 0 is perfect, and larger is worse. Computing it, from left to right, is the **forward pass**:
#
#     p1 = x1 w1        p2 = x2 w2        two products
#     z  = p1 + p2 + b                    their sum, and the bias
#     y  = σ(z) = 1 / (1 + exp(-z))       the output
#     d  = y - t                          the error
#     L  = d²                             the loss
#
# Take paper and compute z. Then look.

# %%
x1, x2 = 2.0, -1.0
w1, w2, b = 0.5, 1.5, 0.2
t = 0.8

p1 = x1 * w1
p2 = x2 * w2
z = p1 + p2 + b
y = 1 / (1 + np.exp(-z))
d = y - t
L = d**2
print("forward")
for name, value in {"p1": p1, "p2": p2, "z": z, "y": y, "d": d, "L": L}.items():
    print(f"    {name:2} = {value:8.4f}")

# %% [markdown]
# ## The backward pass: the chain rule, from right to left
#
# The inputs and the target are given. The weights and the bias, the **parameters**, are ours to change. In which
# direction? That is what the derivative of L with respect to each of them says. We write `dw1` for dL/dw1:
# how fast L grows when w1 grows. All these derivatives together are the **gradient**.
#
# The **chain rule** gives them one step at a time. If a number v is used to compute u, and u leads on to L, then
#
#     dv  =  (du/dv)  ·  du
#            local       from above
#
# The **local derivative** du/dv belongs to one operation and needs only the numbers at that operation:
#
#     operation            local derivatives
#     L = d²               dL/dd = 2 d
#     d = y - t            dd/dy = 1
#     y = σ(z)             dy/dz = exp(-z) / (1 + exp(-z))² = y (1 - y)
#     z = p1 + p2 + b      1, 1 and 1: a sum hands on what it gets
#     p1 = x1 w1           dp1/dw1 = x1 and dp1/dx1 = w1: a product swaps its factors
#
# Begin at the end with dL/dL = 1 and go through the forward pass in reverse. This is **backpropagation**, and there is
# no more to it than that.


# %%
def back(name, local, value, above):
    """One line of the backward pass: the local derivative times what comes from above."""
    print(f"    {name:3} = {local:9} · above = {value:7.4f} · {above:7.4f} = {value * above:7.4f}")
    return value * above


print("backward")
dL = 1.0
dd = back("dd", "2 d", 2 * d, dL)
dy = back("dy", "1", 1.0, dd)
dz = back("dz", "y (1 - y)", y * (1 - y), dy)
dp1 = back("dp1", "1", 1.0, dz)
dp2 = back("dp2", "1", 1.0, dz)
db = back("db", "1", 1.0, dz)
dw1 = back("dw1", "x1", x1, dp1)
dx1 = back("dx1", "w1", w1, dp1)
dw2 = back("dw2", "x2", x2, dp2)
dx2 = back("dx2", "w2", w2, dp2)
for name, value in {"loss on paper": L, "dw1": dw1, "dw2": dw2, "db": db}.items():
    lesson.number(name, value)

# %% [markdown]
# The same on one page. Values (blue) run along the arrows, derivatives (orange) run back against them. On each arrow
# stands its local derivative: a node's derivative is that, times the derivative of the node that it points to.


# %%
def draw(axes, nodes, arrows):
    """A graph; nodes: name -> (x, y, words, value, derivative); arrows: (from, to, local derivative)."""
    for start, end, local in arrows:
        (xa, ya), (xb, yb) = nodes[start][:2], nodes[end][:2]
        style = {"arrowstyle": "-|>", "color": "0.55", "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (xb - 0.72, yb), (xa + 0.72, ya), arrowprops=style)
        style = {"color": "0.3", "ha": "center", "va": "center", "fontsize": 9}
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}
        up = 0.16 if ya == yb else 0
        axes.text((xa + xb) / 2 - 0.05, (ya + yb) / 2 + up, f"{local:.4g}", bbox=paper, **style)
    for x, y, *texts in nodes.values():
        axes.add_patch(plt.Rectangle((x - 0.7, y - 0.43), 1.4, 0.86, facecolor="white", edgecolor="0.4"))  # fmt: skip
        for i, colour in enumerate(("black", course.BLUE, course.RED)):
            text = f"{texts[i]:.4f}" if i else texts[i]
            axes.text(x, y + 0.27 * (1 - i), text, ha="center", va="center", color=colour)
    axes.set_axis_off()


nodes = {
    "x1": (0, 4.2, "x1", x1, dx1), "w1": (0, 3.1, "w1", w1, dw1), "p1": (2.2, 3.65, "p1 = x1 w1", p1, dp1),
    "x2": (0, 2.0, "x2", x2, dx2), "w2": (0, 0.9, "w2", w2, dw2), "p2": (2.2, 1.45, "p2 = x2 w2", p2, dp2),
    "b": (2.2, 0.35, "b", b, db), "z": (4.4, 1.85, "z = p1+p2+b", z, dz), "y": (6.6, 1.85, "y = σ(z)", y, dy),
    "d": (8.8, 1.85, f"d = y − {t}", d, dd), "L": (11, 1.85, "L = d²", L, dL),
}  # fmt: skip
arrows = [
    ("x1", "p1", w1), ("w1", "p1", x1), ("x2", "p2", w2), ("w2", "p2", x2), ("p1", "z", 1), ("p2", "z", 1),
    ("b", "z", 1), ("z", "y", y * (1 - y)), ("y", "d", 1), ("d", "L", 2 * d),
]  # fmt: skip
figure, axes = plt.subplots(figsize=(10, 4.2))
draw(axes, nodes, arrows)
axes.set(xlim=(-0.8, 11.8), ylim=(-0.2, 4.75))
axes.text(5.2, 4.2, "value: the forward pass, left to right", color=course.BLUE)
axes.text(5.2, 3.8, "derivative of L: the backward pass, right to left", color=course.RED)
axes.text(5.2, 3.4, "on the arrows: local derivatives", color="0.3")
lesson.save(figure, "graph")

# %% [markdown]
# ## Is it right? Wiggle and see
#
# A derivative can be measured: move one number by a little h to both sides and see how much the loss changes. This is
# a **finite difference**, (L(w + h) - L(w - h)) / 2h. It needs no calculus, so it can check ours.


# %%
def neuron(w1, w2, b):
    """The loss, and its derivatives with respect to w1, w2 and b: all of the above in a few lines."""
    y = 1 / (1 + np.exp(-(x1 * w1 + x2 * w2 + b)))
    dz = 2 * (y - t) * y * (1 - y)
    return (y - t) ** 2, np.array([dz * x1, dz * x2, dz])


start, gradient, h = np.array([w1, w2, b]), np.array([dw1, dw2, db]), 1e-5
figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), sharey=True)
for i, (axes, name) in enumerate(zip(panels, ("w1", "w2", "b"), strict=True)):
    alone = np.eye(3)[i]  # only number i moves
    wiggled = (neuron(*(start + h * alone))[0] - neuron(*(start - h * alone))[0]) / (2 * h)
    print(f"    d{name:2} = {gradient[i]:13.10f}    wiggled: {wiggled:13.10f}")
    moves = np.linspace(-1.5, 1.5, 61)
    axes.plot(start[i] + moves, [neuron(*(start + m * alone))[0] for m in moves])
    axes.axline((start[i], L), slope=gradient[i], color=course.RED, linestyle="--")
    axes.plot(start[i], L, "o", color="black")
    axes.set(title=f"slope d{name} = {gradient[i]:.3f}", xlabel=name, ylim=(-0.02, 0.6))
panels[0].set_ylabel("loss L")
figure.suptitle("The derivative is the slope of the loss (orange) where we stand (black)", fontsize=11)  # fmt: skip
lesson.save(figure, "slopes")

# %% [markdown]
# ## A step downhill
#
# Where the slope is positive, less is better, and the other way round: we go against the gradient, w ← w - rate · dw.
# The **learning rate** decides how far. The gradient even says what to expect of a short step: the loss falls by
# about rate · (dw1² + dw2² + db²). After one such step, twenty with three learning rates: 0.1, 1 and 20. Which is best,
# and what goes wrong with the others?

# %%
loss, _ = neuron(*(start - 0.1 * gradient))
lesson.number("loss after one step of learning rate 0.1", loss)
print(f"    expected to fall by {0.1 * (gradient**2).sum():.4f}, fell by {L - loss:.4f}")

figure, axes = plt.subplots(figsize=(7, 3.4))
for rate, colour in ((0.1, course.BLUE), (1.0, course.GREEN), (20.0, course.RED)):
    w, losses = start.copy(), []
    for _ in range(21):
        loss, dw = neuron(*w)
        losses.append(loss)
        w -= rate * dw
    axes.semilogy(losses, "o-", color=colour, markersize=3)
    axes.text(20.3, loss, f"rate {rate:g}", color=colour, va="center")
    lesson.number(f"loss after 20 steps, learning rate {rate:g}", loss)
axes.set(title="Too small is slow, too large is stuck", xlabel="step", ylabel="loss L")
axes.set_xticks(range(0, 21, 5))
lesson.save(figure, "descent")

# %% [markdown]
# The large rate does not blow up. It jumps to z > 20, where the sigmoid is flat: y (1 - y) is nearly 0, so every
# derivative behind it is nearly 0 as well, and the neuron no longer moves. It is wrong and cannot hear it.
#
# ## The same neuron from the engine
#
# `nn` has these operations ready. `nn.Dense(2, 1)` is z = x w + b with 2 inputs and 1 output, `nn.Sigmoid` the
# activation, `nn.MSE` the loss (mean squared error). `forward` returns the result and a **cache**: the numbers that the
# local derivatives will need. `backward` takes what comes from above and that cache, puts the derivatives of weights
# into `grad`, and returns that of its input. Find each of these numbers on the page above.

# %%
dense, sigmoid, mse = nn.Dense(2, 1, dtype=np.float64), nn.Sigmoid(), nn.MSE()
for part in (dense, sigmoid, mse):
    part.to("reference")  # plain NumPy, made to be read: nn/reference/dense.py
dense.weight.value[:] = [[w1], [w2]]
dense.bias.value[:] = b

row, wanted = np.array([[x1, x2]]), np.array([[t]])  # one row for each example: here there is one
z, cache_z = dense.forward(row)
y, cache_y = sigmoid.forward(z)
L, cache_L = mse.forward(y, wanted)
dy = mse.backward(1.0, cache_L)
dz = sigmoid.backward(dy, cache_y)
dx = dense.backward(dz, cache_z)

print("    in the caches: x", cache_z.saved.x, " w", cache_z.saved.w.ravel(), " y", cache_y.saved.y)
print("    dy", dy.ravel(), " dz", dz.ravel(), " dx", dx.ravel())
print("    dw", dense.weight.grad.ravel(), " db", dense.bias.grad)
found = np.append(dense.weight.grad, dense.bias.grad)
lesson.check("the engine's gradient is that on paper", np.allclose(found, gradient), f"{found}")

# %% [markdown]
# ## Used twice: add
#
# What if a number is used in two places? It changes the loss along both ways, so its derivative is the **sum** of
# what comes back along both. Take u = 3 a, v = a + 1 and L = u v at a = 2. Along u comes 9, along v comes 6.
# Which is right: 9, 6, or 15?

# %%
a = 2.0
u, v = 3 * a, a + 1
du, dv = v, u  # L = u v: a product swaps its factors
overwritten = 3 * du
overwritten = 1 * dv  # `=`: the second way wipes out the first
added = 3 * du
added += 1 * dv
wiggled = (3 * (a + h) * (a + h + 1) - 3 * (a - h) * (a - h + 1)) / (2 * h)
print(f"    overwritten {overwritten:.4f}, added {added:.4f}, wiggled {wiggled:.4f}")

# %% [markdown]
# ## A batch: every example uses the same weights
#
# This is no rare case. A **batch** is a number of examples that go through together, one row each, and the loss is
# the mean of theirs. All rows use the same w and b: the bias is used N times, so db is a sum of N parts.
#
#     z = x w + b              x (N, 2)   w (2, 1)   b (1)   z, y, target (N, 1)
#     y = σ(z)                 dz = dy y (1 - y)
#     L = 1/N Σ (y - target)²  dy = 2 (y - target) / N
#     dw = xᵀ dz               the Σ over the examples, written as a matrix product
#     db = Σ dz                the same Σ; the local derivative of b is 1
#
# Why not the mean over the batch? It is in there already: the loss is a mean, so every dy was divided by N.

# %%
rng = np.random.default_rng(lesson.seed)
N = 32
x = rng.normal(size=(N, 2))
target = 1 / (1 + np.exp(-(x @ [[2.0], [-1.0]] + 0.5)))  # what a neuron with known weights says


def forward(w, b):
    y = 1 / (1 + np.exp(-(x @ w + b)))
    return y, ((y - target) ** 2).mean()


w, b = np.array([[0.5], [1.5]]), np.array([0.2])
y, L = forward(w, b)
dy = 2 * (y - target) / N
dz = dy * y * (1 - y)
dw = x.T @ dz
db = dz.sum(0)
print("    what the first four examples say to the bias:", dz[:4, 0].round(5), " all:", db.round(5))

# %% [markdown]
# ## zero_grad
#
# `backward` cannot know where else a weight was used, so it always **adds** into `grad`. The price: before each step
# somebody must set `grad` to 0, or the last step's gradient is still in it. That is `zero_grad()`. Forgetting it is the
# most common mistake of all, and it raises no error. Before you look: will the loss still fall?

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(1.2, 1))
nodes = {
    "a": (0, 1, "a", a, added), "u": (2.1, 1.8, "u = 3 a", u, du), "v": (2.1, 0.2, "v = a + 1", v, dv),
    "L": (4.2, 1, "L = u v", u * v, 1.0),
}  # fmt: skip
draw(left, nodes, [("a", "u", 3), ("a", "v", 1), ("u", "L", v), ("v", "L", u)])
left.set(xlim=(-0.8, 5), ylim=(-0.6, 2.6), title="Used twice: 3 · 3 + 1 · 6 = 15")

for words, colour in (("with zero_grad", course.BLUE), ("forgotten", course.RED)):
    net = nn.Sequential(nn.Dense(2, 1, rng=lesson.seed, dtype=np.float64), nn.Sigmoid())
    net.to("reference")  # one layer after the other, one cache for all of them
    losses = []
    for _ in range(100):
        y, cache = net.forward(x)
        loss, cache_L = mse.forward(y, target)
        losses.append(loss)
        if words != "forgotten":
            net.zero_grad()
        net.backward(mse.backward(1.0, cache_L), cache)
        for p in net.parameters():
            p.value -= 1.0 * p.grad
    right.semilogy(losses, color=colour)
    right.text(102, loss, words, va="center", color=colour)
    lesson.number(f"loss after 100 steps, {words}", loss)
right.set(title="Forgotten: it falls, at first", xlabel="step", ylabel="loss L", xlim=(-3, 100))
lesson.save(figure, "added")

# %% [markdown]
# It falls at first, even faster. Then all the old gradients, which are still in the sum, push the weights far past
# the goal. Remember the picture: a falling loss does not prove that a gradient is right.
#
# ## Break it
#
# Make the sum for db a mean. The neuron would still learn, only a little worse. Nothing but a check finds that.

# %%
# break: `dz.sum(0)` -> `dz.mean(0)`
aside = np.array([[h], [0.0]])
wiggled_w1 = (forward(w + aside, b)[1] - forward(w - aside, b)[1]) / (2 * h)
wiggled_b = (forward(w, b + h)[1] - forward(w, b - h)[1]) / (2 * h)
lesson.check("dw1 is what wiggling w1 says", abs(dw[0, 0] - wiggled_w1) < 1e-8, f"{dw[0, 0]:.8f}")
lesson.check("db is what wiggling b says", abs(db[0] - wiggled_b) < 1e-8, f"{db[0]:.8f}")
lesson.end()
