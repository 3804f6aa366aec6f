"""``nn.check.mine``: is my backward right, and if not, what did I do?

    >>> nn.check.mine(my_conv2d_backward)
    my_conv2d_backward, compared with conv2d_backward: wrong
      dx  right
      dw  wrong: off by up to 1.9 of the largest entry, where rounding alone would be 1e-15; first at [0, 0, 0, 0],
          which is 3.21 and should be -0.54 (kernel_size=3 padding=1, x (2, 5, 4, 2))
          dw looks like the kernel is flipped
      db  right

The function is run on the inputs of ``observe``; what comes out is compared with the reference, and, where it is
wrong, with every mistake of the table (``nn.check.mutants``): the one that makes the same numbers is the one. What is
not in the table is described by simpler means: a constant factor, a sign, an axis reversed, a certain option ignored.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from nn.check.adapt import Refused, adapt
from nn.check.finding import compare
from nn.check.mutants import MUTANTS, Mutant
from nn.check.observe import Function, Outputs, functions, observe, right_function

WRONG = 1e-11
SAME = 1e-8  # two wrong results that are the same mistake
SINGLE = 2.0**-29  # float64's rounding over float32's
INPUTS = ("x", "dy", "w", "b", "y", "target", "dw")


@dataclass(frozen=True)
class Output:
    """What is to be said of one output. looks_like: clauses, the most likely mistake first."""

    name: str
    right: bool
    worst: float = 0.0
    rounding: float = 0.0
    where: str = ""
    looks_like: tuple[str, ...] = ()

    def lines(self) -> Iterable[str]:
        if self.right:
            yield f"  {self.name:6}right"
            return
        yield f"  {self.name:6}wrong: {self.where}"
        for clause in self.looks_like:
            yield f"        {self.name} looks like {clause}"


@dataclass(frozen=True)
class Answer:
    """The verdict on a function handed in; printed, it explains itself."""

    function: str
    of: str
    outputs: tuple[Output, ...] = ()
    problem: str = ""
    tried: int = field(default=0)

    @property
    def right(self) -> bool:
        return not self.problem and all(o.right for o in self.outputs)

    @property
    def mistakes(self) -> list[str]:
        """Every sentence "dw looks like ..."."""
        return [f"{o.name} looks like {c}" for o in self.outputs for c in o.looks_like]

    def __str__(self) -> str:
        verdict = "right" if self.right else "wrong"
        lines = [f"{self.function}, compared with {self.of} on {self.tried} inputs: {verdict}"]
        if self.problem:
            lines.append(f"  {self.problem}")
        for output in self.outputs:
            lines += output.lines()
        return "\n".join(lines)

    __repr__ = __str__


def mine(
    function: Function, of: str | None = None, *, seed: int = 0, truth: str = "reference"
) -> Answer:
    """Says whether ``function`` does what the reference's function ``of`` does, and if not, what it looks like.

    of: "conv2d_backward", "relu_forward", "adam_step" ...; taken from the function's own name where it contains one.
    truth: the backend that is right. How arguments are passed and results taken: ``nn.check.adapt``.
    Raises ValueError where ``of`` is unknown, or an argument has a name that is not understood.
    """
    own = getattr(function, "__name__", type(function).__name__)
    of = of or _guess(own)
    spec = functions().get(of)
    if spec is None:
        raise ValueError(
            f"there is no function {of!r} to compare with; there are {', '.join(functions())}"
        )
    try:
        called = adapt(function, of, spec)
    except Refused as error:
        raise ValueError(str(error)) from error
    return judge(called, of, own, seed=seed, truth=truth)


def judge(
    function: Function, of: str, own: str, *, seed: int = 0, truth: str = "reference"
) -> Answer:
    """``mine`` for a function that takes its arguments as the reference's does; ``own``: its name."""
    right = right_function(of, truth)
    expected = observe(right, of, seed=seed)
    tried = len({place for place, _ in expected})
    try:
        found = observe(function, of, seed=seed)
    except Exception as error:
        return Answer(own, of, problem=_stopped(error), tried=tried)
    return Answer(own, of, tuple(_judge(found, expected, right, of, seed)), tried=tried)


def _stopped(error: Exception) -> str:
    place = "".join(f" (with {note})" for note in getattr(error, "__notes__", ())[:1])
    return f"it stops with {type(error).__name__}: {error}{place}"


