"""Mistakes in the steps of SGD and Adam.

Some mistakes call the right step with a wrong option (``sgd_with``, ``adam_with``); the others are the step written
out with one formula changed (``_sgd``, ``_adam``), in which o holds the options and g = dw + decay w.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from nn.check.mutants.dense import write
from nn.check.mutants.table import Function, mutant

Array = np.ndarray
SGD_OPTIONS = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
ADAM_OPTIONS = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}


def _before(f: Callable[..., Any], defaults: dict[str, Any]) -> Callable[[Function], Function]:
    """The right step with what ``f(w, dw, o)`` returns for dw; f may change the options o."""

    def make(right):
        def wrong(w, dw, *state, **options):
            o = SimpleNamespace(**(defaults | options))
            right(w, f(w, dw, o), *state, **vars(o))

        return wrong

    return make


def _with(
    defaults: dict[str, Any], **wrong: Callable[[Any], Any]
) -> Callable[[Function], Function]:
    """The right step with wrong options, each a function of the right ones."""

    def misread(w, dw, o):
        changed = {name: f(o) for name, f in wrong.items()}
        vars(o).update(changed)
        return dw

    return _before(misread, defaults)


def sgd_with(**wrong: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """SGD's right step with wrong options."""
    return _with(SGD_OPTIONS, **wrong)


