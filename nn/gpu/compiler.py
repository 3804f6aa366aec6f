"""CUDA sources to machine code: by NVRTC, for the card that is there, and kept on disk.

Compiling all that a network needs takes a while; what was compiled once is read from then on. CuPy's own compiler is
not used, because it knows no name for a card's own instructions (sm_90a, of which warpgroup.cuh is made), and because
it takes numbers below the smallest normal one for 0.

    code = compiled(nvrtc, text, options, capability)     a file that the driver can load

nvrtc is CuPy's module of that name: ``createProgram``, ``compileProgram``, ``getCUBIN`` and so on.
"""

import atexit
import contextlib
import functools
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

# The second for what has no name that could be marked: lambdas.
ALWAYS = ("-std=c++17", "-default-device")
OWN = {(9, 0): "a"}  # cards whose own instructions are used


def architecture(capability: tuple[int, int], known: tuple[int, ...]) -> str:
    """What NVRTC is told of a card: machine code for it where NVRTC knows the card; else code for the newest that it
    knows, which the driver translates."""
    number = capability[0] * 10 + capability[1]
    if number in known or not known:
        return f"sm_{number}{OWN.get(capability, '')}"
    return f"compute_{max(k for k in known if k <= number)}"


def machine_code(nvrtc: Any, text: str, options: tuple[str, ...], target: str) -> bytes:
    """A source compiled for a target; RuntimeError with what the compiler says, where it does not."""
    program = nvrtc.createProgram(text, "kernel.cu", (), ())
    try:
        try:
            nvrtc.compileProgram(program, (*ALWAYS, *options, f"--gpu-architecture={target}"))
        except Exception as error:  # of a class that lies with CuPy
            said = nvrtc.getProgramLog(program)
            raise RuntimeError(f"a kernel does not compile for {target}: {said}") from error
        if target.startswith("sm_"):
            return nvrtc.getCUBIN(program)
        return nvrtc.getPTX(program).encode()
    finally:
        nvrtc.destroyProgram(program)


def compiled(
    nvrtc: Any,
    text: str,
    options: tuple[str, ...],
    capability: tuple[int, int],
    *,
    anew: bool = False,
) -> Path:
    """The file with the machine code of a source; anew: even where there is one already."""
    target = architecture(capability, tuple(nvrtc.getSupportedArchs()))
    what = "\0".join([*map(str, nvrtc.getVersion()), target, *ALWAYS, *options, text])
    name = hashlib.sha256(what.encode()).hexdigest()[:40] + ".cubin"
    with contextlib.suppress(
        OSError, RuntimeError
    ):  # no such user, or a folder that cannot be looked into
        path = folder() / name
        if path.exists() and not anew:
            return path
    code = machine_code(nvrtc, text, options, target)
    with contextlib.suppress(OSError, RuntimeError):
        return _put(code, folder() / name)
    return _put(code, _own_folder() / name)


def folder() -> Path:
    """Where machine code is kept: LATENTFACE_KERNELS, or the user's folder for caches."""
    if named := os.environ.get("LATENTFACE_KERNELS"):
        return Path(named)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "latentface" / "kernels"


@functools.cache
def _own_folder() -> Path:
    """One of this process, where nothing can be kept."""
    made = tempfile.TemporaryDirectory(prefix="latentface-kernels-")
    atexit.register(made.cleanup)
    return Path(made.name)


def _put(code: bytes, path: Path) -> Path:
    """Writes a file that appears whole, for this user alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(code)
        Path(fresh).replace(path)
    except OSError:
        Path(fresh).unlink(missing_ok=True)
        raise
    return path
