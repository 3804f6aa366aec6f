"""Matching the colours of two face sets, so that colour alone does not tell A from B.

    y = gain x + offset,   gain = std_to / std_from,   offset = mean_to - gain mean_from

per channel (Reinhard et al., "Color transfer between images", 2001, without the change of colour
space), over the face ellipse of all faces of a set. The values stay gamma-encoded RGB: there, a
change of the light's colour or strength (a gain k in linear light) is again a gain, k^(1/2.2), and
the inverse spreads 8-bit steps and noise evenly, which a detour through linear light does not.
The 2017 code had the offset alone, on A only, over the whole picture, and let values leave [0, 1].
"""

from dataclasses import dataclass

import numpy as np

from swap.data.faces import FaceSet

# A set of nearly one tone would ask for any gain at all; past these, it is noise that grows.
GAIN_LIMITS = (0.5, 2.0)


@dataclass(frozen=True, eq=False)
class ColourMatch:
    """y = clip(gain * x + offset): gain and offset (3,) float32, for R, G, B in [0, 1]."""

    gain: np.ndarray
    offset: np.ndarray

    def __post_init__(self) -> None:
        for name in ("gain", "offset"):
            value = np.asarray(getattr(self, name), np.float32)
            if value.shape != (3,) or not np.isfinite(value).all():
                raise ValueError(f"ColourMatch {name} must be 3 finite numbers, not {value}")
            object.__setattr__(self, name, value)
        if (self.gain <= 0).any():
            raise ValueError(f"ColourMatch gain must be positive, not {self.gain}")

    @classmethod
    def identity(cls) -> "ColourMatch":
        """The match that changes nothing."""
        return cls(np.ones(3), np.zeros(3))

    @classmethod
    def fit(cls, from_faces: FaceSet, to_faces: FaceSet) -> "ColourMatch":
        """The match that gives from_faces the per-channel mean and spread of to_faces.

        The gain is held within GAIN_LIMITS; the means agree in any case (before clipping).
        """
        ratio = to_faces.std / np.maximum(from_faces.std, 1e-6)
        gain = np.clip(ratio, *GAIN_LIMITS)
        return cls(gain, to_faces.mean - gain * from_faces.mean)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Matched copy of a float image (..., 3) in [0, 1], clipped to [0, 1], float32."""
        return np.clip(image * self.gain + self.offset, 0, 1, dtype=np.float32)

    def invert(self, image: np.ndarray) -> np.ndarray:
        """The inverse of apply, clipped to [0, 1], float32; what apply clipped stays lost."""
        return np.clip((image - self.offset) / self.gain, 0, 1, dtype=np.float32)

    def to_dict(self) -> dict[str, list[float]]:
        """{"gain": [r, g, b], "offset": [r, g, b]}, for a checkpoint; exact."""
        return {"gain": self.gain.tolist(), "offset": self.offset.tolist()}

    @classmethod
    def from_dict(cls, stored: dict[str, list[float]]) -> "ColourMatch":
        """The inverse of to_dict. KeyError or ValueError where it is not one."""
        return cls(np.asarray(stored["gain"]), np.asarray(stored["offset"]))
