"""Which arithmetic a layer runs on: ``reference`` (NumPy), ``cpu`` (Numba) or ``gpu`` (CUDA, through CuPy).

A backend is a package with the functions that ``nn.reference`` lists, under the same names. It is
imported when it is first asked for, so that ``import nn`` costs nothing and a machine needs only the
libraries of the backends it uses.

    put(array, backend)    the array where that backend computes: on the card for ``gpu``, in main memory otherwise
    host(array)            the array in main memory, wherever it lies
    assign(array, values)  array[...] = values, wherever each of them lies

``auto`` is ``gpu`` where CuPy and a card that is new enough are there, and ``cpu`` otherwise.
"""

import functools
import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np

BACKENDS = ("reference", "cpu")  # run everywhere
GPU, AUTO = "gpu", "auto"
KNOWN = (*BACKENDS, GPU)
DEFAULT = "cpu"
NO_CUPY = (
    "the GPU needs CuPy, which is not installed: pip install 'latentface[gpu12]' for a driver of CUDA 12, "
    "'latentface[gpu13]' for one of CUDA 13; or choose --device cpu"
)


class DeviceError(RuntimeError):
    """The GPU cannot be used; the message is one sentence that says why and what would help."""


class OutOfMemory(DeviceError):
    """The GPU's memory is full."""


@functools.cache
def get_backend(name: str) -> ModuleType:
    """The package of backend ``name``; ValueError for an unknown name, with the known ones."""
    if name not in KNOWN:
        raise ValueError(f"unknown backend {name!r}; there are {', '.join(KNOWN)}")
    return importlib.import_module(f"nn.{name}")


def choose(name: str) -> str:
    """``name`` itself, once its backend is known to run here; for ``auto`` the fastest that does.

    ValueError for an unknown name, DeviceError where ``gpu`` is asked for and cannot be had.
    """
    if name == AUTO:
        return GPU if why_no_gpu() == "" else DEFAULT
    get_backend(name)
    if name == GPU:
        _device().machine()
    return name


def why_no_gpu() -> str:
    """One sentence on what the backend ``gpu`` lacks on this machine; "" where it runs."""
    if GPU_MACHINE not in sys.modules and importlib.util.find_spec("cupy") is None:
        return NO_CUPY  # the usual case, found without importing anything
    try:
        _device().machine()
    except DeviceError as error:
        return str(error)
    return ""


def here() -> list[str]:
    """The backends that this machine can run."""
    return [*BACKENDS, *([GPU] if why_no_gpu() == "" else [])]


GPU_MACHINE = "nn.gpu.device"


def _device() -> ModuleType:
    return importlib.import_module(GPU_MACHINE)


def on_gpu(array: Any) -> bool:
    """Whether it is an array of the GPU; nothing is imported to find out."""
    device = sys.modules.get(GPU_MACHINE)
    return device is not None and device.owns(array)


def is_array(value: Any) -> bool:
    """Whether it is an array, here or on the GPU."""
    return isinstance(value, np.ndarray) or on_gpu(value)


def put(array: Any, backend: str) -> Any:
    """The array where ``backend`` computes; itself if it lies there already."""
    if on_gpu(array) == (backend == GPU):
        return array
    return _device().upload(array) if backend == GPU else host(array)


def empty_on_gpu(shape: int | tuple[int, ...], dtype: Any) -> Any:
    """An array of the GPU with whatever numbers lie in it."""
    return _device().empty(shape, dtype)


def host(array: Any) -> Any:
    """The array in main memory; itself if it lies there already."""
    return _device().download(array) if on_gpu(array) else array


def assign(array: Any, values: Any) -> None:
    """array[...] = values, wherever each of them lies."""
    if on_gpu(array) and not on_gpu(values):
        _device().write(array, np.broadcast_to(values, array.shape))
    else:
        array[...] = values if on_gpu(array) else host(values)
