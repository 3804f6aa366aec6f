"""Small face sets, drawn clips and the command line, for the tests of the swapper's steps."""

import hashlib
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from swap.data import FaceSet
from swap.model import Preset
from swap.video import VideoWriter
from tests.conftest import REPOSITORY
from tests.swap.faces.conftest import draw_face

MARGIN = 4 / 3
SMALL = Preset("small", 2, 8, "tests")  # a step takes milliseconds


def smooth_faces(count, seed=0, side=56):
    """(count, side, side, 3) uint8: smooth random pictures, what a face is to a sampler."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 7, 7, 3), np.uint8)
    return np.stack([cv2.resize(c, (side, side), interpolation=cv2.INTER_CUBIC) for c in coarse])


def face_sets(count=30):
    """Two people of smooth random pictures: {"a": FaceSet, "b": FaceSet}."""
    return {
        side: FaceSet(smooth_faces(count + seed, seed=seed), MARGIN)
        for seed, side in enumerate("ab", start=1)
    }


def hashes(folder):
    """{name: sha256} of every file under a folder: whether anything in it was touched."""
    files = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def drawn_frames(count, *, tint=0, without=(), width=160, height=128):
    """Frames of a drawn head that sways, turns and nears; none in the frames ``without``."""
    wall = draw_face(width, height, 1, -99, -99)
    for i in range(count):
        if i in without:
            yield wall
            continue
        sway = np.sin(i / 5)
        face = draw_face(width, height, 25 + 2 * sway, 78 + 6 * sway, 48 + 2 * sway, 6 * sway)
        yield np.clip(face.astype(int) + tint * np.array([1, 0, -1]), 0, 255).astype(np.uint8)


def write_clip(path, frames, fps=Fraction(25)):
    """``frames`` (uint8 RGB) as an H.264 mp4 without sound."""
    frames = list(frames)
    height, width = frames[0].shape[:2]
    with VideoWriter(path, fps=fps, width=width, height=height, crf=10) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def tone_clip(path, frames, fps=25, rate=44_100):
    """``frames`` with a sine tone of 440 Hz in AAC, written by PyAV alone."""
    frames = list(frames)
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=fps, options={"crf": "10"})
        video.height, video.width = frames[0].shape[:2]
        audio = output.add_stream("aac", rate=rate, layout="mono")
        for image in frames:
            output.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(video.encode(None))
        count = rate * len(frames) // fps
        samples = (0.5 * np.sin(2 * np.pi * 440 * np.arange(count) / rate)).astype(np.float32)
        for start in range(0, count, 1024):
            block = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], "fltp", "mono")
            block.sample_rate, block.pts, block.time_base = rate, start, Fraction(1, rate)
            output.mux(audio.encode(block))
        output.mux(audio.encode(None))
    return path


def swap_process(*arguments, before="", **options):
    """A process of the command line `swap ARGUMENTS`; ``before`` is Python to run in it first."""
    code = f"{before}\nfrom swap.cli import main\nmain()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
