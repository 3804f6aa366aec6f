"""A machine behind ``nn.gpu.device`` that needs no GPU: the same .cu sources, compiled by g++ and run thread by thread.

    cuda.h     CUDA's words in C++: blocks one after the other, a fiber for each thread, barriers, shuffles
    ptx.cuh    in place of nn/gpu/ptx.cuh: what its instructions compute
    here       compiling, launching, and arrays that behave like CuPy's

What this proves of a kernel: that its text computes the right numbers, touches no memory beside its arrays (each lies
between two fences), reads nothing that was not written (fresh memory is NaN), and does not depend on the order in which
threads run (``backwards`` reverses it). What it cannot: speed, alignment, and what NVIDIA's compiler makes of the text.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nn.gpu import device

HERE = Path(__file__).parent
FENCE = 64  # bytes on each side of an array
KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(")
COMPILER = shutil.which("g++")


class CardArray(np.ndarray):
    """An array of the emulated card. As with CuPy's, a host array cannot be an operand beside it."""

    fenced: Any = None

    def __array_finalize__(self, made_from: Any) -> None:
        self.fenced = getattr(made_from, "fenced", None)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.__array_interface__

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **named: Any) -> Any:
        out = named.pop("out", ())
        _refuse_hosts((*inputs, *out), ufunc.__name__)
        plain = [i.view(np.ndarray) if isinstance(i, CardArray) else i for i in inputs]
        target = out[0] if out else None

        def compute() -> Any:
            return getattr(ufunc, method)(*plain, **named)

        return _done(compute, target)

    def __array_function__(self, function: Any, types: Any, args: Any, named: Any) -> Any:
        _refuse_hosts(args, function.__name__)
        if function in (np.shape, np.result_type, np.broadcast_to):  # views, or no array at all
            found = function(*_plain(args), **_plain(named))
            return found.view(CardArray) if isinstance(found, np.ndarray) else found
        return _done(lambda: function(*_plain(args), **_plain(named)), None)

    def __setitem__(self, key: Any, value: Any) -> None:
        _refuse_hosts((value,), "assignment")
        target = self.view(np.ndarray)

        def compute() -> None:
            target[key] = value.view(np.ndarray) if isinstance(value, CardArray) else value

        _record(compute)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, CardArray):  # a copy, made by the card
            plain, places = self.view(np.ndarray), key.view(np.ndarray)
            return _done(lambda: plain[places], None)
        return super().__getitem__(key)

    def fill(self, value: Any) -> None:
        target = self.view(np.ndarray)
        _record(lambda: target.fill(value))

    def astype(self, dtype: Any, **_: Any) -> "CardArray":
        plain = self.view(np.ndarray)
        return _done(lambda: plain.astype(dtype), None)

    def copy(self, *_: Any) -> "CardArray":
        plain = self.view(np.ndarray)
        return _done(plain.copy, None)


def _refuse_hosts(operands: Any, name: str) -> None:
    """As CuPy does: an array of the host is no operand; one of no axes is a number."""
    for operand in operands:
        if isinstance(operand, (tuple, list)):
            _refuse_hosts(operand, name)
        elif (
            isinstance(operand, np.ndarray) and operand.ndim and not isinstance(operand, CardArray)
        ):
            raise TypeError(f"{name}: an array of the host beside one of the card")


def _plain(value: Any) -> Any:
    if isinstance(value, CardArray):
        return value.view(np.ndarray)
    if isinstance(value, (tuple, list)):
        return type(value)(_plain(item) for item in value)
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


# While a graph is recorded: what is done, to be done again with the same arrays. A card runs nothing while it records.
_recording: list[Callable[[], None]] | None = None


def _record(step: Callable[[], None]) -> None:
    if _recording is None:
        step()
    else:
        _recording.append(step)


def _done(compute: Callable[[], Any], target: CardArray | None) -> Any:
    """The result of a computation on the card, in ``target`` or a new array of the card."""
    if _recording is not None:
        # Shape and type are known before anything is computed; here, by computing it with whatever lies there.
        with np.errstate(all="ignore"):
            like = np.asarray(compute())
        result = _fenced(like.shape, like.dtype) if target is None else target

        def again() -> None:
            result.view(np.ndarray)[...] = compute()

        _recording.append(again)
        return result
    found = compute()
    if target is not None:
        target.view(np.ndarray)[...] = found
        return target
    return _as_card(found) if isinstance(found, np.ndarray | np.generic) else found


