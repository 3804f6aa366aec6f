"""Trains the network of swap/faces/landmarks.py on people who do not exist, and writes landmarks.safetensors.

    python -m swap.faces.models.build --pictures /tmp/people

Run once, by hand; half an hour on two cores and 1.4 GB on disk for the pictures, which a second run finds there. The
people are those of swap/studio/anyone.py. The four of the studio are none of them: on those it is measured at the end.
"""

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

import nn
from nn.files import why_not
from swap.faces.align import TEMPLATE, CropDefinition, crop_matrix
from swap.faces.landmarks import (
    MIDDLE,
    MIRRORED,
    MODEL,
    VIEW,
    VIEW_EYES,
    make_network,
    standardised,
)
from swap.studio import heads
from swap.studio.anyone import anyone
from swap.studio.head import make_head

SIDE, CROP = 120, CropDefinition(face_side=4.3, centre_y=0.6, margin=1.0)  # of a stored picture
EYES = SIDE / CROP.side()  # pixels between the eyes in it
BATCH, RATE, SEED = 64, 1.5e-3, 991


def render(folder: Path, people: int, each: int) -> None:
    """pictures.npy uint8 (people * each, 120, 120, 3) and points.npy float32 (.., 5, 2), unless they are there."""
    shape = (people * each, SIDE, SIDE, 3)
    if _rendered(folder, shape):
        return
    (folder / "points.npy").unlink(missing_ok=True)  # written last: the sign that all is there
    pictures = np.lib.format.open_memmap(folder / "pictures.npy", "w+", np.uint8, shape)
    points = np.empty((people * each, 5, 2), np.float32)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for person, (made, places) in enumerate(
            pool.map(portraits, range(people), [each] * people)
        ):
            rows = slice(person * each, (person + 1) * each)
            pictures[rows], points[rows] = made, places
            print(f"\rperson {person + 1} of {people}", end="", flush=True)
    print()
    pictures.flush()
    np.save(folder / "points.npy", points)


def _rendered(folder: Path, shape: tuple[int, ...]) -> bool:
    """Whether both files are there, whole and of as many pictures."""
    try:
        pictures = np.load(folder / "pictures.npy", mmap_mode="r")
        points = np.load(folder / "points.npy", mmap_mode="r")
    except (OSError, ValueError, EOFError):  # none, cut short, or something else
        return False
    return pictures.shape == shape and points.shape == (shape[0], 5, 2)


