"""The emulator catches what it is there to catch; and its instructions compute what NVIDIA documents of them."""

import numpy as np
import pytest

from nn.gpu import device
from tests.nn.gpu.emulator import Emulator, rounded


@pytest.fixture
def kernel(emulated, tmp_path):
    """A kernel of one's own: kernel(text, size) launches ``k(const float* x, float* y)``, one block, and gives y."""

    def run(body, x, size, *, backwards=False, block=64):
        source = tmp_path / "k.cu"
        source.write_text(
            f'#include "ptx.cuh"\nextern "C" __global__ void k(const float* x, float* y) {{ {body} }}\n'
        )
        device.text_of.cache_clear()
        with device.use(Emulator(backwards=backwards)):
            y = device.zeros(size, np.float32)
            device.launch(str(source), "k", 1, block, (device.upload(x), y))
            return device.download(y)

    return run


X = np.arange(64, dtype=np.float32)
REVERSE = "__shared__ float s[64]; int i = threadIdx.x; s[i] = x[i]; {} y[i] = s[63 - i];"


def test_threads_meet_at_a_barrier(kernel):
    np.testing.assert_array_equal(kernel(REVERSE.format("__syncthreads();"), X, 64), X[::-1])


def test_a_missing_barrier_shows(kernel):
    runs = [kernel(REVERSE.format(""), X, 64, backwards=b) for b in (False, True)]
    assert any((run != X[::-1]).any() for run in runs)


def test_what_is_written_beside_an_array_is_found(kernel):
    with pytest.raises(AssertionError, match="wrote beside"):
        kernel("y[threadIdx.x + 1] = 0;", X, 64)


def test_what_was_never_written_is_no_number(emulated):
    assert np.isnan(device.download(device.empty(5, np.float32))).all()


def test_a_barrier_that_some_threads_pass_by_is_found(kernel):
    with pytest.raises(AssertionError, match="wait for each other"):
        kernel("if (threadIdx.x < 40) __syncthreads();", X, 64)


def test_arguments_of_another_size_are_refused(emulated):
    y = device.zeros(4, np.float32)
    with pytest.raises(AssertionError, match="other arguments"):
        device.launch("ends.cu", "fill", 1, 64, (y, y, 4, 4), real="float", VEC=1, LANES=4, OUT=0)


def test_arrays_of_card_and_host_do_not_mix(emulated):
    y = device.zeros(4, np.float32)
    with pytest.raises(TypeError, match="host"):
        y + np.ones(4, np.float32)
    with pytest.raises(TypeError, match="host"):
        y[...] = np.ones(4, np.float32)


def test_a_warp_exchanges_numbers(kernel):
    found = kernel("y[threadIdx.x] = __shfl_xor_sync(~0u, x[threadIdx.x], 1);", X, 64)
    np.testing.assert_array_equal(found, X.reshape(-1, 2)[:, ::-1].ravel())


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_the_tensor_core_multiplies_a_tile(kernel, precision, rng):
    """Fragments as NVIDIA documents them: lane 4 g + t holds a(g, t), a(g + 8, t), a(g, t + 4), a(g + 8, t + 4) ..."""
    half = precision == "fp16"
    depth = 16 if half else 8
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((16, depth), (depth, 8)))
    take = "half2(x[{0} + 2 * ({1})], x[{0} + 2 * ({1}) + 1])" if half else "tf32(x[{0} + {1}])"
    word = "half2(B(2 * ({0})), B(2 * ({0}) + 1))" if half else "tf32(B({0}))"
    body = f"""
      int g = threadIdx.x / 4, t = threadIdx.x % 4;
      #define B(k) x[{16 * depth} + (k) * 8 + g]
      word a[4] = {{{take.format(f"g * {depth}", "t")}, {take.format(f"(g + 8) * {depth}", "t")},
                   {take.format(f"g * {depth}", "t + 4")}, {take.format(f"(g + 8) * {depth}", "t + 4")}}};
      word b[2] = {{{word.format("t")}, {word.format("t + 4")}}};
      float c[4] = {{0, 0, 0, 0}};
      mma_{"half" if half else "tf32"}(c, a, b);
      for (int i = 0; i < 4; i++) y[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = c[i];"""
    found = kernel(body, np.concatenate([a.ravel(), b.ravel()]), 128, block=32).reshape(16, 8)
    expected = rounded(a, precision) @ rounded(b, precision)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_tf32_is_rounded_as_is_said(kernel, rng):
    """As ptx.cuh has it: the error in units of the last place that stays. By one instruction, which both compute."""
    x = np.exp2(rng.uniform(-8, 8, 2**16)) * rng.choice([-1, 1], 2**16)
    x = x.astype(np.float32)
    body = "for (int i = 0; i < 65536; i++) { word w = tf32(x[i]) & 0xffffe000u; memcpy(y + i, &w, 4); }"
    found = kernel(body, x, 2**16, block=1)
    np.testing.assert_array_equal(found, rounded(x, "tf32"))
    place = np.exp2(np.floor(np.log2(np.abs(x, dtype=np.float64))) - 10)
    error = (np.abs(found.astype(float)) - np.abs(x.astype(float))) / place
    assert np.abs(error).max() < 0.7
    assert 0.30 < np.sqrt(np.mean(error**2)) < 0.31
    assert abs(error.mean()) < 0.01
    whole = np.arange(-2048, 2049, dtype=np.float32)
    np.testing.assert_array_equal(rounded(whole, "tf32"), whole)


def test_half_precision_rounds_as_numpy_does(kernel, rng):
    x = (rng.standard_normal(4096) * 10.0 ** rng.integers(-9, 6, 4096)).astype(np.float32)
    x[:8] = [0, -0.0, 65519, 65520, 6e-8, 2.9e-8, np.inf, 1]
    body = "for (int i = 0; i < 2048; i++) { word w = half2(x[2 * i], x[2 * i + 1]); memcpy(y + i, &w, 4); }"
    found = kernel(body, x, 2048, block=1).view(np.uint16)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, x.astype(np.float16).view(np.uint16))
