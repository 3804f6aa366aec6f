"""The five landmarks of a face whose place is roughly known, to 2 or 3 % of the eye distance.

A network of this project's own engine looks at the face, turned upright by what is known so far, and says by how much
each landmark is off its place in the template. It looks in rounds; each round starts from what the last one saw, so it
follows a head that lies on its side. The last round looks at several views, some of them mirrored, and takes the mean.

    view        64x64x3, VIEW_EYES pixels between the eyes, less its mean colour, divided by its deviation
    network     conv 5x5 /2 16, 5x5 /2 32, 3x3 /2 64, 3x3 /2 96, LeakyReLU 0.1 each; dense 96, LeakyReLU, dense 10
    output      (5, 2) in eye distances: landmark less TEMPLATE

It has seen no photograph: models/build.py trains it on people of the studio who do not exist, drawn at random
(swap/studio/anyone.py), in views made dark, coloured, soft, noisy, half hidden and wrongly turned. After E. Wood et
al., Fake it till you make it: face analysis in the wild using synthetic data alone, ICCV 2021. `python -m bench
extract` and `python -m bench studio` measure it, on clips of people and on subjects that it was not trained on.
"""

import hashlib
from functools import cache
from pathlib import Path

import cv2
import numpy as np

import nn
from nn.checkpoint import load_checkpoint
from swap.errors import UserError
from swap.faces.align import TEMPLATE, umeyama, warp_crop

MODEL = Path(__file__).parent / "models" / "landmarks.safetensors"
VIEW, VIEW_EYES = 64, 20.0  # pixels of a view's side, and between its eyes
MIDDLE = np.array([0.0, TEMPLATE[:, 1].mean()])  # of the template, which is in the middle of a view
MIRRORED = [1, 0, 2, 4, 3]  # where the landmarks are in a mirrored face
# The rounds, and the views of each: shifts in eye distances, and whether mirrored. Two views at a time: with more,
# NumPy's matrix products wake threads of their own, which then fight with those of the frames.
ROUNDS = (
    (((0.0, 0.0), False), ((0.0, 0.0), True)),
    (((0.05, 0.03), False), ((-0.05, -0.03), True)),
)


def make_network(seed: int = 0) -> nn.Sequential:
    """The network at its initial weights: views (N, 64, 64, 3) -> (N, 10)."""
    rng = np.random.default_rng(seed)
    layers, inside = [], 3
    for size, out in ((5, 16), (5, 32), (3, 64), (3, 96)):
        conv = nn.Conv2d(inside, out, size, stride=2, padding="same", init="he", rng=rng)
        layers += [conv, nn.LeakyReLU(0.1)]
        inside = out
    dense = nn.Dense(16 * inside, 96, rng=rng), nn.LeakyReLU(0.1), nn.Dense(96, 10, rng=rng)
    return nn.Sequential(*layers, nn.Flatten(), *dense)


def standardised(views: np.ndarray) -> np.ndarray:
    """Views (N, S, S, 3) float32 in [0, 1], each less its mean colour, divided by its deviation about that."""
    centred = views - views.mean((1, 2), keepdims=True)
    return centred / (np.sqrt(np.square(centred).mean((1, 2, 3), keepdims=True)) + np.float32(0.02))


def view_matrix(
    landmarks: np.ndarray, shift: np.ndarray | tuple[float, float] = (0, 0)
) -> np.ndarray:
    """Matrix (2, 3) from the picture to the upright view of landmarks (5, 2), ``shift`` eye distances off."""
    matrix = VIEW_EYES * umeyama(landmarks, TEMPLATE)
    matrix[:, 2] += (VIEW - 1) / 2 - VIEW_EYES * (MIDDLE + shift)
    return matrix


def refined(rgb: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Landmarks float64 (5, 2) in a picture uint8 (H, W, 3), from rough ones (5, 2).

    Raises ValueError where the rough ones lie in one point, and UserError where the weights cannot be read.
    """
    for views in ROUNDS:
        matrices = [view_matrix(landmarks, shift) for shift, _ in views]
        seen = np.empty((len(views), VIEW, VIEW, 3), np.float32)
        for view, matrix, (_, mirrored) in zip(seen, matrices, views, strict=True):
            crop = warp_crop(rgb, matrix, VIEW, cv2.INTER_LINEAR)
            view[:] = crop[:, ::-1] if mirrored else crop
        moved = _network().forward(standardised(seen / np.float32(255)), train=False)[0]
        found = []
        for offset, matrix, (_, mirrored) in zip(moved, matrices, views, strict=True):
            points = VIEW_EYES * (offset.reshape(5, 2).astype(np.float64) + TEMPLATE - MIDDLE)
            if mirrored:
                points = points[MIRRORED] * (-1, 1)
            points += (VIEW - 1) / 2
            found.append(np.linalg.solve(matrix[:, :2], (points - matrix[:, 2]).T).T)
        landmarks = np.mean(found, 0)
    return landmarks


@cache
def _network() -> nn.Sequential:
    """The trained network, read once. NumPy needs a millisecond for it, and no compiling."""
    network = make_network().to("reference")
    parameters = dict(network.named_parameters())
    halves = {name: np.empty(p.value.shape, np.float16) for name, p in parameters.items()}
    try:
        load_checkpoint(MODEL, lambda facts: halves)
    except nn.CheckpointError as error:
        raise UserError(
            f"the landmarks' model cannot be used: {error}; install latentface again."
        ) from error
    for name, parameter in parameters.items():
        parameter.value[...] = halves[name]
    return network


@cache
def describe() -> str:
    """What decides the landmarks besides the rough ones, in a few words: kept with them. UserError as ``refined``."""
    _network()  # a model that is missing or damaged is told of before any frame is looked at
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()[:12]
    return (
        f"landmarks {digest}, {len(ROUNDS)} rounds of {len(ROUNDS[-1])} views at {VIEW_EYES:g} px"
    )
