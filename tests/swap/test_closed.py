"""No command listens, connects, starts a program or runs what a file says: each is run where that is death.

Two guards: Python's audit hook, which names the deed and the line, and on Linux a filter of system calls,
which also holds for the libraries in C (FFmpeg, OpenCV). One thing happens before: the first time on a
machine, matplotlib asks `fc-list` which fonts there are.
"""

import importlib
import platform
import shutil
import signal
import sys

import pytest

from tests.swap.helpers import swap_process
from tests.swap.test_cli import place  # noqa: F401  (a fixture: clips, faces and a trained run)
from tests.swap.test_video import make_clip

GUARD = r"""
import ctypes, os, platform, struct, sys, traceback

FORBIDDEN = {
    "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
    "urllib.Request", "ftplib.connect", "http.client.connect", "smtplib.connect", "webbrowser.open",
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn",
    "pickle.find_class",
}

def guard(event, arguments):
    if event in FORBIDDEN:
        stack = traceback.extract_stack()
        # Numba's own cache of compiled functions, which lies beside the source and is as trusted.
        if event == "pickle.find_class" and any("numba/core" in f.filename for f in stack):
            return
        sys.stderr.write(f"FORBIDDEN {event} {arguments}\n" + "".join(traceback.format_list(stack)))
        sys.stderr.flush()
        os._exit(99)

def filter_calls():
    # socket, connect, accept, sendto, bind, listen, accept4, execve, execveat, ptrace
    calls = [41, 42, 43, 44, 49, 50, 288, 59, 322, 101]
    rows = [(0x20, 0, 0, 0)]  # load the number of the call
    rows += [(0x15, len(calls) - i, 0, call) for i, call in enumerate(calls)]
    rows += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x80000000)]  # allow; kill the process
    code = b"".join(struct.pack("HBBI", *row) for row in rows)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxQ", len(rows), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0) == 0  # PR_SET_SECCOMP

if (sys.platform, platform.machine()) == ("linux", "x86_64"):
    filter_calls()
sys.addaudithook(guard)
"""
FILTERED = (sys.platform, platform.machine()) == ("linux", "x86_64")

# What strangers would have fetched, started or read.
HOSTILE = {
    "playlist.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "local.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.ts\n#EXT-X-ENDLIST\n",
    "list.mp4": "ffconcat version 1.0\nfile a.mp4\n",
    "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "program.png": "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%id) (w) file\n",
}


def run(line, **names):
    process = swap_process(*(word.format(**names) for word in line.split()), before=GUARD)
    _, err = process.communicate(timeout=300)
    assert "FORBIDDEN" not in err, err
    assert process.returncode != -signal.SIGSYS, err
    return process.returncode, err


def test_the_commands_need_no_network_and_no_other_program(place, tmp_path):  # noqa: F811
    options = "--preset tiny --steps 2 --batch-size 2"
    importlib.import_module("matplotlib.font_manager")
    names = {"p": place, "n": tmp_path}
    for line in (
        f"run --a {{p}}/a.mp4 --b {{p}}/b.mp4 --out {{n}}/out {options}",
        "convert {p}/a.mp4 --run {p}/trained --out {n}/again.mp4",
        "evaluate --run {p}/trained --a {p}/faces_a --b {p}/faces_b --out {n}/measured",
        "inspect {n}/again.mp4",
        "model --preset tiny",
    ):
        status, err = run(line, **names)
        assert status == 0, (line, err)


@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_ask_for_it_are_refused(place, tmp_path, name):  # noqa: F811
    (tmp_path / name).write_text(HOSTILE[name])
    shutil.copy(place / "a.mp4", tmp_path)
    make_clip(tmp_path / "a.ts", 5)
    status, err = run("extract {n}/" + name + " --out {n}/out", n=tmp_path)
    assert status == 2, err
    assert "cannot be read" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "deed",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import socket; socket.socket().bind(('127.0.0.1', 0))",
        "import os; os.system('true')",
        "import subprocess; subprocess.run(['true'])",
        "import pickle, pathlib; pickle.loads(pickle.dumps(pathlib.Path('x')))",
    ],
)
def test_the_guards_catch_what_they_are_for(deed):
    process = swap_process("model", before=f"{GUARD}\n{deed}")
    _, err = process.communicate(timeout=60)
    assert "FORBIDDEN" in err or process.returncode == -signal.SIGSYS


@pytest.mark.skipif(not FILTERED, reason="the filter of system calls is for Linux on x86-64")
def test_the_filter_holds_for_libraries_in_c():
    deed = "import ctypes; ctypes.CDLL(None).socket(2, 1, 0)"
    assert swap_process("model", before=f"{GUARD}\n{deed}").wait(timeout=60) == -signal.SIGSYS
