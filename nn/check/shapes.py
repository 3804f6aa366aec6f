"""Random shapes: any kernel, stride, padding, odd and even, 1x1, a kernel as large as its input.

Strategies of hypothesis, which shrinks a sample that fails to the smallest one that does. ``samples(spec)`` gives the
strategy of a layer; what has no options (activations, losses) takes arrays of any shape.
"""

from typing import Any

from hypothesis import strategies as st

from nn.layer import LayerSpec, Sample


@st.composite
def conv2d_samples(
    draw: Any, *, channels: int = 3, size: int = 7, kernel: int = 5, batch: int = 2
) -> Sample:
    """Any kernel, stride and padding, from the smallest input the padded kernel fits into."""
    pixels = st.integers(0, 2)
    kernel_size = draw(st.tuples(*[st.integers(1, kernel)] * 2))
    padding = draw(
        st.one_of(pixels, st.just("same"), st.tuples(pixels, pixels), st.tuples(*[pixels] * 4))
    )
    match padding:
        case int():
            borders = (2 * padding, 2 * padding)
        case "same":
            borders = kernel_size
        case rows, columns:
            borders = (2 * rows, 2 * columns)
        case top, bottom, left, right:
            borders = (top + bottom, left + right)
    height, width = (
        draw(st.integers(max(1, k - b), size)) for k, b in zip(kernel_size, borders, strict=True)
    )
    options = {
        "in_channels": draw(st.integers(1, channels)),
        "out_channels": draw(st.integers(1, channels)),
        "kernel_size": kernel_size,
        "stride": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "padding": padding,
        "bias": draw(st.booleans()),
    }
    return Sample(options, (draw(st.integers(1, batch)), height, width, options["in_channels"]))


@st.composite
def conv_block_samples(draw: Any, **sizes: int) -> Sample:
    """Any convolution, slope and factor."""
    sample = draw(conv2d_samples(**sizes))
    factor = draw(st.integers(1, 2))
    options = sample.kwargs | {
        "out_channels": sample.kwargs["out_channels"] * factor**2,
        "negative_slope": draw(st.sampled_from((0.0, 0.125, 0.5, 1.0))),
        "factor": factor,
    }
    return Sample(options, sample.shape)


@st.composite
def dense_samples(draw: Any, *, features: int = 8, batch: int = 4) -> Sample:
    """Any number of inputs and outputs, with and without bias."""
    options = {
        "in_features": draw(st.integers(1, features)),
        "out_features": draw(st.integers(1, features)),
        "bias": draw(st.booleans()),
    }
    return Sample(options, (draw(st.integers(1, batch)), options["in_features"]))


@st.composite
def pixel_shuffle_samples(draw: Any, *, channels: int = 3, size: int = 4, batch: int = 2) -> Sample:
    """Factors 1 to 4."""
    r = draw(st.integers(1, 4))
    n, h, w, c = (draw(st.integers(1, most)) for most in (batch, size, size, channels))
    return Sample({"factor": r}, (n, h, w, r * r * c))


@st.composite
def reshape_samples(draw: Any) -> Sample:
    """The same sizes in another order."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    n = draw(st.integers(1, 3))
    return Sample({"shape": tuple(draw(st.permutations(sizes)))}, (n, *sizes))


@st.composite
def any_shape(draw: Any, spec: LayerSpec, size: int = 5) -> Sample:
    """The options of one of the spec's own samples, and an array of one to four axes."""
    options = draw(st.sampled_from([sample.kwargs for sample in spec.samples]))
    shape = draw(st.lists(st.integers(1, size), min_size=1, max_size=4))
    return Sample(options, tuple(shape))


STRATEGIES = {
    "Conv2d": conv2d_samples,
    "ConvBlock": conv_block_samples,
    "Dense": dense_samples,
    "PixelShuffle": pixel_shuffle_samples,
    "Reshape": reshape_samples,
}
# Beyond one block of any backend's loops.
WIDE = {
    "Conv2d": {"channels": 70, "size": 20, "batch": 3},
    "ConvBlock": {"channels": 20, "size": 20, "batch": 3},
    "Dense": {"features": 300, "batch": 70},
    "PixelShuffle": {"channels": 20, "size": 12},
}


def samples(spec: LayerSpec, *, wide: bool = False) -> st.SearchStrategy[Sample]:
    """Random samples of a layer, activation or loss; ``wide``: sizes that fill a fast backend's blocks."""
    if spec.name in STRATEGIES:
        return STRATEGIES[spec.name](**WIDE.get(spec.name, {}) if wide else {})
    return any_shape(spec, 14 if wide else 5)
