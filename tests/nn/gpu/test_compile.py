"""Every kernel compiles with NVIDIA's own compiler for every card that is promised, and fits into its registers."""

import re

import pytest

from nn.gpu import compiler, conv, device, plan
from tests.nn.gpu.nvrtc import compile_source, needs, nvrtc

CARDS = ("sm_80", "sm_86", "sm_89", "sm_90")
SOURCES = [*sorted(f.name for f in device.FOLDER.glob("*.cu")), "../../swap/data/warp.cu"]
TILES = {"large": plan.LARGE, "small": plan.SMALL, "tall": plan.TALL}

pytestmark = pytest.mark.skipif(
    nvrtc() is None, reason="nvidia-cuda-nvrtc-cu12 is not installed: pip install 'latentface[dev]'"
)


def compiled(source, card, **defines):
    """The machine code of a source, and what the assembler says of registers."""
    options = options_of(card, defines)
    code, said = compile_source(device.text_of(source), options)
    assert not said, f"{source} {defines}: {said}"
    return code


def options_of(card, defines):
    given = (f"-D{k}={v}" for k, v in defines.items())
    return (f"--gpu-architecture={card}", *compiler.ALWAYS, *given)


def defines_of(tile, math="fp32", vec=1, real="float"):
    shape = {"BM": tile.rows, "BN": tile.columns, "WARPS_M": tile.down, "WARPS_N": tile.across}
    return shape | {
        "MATH": conv.MATHS[math],
        "VEC_C": vec,
        "VEC_K": 1,
        "real": real,
        "PAIRS": 1,
        "PASS": 0,
        "PARTED": 0,
        "BLOCK": 32,
        "ONE_LINE": 0,
        "PIPELINED": 0,
        "WARPGROUP": 0,
        "COPIED": 0,
    }


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_source_compiles(source, card):
    for real in ("float", "double") if card == CARDS[0] else ("float",):
        rows = {"real": real, "VEC": 4, "LANES": 32, "OUT": 2 * (real == "float"), "MOST_K": 4}
        defines = rows if source != "conv.cu" else defines_of(plan.SMALL, real=real)
        code = compiled(source, card, **defines)
        kernels = re.findall(r'extern "C" __global__ void[^(]*?(\w+)\(', _plain(source))
        assert kernels
        for kernel in kernels:
            assert kernel.encode() in code


@pytest.mark.parametrize(("tile", "vec"), [*((tile, 1) for tile in TILES), ("small", 0)])
@pytest.mark.parametrize("math", conv.MATHS)
def test_every_tile_in_every_precision_compiles(tile, math, vec):
    """As PTX, which every card's assembler takes, and which is quicker made."""
    assert compiled("conv.cu", "compute_80", **defines_of(TILES[tile], math, vec))


@pytest.mark.parametrize(
    ("tile", "card"), [("large", "sm_80"), ("large", "sm_90"), ("tall", "sm_86")]
)
def test_the_pipelined_product_compiles(tile, card):
    defines = defines_of(TILES[tile], "tf32") | {"PIPELINED": 1}
    code = compiled("conv.cu", card, **defines)
    assert b"conv_dw" in code


@pytest.mark.parametrize("parted", [0, 1])  # and with it, whether places lie in one line
@pytest.mark.parametrize(
    "tile", [plan.VAST, plan.WIDE, plan.HALF, plan.SLIM], ids=lambda t: str(t.columns)
)
@pytest.mark.parametrize("math", ["tf32", "fp16"])
def test_the_product_of_warpgroups_compiles(tile, math, parted):
    """For Hopper alone: no other card has these instructions."""
    defines = defines_of(tile, math) | {"WARPGROUP": 1, "PARTED": parted, "ONE_LINE": parted}
    code = compiled("conv.cu", "sm_90a", **defines)
    assert b"conv_dw" in code