def portraits(person: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Aligned pictures of one person, uint8 (each, 120, 120, 3), and the landmarks in them, float32 (each, 5, 2)."""
    head = make_head(anyone(person))
    rng = np.random.Generator(np.random.Philox(key=np.array([person, SEED], np.uint64)))
    pictures, points = np.empty((each, SIDE, SIDE, 3), np.uint8), np.empty((each, 5, 2), np.float32)
    for i in range(each):
        p = heads.draw(SEED, person * each + i)
        # Further than the studio's subjects turn, and in more kinds of light.
        p = replace(
            p, yaw=1.3 * p.yaw, pitch=1.7 * p.pitch, light_x=1.5 * p.light_x,
            light_y=p.light_y + rng.uniform(-20, 20), light=p.light * rng.uniform(0.7, 1.25),
        )  # fmt: skip
        matrix = crop_matrix(heads.landmarks(head, p), SIDE, CROP)
        pictures[i] = heads.picture(head, p, SIDE, view=matrix)[0]
        points[i] = heads.landmarks(head, p, SIDE, view=matrix)
    return pictures, points


def batches(folder: Path, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Views uint8 (64, 64, 64, 3) and what the network is to say of them, float32 (64, 10), made in other processes."""
    waiting: deque[Future] = deque()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for step in range(steps):
            waiting.append(pool.submit(batch, folder, step))
            if len(waiting) > 16:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def batch(folder: Path, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Batch number ``step``, a pure function of it and of the pictures."""
    cv2.setNumThreads(1)
    pictures = np.load(folder / "pictures.npy", mmap_mode="r")
    points = np.load(folder / "points.npy", mmap_mode="r")
    rng = np.random.Generator(np.random.Philox(key=np.array([step, SEED + 1], np.uint64)))
    views, answers = np.empty((BATCH, VIEW, VIEW, 3), np.uint8), np.empty((BATCH, 5, 2), np.float32)
    for i, number in enumerate(rng.integers(len(pictures), size=BATCH)):
        views[i], answers[i] = view(pictures[number], points[number].astype(np.float64), rng)
    return views, answers.reshape(BATCH, 10)


def view(
    picture: np.ndarray, points: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A view as rough landmarks would cut it out, mirrored half the time and spoilt; and the answer, (5, 2)."""
    lost = rng.random() < 0.25  # the rough landmarks are far off
    angle = np.radians(rng.uniform(-22, 22) if lost else rng.normal(0, 5))
    scale = np.exp(rng.uniform(-0.25, 0.25) if lost else rng.normal(0, 0.07))
    shift = rng.uniform(-0.25, 0.25, 2) if lost else rng.normal(0, 0.06, 2)
    side = -1.0 if rng.random() < 0.5 else 1.0
    # From the picture to eye distances about the middle of the face, and on to the view.
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = np.diag([side, 1.0]) @ turn
    middle = (SIDE - 1) / 2 + EYES * (MIDDLE - (0, CROP.centre_y))
    linear, shift = turn / EYES, shift * (side, 1)
    matrix = VIEW_EYES * np.column_stack([linear, shift - linear @ middle])
    matrix[:, 2] += (VIEW - 1) / 2
    cut = cv2.warpAffine(
        picture, matrix, (VIEW, VIEW), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    seen = points @ matrix[:, :2].T + matrix[:, 2]
    if side < 0:
        seen = seen[MIRRORED]
    return spoilt(cut, seen, rng), (seen - (VIEW - 1) / 2) / VIEW_EYES + MIDDLE - TEMPLATE


def spoilt(view: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What happens to faces on their way into a recording: glasses, hands, bad focus, bad light, compression, noise."""
    chance = rng.random(8)
    if chance[0] < 0.2:
        _draw_glasses(view, points, rng)
    if chance[1] < 0.2:
        place, size = rng.uniform(0, VIEW, 2), rng.uniform(3, 13, 2)
        colour = rng.integers(0, 255, 3).tolist()
        _ellipse(view, place, size, rng.uniform(0, 180), colour, cv2.FILLED)
    if chance[2] < 0.35:
        few = int(rng.integers(16, 56))
        small = cv2.resize(view, (few, few), interpolation=cv2.INTER_AREA)
        view = cv2.resize(small, (VIEW, VIEW), interpolation=cv2.INTER_LINEAR)
    elif chance[2] < 0.5:
        view = cv2.GaussianBlur(view, (0, 0), rng.uniform(0.4, 1.6))
    if chance[3] < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 80))]
        view = cv2.imdecode(cv2.imencode(".jpg", view, quality)[1], cv2.IMREAD_COLOR)
    x = view.astype(np.float32) / 255
    if chance[4] < 0.6:
        x **= np.float32(np.exp(rng.normal(0, 0.35)))
    x *= np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.12, 3)).astype(np.float32)
    if chance[5] < 0.15:
        x[:] = x.mean(2, keepdims=True)
    if chance[6] < 0.5:
        along, down = rng.normal(0, 0.35, 2)
        ramp = np.linspace(-1, 1, VIEW)
        ramp = 1 + along * ramp[None, :, None] + down * ramp[:, None, None]
        x *= np.clip(ramp, 0.2, 2).astype(np.float32)
    if chance[7] < 0.5:
        x += rng.standard_normal(x.shape, np.float32) * np.float32(rng.uniform(0, 0.05))
    return np.rint(255 * np.clip(x, 0, 1)).astype(np.uint8)


def _draw_glasses(view: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> None:
    colour, thick = rng.integers(0, 110, 3).tolist(), 1 if rng.random() < 0.6 else 2
    right, left = points[:2]
    along = (left - right) / max(np.linalg.norm(left - right), 1e-6)
    angle, size = float(np.degrees(np.arctan2(along[1], along[0]))), rng.uniform((5, 3.5), (8.5, 7))
    for eye in (right, left):
        _ellipse(view, eye, size, angle, colour, thick)
    ends = (16 * (right + size[0] * along)).astype(int), (16 * (left - size[0] * along)).astype(int)
    cv2.line(view, ends[0].tolist(), ends[1].tolist(), colour, thick, cv2.LINE_AA, 4)


def _ellipse(
    view: np.ndarray,
    place: np.ndarray,
    size: np.ndarray,
    angle: float,
    colour: list[int],
    thick: int,
) -> None:
    """In sixteenths of a pixel."""
    at, axes = (16 * place).astype(int).tolist(), (16 * size).astype(int).tolist()
    cv2.ellipse(view, at, axes, angle, 0, 360, colour, thick, cv2.LINE_AA, 4)


def train(folder: Path, steps: int) -> nn.Sequential:
    """The trained network, on the backend `cpu`."""
    network, loss = make_network().to("cpu"), nn.MAE()
    adam = nn.Adam(nn.Arena(network.named_parameters()), RATE)
    began, mean = time.perf_counter(), 0.0
    for step, (views, answers) in enumerate(batches(folder, steps)):
        adam.learning_rate = RATE * min(1, (step + 1) / 200) * max(0.01, 1 - step / steps)
        network.zero_grad()
        y, cache = network.forward(standardised(views / np.float32(255)))
        value, loss_cache = loss.forward(y, answers)
        network.backward(loss.backward(1.0, loss_cache), cache, need_dx=False)
        adam.step()
        mean += (float(value) - mean) / min(step + 1, 200)
        if (step + 1) % 200 == 0:
            print(f"\rstep {step + 1} of {steps}, mean error {mean:.4f}, {time.perf_counter() - began:.0f} s", end="",
                  flush=True)  # fmt: skip
    print()
    return network


def main(argv: list[str]) -> int:
    """Renders, trains, writes."""
    parser = argparse.ArgumentParser(
        prog="swap.faces.models.build", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--pictures", type=Path, required=True, help="folder for the pictures of people"
    )
    parser.add_argument("--people", type=int, default=800)
    parser.add_argument("--each", type=int, default=40, help="pictures of each")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--out", type=Path, default=MODEL)
    options = parser.parse_args(argv)
    for name in ("people", "each", "steps"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(options, name)}")
    if why := why_not(options.out):
        parser.error(f"{options.out} cannot be written: {why}")
    try:
        options.pictures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"the folder {options.pictures} cannot be made: {error.strerror}")
    render(options.pictures, options.people, options.each)
    network = train(options.pictures, options.steps)
    halves = {name: p.value.astype(np.float16) for name, p in network.named_parameters()}
    facts = {
        "people": options.people,
        "each": options.each,
        "steps": options.steps,
        "trained on": "rendered people",
    }
    nn.save_checkpoint(options.out, halves, facts)
    print(f"written to {options.out}; python -m bench studio measures it")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
