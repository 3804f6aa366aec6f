"""What a training run does besides the network itself: loss, optimizer, what the encoder is shown.

The problem that the recipe ``latentface`` answers. The plain method of 2017 trains two autoencoders that share an
encoder, and nothing in its two losses asks for a swap: the encoder may learn to tell A from B, each
decoder then only ever sees codes of its own person, and what it makes of the other's codes is chance.
While both losses fall, the swap can get worse.

    standardise   The encoder sees (face - mean picture) / deviation picture, each person's own. What all
                  pictures of A have in common, and those of B have not (skin, hair, wall, light), is what
                  tells A from B; it is taken out, and what is left is what the face *does*.
    prior         Each decoder starts from its person's mean picture: its output is sigmoid(network + logit(mean)).
                  So the network, too, says only what differs from the mean.
    unusual       Closed eyes and open mouths are a few frames in a hundred, and a loss averaged over frames can
                  ignore them. Faces are drawn in proportion to how far their eyes and mouth lie from the usual.
    focus         The loss counts the face more than its surroundings, which the mask cuts off in the end, and the
                  eyes and the mouth most.
    gentle        The random warp and the turns are smaller than those of 2017: with a run of minutes there is no
                  time to overfit, and what need not be undone leaves room for detail.
    jitter        Brightness, contrast and tint of what the encoder sees are varied, so that it looks at shapes; what
                  light and skin make of a closed eye differs between two people, its shape does not.
    he, cooldown  Weights that keep the signal's variance through LeakyReLU, a learning rate twenty times
                  that of 2017, falling to nearly 0 at the end: a run of minutes instead of days.

The recipe ``alike`` is for two sides that do the same things about equally often, as two rendered subjects do. There
it is the best that was found (bench/RECIPES.md). It adds

    round trips   Some faces of A are swapped to B as the network stands, and the swapped picture, now an input of B's,
                  must come back as the very face of A. So A's decoder learns to read codes that come from pictures
                  of B, which it otherwise never sees until somebody asks for a swap (back-translation, as in the
                  unsupervised translation of languages: Sennrich et al. 2016, Lample et al. 2018).
    match         Round trips let A and B disagree about how much: half a smile there and double back is a round trip,
                  too. What settles it is that the codes of both are spread alike: same mean, same covariance
                  (swap.match), with little weight.

    soften        What comes back from a swap is softer than any picture of its side, so codes of swapped pictures
                  would be told from those of true ones, and the one says nothing about the other. The encoder is
                  shown every picture through a small blur; then both look alike to it, and what it needs, where
                  things are and how they lie, is in there still.

and leaves out the jitter: where the light is drawn anew for each picture, a swap is asked to keep it, and an encoder
that is shown varied colours cannot tell it any more. In the studio (swap.demo.for_studio) it also leaves out the turns,
shifts and zooms, from the step ``still_from`` on: rendered pictures lie exactly in their squares, and a code that can
say how a picture was moved says it of pictures that were not, in A's way, which B's decoder takes for B's.

On recordings these assumptions fail: where B's mouth moves more than A's, round trips and match make the swap's mouth
open too far, without the jitter blinks are lost, and no face lies exactly in its square.

``2017`` is the original method, without any of these.
"""

from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from swap.data import Augmentation
from swap.errors import UserError


@dataclass(frozen=True)
class Recipe:
    """What the top of this file describes.

    init: of the convolutions. last_gain: factor on the initial weights of a decoder's last layer. warm_up:
    steps over which the learning rate rises; cooldown: the last part of a run over which it falls, linearly,
    to 2 %. colour_match: bring the colours of A to B's. rotation (degrees), shift and noise (of the square's
    side), mirror (probability) and still_from (a step; 0: never): of the random warp. brightness, contrast,
    tint: varied in what the encoder is shown, not in the target. soften: standard deviation, in pixels of the
    network's square, of the blur that the encoder sees every picture through, in training and ever after.
    round_trips: of as many faces a side as this share of the batch, from step round_trips_from on. match:
    strength of the loss on the codes' moments.
    """

    name: str
    learning_rate: float
    beta1: float
    init: str
    eps: float = 1e-8
    last_gain: float = 1.0
    standardise: bool = False
    prior: bool = False
    focus: bool = False
    unusual: bool = False
    warm_up: int = 0
    cooldown: float = 0.0
    colour_match: bool = False
    rotation: float = 10.0
    shift: float = 0.05
    noise: float = 5 / 160
    mirror: float = 0.5
    still_from: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    tint: float = 0.0
    soften: float = 0.0
    round_trips: float = 0.0
    round_trips_from: int = 0
    match: float = 0.0

    def augmentation(self) -> Augmentation:
        """The random warp of this recipe."""
        return Augmentation(
            rotation=self.rotation,
            shift=self.shift,
            noise=self.noise,
            mirror=self.mirror,
            still_from=self.still_from,
            brightness=self.brightness,
            contrast=self.contrast,
            gain=self.tint,
        )

    def returns_at(self, step: int, batch_size: int) -> np.ndarray | None:
        """Which faces of a batch make a round trip in step ``step``: spread over the batch, others in each step."""
        count = round(self.round_trips * batch_size)
        if not count or step < self.round_trips_from:
            return None
        return (np.arange(count) * batch_size // count + step) % batch_size

    def rate_at(self, step: int, progress: float) -> float:
        """The learning rate of step ``step`` = 0, 1, ..., at a progress of 0 to 1 through the run."""
        rate = self.learning_rate
        if self.warm_up:
            rate *= min(1.0, (step + 1) / self.warm_up)
        if self.cooldown:
            rate *= min(1.0, max(0.02, (1 - progress) / self.cooldown))
        return rate

    def to_dict(self) -> dict[str, Any]:
        """Every field, for a checkpoint."""
        return asdict(self)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The options as they are where nothing is said of them: as a recipe without them was."""
        return {field.name: field.default for field in fields(cls) if field.default is not MISSING}


LATENTFACE = Recipe(
    "latentface",
    learning_rate=1e-3,
    beta1=0.9,
    init="he",
    last_gain=0.2,
    standardise=True,
    prior=True,
    focus=True,
    unusual=True,
    warm_up=100,
    cooldown=0.4,
    rotation=5.0,
    shift=0.025,
    noise=0.02,
    brightness=0.1,
    contrast=0.25,
    tint=0.1,
)

RECIPES = {
    r.name: r
    for r in (
        LATENTFACE,
        replace(
            LATENTFACE,
            name="alike",
            soften=1.2,
            round_trips=0.5,
            round_trips_from=400,
            match=0.01,
            brightness=0.0,
            contrast=0.0,
            tint=0.0,
        ),
        Recipe(
            "2017",
            learning_rate=5e-5,
            beta1=0.5,
            eps=1e-7,
            init="glorot",
            colour_match=True,
            mirror=0.4,
        ),
    )
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name; UserError with the known names otherwise."""
    if name not in RECIPES:
        raise UserError(f"there is no recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