def _as_card(found: Any) -> CardArray:
    fresh = _fenced(np.shape(found), found.dtype)
    fresh.view(np.ndarray)[...] = found
    return fresh


class Taken:
    """Bytes of all arrays of the card that live, and the most there were."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def take(self, array: Any, size: int) -> None:
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(array, self._give_back, size)

    def _give_back(self, size: int) -> None:
        self.now -= size


taken = Taken()


def _fenced(shape: tuple[int, ...], dtype: Any) -> CardArray:
    """An array of NaN (all bits 1) between two fences, aligned as CuPy's are."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.full(size + 2 * FENCE + 512, 0xFF, np.uint8)
    taken.take(raw, size)
    start = FENCE + -(raw.ctypes.data + FENCE) % 256
    array = raw[start : start + size].view(dtype).reshape(shape).view(CardArray)
    array.fenced = (raw, start, size)
    return array


class Emulator:
    """A ``nn.gpu.device.Machine``. backwards: blocks and threads run in the opposite order. idle: no kernel and no
    product is run, for what depends on sizes alone."""

    name = "emulated card"
    capability = (9, 0)
    memory = 2**34

    def __init__(self, *, backwards: bool = False, idle: bool = False) -> None:
        self.backwards, self.idle = backwards, idle
        self.launched: set[tuple[str, str, tuple[str, ...]]] = set()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> CardArray:
        return _fenced(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> CardArray:
        array = _fenced(shape, dtype)
        array.fill(0)
        return array

    def upload(self, host: np.ndarray) -> CardArray:
        _no_recording("upload")
        assert not isinstance(host, CardArray)
        return _as_card(np.asarray(host))

    def download(self, array: CardArray) -> np.ndarray:
        _no_recording("download")
        return np.array(array.view(np.ndarray))

    def owns(self, array: Any) -> bool:
        return isinstance(array, CardArray)

    def contiguous(self, array: CardArray) -> CardArray:
        return array if array.flags.c_contiguous else _done(lambda: array.view(np.ndarray), None)

    def address(self, array: CardArray) -> int:
        return array.ctypes.data

    def write(self, array: CardArray, host: np.ndarray) -> None:
        _no_recording("write")
        array.view(np.ndarray)[...] = host

    def send(self, array: CardArray, host: np.ndarray) -> None:
        _no_recording("send")
        array.view(np.ndarray)[...] = host

    def receive(self, array: CardArray) -> Callable[[], np.ndarray]:
        _no_recording("receive")
        there = np.array(array.view(np.ndarray))
        return lambda: there

    def launch(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, int, int],
        block: int,
        args: Sequence[Any],
        options: tuple[str, ...],
        shared: int,
    ) -> None:
        # The least that is promised: of sm_86 and sm_89; of Hopper for what no other card runs.
        assert shared <= (227 if "-DWARPGROUP=1" in options else 99) * 2**10
        assert grid[0] < 2**31
        assert max(grid[1:]) < 2**16
        assert block <= 1024
        self.launched.add((source, kernel, options))
        if self.idle:
            return
        held, fences = [], []
        for arg in args:
            if isinstance(arg, CardArray):
                held.append(ctypes.c_uint64(arg.ctypes.data))
                fences.append(arg.fenced)
            else:
                assert not isinstance(arg, np.ndarray)
                held.append(ctypes.create_string_buffer(arg.tobytes(), arg.nbytes))
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(h) for h in held))
        sizes = (ctypes.c_int * len(held))(
            *(8 if isinstance(a, CardArray) else a.nbytes for a in args)
        )
        dims = (ctypes.c_uint * 7)(*grid, block, 1, 1, self.backwards)
        run = getattr(library(source, options), f"launch_{kernel}")
        _record(
            lambda: self._run(
                kernel, lambda: run(dims, pointers, sizes, len(held)), fences, (args, held)
            )
        )

    def _run(self, kernel: str, run: Callable[[], int], fences: list[Any], args: Any) -> None:
        status = run()
        if status == 1:
            raise AssertionError(f"{kernel}: threads wait for each other in different places")
        if status == 2:
            raise AssertionError(
                f"{kernel} takes other arguments than {[type(a) for a in args[0]]}"
            )
        if status == 3:
            raise AssertionError(f"{kernel}: what a thread stored is not yet there for products")
        for raw, start, size in filter(None, fences):
            if (raw[start - FENCE : start] != 0xFF).any() or (
                raw[start + size : start + size + FENCE] != 0xFF
            ).any():
                raise AssertionError(f"{kernel} wrote beside an array")

    def product(
        self,
        a: CardArray,
        b: CardArray,
        out: CardArray,
        *,
        a_turned: bool,
        b_turned: bool,
        add: bool,
        precision: str,
    ) -> None:
        if self.idle:
            return
        left, right, target = (m.view(np.ndarray) for m in (a, b, out))
        assert all(m.flags.c_contiguous and m.ndim == 2 for m in (left, right, target))
        left, right = left.T if a_turned else left, right.T if b_turned else right
        kind = precision if out.dtype == np.float32 else "fp32"

        def compute() -> None:
            with np.errstate(over="ignore", invalid="ignore"):
                found = rounded(left, kind) @ rounded(right, kind)
            target[...] = target + found if add else found

        _record(compute)

    def synchronize(self) -> None:
        _no_recording("synchronize")

    def record(self, body: Callable[[], None]) -> Callable[[], None]:
        """Runs ``body``, then records it as a card does: launches and addresses, and none of the Python around them."""
        global _recording
        body()
        _recording = steps = []
        try:
            body()
        finally:
            _recording = None

        def run() -> None:
            for step in steps:
                step()

        return run


