"""The one door to the GPU: memory, kernels, matrix products and graphs. No other file here touches CuPy.

    empty(shape, dtype)  upload(host)  download(array)      arrays of the card; both are C-contiguous
    launch(file, kernel, grid, block, args, **defines)      a kernel of a .cu file of this folder
    product(a, b, out, ...)                                 out = a b, or out += a b, by cuBLAS

A source is compiled when a kernel of it is first launched, once for each set of ``defines`` (``compiler``). Lines
``#include "name.cuh"`` are replaced by the file's text, so that a changed header is a changed source.

The machine behind the door can be exchanged (``use``). The tests put one there that compiles the same sources for the
CPU, so that every kernel runs where there is no GPU.

Errors: DeviceError where CuPy, a driver or a card is missing or too old; OutOfMemory where its memory is full.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nn.backend import NO_CUPY, DeviceError, OutOfMemory
from nn.gpu.compiler import compiled
from nn.gpu.transfer import Transfers

FOLDER = Path(__file__).parent
HOPPER = (9, 0)  # the one that has the instructions of warpgroup.cuh
LEAST_CAPABILITY = (8, 0)  # Ampere: TF32, and the tensor core instructions of ptx.cuh
WORKSPACE = 32 * 2**20  # bytes that cuBLAS gets, so that it asks for none while a graph is recorded
THREADS = 256  # of a block of a kernel that does one thing for each number
# cuBLAS's cublasComputeType_t and cublasGemmAlgo_t; 32F_FAST_...: float32 in and out, factors rounded on the way.
COMPUTE_32F = {"fp32": 68, "tf32": 77, "fp16": 74}
COMPUTE_64F = 70
GEMM_DEFAULT = -1
FREE_SHARED = 48 * 2**10  # bytes of shared memory that a launch gets without asking
MOST_BLOCKS = 4096  # of such a kernel; each thread then takes several numbers

NO_GPU = "there is no GPU on this machine; choose --device cpu"

Array = Any  # an array of the card


class Machine(Protocol):
    """What stands behind the door."""

    name: str
    memory: int
    capability: tuple[int, int]

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array: ...
    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array: ...
    def upload(self, host: np.ndarray) -> Array: ...
    def download(self, array: Array) -> np.ndarray: ...
    def owns(self, array: Any) -> bool: ...
    def contiguous(self, array: Array) -> Array: ...
    def address(self, array: Array) -> int: ...
    def write(self, array: Array, host: np.ndarray) -> None: ...
    def send(self, array: Array, host: np.ndarray) -> None: ...
    def receive(self, array: Array) -> Callable[[], np.ndarray]: ...
    def launch(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, int, int],
        block: int,
        args: Sequence[Any],
        options: tuple[str, ...],
        shared: int,
    ) -> None: ...
    def product(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        a_turned: bool,
        b_turned: bool,
        add: bool,
        precision: str,
    ) -> None: ...
    def synchronize(self) -> None: ...
    def record(self, body: Callable[[], None]) -> Callable[[], None]: ...


class Card:
    """The current GPU, through CuPy."""

    def __init__(self) -> None:
        self.cupy = cupy = load_cupy()
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            if "NoDevice" in str(error):
                raise DeviceError(NO_GPU) from error
            raise DeviceError(
                f"the GPU cannot be used, because CUDA's driver is missing or too old ({error}); "
                "install NVIDIA's driver, or choose --device cpu"
            ) from error
        if count == 0:
            raise DeviceError(NO_GPU)
        properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
        self.name = properties["name"].decode()
        self.memory = int(properties["totalGlobalMem"])
        self.capability = (properties["major"], properties["minor"])
        if self.capability < LEAST_CAPABILITY:
            found, least = (".".join(map(str, c)) for c in (self.capability, LEAST_CAPABILITY))
            raise DeviceError(
                f"the GPU {self.name} is too old: it has compute capability {found}, and {least} is needed; "
                "choose --device cpu"
            )
        self._modules: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._kernels: dict[tuple[str, str, tuple[str, ...]], Any] = {}
        self._workspaces: dict[int, Any] = {}
        self._transfers = Transfers(cupy)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self._memory():
            return self.cupy.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self._memory():
            return self.cupy.zeros(shape, dtype)

    def upload(self, host: np.ndarray) -> Array:
        with self._memory():
            return self.cupy.asarray(np.asarray(host, order="C"))

    def download(self, array: Array) -> np.ndarray:
        return array.get()

    def owns(self, array: Any) -> bool:
        return isinstance(array, self.cupy.ndarray)

    def contiguous(self, array: Array) -> Array:
        with self._memory():
            return self.cupy.ascontiguousarray(array)

    def write(self, array: Array, host: np.ndarray) -> None:
        array.set(np.ascontiguousarray(host, array.dtype).reshape(array.shape))

    def send(self, array: Array, host: np.ndarray) -> None:
        with self._memory():
            self._transfers.send(array, host)

    def receive(self, array: Array) -> Callable[[], np.ndarray]:
        return self._transfers.receive(array)

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
        key = (source, kernel, options)
        if key not in self._kernels:
            found = self._kernel(source, kernel, options)
            if shared > FREE_SHARED:
                found.max_dynamic_shared_size_bytes = shared
            self._kernels[key] = found
        self._kernels[key](grid, (block, 1, 1), tuple(args), shared_mem=shared)

    def _kernel(self, source: str, kernel: str, options: tuple[str, ...]) -> Any:
        """A kernel, ready to be launched; its file is compiled where no one has before."""
        from cupy_backends.cuda.libs import nvrtc

        module = (source, options)
        if module not in self._modules:
            for anew in (False, True):
                path = compiled(nvrtc, text_of(source), options, self.capability, anew=anew)
                self._modules[module] = self.cupy.RawModule(path=str(path))
                try:
                    return self._modules[module].get_function(kernel)
                except self.cupy.cuda.driver.CUDADriverError:
                    if anew:  # what lay there was no machine code, but this is
                        raise
        return self._modules[module].get_function(kernel)

    def product(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        a_turned: bool,
        b_turned: bool,
        add: bool,
        precision: str,
    ) -> None:
        """cuBLAS counts along columns, so row-major arrays are its transposed ones: outᵀ = bᵀ aᵀ."""
        from cupy_backends.cuda.libs import cublas

        handle = self.cupy.cuda.device.get_cublas_handle()
        self._give_workspace(handle)
        rows, columns = out.shape
        depth = a.shape[0] if a_turned else a.shape[1]
        kind = {"float32": 0, "float64": 1}[out.dtype.name]  # CUDA_R_32F, CUDA_R_64F
        compute = COMPUTE_64F if kind == 1 else COMPUTE_32F[precision]
        one, beta = np.ones((), out.dtype), np.full((), float(add), out.dtype)
        cublas.gemmEx(
            handle,
            cublas.CUBLAS_OP_T if b_turned else cublas.CUBLAS_OP_N,
            cublas.CUBLAS_OP_T if a_turned else cublas.CUBLAS_OP_N,
            columns, rows, depth, one.ctypes.data,
            b.data.ptr, kind, b.shape[1],
            a.data.ptr, kind, a.shape[1],
            beta.ctypes.data, out.data.ptr, kind, columns,
            compute, GEMM_DEFAULT,
        )  # fmt: skip

    def _give_workspace(self, handle: int) -> None:
        """Sets cuBLAS's stream and a workspace of our own: setting the stream takes the workspace away."""
        import ctypes

        from cupy_backends.cuda.libs import cublas

        stream = self.cupy.cuda.get_current_stream().ptr
        cublas.setStream(handle, stream)
        if handle not in self._workspaces:
            self._workspaces[handle] = (_cublas(ctypes), self.empty((WORKSPACE,), np.uint8))
        library, memory = self._workspaces[handle]
        if library is not None:
            library.cublasSetWorkspace_v2(
                ctypes.c_void_p(handle),
                ctypes.c_void_p(memory.data.ptr),
                ctypes.c_size_t(WORKSPACE),
            )

    def synchronize(self) -> None:
        self.cupy.cuda.get_current_stream().synchronize()

    def record(self, body: Callable[[], None]) -> Callable[[], None]:
        """Runs ``body`` once, then records it. Its memory comes from a pool of its own, which the graph keeps: what
        lies there is used by every run of the graph, and by nothing else."""
        cupy = self.cupy
        pool, stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.get_current_stream().synchronize()
        with self._memory(), cupy.cuda.using_allocator(pool.malloc), stream:
            body()  # compiles, and takes the memory that the recording then finds free
            stream.synchronize()
            stream.begin_capture()
            try:
                body()
            finally:
                graph = stream.end_capture()

        def run() -> None:
            # What was written for this run has to have arrived, and what is read after it waits: the two streams know
            # nothing of each other.
            stream.wait_event(cupy.cuda.get_current_stream().record())
            graph.launch(stream)
            cupy.cuda.get_current_stream().wait_event(stream.record())

        run.keeps = (pool, graph, stream)
        return run

    def address(self, array: Array) -> int:
        return array.data.ptr

    @contextmanager
    def _memory(self) -> Iterator[None]:
        try:
            yield
        except self.cupy.cuda.memory.OutOfMemoryError as error:
            raise OutOfMemory(f"the memory of the GPU {self.name} is full ({error})") from error