def _guess(name: str) -> str:
    """The longest known function whose name is in ``name``, or is it without a digit ("conv_backward")."""
    known = [of for of in functions() if "." not in of]
    fitting = [of for of in known if of in name.lower()]
    if not fitting:
        plain = name.lower().replace("_grad", "_backward")
        fitting = [
            of for of in known if of.replace("2d", "") in plain or of.split("_with")[0] in plain
        ]
        fitting = [of for of in fitting if of.rpartition("_")[2] in plain]
    if not fitting:
        raise ValueError(
            f"which function is {name!r} meant to be? Say mine(function, of=...) with one of {', '.join(known)}"
        )
    return max(fitting, key=len)


def _judge(found: Outputs, truth: Outputs, right: Function, of: str, seed: int) -> Iterable[Output]:
    names = list(dict.fromkeys(name for _, name in (*truth, *found)))
    wrong = [name for name in names if _differ(found, truth, name, WRONG)]
    alike = _table(found, truth, right, of, seed, names, wrong)
    small = {key: value for key, value in truth.items() if value is not None}
    rounding = _rounding(of, seed, small) if wrong else {}
    for name in names:
        if name not in wrong:
            yield Output(name, True)
            continue
        clauses = alike[name]
        worst, where = _where(found, truth, name)
        if clauses is None:
            clauses = tuple(_describe(found, truth, name))
        yield Output(name, False, worst, rounding.get(name, 1e-16),
                     where.format(rounding=rounding.get(name, 1e-16)), clauses)  # fmt: skip


def _table(
    found: Outputs,
    truth: Outputs,
    right: Function,
    of: str,
    seed: int,
    names: list[str],
    wrong: list[str],
) -> dict[str, tuple[str, ...] | None]:
    """For each wrong output, the mistakes of the table that make the same numbers; None where none does.

    Where one mistake explains everything that is wrong, it is said of the outputs that it is about; the others only
    follow from it (a wrong weight changes the next gradient), and nothing is said of them.
    """
    alike: dict[str, list[str]] = {name: [] for name in wrong}
    whole: list[Mutant] = []
    for mutant in MUTANTS if wrong else ():
        if mutant.of != of:
            continue
        made = _of_mutant(mutant, right, seed)
        same = {name for name in names if not _differ(found, made, name, SAME)}
        if len(same) == len(names):
            whole.append(mutant)
        for name in wrong:
            if name in same:
                alike[name].append(mutant.name)
    if not whole:
        return {name: tuple(clauses) or None for name, clauses in alike.items()}
    return {
        name: tuple(m.name for m in whole if name in m.outputs or not set(m.outputs) & set(wrong))
        for name in wrong
    }


@lru_cache(1024)
def _of_mutant(mutant: Mutant, right: Function, seed: int) -> Outputs:
    return observe(mutant.make(right), mutant.of, seed=seed)


def _keys(a: Outputs, b: Outputs, name: str) -> list[tuple[str, str]]:
    return [key for key in dict.fromkeys((*a, *b)) if key[1] == name]


def _differ(a: Outputs, b: Outputs, name: str, tolerance: float) -> bool:
    return any(_error(a.get(key), b.get(key)) > tolerance for key in _keys(a, b, name))


def _error(found: np.ndarray | None, expected: np.ndarray | None) -> float:
    """Relative to the largest entry; 0 where both are missing or are NaN at the same places."""
    if found is None or expected is None:
        return 0.0 if found is expected else np.inf
    if np.shape(found) != np.shape(expected):
        return np.inf
    both = np.isnan(found) & np.isnan(expected)
    return compare("", np.where(both, 0, found), np.where(both, 0, expected)).worst


def _where(found: Outputs, truth: Outputs, name: str) -> tuple[float, str]:
    """The first input on which ``name`` is wrong, by how much, and a sentence with a gap for the rounding."""
    for key in _keys(found, truth, name):
        value, expected = found.get(key), truth.get(key)
        error = _error(value, expected)
        if error <= WRONG:
            continue
        tried = f"({key[0]})".replace("{", "").replace("}", "")
        if expected is None:
            return np.inf, f"{name} was given and came back changed {tried}"
        if value is None:
            return np.inf, f"nothing came back, where shape {expected.shape} is wanted {tried}"
        if np.shape(value) != expected.shape:
            return np.inf, f"the shape is {np.shape(value)}, and should be {expected.shape} {tried}"
        scale = float(np.max(np.abs(expected), initial=0)) or 1.0
        off = ~(np.abs(value - expected) <= WRONG * scale)
        index = tuple(int(i) for i in np.argwhere(off)[0]) if value.ndim else ()
        return error, (
            f"off by up to {error:.2g} of the largest entry, where rounding alone would be {{rounding:.0e}}; "
            f"first{' at ' + str(list(index)) if index else ''}, which is {value[index]:.6g} and should be "
            f"{expected[index]:.6g} {tried}"
        )  # fmt: skip
    return 0.0, ""


