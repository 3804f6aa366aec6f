"""The shared-encoder face swapper: one encoder, one decoder for each person.

    code = encoder(face)            what the face does: expression, pose, light; the same for everyone
    face of a = decoder_a(code)     what a looks like when doing it

Trained: a -> encoder -> decoder_a -> a, and b -> encoder -> decoder_b -> b. Swapped: a -> encoder -> decoder_b.

The network is the one of 2017, at any width c (filters of its first convolution) and code d:

    encoder   64x64x3  conv 5x5 /2 c -> 2c -> 4c -> 8c, LeakyReLU 0.1 each      32, 16, 8, 4 pixels
              flatten, dense d, dense 16*8c, reshape 4x4x8c                     no activation
              upscale to 4c                                                     8x8x4c
    decoder   upscale to 2c, c, c/2                                             16, 32, 64 pixels
              conv 5x5 3, sigmoid                                               64x64x3
    upscale   conv 3x3 to four times the channels, LeakyReLU 0.1, pixel shuffle by 2

At c = 128, d = 1024 it is that network exactly: 69,662,976 parameters in the encoder, 6,199,747 in each
decoder, 82,062,470 in all. Its paddings are TensorFlow's "same", its channels are split as depth-to-space.
"""

import operator
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

import nn
from nn import memory
from nn.backend import GPU, host, on_gpu, put
from nn.record import call
from swap.errors import UserError
from swap.match import CodeMatch

FACE_SIZE = 64  # pixels of the side of the square that the network sees and makes
SIDES = ("a", "b")


@dataclass(frozen=True)
class Preset:
    """A size of the network. width: c; code: d."""

    name: str
    width: int
    code: int
    what_for: str


PRESETS = {
    p.name: p
    for p in (
        Preset("tiny", 16, 128, "tests and first looks, seconds"),
        Preset("lite", 32, 256, "minutes on two CPU cores"),
        Preset("base", 64, 512, "an hour on a CPU"),
        Preset("original", 128, 1024, "exactly the network of 2017; a GPU, or a night"),
    )
}


def get_preset(name: str) -> Preset:
    """The preset of that name; UserError with the known names otherwise."""
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def _conv(i: int, o: int, init: str, rng: np.random.Generator) -> list[nn.Layer]:
    return [
        nn.Conv2d(i, o, 5, stride=2, padding="same", init=init, rng=rng),
        nn.LeakyReLU(0.1),
    ]


def _upscale(i: int, o: int, init: str, rng: np.random.Generator) -> list[nn.Layer]:
    return [
        nn.Conv2d(i, 4 * o, 3, padding="same", init=init, rng=rng),
        nn.LeakyReLU(0.1),
        nn.PixelShuffle(2),
    ]


def make_encoder(preset: Preset, rng: np.random.Generator, init: str = "glorot") -> nn.Sequential:
    """(N, 64, 64, 3) -> (N, 8, 8, 4c). ``init`` is for the convolutions; the dense layers take Glorot's."""
    c, d = preset.width, preset.code
    return nn.Sequential(
        *_conv(3, c, init, rng),
        *_conv(c, 2 * c, init, rng),
        *_conv(2 * c, 4 * c, init, rng),
        *_conv(4 * c, 8 * c, init, rng),
        nn.Flatten(),
        ("code", nn.Dense(16 * 8 * c, d, rng=rng)),
        ("spread", nn.Dense(d, 16 * 8 * c, rng=rng)),
        nn.Reshape((4, 4, 8 * c)),
        *_upscale(8 * c, 4 * c, init, rng),
    )