def _cublas(ctypes: Any) -> Any:
    """The library that CuPy has loaded already, for the one function that CuPy does not pass on; or None."""
    for name in ("libcublas.so.13", "libcublas.so.12", "cublas64_13.dll", "cublas64_12.dll"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def load_cupy() -> Any:
    """The module cupy; DeviceError with what to install where it is missing."""
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(NO_CUPY) from error
    return cupy


_machine: Machine | None = None


def machine() -> Machine:
    """What stands behind the door: the current GPU, unless ``use`` put another there. DeviceError without one."""
    global _machine
    if _machine is None:
        _machine = Card()
    return _machine


@contextmanager
def use(other: Machine) -> Iterator[Machine]:
    """Another machine for a while: for tests."""
    global _machine
    before, _machine = _machine, other
    try:
        yield other
    finally:
        _machine = before


def empty(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """An array of the card with whatever numbers lie in it; OutOfMemory where there is no room."""
    return machine().empty((shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype))


def zeros(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """An array of the card, all 0."""
    return machine().zeros((shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype))


def upload(host: np.ndarray) -> Array:
    """A copy of a host array on the card."""
    return machine().upload(host)


def download(array: Array) -> np.ndarray:
    """A copy of a card's array on the host; waits until it has been computed."""
    return machine().download(array)


def write(array: Array, host: np.ndarray) -> None:
    """array[...] = host, in place."""
    machine().write(array, host)


def send(array: Array, host: np.ndarray) -> None:
    """array[...] = host, after everything that was launched so far; the host does not wait for that."""
    machine().send(array, host)


def receive(array: Array) -> Callable[[], np.ndarray]:
    """What the array holds after everything that was launched so far: a function that waits for it and gives it. Of the
    same array no more than two may be waited for at a time."""
    return machine().receive(array)


def contiguous(array: Array) -> Array:
    """The array itself where it is C-contiguous, a copy that is otherwise."""
    return machine().contiguous(array)


def owns(array: Any) -> bool:
    """Whether it is an array of the card; False where none was ever used."""
    return _machine is not None and _machine.owns(array)


def memory() -> int:
    """Bytes of memory that the card has in all."""
    return machine().memory


def has_warpgroups() -> bool:
    """Whether the card has the instructions of warpgroup.cuh."""
    return machine().capability == HOPPER


def aligned(*arrays: Array) -> bool:
    """Whether four numbers at a time can be read from each array."""
    return all(address(a) % 16 == 0 for a in arrays)


def address(array: Array) -> int:
    """Where on the card it begins."""
    return machine().address(array)


def launch(
    source: str,
    kernel: str,
    grid: int | tuple[int, ...],
    block: int,
    args: Sequence[Any],
    *,
    shared: int = 0,
    contracts: bool = True,
    **defines: Any,
) -> None:
    """Starts a kernel of ``source``, a file of this folder, compiled with -Dname=value for each of ``defines``.

    shared: bytes of DYNAMIC_SHARED. contracts=False: no product and sum are joined into one instruction, which would
    round once instead of twice.
    args: arrays of the card, whole numbers (int in the kernel), NumPy scalars (their own type), None (a null pointer).
    A grid with a side of 0 starts nothing.
    """
    sides = (grid,) if isinstance(grid, int) else tuple(grid)
    full = (*sides, 1, 1)[:3]
    if 0 in full:
        return
    options = tuple(f"-D{name}={value}" for name, value in sorted(defines.items()))
    if not contracts:
        options += ("--fmad=false",)
    machine().launch(source, kernel, full, block, [_argument(a) for a in args], options, shared)


def _argument(value: Any) -> Any:
    if value is None:
        return np.uint64(0)
    if isinstance(value, bool | int):
        return np.int32(value)
    if isinstance(value, np.generic):
        return value
    if not value.flags.c_contiguous:
        raise ValueError(f"a kernel takes contiguous arrays, found strides {value.strides}")
    return value


def each(source: str, kernel: str, size: int, args: Sequence[Any], **defines: Any) -> None:
    """``launch`` for kernels that do one thing for each of ``size`` numbers; their last argument is the size."""
    blocks = min(-(-size // THREADS), MOST_BLOCKS)
    launch(source, kernel, blocks, THREADS, (*args, np.int64(size)), **defines)


def real(dtype: Any) -> str:
    """What C++ calls the numbers of ``dtype``; ValueError for what the kernels do not know."""
    names = {"float32": "float", "float64": "double"}
    name = np.dtype(dtype).name
    if name not in names:
        raise ValueError(f"the GPU computes in float32 and float64, found {name}")
    return names[name]


def product(
    a: Array,
    b: Array,
    out: Array,
    *,
    a_turned: bool = False,
    b_turned: bool = False,
    add: bool = False,
    precision: str = "fp32",
) -> None:
    """out (M, N) = a (M, D) b (D, N), or out += it. turned: a is given as (D, M), b as (N, D).

    precision is float32's (nn.gpu.modes); float64 arrays are multiplied in float64.
    """
    if out.size == 0:
        return
    if (a.size == 0) or (b.size == 0):
        if not add:
            out.fill(0)
        return
    machine().product(a, b, out, a_turned=a_turned, b_turned=b_turned, add=add, precision=precision)


@functools.cache
def text_of(source: str, headers: Path = FOLDER) -> str:
    """A file of this folder with its headers in it."""
    lines = []
    for line in (FOLDER / source).read_text(encoding="utf-8").splitlines():
        if line.startswith('#include "'):
            name = line.split('"')[1]
            where = headers / name if (headers / name).exists() else FOLDER / name
            lines.append(where.read_text(encoding="utf-8"))
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def on_card(function: Callable[..., Any]) -> Callable[..., Any]:
    """For a function of this backend: whatever arrays it is given, it sees the card's.

    Where an argument is a host array (in a cache, too), host arrays are copied to the card first, and those that the
    function adds to or moves are copied back after it. Its result comes to the host where its first array came from
    there. So a layer of this backend can be tried with NumPy arrays. Among arrays of the card nothing is copied.
    """
    import inspect

    signature = inspect.signature(function)
    changed = [
        n for n in ("dw", "db") if n in signature.parameters and "dy" in signature.parameters
    ]
    if function.__name__.endswith("_step"):
        changed = ["w", "m", "v"]

    @functools.wraps(function)
    def wrapper(*args: Any, **named: Any) -> Any:
        if not any(map(_has_host, args)) and not any(map(_has_host, named.values())):
            return function(*args, **named)
        given = signature.bind(*args, **named).arguments
        moved = {name: _to_card(value) for name, value in given.items()}
        result = function(**moved)
        for name in changed:
            if _has_host(given.get(name)):
                given[name][...] = download(moved[name])
        # The first array says where the result is wanted: x, y or dy.
        first = next(a for a in _arrays(given.values()))
        return result if owns(first) else _to_host(result)

    return wrapper


def _arrays(values: Any) -> Iterator[Any]:
    """Every array among the values, in tuples, too."""
    for value in values:
        if isinstance(value, tuple):
            yield from _arrays(value)
        elif isinstance(value, np.ndarray) or owns(value):
            yield value


def _has_host(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(_has_host(item) for item in value)
    return isinstance(value, np.ndarray) and not owns(value)


def _to_card(value: Any) -> Any:
    if isinstance(value, tuple):
        items = [_to_card(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, np.ndarray) and not owns(value):
        return upload(value)
    return value


def _to_host(value: Any) -> Any:
    if isinstance(value, tuple):
        items = [_to_host(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if not owns(value):
        return value
    found = download(value)
    return found[()] if found.ndim == 0 else found
