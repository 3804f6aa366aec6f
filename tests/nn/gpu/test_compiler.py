"""Kernels compiled by NVRTC itself, for a card's own instructions, and kept on disk."""

import ctypes

import pytest

from nn.gpu import compiler, device, plan
from nn.gpu.compiler import architecture, compiled, folder, machine_code
from tests.nn.gpu.nvrtc import compile_source, nvrtc
from tests.nn.gpu.test_compile import defines_of

KNOWN = (75, 80, 86, 89, 90)
KERNEL = 'extern "C" __global__ void k(float* x) { x[threadIdx.x] = FACTOR * x[threadIdx.x]; }'
HOPPER = (9, 0)

pytestmark = pytest.mark.skipif(
    nvrtc() is None, reason="nvidia-cuda-nvrtc-cu12 is not installed: pip install 'latentface[dev]'"
)


class Library:
    """NVRTC with the functions of CuPy's module."""

    def __init__(self):
        self.compilations = 0

    def getVersion(self):
        numbers = [ctypes.c_int(), ctypes.c_int()]
        nvrtc().nvrtcVersion(*map(ctypes.byref, numbers))
        return tuple(n.value for n in numbers)

    def getSupportedArchs(self):
        return KNOWN

    def createProgram(self, text, name, headers, include_names):
        self.text = text
        return 1

    def compileProgram(self, program, options):
        self.compilations += 1
        self.code, self.said = compile_source(self.text, tuple(options))
        if self.said:
            raise ValueError("NVRTC_ERROR_COMPILATION")

    def getProgramLog(self, program):
        return self.said

    def getCUBIN(self, program):
        return self.code

    def getPTX(self, program):
        return self.code.rstrip(b"\0").decode()

    def destroyProgram(self, program):
        pass


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTFACE_KERNELS", str(tmp_path / "kernels"))
    return tmp_path / "kernels"


def test_every_card_is_told_by_its_name():
    assert architecture((8, 0), KNOWN) == "sm_80"
    assert architecture((8, 9), KNOWN) == "sm_89"
    assert architecture((9, 0), KNOWN) == "sm_90a"
    assert architecture((12, 0), KNOWN) == "compute_90"  # newer than the compiler


def test_hoppers_own_instructions_compile_for_hopper_alone(kept):
    defines = defines_of(plan.WIDE, "tf32") | {"WARPGROUP": 1}
    options = tuple(f"-D{k}={v}" for k, v in defines.items())
    text = device.text_of("conv.cu")
    assert machine_code(Library(), text, options, architecture(HOPPER, KNOWN)).startswith(
        b"\x7fELF"
    )
    with pytest.raises(RuntimeError, match=r"(?s)does not compile for sm_89.*wgmma"):
        machine_code(Library(), text, options, architecture((8, 9), KNOWN))


def test_a_card_that_the_compiler_does_not_know_gets_what_its_driver_translates(kept):
    code = compiled(Library(), KERNEL, ("-DFACTOR=2",), (12, 0)).read_bytes()
    assert b".target sm_90" in code


def test_what_was_compiled_is_kept_and_found_again(kept):
    library = Library()
    first = compiled(library, KERNEL, ("-DFACTOR=2",), HOPPER)
    assert first.parent == kept == folder()
    assert first.read_bytes().startswith(b"\x7fELF")
    assert compiled(library, KERNEL, ("-DFACTOR=2",), HOPPER) == first
    assert library.compilations == 1
    others = {
        compiled(library, KERNEL, ("-DFACTOR=3",), HOPPER),
        compiled(library, KERNEL + " ", ("-DFACTOR=2",), HOPPER),
        compiled(library, KERNEL, ("-DFACTOR=2",), (8, 0)),
    }
    assert len(others | {first}) == 4
    assert library.compilations == 4
    assert len(list(kept.iterdir())) == 4  # and nothing half written


def test_what_lies_there_and_is_no_machine_code_is_made_anew(kept):
    library = Library()
    path = compiled(library, KERNEL, ("-DFACTOR=2",), HOPPER)
    right = path.read_bytes()
    path.write_bytes(right[:100])
    assert compiled(library, KERNEL, ("-DFACTOR=2",), HOPPER, anew=True) == path
    assert path.read_bytes() == right


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(tmp_path, monkeypatch):
    occupied = tmp_path / "occupied"
    occupied.write_text("")
    monkeypatch.setenv("LATENTFACE_KERNELS", str(occupied / "kernels"))
    monkeypatch.setattr(compiler.tempfile, "tempdir", str(tmp_path))
    compiler._own_folder.cache_clear()
    path = compiled(Library(), KERNEL, ("-DFACTOR=2",), HOPPER)
    assert path.read_bytes().startswith(b"\x7fELF")
    assert tmp_path in path.parents


def test_a_folder_for_caches_is_the_users(monkeypatch):
    monkeypatch.delenv("LATENTFACE_KERNELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(folder()) == "/somewhere/latentface/kernels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert folder().parts[-3:] == (".cache", "latentface", "kernels")


def test_what_does_not_compile_says_why():
    with pytest.raises(RuntimeError, match="FACTOR"):
        machine_code(Library(), KERNEL, (), "sm_80")
