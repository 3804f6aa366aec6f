"""NVIDIA's run-time compiler through ctypes: it needs no GPU and no driver, only the package nvidia-cuda-nvrtc-cu12."""

import ctypes
import functools
import importlib.util
from pathlib import Path


@functools.cache
def nvrtc() -> ctypes.CDLL | None:
    """The library, of whichever CUDA is installed as Python packages; None where none is."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(p) for p in spec.submodule_search_locations] if spec else []
    found = [f for folder in folders for f in sorted(folder.glob("*/lib/libnvrtc.so.1*"))]
    return ctypes.CDLL(str(found[-1])) if found else None


def compile_source(text: str, options: tuple[str, ...]) -> tuple[bytes, str]:
    """(PTX or machine code, "") of a CUDA source, or (b"", what the compiler says)."""
    library, program = nvrtc(), ctypes.c_void_p()
    given = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
    try:
        status = library.nvrtcCompileProgram(program, len(options), given)
        size = ctypes.c_size_t()
        if status:
            library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            library.nvrtcGetProgramLog(program, log)
            return b"", log.value.decode()
        kind = "CUBIN" if any("sm_" in o for o in options) else "PTX"
        getattr(library, f"nvrtcGet{kind}Size")(program, ctypes.byref(size))
        code = ctypes.create_string_buffer(size.value)
        getattr(library, f"nvrtcGet{kind}")(program, code)
        return code.raw, ""
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
