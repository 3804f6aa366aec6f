"""What a swap must beat: four ways to answer without a network.

    copy      the input itself
    mean      the mean picture of the target
    nearest   the training picture of the target whose deviation from the target's mean picture is nearest to the
              input's deviation from the source's
    linear    the input's deviation, projected on the principal components of both sides' deviations together,
              put on the target's mean picture: the best that a linear shared autoencoder can do

Each is a function (source, target, inputs) -> pictures: training squares of the two sides (F, S, S, 3), and inputs
(N, S, S, 3) of the source, all float32 in [0, 1].
"""

import numpy as np

COMPONENTS = 64
# Of the subspace iteration: directions carried besides those wanted, and rounds.
SPARE, ROUNDS = 32, 6
SMALL = 512  # rows
BLOCK = 64  # inputs at a time


def copy(source: np.ndarray, target: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """The inputs."""
    return inputs


def mean(source: np.ndarray, target: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """The target's mean picture, once for each input."""
    return np.broadcast_to(mean_picture(target), inputs.shape)


def nearest(
    source: np.ndarray,
    target: np.ndarray,
    inputs: np.ndarray,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """For each input the target's training picture with the nearest deviation.

    weight: (S, S), how much a pixel's squared difference counts; None: all alike.
    """
    root = np.ones(inputs.shape[1:3]) if weight is None else np.sqrt(weight)
    root = root[..., None].astype(np.float32)
    # |p - q|^2 = |p|^2 - 2 p.q + |q|^2, of which |q|^2 is the same for all p.
    kept = _flat((target - mean_picture(target)) * root)
    half = 0.5 * np.einsum("ij,ij->i", kept, kept, dtype=np.float64)
    asked = _flat((inputs - mean_picture(source)) * root)
    chosen = np.concatenate(
        [
            np.argmin(half - asked[start : start + BLOCK] @ kept.T, axis=1)
            for start in range(0, len(asked), BLOCK)
        ]
    )
    return target[chosen]


def linear(
    source: np.ndarray,
    target: np.ndarray,
    inputs: np.ndarray,
    components: np.ndarray | None = None,
) -> np.ndarray:
    """The inputs' deviations within the shared linear space, on the target's mean picture, clipped to [0, 1].

    components: what `shared_components` gives for these two sides, which serves both directions.
    """
    if components is None:
        components = shared_components(source, target)
    deviations = _flat(inputs - mean_picture(source)) @ components.T @ components
    return np.clip(deviations.reshape(inputs.shape) + mean_picture(target), 0, 1)


def shared_components(
    source: np.ndarray, target: np.ndarray, count: int = COMPONENTS
) -> np.ndarray:
    """Principal components of the deviations of both sides, each from its own mean picture."""
    deviations = [_flat(side - mean_picture(side)) for side in (source, target)]
    return principal_components(np.concatenate(deviations), count)


def principal_components(rows: np.ndarray, count: int) -> np.ndarray:
    """The first principal directions of rows (F, P) float32 of mean 0: (count, P), orthonormal, the largest first.

    Fewer where rows has fewer. Of up to SMALL rows, from the eigenvectors of their products; of more, by subspace
    iteration with a fixed random start: N. Halko, P. G. Martinsson, J. A. Tropp, Finding structure with randomness,
    SIAM Review 53(2), 2011, algorithm 4.4. A full decomposition of a few thousand pictures takes ten times as long.
    """
    if len(rows) <= SMALL:
        wide_rows = rows.astype(np.float64)
        values, vectors = np.linalg.eigh(wide_rows @ wide_rows.T)
        kept = np.flatnonzero(values > 1e-9 * max(values[-1], 1e-12))[::-1][:count]
        directions = vectors[:, kept].T @ wide_rows / np.sqrt(values[kept])[:, None]
        return directions.astype(rows.dtype)
    count = min(count, *rows.shape)
    wide = min(count + SPARE, *rows.shape)
    rng = np.random.Generator(np.random.Philox(key=0))
    basis = np.linalg.qr(rows.T @ rng.standard_normal((len(rows), wide), np.float32))[0]
    for _ in range(ROUNDS):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
    _, _, turn = np.linalg.svd(rows @ basis, full_matrices=False)
    return np.ascontiguousarray((basis @ turn[:count].T).T)


def mean_picture(squares: np.ndarray) -> np.ndarray:
    """The mean (S, S, 3) float32 of squares (F, S, S, 3), summed in float64."""
    return squares.mean(0, dtype=np.float64).astype(np.float32)


def _flat(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(len(pictures), -1)
