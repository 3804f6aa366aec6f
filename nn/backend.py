"""Which arithmetic a layer runs on: ``reference`` (NumPy) or ``cpu`` (Numba).

A backend is a package with the functions that ``nn.reference`` lists, under the same names. It is
imported when it is first asked for, so that ``import nn`` costs nothing and a machine needs only the
libraries of the backends it uses.
"""

import importlib
from types import ModuleType

BACKENDS = ("reference", "cpu")
DEFAULT = "cpu"


def get_backend(name: str) -> ModuleType:
    """The package of backend ``name``; ValueError for an unknown name, with the known ones."""
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}; there are {', '.join(BACKENDS)}")
    return importlib.import_module(f"nn.{name}")
