"""Wrong backward passes on purpose: the mistakes that people make when they write backpropagation by hand.

One file per kind of function; each fills ``MUTANTS`` when it is imported. Two uses: a check of gradients is worth
what it catches, so every mistake here must be caught by it; and the mistake that gives the same numbers as somebody's
wrong gradient names what went wrong there.

    with planted(mutant):
        ...                     every layer on the reference backend makes this mistake
"""

from collections.abc import Iterator
from contextlib import contextmanager

from nn.backend import get_backend
from nn.check.mutants import (
    activation,
    conv,
    conv_block,
    dense,
    losses,
    optim,
    pixel_shuffle,
    shape,
)
from nn.check.mutants.table import MUTANTS, Mutant, mutant
from nn.layer import REGISTRY

__all__ = ["MUTANTS", "Mutant", "mutant", "planted"]

_FILES = (
    activation,
    conv,
    conv_block,
    dense,
    losses,
    optim,
    pixel_shuffle,
    shape,
)  # imported for what they put into MUTANTS


@contextmanager
def planted(mutant: Mutant, backend: str = "reference") -> Iterator[None]:
    """While it lasts, ``backend`` makes this mistake; a mistake in a method ("Flatten._backward") is in all backends.

    Each use starts anew: what the mistake remembered of earlier calls is forgotten.
    """
    layer, _, name = mutant.of.rpartition(".")
    owner = REGISTRY[layer].make if layer else get_backend(backend)
    right = getattr(owner, name)
    setattr(owner, name, mutant.make(right))
    try:
        yield
    finally:
        setattr(owner, name, right)
