"""What the hunt begins with: small good files of every kind, so that it need not find their signatures first."""

import io
import json
import tempfile
from pathlib import Path

import av
import numpy as np
from PIL import Image

from bench.fuzz.targets import WORDS
from nn.checkpoint import save_checkpoint
from swap.faces.align import CropDefinition
from swap.faces.records import FORMAT, VERSION
from swap.provenance import Mark, SourceType, mark_file


def seeds(target: str) -> list[bytes]:
    """The first inputs of a target."""
    return {
        "records": _records,
        "provenance": _marked,
        "checkpoint": _checkpoints,
        "commands": _commands,
    }[target]()


def _records() -> list[bytes]:
    header = {
        "format": FORMAT, "version": VERSION, "source": "a.mp4", "source_sha256": "0" * 64,
        "crop": CropDefinition().to_dict(), "size": 64, "every": 1, "stop": None, "detector": "d",
        "fps": "24/1", "width": 64, "height": 48, "frames": 2, "faces": 1, "without_face": [1],
        "several": [], "skipped": [["frame", "reason"]],
    }  # fmt: skip
    face = {
        "frame": 0, "face": 0, "file": "000000_0.png", "box": [1.0, 2.0, 3.0, 4.0],
        "landmarks": [[1.0, 2.0]] * 5, "matrix": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], "score": 0.9, "time": 0.0,
    }  # fmt: skip
    lines = [json.dumps(header), json.dumps(face)]
    empty = json.dumps({**header, "faces": 0})
    return ["\n".join(lines).encode() + b"\n", empty.encode(), b"[" * 200, b"{}"]


def _encoded(kind: str, size: tuple[int, int] = (8, 6)) -> bytes:
    buffer = io.BytesIO()
    x = np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3)
    Image.fromarray(x).save(buffer, kind)
    return buffer.getvalue()


def _video(codec: str = "libx264", container: str = "mp4") -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        plain = {"x264-params": "info=0"} if codec == "libx264" else {}
        stream = output.add_stream(codec, rate=25, options=plain)
        stream.width, stream.height = 32, 32
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i in range(2):
            image = np.full((32, 32, 3), 60 + 100 * i, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def _marked() -> list[bytes]:
    plain = [_encoded("PNG"), _encoded("JPEG"), _video()]
    marked = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        for data in plain:
            path.write_bytes(data)
            mark_file(path, Mark(SourceType.SWAPPED, "seed", "A mark.", {"Key": "value"}))
            marked.append(path.read_bytes())
    return plain + marked


def _checkpoints() -> list[bytes]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.safetensors"
        for more in ({}, {"m/w": np.ones(4, np.float32)}):
            arrays = {"w": np.arange(12, dtype=np.float32).reshape(3, 4), **more}
            save_checkpoint(path, arrays, {"steps": 3, "preset": "tiny"})
            found += [path.read_bytes(), b"!" + path.read_bytes()]
    return found


def _commands() -> list[bytes]:
    lines = [
        ("extract", "input.png", "--out", "new"), ("extract", "input.mp4", "--out", "new", "--size", "64"),
        ("extract", "folder", "--out", "new", "--frames", "1"), ("inspect", "input.jpg"),
        ("convert", "input.mp4", "--run", "run", "--out", "new"), ("model", "--preset", "tiny"),
        ("train", "--a", "alignments", "--b", "folder", "--run", "new", "--preset", "tiny"),
        ("evaluate", "--run", "new", "--a", "alignments", "--b", "folder"), ("inspect", "input.mp4"),
        ("run", "--a", "input.mkv", "--b", "input.tif", "--out", "new"), ("extract", "--help"),
    ]  # fmt: skip
    contents = [
        _encoded("PNG"),
        _encoded("JPEG"),
        _encoded("WEBP"),
        _encoded("TIFF"),
        _video(),
        b"",
    ]
    contents += [_video("mpeg4", "matroska"), _video("mjpeg", "avi"), *_records()[:1]]
    found = []
    for number, words in enumerate(lines):
        head = bytes([len(words), *map(WORDS.index, words)])
        found += [head + contents[(number + i) % len(contents)] for i in range(4)]
    return found
