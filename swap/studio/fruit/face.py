"""The kiwi's cut face: pale core, rays, dark locules with their seeds, clear green flesh, skin."""

from functools import cache

import numpy as np

from swap.studio.fruit.skin import FACE_EXTENT, FACE_SIDE, levels, linear, mixed, quantised, step
from swap.studio.noise import noise

LOCULES = 29
CORE = (
    0.035,
    -0.025,
    0.165,
    0.115,
)  # the core's centre and semi-axes: longer than wide, off centre


@cache
def kiwi_face() -> tuple[np.ndarray, ...]:
    """uint16 (H, H, 7) each: channels as in skin.py, the last is gloss. Columns run along x,
    rows along z, both from -FACE_EXTENT to FACE_EXTENT of the face's semi-axes.
    """
    s = ((np.arange(FACE_SIDE) + 0.5) / FACE_SIDE * 2 - 1) * FACE_EXTENT
    x, z = np.meshgrid(s, s)
    plane = np.stack([x, z, 0 * x], -1)
    radius = np.hypot(x, z)
    angle = np.arctan2(z, x)
    cloud = noise(plane, 3.0, 211, 3).astype(float)
    fine = noise(plane, 45, 221, 2).astype(float)
    # Rays are straight but not evenly spread.
    turns = (angle + 0.07 * np.sin(2 * angle + 1) + 0.035 * cloud) / (2 * np.pi) * LOCULES
    off = np.abs(turns - np.floor(turns) - 0.5)  # 0 in a locule's middle, 0.5 on a ray
    circle = np.stack([np.cos(angle), np.sin(angle), 0.25 * radius], -1)
    fibre = noise(circle, 26, 231, 3).astype(float)

    core_x, core_z = (x - CORE[0]) / CORE[2], (z - CORE[1]) / CORE[3]
    core = np.hypot(core_x, core_z) + 0.10 * cloud + 0.11 * fibre
    reach = radius + 0.05 * cloud
    inner = step(0.66, 0.54, reach + 0.05 * fibre)

    flesh = mixed(
        linear(0.64, 0.72, 0.33), linear(0.71, 0.77, 0.40), step(-0.5, 0.6, fibre + 0.4 * cloud)
    )
    flesh = mixed(flesh, linear(0.60, 0.69, 0.30), 0.6 * step(0.78, 0.95, radius))
    locule = mixed(
        linear(0.44, 0.55, 0.16), linear(0.52, 0.62, 0.22), step(-0.4, 0.4, fine + fibre)
    )
    dark = inner * step(0.40, 0.16, off) * step(0.98, 1.35, core)
    colour = mixed(flesh, locule, 0.85 * dark)
    ray = inner * step(0.26, 0.47, off + 0.06 * fibre) * step(0.66, 0.30, reach)
    colour = mixed(colour, linear(0.70, 0.74, 0.42), 0.75 * ray)
    glow = step(2.3, 1.0, core) * 0.35
    colour = mixed(colour, linear(0.67, 0.72, 0.38), glow)
    heart = step(1.08, 0.90, core)
    pale = mixed(
        linear(0.80, 0.81, 0.58), linear(0.75, 0.78, 0.52), step(0.55, 0.0, core + 0.4 * cloud)
    )
    colour = mixed(colour, pale * (1 + 0.05 * fibre)[..., None], heart)
    colour *= (1 + 0.10 * cloud + 0.07 * fine)[..., None]
    # A riper, darker sector, on the side to which the apple's leaf points: the turn's cue.
    ripe = step(0.3, 1.0, (0.92 * x + 0.38 * z) / (radius + 1e-6)) * step(0.15, 0.4, radius)
    colour *= (1 - 0.22 * ripe * step(0.95, 0.6, radius))[..., None]

    seed, dome, halo = _seeds(x, z)
    colour = mixed(colour, linear(0.36, 0.48, 0.11), 0.45 * halo * (1 - seed))
    colour = mixed(colour, linear(0.085, 0.06, 0.055), seed)
    edge = radius + 0.006 * fine
    colour = mixed(colour, linear(0.66, 0.72, 0.34), 0.8 * step(0.945, 0.965, edge))
    skin = step(0.974, 0.984, edge)
    colour = mixed(colour, linear(0.30, 0.21, 0.11), skin)

    height = 0.0025 * fine + 0.014 * fibre * inner - 0.018 * dark + 0.016 * dome
    height += 0.010 * cloud - 0.05 * step(0.95, 1.0, radius)
    pitch = s[1] - s[0]
    slope_z, slope_x = np.gradient(height, pitch)
    bump = np.stack([-0.55 * slope_x, 0 * x, -0.55 * slope_z], -1)
    gloss = (0.30 + 0.15 * cloud + 0.20 * dark) * (1 - 0.5 * heart) * (1 - seed) + 0.9 * seed
    return levels(
        quantised(np.concatenate([colour, bump, (gloss * (1 - skin))[..., None]], -1)), False
    )


def _seeds(x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cover, height and wet surroundings of the seeds: drops that point to the core."""
    rng = np.random.Generator(np.random.Philox(key=7))
    cover, dome, halo = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for k in range(LOCULES):
        for row in range(2):
            if rng.random() > (0.95, 0.42)[row]:
                continue
            t = (k + 0.5 + rng.uniform(-0.12, 0.12)) / LOCULES * 2 * np.pi
            t -= 0.07 * np.sin(2 * t + 1)
            out = (0.345, 0.455)[row] + rng.uniform(-0.035, 0.045)
            # Round the long core the ring of seeds is a little longer too.
            cx, cz = out * 1.10 * np.cos(t) + 0.6 * CORE[0], out * 0.95 * np.sin(t) + 0.6 * CORE[1]
            lean = t + rng.uniform(-0.15, 0.15)
            along = (x - cx) * np.cos(lean) + (z - cz) * np.sin(lean)
            across = -(x - cx) * np.sin(lean) + (z - cz) * np.cos(lean)
            size = rng.uniform(0.85, 1.1)
            wide = 0.0235 * size * (1 + 5.5 * np.clip(along, -0.06, 0.06))
            d = np.hypot(along / (0.046 * size), across / wide)
            cover = np.maximum(cover, step(1.06, 0.88, d))
            dome = np.maximum(dome, np.sqrt(np.clip(1 - d * d, 0, 1)))
            halo = np.maximum(halo, step(1.9, 0.9, d))
    return cover, dome, halo
