"""What a wrong backward is here: a name in plain words, and the function that makes the mistake.

    @mutant("conv2d_backward", "the kernel is flipped", "dw")
    def _(right):
        def wrong(dy, cache, dw, db, *, need_dx=True):
            ...
        return wrong

``right`` is the function that it stands in for, of whatever backend; ``wrong`` takes the same arguments. What is
below ``def _(right)`` runs once for each use, so a mistake may remember earlier calls without touching the next test.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Function = Callable[..., Any]


@dataclass(frozen=True)
class Mutant:
    """A mistake that people make.

    of        the function that it is a wrong version of: "conv2d_backward" (of a backend), or "Flatten._backward"
              (a method of a layer)
    name      a clause that continues "dw looks like ...": "the kernel is flipped"
    outputs   what comes out wrong: "dx", "dw", "db"; "y" of a forward pass; "loss"; "w", "m", "v" of an optimizer
    make      right -> wrong
    """

    of: str
    name: str
    outputs: tuple[str, ...]
    make: Callable[[Function], Function]


MUTANTS: list[Mutant] = []


def mutant(of: str, name: str, *outputs: str) -> Callable[[Callable[[Function], Function]], Any]:
    """Puts a mistake into the table; ValueError where the same function has one of that name."""
    if any((m.of, m.name) == (of, name) for m in MUTANTS):
        raise ValueError(f"{of} has a mistake called {name!r} already")

    def add(make: Callable[[Function], Function]) -> Callable[[Function], Function]:
        MUTANTS.append(Mutant(of, name, outputs, make))
        return make

    return add
