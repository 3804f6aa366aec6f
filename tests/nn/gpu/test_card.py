"""What ``Card`` says to CuPy, told by stand-ins: the order of cuBLAS's arguments, and of what a recording is made
of.
"""

import ctypes
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from nn.gpu import device
from nn.gpu.device import Card
from tests.nn.gpu.nvrtc import nvrtc
from tests.nn.gpu.test_compiler import Library


class Array:
    """A NumPy array with CuPy's way of naming its address."""

    def __init__(self, values):
        self.values = np.ascontiguousarray(values)
        self.shape, self.dtype = self.values.shape, self.values.dtype
        self.data = SimpleNamespace(ptr=self.values.ctypes.data)


def at(address, rows, columns, line, dtype):
    """The column-major matrix of BLAS at an address, as a view."""
    size = line * columns
    kind = ctypes.c_float if dtype == 0 else ctypes.c_double
    flat = np.ctypeslib.as_array((kind * size).from_address(address))
    return flat.reshape(columns, line)[:, :rows].T


@pytest.fixture
def blas(monkeypatch):
    """A cuBLAS in NumPy, and the calls that it got."""
    calls = []

    def gemm_ex(
        handle,
        ta,
        tb,
        m,
        n,
        k,
        alpha,
        a,
        a_kind,
        lda,
        b,
        b_kind,
        ldb,
        beta,
        c,
        c_kind,
        ldc,
        compute,
        algo,
    ):
        left = at(a, *((k, m) if ta else (m, k)), lda, a_kind)
        right = at(b, *((n, k) if tb else (k, n)), ldb, b_kind)
        out = at(c, m, n, ldc, c_kind)
        one, old = (at(p, 1, 1, 1, c_kind)[0, 0] for p in (alpha, beta))
        out[...] = one * (left.T if ta else left) @ (right.T if tb else right) + old * out
        calls.append((compute, algo))

    fake = ModuleType("cublas")
    fake.CUBLAS_OP_N, fake.CUBLAS_OP_T = 0, 1
    fake.gemmEx, fake.setStream = gemm_ex, lambda handle, stream: None
    libs = ModuleType("cupy_backends.cuda.libs")
    libs.cublas = fake
    for name in ("cupy_backends", "cupy_backends.cuda"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs", libs)
    return calls


@pytest.fixture
def card(blas, monkeypatch):
    cuda = SimpleNamespace(
        device=SimpleNamespace(get_cublas_handle=lambda: 7),
        get_current_stream=lambda: SimpleNamespace(ptr=0),
    )
    card = Card.__new__(Card)
    card.cupy, card._workspaces = SimpleNamespace(cuda=cuda), {7: (None, None)}
    return card


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("a_turned", [False, True])
@pytest.mark.parametrize("b_turned", [False, True])
@pytest.mark.parametrize("add", [False, True])
def test_a_product_is_the_product(card, blas, rng, dtype, a_turned, b_turned, add):
    a, b, out = (rng.integers(-3, 4, s).astype(dtype) for s in ((4, 5), (5, 3), (4, 3)))
    expected = a @ b + (out if add else 0)
    found = Array(out)
    card.product(
        Array(a.T if a_turned else a),
        Array(b.T if b_turned else b),
        found,
        a_turned=a_turned,
        b_turned=b_turned,
        add=add,
        precision="tf32",
    )
    np.testing.assert_array_equal(found.values, expected)
    assert blas == [(77 if dtype == np.float32 else 70, -1)]


def test_every_precision_has_its_own_arithmetic(card, blas):
    a = Array(np.ones((2, 2), np.float32))
    for precision in device.COMPUTE_32F:
        card.product(a, a, a, a_turned=False, b_turned=False, add=False, precision=precision)
    assert [compute for compute, _ in blas] == [68, 77, 74]


def test_a_recording_warms_up_captures_and_waits_for_what_was_written():
    said = []

    class Stream:
        ptr = 1

        def __init__(self, name="own", non_blocking=False):
            self.name = name

        def __enter__(self):
            said.append("on own stream")

        def __exit__(self, *_):
            said.append("off")

        def __getattr__(self, what):
            def call(*_):
                said.append(f"{self.name} {what}")
                if what == "end_capture":
                    return SimpleNamespace(
                        launch=lambda stream: said.append(f"launch {stream.name}")
                    )

            return call

    @contextmanager
    def allocator(malloc):
        said.append("own memory")
        yield

    current = Stream("current")
    cuda = SimpleNamespace(
        MemoryPool=lambda: SimpleNamespace(malloc=None),
        Stream=Stream,
        using_allocator=allocator,
        get_current_stream=lambda: current,
        memory=SimpleNamespace(OutOfMemoryError=MemoryError),
    )
    card = Card.__new__(Card)
    card.cupy = SimpleNamespace(cuda=cuda)
    run = card.record(lambda: said.append("body"))
    assert said == [
        "current synchronize", "own memory", "on own stream", "body", "own synchronize",
        "own begin_capture", "body", "own end_capture", "off",
    ]  # fmt: skip
    said.clear()
    run()
    assert said == [
        "current record", "own wait_event", "launch own", "own record", "current wait_event",
    ]  # fmt: skip


class Driver:
    """As much of CuPy as compiles and launches: files that it was told to break do not load."""

    class CUDADriverError(RuntimeError):
        pass

    def __init__(self, broken=0):
        self.broken, self.loaded, self.launched = broken, [], []
        self.cuda = SimpleNamespace(driver=SimpleNamespace(CUDADriverError=self.CUDADriverError))

    def RawModule(self, *, path):
        self.loaded.append(path)

        def get_function(name):
            assert Path(path).read_bytes().startswith(b"\x7fELF")
            if self.broken:
                self.broken -= 1
                raise self.CUDADriverError("CUDA_ERROR_INVALID_IMAGE")
            return Kernel(self.launched, name)

        return SimpleNamespace(get_function=get_function)


class Kernel:
    max_dynamic_shared_size_bytes = 48 * 2**10

    def __init__(self, launched, name):
        self.launched, self.name = launched, name

    def __call__(self, grid, block, args, *, shared_mem):
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        self.launched.append((self.name, grid, block, args, shared_mem))


@pytest.fixture
def launcher(monkeypatch, tmp_path):
    """launcher(broken) is a Card of Hopper's that launches nothing, with NVIDIA's compiler behind it."""
    if nvrtc() is None:
        pytest.skip("nvidia-cuda-nvrtc-cu12 is not installed: pip install 'latentface[dev]'")
    monkeypatch.setenv("LATENTFACE_KERNELS", str(tmp_path))
    library = Library()
    libs = ModuleType("cupy_backends.cuda.libs")
    libs.nvrtc = library
    for name in ("cupy_backends", "cupy_backends.cuda"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs", libs)

    def make(broken=0):
        card = Card.__new__(Card)
        card.cupy, card.capability = Driver(broken), (9, 0)
        card._modules, card._kernels, card.compiler = {}, {}, library
        return card

    return make


def test_a_kernel_is_compiled_and_loaded_once(launcher):
    card = launcher()
    for size in (1, 2):
        card.launch("factors.cu", "halve", (size, 1, 1), 64, [size], ("-DFLOAT16=1",), 0)
    assert card.compiler.compilations == len(card.cupy.loaded) == 1
    assert card.cupy.launched == [
        ("halve", (1, 1, 1), (64, 1, 1), (1,), 0), ("halve", (2, 1, 1), (64, 1, 1), (2,), 0),
    ]  # fmt: skip
    again = launcher()  # another process finds what the first one kept
    again.launch("factors.cu", "halve", (1, 1, 1), 64, [1], ("-DFLOAT16=1",), 0)
    assert card.compiler.compilations == 1


def test_more_shared_memory_than_is_given_freely_is_asked_for(launcher):
    card = launcher()
    card.launch("factors.cu", "halve", (1, 1, 1), 64, [1], ("-DFLOAT16=1",), 147 * 2**10)
    assert card.cupy.launched[0][-1] == 147 * 2**10


def test_a_kept_file_that_does_not_load_is_compiled_anew(launcher):
    card = launcher(broken=1)
    card.launch("factors.cu", "halve", (1, 1, 1), 64, [1], ("-DFLOAT16=1",), 0)
    assert card.compiler.compilations == 2
    assert len(card.cupy.launched) == 1
    with pytest.raises(Driver.CUDADriverError):
        launcher(broken=2).launch("factors.cu", "halve", (1, 1, 1), 64, [1], ("-DFLOAT16=1",), 0)