SPILLED = 128  # bytes of a thread, which stay in the nearest cache
REGISTERS = 65536  # of a processor, on every card that is promised
PRODUCTS = [("sm_86", t, m, {}) for t in ("LARGE", "SMALL", "TALL") for m in conv.MATHS]
PRODUCTS += [("sm_90", "LARGE", m, {}) for m in conv.MATHS]
PRODUCTS += [("sm_86", "LARGE", "tf32", {"PIPELINED": 1})]
PRODUCTS += [
    ("sm_90a", t, m, {"WARPGROUP": 1, "ONE_LINE": o})
    for t in ("VAST", "WIDE", "HALF", "SLIM")
    for m in ("tf32", "fp16")
    for o in (0, 1)
]
PRODUCTS += [
    ("sm_90a", t, m, {"WARPGROUP": 1, "COPIED": 1, "PASS": p})
    for t in ("VAST", "WIDE")
    for m in ("tf32", "fp16")
    for p in (1, 2)
]


@pytest.mark.parametrize(("card", "tile", "math", "more"), PRODUCTS)
def test_a_product_fits_into_registers_and_two_blocks_onto_a_processor(card, tile, math, more):
    """A tile's sums in slow memory would be the end of its speed; one block alone waits at each of its barriers."""
    defines = defines_of(getattr(plan, tile), math) | more
    found, _ = needs(device.text_of("conv.cu"), options_of(card, defines))
    assert found.keys() == {
        0: {"conv_forward", "conv_dx", "conv_dw"}, 1: {"conv_forward"}, 2: {"conv_dx"}
    }[more.get("PASS", 0)]  # fmt: skip
    threads = getattr(plan, tile).threads
    for kernel, one in found.items():
        # Registers come in eights for each thread. The largest tile's sums alone are half of them all.
        blocks = 1 if tile == "VAST" else 2
        assert blocks * threads * -(-one.registers // 8) * 8 <= REGISTERS, (kernel, one)
        assert one.spilled <= SPILLED, (kernel, one)


@pytest.mark.parametrize("copied", [0, 1])
@pytest.mark.parametrize("math", ["tf32", "fp16"])
def test_products_of_warpgroups_are_not_waited_for_by_the_assembler(math, copied):
    """It says so where it finds that it has to put a wait behind each of them."""
    defines = defines_of(plan.WIDE, math) | {"WARPGROUP": 1, "COPIED": copied, "PASS": copied}
    right = device.text_of("conv.cu")
    wrong = right.replace("products_commit();", "products_commit(); sums[0] += 1;")
    for text, is_right in ((right, True), (wrong, False)):
        _, said = needs(text, options_of("sm_90a", defines))
        assert ("(C75" not in said) == is_right, said  # its notes on waits and serialized products


OTHERS = [("ends.cu", {"VEC": 4, "LANES": 32, "OUT": out}) for out in (0, 1, 2)]
OTHERS += [("optim.cu", {"VEC": 4}), ("narrow.cu", {"MOST_K": 4}), ("factors.cu", {"FLOAT16": 1})]
OTHERS += [("../../swap/data/warp.cu", {})]


@pytest.mark.parametrize(("source", "defines"), OTHERS)
def test_other_kernels_leave_room_for_many_threads(source, defines):
    """What only moves numbers needs many threads, so that many loads are under way."""
    found, _ = needs(device.text_of(source), options_of("sm_86", defines | {"real": "float"}))
    assert found
    for kernel, one in found.items():
        assert one.spilled == 0, kernel
        assert one.registers <= 64, (kernel, one)  # 1,024 threads, each with several loads


def test_what_does_not_compile_is_told():
    """Or the tests above would pass whatever the sources say."""
    code, said = compile_source(
        'extern "C" __global__ void k() { nothing(); }', ("--gpu-architecture=sm_80",)
    )
    assert code == b""
    assert "nothing" in said


def _plain(source):
    """Its text without what stands between a kernel's words and its name."""
    return re.sub(r"__launch_bounds__\([^)]*\)\s*", "", device.text_of(source))