def make_decoder(
    preset: Preset, rng: np.random.Generator, init: str = "glorot", last_gain: float = 1.0
) -> nn.Sequential:
    """(N, 8, 8, 4c) -> logits (N, 64, 64, 3); the sigmoid after them is the model's own."""
    c = preset.width
    last = nn.Conv2d(c // 2, 3, 5, padding="same", rng=rng)
    last.weight.value *= np.float32(last_gain)
    return nn.Sequential(
        *_upscale(4 * c, 2 * c, init, rng),
        *_upscale(2 * c, c, init, rng),
        *_upscale(c, c // 2, init, rng),
        last,
    )


@dataclass(frozen=True, eq=False)
class Looks:
    """What all pictures of one person have in common: arrays (64, 64, 3) float32, fixed during training.

    mean, scale   the encoder is shown (face - mean) scale
    prior         the decoder's picture is sigmoid(network + prior)
    """

    mean: np.ndarray
    scale: np.ndarray
    prior: np.ndarray

    @classmethod
    def plain(cls) -> "Looks":
        """No knowledge of anyone: the encoder is shown the face as it is, and there is no prior."""
        shape = (FACE_SIZE, FACE_SIZE, 3)
        zero = np.zeros(shape, np.float32)
        return cls(zero, np.ones(shape, np.float32), zero.copy())

    def arrays(self) -> dict[str, np.ndarray]:
        """The three by name, for a checkpoint."""
        return {"mean": self.mean, "scale": self.scale, "prior": self.prior}

    def to(self, backend: str) -> "Looks":
        """The same, where ``backend`` computes."""
        return Looks(*(put(array, backend) for array in (self.mean, self.scale, self.prior)))


def _softened(faces: np.ndarray, sigma: float) -> np.ndarray:
    """faces (N, S, S, 3) through a Gaussian blur of ``sigma`` pixels, mirrored at the edges."""
    if on_gpu(faces):
        from swap.data.card import softened

        return softened(faces, sigma)
    out = memory.empty(faces.shape, np.float32)
    call(_soften, faces, out, sigma)
    return out


def _soften(faces: np.ndarray, out: np.ndarray, sigma: float) -> None:
    for face, soft in zip(faces, out, strict=True):
        face = np.ascontiguousarray(face, np.float32)
        cv2.GaussianBlur(face, (0, 0), sigma, dst=soft, borderType=cv2.BORDER_REFLECT)


def _apply(operation: np.ufunc, pictures: np.ndarray, one: np.ndarray) -> np.ndarray:
    """operation(pictures, one) for pictures (N, 64, 64, 3) and what all of them meet, (64, 64, 3), in used memory."""
    out = memory.empty(pictures.shape, np.result_type(pictures, one), pictures)
    call(operation, pictures, one, out)
    return out


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """The parts one after the other."""
    # CuPy's concatenate may send addresses from the host, which a recorded step must not.
    out = memory.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype, parts[0])
    start = 0
    for part in parts:
        _write(out[start : start + len(part)], part)
        start += len(part)
    return out


def _write(to: np.ndarray, values: np.ndarray) -> None:
    """to[...] = values."""
    call(operator.setitem, to, ..., values)


def _take(pictures: np.ndarray, which: np.ndarray, out: np.ndarray) -> None:
    out[...] = pictures[which]


class SwapModel(nn.Layer):
    """One encoder and any number of decoders, by the name of the side.

    Each network's weights come from a random stream of its own, (seed, number): one decoder more changes
    no other. ``init`` is the convolutions' initializer, "glorot" (2017) or "he"; ``last_gain`` scales the
    initial weights of each decoder's last layer, so that it starts near its prior. ``soften``: the encoder is shown
    every face through a Gaussian blur of so many pixels' standard deviation; 0 is none.
    """

    def __init__(
        self,
        preset: Preset,
        *,
        seed: int = 0,
        init: str = "glorot",
        last_gain: float = 1.0,
        soften: float = 0.0,
        sides: tuple[str, ...] = SIDES,
    ) -> None:
        def stream(number: int) -> np.random.Generator:
            return np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))

        self.preset, self.soften = preset, soften
        self.encoder = make_encoder(preset, stream(0), init)
        # The same layers in two parts, before and after the narrow code.
        cut = [name for name, _ in self.encoder.layers].index("code") + 1
        self.to_code = nn.Sequential(*self.encoder.layers[:cut])
        self.from_code = nn.Sequential(*self.encoder.layers[cut:])
        self.decoders = {
            side: make_decoder(preset, stream(1 + number), init, last_gain)
            for number, side in enumerate(sides)
        }
        self.sigmoid = nn.Sigmoid()
        self.loss = nn.MAE()
        self.looks = {side: Looks.plain() for side in sides}

    def children(self) -> Iterator[tuple[str, nn.Layer]]:
        yield "encoder", self.encoder
        for side, decoder in self.decoders.items():
            yield f"decoder_{side}", decoder
        yield "sigmoid", self.sigmoid

    def show(self, faces: np.ndarray, side: str, out: np.ndarray | None = None) -> np.ndarray:
        """What the encoder sees of faces (N, 64, 64, 3) in [0, 1] of a person: (soft face - mean) scale; in ``out``."""
        looks, faces = self.looks[side], put(faces, self.place)
        if self.soften:
            faces = _softened(faces, self.soften)
        if out is None:
            out = memory.empty(faces.shape, np.result_type(faces, looks.mean), faces)
        call(np.subtract, faces, looks.mean, out)
        call(np.multiply, out, looks.scale, out)
        return out

    @property
    def place(self) -> str:
        """The backend whose memory holds the weights and the looks."""
        return GPU if on_gpu(next(iter(self.looks.values())).mean) else "cpu"

    def encode(self, faces: np.ndarray, side: str) -> np.ndarray:
        """Codes (N, 8, 8, 4c) of faces (N, 64, 64, 3) in [0, 1] of ``side``; they lie where the faces lie."""
        code = self.encoder.forward(self.show(faces, side), train=False)[0]
        return code if on_gpu(faces) else host(code)

    def decode(self, code: np.ndarray, side: str) -> np.ndarray:
        """Faces (N, 64, 64, 3) in (0, 1) of ``side`` for codes (N, 8, 8, 4c); they lie where the codes lie."""
        logits = self.decoders[side].forward(put(code, self.place), train=False)[0]
        logits = _apply(np.add, logits, self.looks[side].prior)
        faces = self.sigmoid.forward(logits, train=False)[0]
        return faces if on_gpu(code) else host(faces)

    def swap(self, faces: np.ndarray, source: str, target: str) -> np.ndarray:
        """Faces of ``source`` (N, 64, 64, 3) in [0, 1] as ``target`` would look."""
        swapped = self.decode(self.encode(put(faces, self.place), source), target)
        return swapped if on_gpu(faces) else host(swapped)

    def backpropagate(
        self,
        batch: dict[str, tuple[np.ndarray, np.ndarray]],
        weight: np.ndarray | None = None,
        *,
        returns: np.ndarray | None = None,
        match: CodeMatch | None = None,
        match_strength: float = 0.0,
    ) -> dict[str, float]:
        """Adds the gradient of the summed losses to every parameter; returns the loss of each side.

        batch            for each side (inputs, targets), both (N, 64, 64, 3) in [0, 1]
        weight           (64, 64, 1) or None: L_side = mean of weight |y - target|
        returns          (M,) which targets t of each side make a round trip: t is swapped to the other side with the
                         weights as they are, y = decoder_side(encoder(swapped)), and M / N times the mean of
                         weight |y - t| is added to the gradient. Nothing flows back through the swap itself. So a
                         decoder sees codes of pictures of the other side, and is told what they mean.
        match, strength  match_strength times the loss of swap.match on the codes of the batch

        L = sum over sides of L_side. The sides pass the encoder in one batch; its gradient is then the sum
        of theirs, because each of its parameters is used by both. What is returned is L_side alone.
        """
        place = self.place
        batch = {side: (put(x, place), put(t, place)) for side, (x, t) in batch.items()}
        losses = self.accumulate(
            batch,
            None if weight is None else put(weight, place),
            returns=returns,
            match=match,
            match_strength=match_strength,
        )
        return {side: float(loss) for side, loss in losses.items()}

    def accumulate(
        self,
        batch: dict[str, tuple[np.ndarray, np.ndarray]],
        weight: np.ndarray | None = None,
        *,
        returns: np.ndarray | None = None,
        match: CodeMatch | None = None,
        match_strength: float = 0.0,
        match_share: np.ndarray | None = None,
        loss_scale: float = 1.0,
    ) -> dict[str, np.ndarray]:
        """``backpropagate`` of arrays that lie where the model computes; on the GPU nothing waits for the losses.

        loss_scale: every gradient is multiplied by it. match_share: see CodeMatch.gradient.
        """
        first = next(iter(batch))
        coming_back = 0 if returns is None else len(returns)
        total = sum(len(x) + coming_back for x, _ in batch.values())
        like = (batch[first][0], self.looks[first].mean)
        shown = memory.empty((total, *like[0].shape[1:]), np.result_type(*like), like[0])
        rows: dict[
            str, list[slice]
        ] = {}  # of each decoder: its own faces, and those that come back
        start = 0
        for side, (x, _) in batch.items():
            rows[side] = [slice(start, start + len(x))]
            self.show(x, side, shown[rows[side][0]])
            start += len(x)
        back = {}
        if coming_back:
            for side, other in zip(batch, reversed(list(batch)), strict=True):
                target = batch[side][1]
                back[side] = memory.empty((coming_back, *target.shape[1:]), target.dtype, target)
                call(_take, target, returns, back[side])
                rows[side].append(slice(start, start + coming_back))
                self.show(self.swap(back[side], side, other), other, shown[rows[side][1]])
                start += coming_back
        code, to_cache = self.to_code.forward(shown)
        wide, from_cache = self.from_code.forward(code)
        dwide = memory.empty(wide.shape, wide.dtype, wide)
        losses = {}
        for side, (_, target) in batch.items():
            mine = wide[rows[side][0]]
            if back:
                mine = _joined([wide[part] for part in rows[side]])
            logits, cache = self.decoders[side].forward(mine)
            y, sigmoid_cache = self.sigmoid.forward(_apply(np.add, logits, self.looks[side].prior))
            count = len(target)
            losses[side], dy = self._loss(y[:count], target, weight, loss_scale)
            if back:
                share = coming_back / count
                _, returned = self._loss(y[count:], back[side], weight, loss_scale)
                dy = _joined([dy, _apply(np.multiply, returned, share)])
            dmine = self.decoders[side].backward(self.sigmoid.backward(dy, sigmoid_cache), cache)
            done = 0
            for part in rows[side]:
                length = part.stop - part.start
                _write(dwide[part], dmine[done : done + length])
                done += length
        dcode = self.from_code.backward(dwide, from_cache)
        if match is not None:
            own = [array[parts[0]] for parts in rows.values() for array in (code, dcode)]
            call(match.pull, match_strength * loss_scale, match_share, *own)
        self.to_code.backward(dcode, to_cache, need_dx=False)
        return losses

    def _loss(
        self, y: np.ndarray, target: np.ndarray, weight: np.ndarray | None, scale: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean of weight |y - target|, and ``scale`` times its gradient by y."""
        if weight is None:
            loss, cache = self.loss.forward(y, target)
            return loss, self.loss.backward(scale, cache)
        # |w y - w t| = w |y - t|, and the chain rule through w y. NumPy is many times faster along whole pictures than
        # along the few colours of a pixel, so the weight gets a number for each.
        if not on_gpu(weight):
            weight = np.ascontiguousarray(np.broadcast_to(weight, y.shape[1:]))
        weighted = _apply(np.multiply, y, weight), _apply(np.multiply, target, weight)
        loss, cache = self.loss.forward(*weighted)
        return loss, _apply(np.multiply, self.loss.backward(scale, cache), weight)

    def chains(self) -> dict[str, nn.Sequential]:
        """For ``nn.trace``: the way of each side, from what the encoder is shown to the picture."""
        from swap.step import chains

        return chains(self)

    def to(self, backend: str) -> "SwapModel":
        super().to(backend)
        self.loss.to(backend)
        self.looks = {side: looks.to(self.backend) for side, looks in self.looks.items()}
        return self
