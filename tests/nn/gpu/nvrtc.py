"""NVIDIA's run-time compiler through ctypes: it needs no GPU and no driver, only the package nvidia-cuda-nvrtc-cu12."""

import ctypes
import functools
import importlib.util
import re
from pathlib import Path
from typing import NamedTuple


@functools.cache
def nvrtc() -> ctypes.CDLL | None:
    """The library, of whichever CUDA is installed as Python packages; None where none is."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(p) for p in spec.submodule_search_locations] if spec else []
    found = [f for folder in folders for f in sorted(folder.glob("*/lib/libnvrtc.so.1*"))]
    return ctypes.CDLL(str(found[-1])) if found else None


def compile_source(text: str, options: tuple[str, ...]) -> tuple[bytes, str]:
    """(PTX or machine code, "") of a CUDA source, or (b"", what the compiler says)."""
    code, said = _compile(text, options)
    return code, "" if code else said


class Needs(NamedTuple):
    """What a kernel takes of a processor: registers of a thread, bytes of it that do not fit into them."""

    registers: int
    spilled: int


def needs(text: str, options: tuple[str, ...]) -> tuple[dict[str, Needs], str]:
    """What each kernel of a source needs, and all that NVIDIA's assembler says of them."""
    code, said = _compile(text, (*options, "--ptxas-options=-v"))
    assert code, said
    found = {}
    for part in said.split("Compiling entry function '")[1:]:
        spilled = int(re.search(r"(\d+) bytes spill stores", part)[1])
        registers = int(re.search(r"Used (\d+) registers", part)[1])
        found[part.split("'")[0]] = Needs(registers, spilled)
    return found, said


def _compile(text: str, options: tuple[str, ...]) -> tuple[bytes, str]:
    """(the code, or b"" where there is none; what was said)."""
    library, program = nvrtc(), ctypes.c_void_p()
    given = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
    try:
        status = library.nvrtcCompileProgram(program, len(options), given)
        size = ctypes.c_size_t()
        library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(max(size.value, 1))
        library.nvrtcGetProgramLog(program, log)
        if status:
            return b"", log.value.decode()
        kind = "CUBIN" if any("sm_" in o for o in options) else "PTX"
        getattr(library, f"nvrtcGet{kind}Size")(program, ctypes.byref(size))
        code = ctypes.create_string_buffer(size.value)
        getattr(library, f"nvrtcGet{kind}")(program, code)
        return code.raw, log.value.decode()
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