def _no_recording(what: str) -> None:
    if _recording is not None:
        raise AssertionError(f"{what} while a graph is recorded")


def rounded(values: np.ndarray, precision: str) -> np.ndarray:
    """float32 numbers as the factors of a product in "tf32" or "fp16" (or as they are, in "fp32")."""
    if precision == "fp32":
        return values
    if precision == "fp16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        wide = np.asarray(values, np.float64) * (1 + np.float64(np.float32(0.7 / 2048)))
        bits = wide.astype(np.float32).view(np.uint32)  # as ptx.cuh has it
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


_libraries: dict[tuple[str, tuple[str, ...]], ctypes.CDLL] = {}
BUILT = Path(tempfile.gettempdir()) / f"latentface-emulator-{os.getuid()}"


def library(source: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """The shared library of one .cu file with one set of options, compiled where it was not before."""
    key = (source, options)
    if key not in _libraries:
        text = (HERE / "cuda.h").read_text() + device.text_of(source, HERE)
        for kernel in KERNEL.findall(text):
            text += (
                f'extern "C" int launch_{kernel}(const unsigned* dims, void** args, const int* sizes, int count) '
                f"{{ return emulator::launch({kernel}, dims, args, sizes, count); }}\n"
            )
        # The rest is NVIDIA's; and of one pass alone, the others are compiled, too.
        defined = [o for o in options if o.startswith("-D") and not o.startswith("-DPASS=")]
        defined += ["-DPASS=0"]
        flags = ["-std=c++17", "-O2", "-fPIC", "-shared", "-w", "-x", "c++"]
        # Libraries share no variables; jumps between fibers are no error.
        flags += ["-fno-gnu-unique", "-U_FORTIFY_SOURCE"]
        digest = hashlib.sha256(" ".join([COMPILER, *flags, *defined, text]).encode()).hexdigest()
        BUILT.mkdir(mode=0o700, exist_ok=True)
        built = BUILT / f"{Path(source).stem}-{digest[:24]}.so"
        if not built.exists():
            fresh = built.with_suffix(f".{os.getpid()}")
            command = [COMPILER, *flags, *defined, "-", "-o", str(fresh)]
            done = subprocess.run(command, input=text, text=True, capture_output=True)
            if done.returncode:
                raise AssertionError(f"{source} {options} does not compile:\n{done.stderr[:4000]}")
            fresh.replace(built)
        _libraries[key] = ctypes.CDLL(str(built))
    return _libraries[key]