def adam_with(**wrong: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """Adam's right step with wrong options."""
    return _with(ADAM_OPTIONS, **wrong)


def _moved(f: Callable[[Array, Array, Any], Array]) -> Callable[[Function], Function]:
    """w = f(w before, right w after, o); the state is right."""

    def make(right):
        def wrong(w, dw, *state, **options):
            before = w.copy()
            right(w, dw, *state, **options)
            w[...] = f(before, w, SimpleNamespace(**options))

        return wrong

    return make


def _one_stays(before: Array, w: Array, o: Any) -> Array:
    """The one in the middle; what is last in an arena may be padding."""
    return np.where(np.arange(w.size) == w.size // 2, before, w)


def _scale_gradient(w: Array, dw: Array, o: Any) -> Array:
    g = dw.copy()
    write(dw, dw * o.learning_rate)
    return g


def _decay_gradient(w: Array, dw: Array, o: Any) -> Array:
    g = dw.copy()
    write(dw, dw + o.weight_decay * w)
    return g


def _decayed(w: Array, dw: Array, decay: float) -> Array:
    return dw + decay * w if decay else dw


def _clear_gradient(w: Array, dw: Array, o: Any) -> Array:
    g = dw.copy()
    write(dw, 0)
    return g


def _l1(w: Array, dw: Array, o: Any) -> Array:
    decay, o.weight_decay = o.weight_decay, 0.0
    return dw + decay * np.sign(w)


def _decoupled(w: Array, dw: Array, o: Any) -> Array:
    """AdamW: w shrinks by itself, and the state never sees it."""
    w *= 1 - o.learning_rate * o.weight_decay
    o.weight_decay = 0.0
    return dw


def _in_float32(right: Function) -> Function:
    def wrong(w, dw, *state, **options):
        arrays = [None if a is None else a.astype(np.float32) for a in (w, dw, *state)]
        right(*arrays, **options)
        for a, single in zip((w, *state), (arrays[0], *arrays[2:]), strict=True):
            if a is not None:
                a[...] = single

    return wrong


def _common(of: str, defaults: dict[str, Any], *state: str) -> None:
    """The mistakes of both optimizers; ``state`` is what they keep between steps."""
    every = ("w", *state)
    before = lambda f: _before(f, defaults)  # noqa: E731
    mutant(of, "the step goes uphill: its sign is wrong", "w")(
        _moved(lambda before, w, o: 2 * before - w)
    )
    mutant(of, "the step is 1.0005 times what it should be", "w")(
        _moved(lambda before, w, o: before + 1.0005 * (w - before))
    )
    mutant(of, "the learning rate is multiplied in twice", "w")(
        _moved(lambda before, w, o: before + o.learning_rate * (w - before))
    )
    mutant(of, "one weight is never moved", "w")(_moved(_one_stays))
    mutant(of, "it is computed in float32", *every)(_in_float32)
    mutant(of, "the gradient is clipped to [-1, 1]", *every)(
        before(lambda w, dw, o: np.clip(dw, -1, 1))
    )
    mutant(of, "the weight decay is forgotten", *every)(_with(defaults, weight_decay=lambda o: 0.0))
    mutant(of, "the weight decay has the wrong sign", *every)(
        _with(defaults, weight_decay=lambda o: -o.weight_decay)
    )
    mutant(of, "the weight decay is multiplied by the learning rate twice", *every)(
        _with(defaults, weight_decay=lambda o: o.weight_decay * o.learning_rate)
    )
    mutant(of, "the weight decay is doubled", *every)(
        _with(defaults, weight_decay=lambda o: 2 * o.weight_decay)
    )
    mutant(of, "the weight decay is that of |w|: only the sign of w counts", *every)(before(_l1))
    mutant(of, "the weight decay goes past the state, straight to w", *every)(before(_decoupled))
    mutant(of, "it is multiplied by the learning rate in place", "dw")(before(_scale_gradient))
    mutant(of, "the weight decay is added to it in place", "dw")(before(_decay_gradient))
    mutant(of, "it is set to 0 after use", "dw")(before(_clear_gradient))


# SGD -----------------------------------------------------------------------------------------------------------------

_common("sgd_step", SGD_OPTIONS, "v")


def _sgd(f: Callable[..., tuple[Any, Array]]) -> Callable[[Function], Function]:
    """(new v, w's step without the learning rate) = f(v, g, o) where there is momentum; else the right step."""

    def make(right):
        def wrong(w, dw, v, **options):
            o = SimpleNamespace(**(SGD_OPTIONS | options))
            if v is None:
                right(w, dw, v, **options)
                return
            v[...], step = f(v.copy(), _decayed(w, dw, o.weight_decay), o)
            w -= o.learning_rate * step

        return wrong

    return make


def _ahead(v: Array, g: Array, o: Any) -> Array:
    """The direction of the right step for a new velocity v."""
    return g + o.momentum * v if o.nesterov else v


def _velocity(f: Callable[..., Array]) -> Callable[[Function], Function]:
    """A wrong velocity f(v, g, o), and the right step along it."""

    def step(v, g, o):
        v = f(v, g, o)
        return v, _ahead(v, g, o)

    return _sgd(step)


def _direction(f: Callable[..., Array]) -> Callable[[Function], Function]:
    """The right velocity, and a wrong step f(old v, new v, g, o)."""

    def step(v, g, o):
        new = o.momentum * v + g
        return new, f(v, new, g, o)

    return _sgd(step)


mutant("sgd_step", "the momentum is forgotten", "w", "v")(sgd_with(momentum=lambda o: 0.0))
mutant("sgd_step", "the velocity is not kept for the next step", "w", "v")(
    lambda right: (
        lambda w, dw, v, **options: right(w, dw, None if v is None else v.copy(), **options)
    )
)
mutant("sgd_step", "the new gradient is damped: mu v + (1 - mu) g", "w", "v")(
    _velocity(lambda v, g, o: o.momentum * v + (1 - o.momentum) * g)
)
mutant("sgd_step", "the momentum is multiplied to the gradient: v + mu g", "w", "v")(
    _velocity(lambda v, g, o: v + o.momentum * g)
)
mutant("sgd_step", "the velocity is subtracted: g - mu v", "w", "v")(
    _velocity(lambda v, g, o: g - o.momentum * v)
)
mutant("sgd_step", "nothing slows the velocity down: v + g", "w", "v")(
    _velocity(lambda v, g, o: v + g)
)
# With the old velocity the look-ahead g + mu v is the new velocity, and so the plain step.
mutant("sgd_step", "Nesterov's look-ahead is missing, or takes the old velocity", "w")(
    sgd_with(nesterov=lambda o: False)
)
mutant("sgd_step", "it looks ahead where it was not asked to", "w")(
    _direction(lambda old, v, g, o: g + o.momentum * v)
)
mutant("sgd_step", "Nesterov's look-ahead forgets the gradient", "w")(
    _direction(lambda old, v, g, o: o.momentum * v if o.nesterov else v)
)
mutant("sgd_step", "Nesterov's look-ahead forgets the momentum: g + v", "w")(
    _direction(lambda old, v, g, o: g + v if o.nesterov else v)
)
mutant("sgd_step", "the step is made before the velocity is new", "w")(
    _direction(lambda old, v, g, o: old)
)


@mutant("sgd_step", "the learning rate is inside the velocity", "w", "v")
def _(right):
    def wrong(w, dw, v, **options):
        if v is None:
            right(w, dw, v, **options)
            return
        rate = options["learning_rate"]
        g = rate * _decayed(w, dw, options.get("weight_decay", 0.0))
        right(w, g, v, **(options | {"learning_rate": 1.0, "weight_decay": 0.0}))

    return wrong


# Adam ----------------------------------------------------------------------------------------------------------------

_common("adam_step", ADAM_OPTIONS, "m", "v")


def _m(m: Array, v: Array, g: Array, o: Any) -> Array:
    return o.beta1 * m + (1 - o.beta1) * g


def _v(m: Array, v: Array, g: Array, o: Any) -> Array:
    return o.beta2 * v + (1 - o.beta2) * (g * g)


def _m_hat(m: Array, o: Any) -> Array:
    return m / (1 - o.beta1**o.step)


def _v_hat(v: Array, o: Any) -> Array:
    return v / (1 - o.beta2**o.step)


def _quotient(m: Array, v: Array, g: Array, o: Any) -> Array:
    return _m_hat(m, o) / (np.sqrt(_v_hat(v, o)) + o.eps)


def _adam(
    m: Callable[..., Array] = _m,
    v: Callable[..., Array] = _v,
    step: Callable[..., Array] = _quotient,
) -> Callable[[Function], Function]:
    """Adam with other formulas: new m and new v of (m, v, g, o), and w's step of (new m, new v, g, o)."""

    def make(right):
        def wrong(w, dw, to_m, to_v, **options):
            o = SimpleNamespace(**(ADAM_OPTIONS | options))
            g = _decayed(w, dw, o.weight_decay)
            to_m[...], to_v[...] = m(to_m, to_v, g, o), v(to_m, to_v, g, o)
            with np.errstate(divide="ignore", invalid="ignore"):
                w -= o.learning_rate * step(to_m, to_v, g, o)

        return wrong

    return make


def _step(f: Callable[..., Array]) -> Callable[[Function], Function]:
    """w's step as f(m, v, g, o); m and v are right."""
    return _adam(step=f)


_OF = "adam_step"
mutant(_OF, "m and v are not corrected for their bias", "w")(
    _step(lambda m, v, g, o: m / (np.sqrt(v) + o.eps))
)
mutant(_OF, "m is not corrected for its bias", "w")(
    _step(lambda m, v, g, o: m / (np.sqrt(_v_hat(v, o)) + o.eps))
)
mutant(_OF, "v is not corrected for its bias", "w")(
    _step(lambda m, v, g, o: _m_hat(m, o) / (np.sqrt(v) + o.eps))
)
mutant(_OF, "v is corrected with beta1", "w")(
    _step(lambda m, v, g, o: _m_hat(m, o) / (np.sqrt(v / (1 - o.beta1**o.step)) + o.eps))
)
mutant(_OF, "m is corrected with beta2", "w")(
    _step(lambda m, v, g, o: m / (1 - o.beta2**o.step) / (np.sqrt(_v_hat(v, o)) + o.eps))
)
mutant(_OF, "the bias correction multiplies, where it should divide", "w")(
    _step(
        lambda m, v, g, o: m * (1 - o.beta1**o.step) / (np.sqrt(v * (1 - o.beta2**o.step)) + o.eps)
    )
)
mutant(_OF, "eps stands inside the root", "w")(
    _step(lambda m, v, g, o: _m_hat(m, o) / np.sqrt(_v_hat(v, o) + o.eps))
)
mutant(_OF, "eps is added before v is corrected, and so it is scaled", "w")(
    _step(lambda m, v, g, o: _m_hat(m, o) / ((np.sqrt(v) + o.eps) / np.sqrt(1 - o.beta2**o.step)))
)
mutant(_OF, "eps is forgotten", "w")(_step(lambda m, v, g, o: _m_hat(m, o) / np.sqrt(_v_hat(v, o))))
mutant(_OF, "the root is forgotten", "w")(
    _step(lambda m, v, g, o: _m_hat(m, o) / (_v_hat(v, o) + o.eps))
)
mutant(_OF, "the gradient stands for m, as in RMSprop", "w")(
    _step(lambda m, v, g, o: g / (np.sqrt(_v_hat(v, o)) + o.eps))
)
mutant(_OF, "the step is divided by the gradient's own size", "w")(
    _step(lambda m, v, g, o: _m_hat(m, o) / (np.abs(g) + o.eps))
)
mutant(_OF, "t starts at 0, and the first step is NaN", "w")(
    _step(
        lambda m, v, g, o: _quotient(m, v, g, SimpleNamespace(**(vars(o) | {"step": o.step - 1})))
    )
)
mutant(_OF, "t is one behind from the second step on", "w")(
    adam_with(step=lambda o: max(o.step - 1, 1))
)
mutant(_OF, "t is one ahead", "w")(adam_with(step=lambda o: o.step + 1))
mutant(_OF, "t never counts: it is always 1", "w")(adam_with(step=lambda o: 1))
mutant(_OF, "beta1 and beta2 are exchanged", "w", "m", "v")(
    adam_with(beta1=lambda o: o.beta2, beta2=lambda o: o.beta1)
)
mutant(_OF, "v averages |g|, where it should average g²", "w", "v")(
    _adam(v=lambda m, v, g, o: o.beta2 * v + (1 - o.beta2) * np.abs(g))
)
mutant(_OF, "v averages (g - m)²", "w", "v")(
    _adam(v=lambda m, v, g, o: o.beta2 * v + (1 - o.beta2) * (g - _m(m, v, g, o)) ** 2)
)
mutant(_OF, "v never shrinks: the largest one is kept", "w", "v")(
    _adam(v=lambda m, v, g, o: np.maximum(v, _v(m, v, g, o)))
)
mutant(_OF, "v is a sum of squares that nothing shrinks", "w", "v")(
    _adam(v=lambda m, v, g, o: v + g * g)
)
mutant(_OF, "v lacks the factor 1 - beta2", "w", "v")(
    _adam(v=lambda m, v, g, o: o.beta2 * v + g * g)
)
mutant(_OF, "m lacks the factor 1 - beta1", "w", "m")(_adam(m=lambda m, v, g, o: o.beta1 * m + g))
mutant(_OF, "m gives beta1 to the gradient and 1 - beta1 to itself", "w", "m")(
    _adam(m=lambda m, v, g, o: (1 - o.beta1) * m + o.beta1 * g)
)
mutant(_OF, "the learning rate is inside m", "w", "m")(
    _adam(
        m=lambda m, v, g, o: o.beta1 * m + (1 - o.beta1) * o.learning_rate * g,
        step=lambda m, v, g, o: _quotient(m, v, g, o) / o.learning_rate,
    )
)
mutant(_OF, "m is corrected in place, and so again at every step", "w", "m")(
    _adam(
        m=lambda m, v, g, o: _m_hat(_m(m, v, g, o), o),
        step=lambda m, v, g, o: m / (np.sqrt(_v_hat(v, o)) + o.eps),
    )
)
mutant(_OF, "m is not kept for the next step", "w", "m")(
    lambda right: lambda w, dw, m, v, **options: right(w, dw, m.copy(), v, **options)
)
mutant(_OF, "v is not kept for the next step", "w", "v")(
    lambda right: lambda w, dw, m, v, **options: right(w, dw, m, v.copy(), **options)
)