def _rounding(of: str, seed: int, truth: Outputs) -> dict[str, float]:
    """How large an error rounding alone makes: that of float32 on the same inputs, scaled to float64's digits."""
    right = right_function(of)

    def in_single(*arguments: Any, **named: Any) -> Any:
        given = [_single(a) for a in arguments]
        result = right(*given, **{name: _single(value) for name, value in named.items()})
        for old, new in zip(arguments, given, strict=True):
            if isinstance(old, np.ndarray) and not np.array_equal(old.astype(np.float32), new):
                old[...] = new  # what was added to
        return result

    if "." in of:  # numbers are moved, none is rounded
        return {}
    found = observe(in_single, of, seed=seed)
    errors: dict[str, float] = {}
    for key, expected in truth.items():
        error = _error(found.get(key), expected)
        if np.isfinite(error):
            errors[key[1]] = max(errors.get(key[1], 0.0), error * SINGLE)
    return errors


def _single(value: Any) -> Any:
    """In float32: an array, or the arrays of a cache."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float32)
    return type(value)(*map(_single, value)) if hasattr(value, "_fields") else value


def _describe(found: Outputs, truth: Outputs, name: str) -> Iterable[str]:
    """In words what is wrong, without the table."""
    keys = [k for k in _keys(found, truth, name) if truth.get(k) is not None]
    pairs = [(found.get(k), truth[k], k[0]) for k in keys]
    usable = [(f, t, place) for f, t, place in pairs if f is not None and np.shape(f) == t.shape]
    if name in INPUTS and not pairs:
        yield "it is written to, and whoever holds it finds other numbers there"
        return
    if not usable:
        return
    off = [(f, t, place) for f, t, place in usable if _error(f, t) > WRONG]
    if any(np.isnan(f).any() and not np.isnan(t).any() for f, t, _ in off):
        yield "it is not a number (NaN) somewhere"
        return
    if off and max(_error(f, t) for f, t, _ in off) < 1e-6:
        yield "some array inside is float32: the error has the size of its rounding"
        return
    if all(not np.any(f) for f, _, _ in off):
        yield "it is 0 throughout"
        return
    factors = [_factor(f, t) for f, t, _ in off if np.any(t)]
    if factors and all(c is not None for c in factors):
        yield _factor_in_words([c for c in factors if c is not None])
        return
    for what, change in CHANGES.items():
        if all(np.shape(change(t)) == t.shape and _error(f, change(t)) < SAME for f, t, _ in off):
            yield what
            return
    right = {place for f, t, place in usable if _error(f, t) <= WRONG}
    yield from _options(right, {place for _, _, place in off})


def _factor(found: np.ndarray, expected: np.ndarray) -> float | None:
    c = float(np.vdot(expected, found) / np.vdot(expected, expected))
    return c if _error(found, c * expected) < SAME else None


def _factor_in_words(factors: list[float]) -> str:
    if max(factors) - min(factors) < 1e-6:
        c = factors[0]
        return (
            "it has the wrong sign"
            if abs(c + 1) < 1e-6
            else f"it is {c:.6g} times what it should be"
        )
    shown = ", ".join(f"{c:.4g}" for c in dict.fromkeys(factors[:4]))
    return f"it is right up to a factor that changes with the shape ({shown}, ...): a mean for a sum, or the reverse"


CHANGES = {
    "the first two axes are exchanged": lambda t: t.swapaxes(0, 1) if t.ndim > 1 else t,
    "the last two axes are exchanged": lambda t: t.swapaxes(-1, -2) if t.ndim > 1 else t,
    "the first two axes are reversed": lambda t: t[::-1, ::-1] if t.ndim > 1 else t[::-1],
    "the last axis is reversed": lambda t: t[..., ::-1],
    "the batch is reversed": lambda t: t[::-1],
    "its size without its sign (an absolute value)": np.abs,
    "it is cut off at -1 and 1": lambda t: np.clip(t, -1, 1),
}


def _options(right: set[str], wrong: set[str]) -> Iterable[str]:
    """An option that all failing inputs have and no passing one: "it is wrong wherever stride=2"."""

    def options(place: str) -> set[str]:
        return set(re.findall(r"\w+=(?:\([^)]*\)|\S+)|whole numbers|call \d", place))

    if not right or not wrong:
        return
    common = set.intersection(*map(options, wrong)) - set().union(*map(options, right))
    if common == {"whole numbers"}:
        yield "it is wrong at the kink, where whole numbers lie, and right elsewhere"
    elif common:
        yield f"it is wrong wherever {' and '.join(sorted(common))}, and right elsewhere"
