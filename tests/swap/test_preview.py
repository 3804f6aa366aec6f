"""The preview sheet and the loss plot: what is where, what is written, what is refused."""

import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image

from swap.preview import (
    BLUE,
    PAPER,
    POINTS,
    VERMILION,
    SheetSide,
    draw_losses,
    loss_plot,
    sheet,
    thin,
    write_sheet,
)
from swap.provenance import SourceType, read_mark

COLOURS = (
    np.random.default_rng(1).uniform(0, 1, (2, 3, 4, 3)).astype(np.float32)
)  # side, column, row


def flat(colours, size):
    """Faces of one colour each: (n, 3) to (n, size, size, 3)."""
    return np.broadcast_to(colours[:, None, None], (len(colours), size, size, 3))


def two_sides(size=64, convert=lambda faces: faces):
    return [
        SheetSide(name, other, *(convert(flat(column, size)) for column in colours))
        for name, other, colours in zip("AB", "BA", COLOURS, strict=True)
    ]


def boxes(page):
    """The rectangles of one colour that a sheet shows, as {colour: (left, top, right, bottom)}."""
    found = {}
    for colour in np.rint(COLOURS.reshape(-1, 3) * 255).astype(np.uint8):
        y, x = np.nonzero((page == colour).all(-1))
        found[tuple(colour.tolist())] = (x.min(), y.min(), x.max() + 1, y.max() + 1)
    return found


@pytest.mark.parametrize(("size", "tile", "shown"), [(64, 128, 128), (64, 96, 96), (160, 128, 160)])
def test_sheet_shows_every_face_in_its_place(size, tile, shown):
    page = sheet(*two_sides(size), tile=tile, title="step 1")
    assert page.dtype == np.uint8
    found = list(boxes(page).values())  # side by side, column by column, row by row
    for left, top, right, bottom in found:
        assert (right - left, bottom - top) == (shown, shown)
    lefts, tops = (np.array([box[i] for box in found]).reshape(2, 3, 4) for i in (0, 1))
    assert (np.diff(lefts.reshape(6, 4)[:, 0]) > shown).all()
    assert (lefts == lefts[..., :1]).all()
    assert (np.diff(tops, axis=2) > shown).all()
    assert (tops == tops[:1, :1]).all()
    # Even margins: as much paper to the right of the last face as to the left of the first.
    assert page.shape[1] - max(box[2] for box in found) == min(box[0] for box in found)


def test_sheet_captions_stay_in_their_columns():
    long = [SheetSide("Wilhelmina " * 5, "B", *[np.zeros((1, 64, 64, 3))] * 3)] * 2
    page = sheet(*long, title="a title " * 50)
    ink = (page != PAPER).any(-1)
    face_rows = np.nonzero((page == 0).all(-1).any(1))[0]
    heads = ink[: face_rows[0]]
    assert heads.any()
    edge = 128 // 8
    assert not ink[:, :edge].any()
    assert not ink[:, -edge:].any()
    captions = heads[edge + 128 // 4 :]
    for column in range(3):
        right = edge + column * (128 + 4) + 128
        assert not captions[:, right : right + 4].any(), column
    # The same without a title is the same sheet, lower by the title's height.
    bare = sheet(*long)
    assert (bare[edge:] == page[edge + 128 // 4 :]).all()


def test_sheet_takes_bytes_floats_and_what_a_diverged_network_answers():
    as_bytes = two_sides(convert=lambda faces: np.rint(faces * 255).astype(np.uint8))
    assert (sheet(*as_bytes) == sheet(*two_sides())).all()
    faces = np.zeros((1, 64, 64, 3))
    wild = np.stack([np.full((64, 64, 3), value) for value in (np.nan,)])
    page = sheet(SheetSide("A", "B", faces, wild, faces))
    assert (page == sheet(SheetSide("A", "B", faces, faces, faces))).all()


def test_sheet_refuses_what_does_not_fit():
    faces = np.zeros((2, 64, 64, 3))
    with pytest.raises(ValueError, match="three equal"):
        sheet(SheetSide("A", "B", faces, faces[:1], faces))
    with pytest.raises(ValueError, match="three equal"):
        sheet(SheetSide("A", "B", faces[:0], faces[:0], faces[:0]))
    with pytest.raises(ValueError, match="must be"):
        sheet(SheetSide("A", "B", faces[0], faces, faces))
    with pytest.raises(ValueError, match="at least one"):
        sheet()


def test_files_are_written_and_marked(tmp_path):
    page = sheet(*two_sides())
    write_sheet(tmp_path / "sheet.png", page, {"run": "r1"})
    assert (np.asarray(Image.open(tmp_path / "sheet.png")) == page).all()
    mark = read_mark(tmp_path / "sheet.png")
    assert mark.source_type == SourceType.COMPOSITE
    assert mark.details == {"run": "r1"}

    steps, losses = np.arange(9), np.linspace(0.3, 0.1, 9)
    loss_plot(tmp_path / "loss.png", steps, losses, losses / 2, title="lite", details={"run": "r2"})
    drawn = draw_losses(steps, losses, losses / 2, title="lite")
    assert (np.asarray(Image.open(tmp_path / "loss.png")) == drawn).all()
    mark = read_mark(tmp_path / "loss.png")
    assert mark.source_type == SourceType.PLOT
    assert mark.details == {"run": "r2"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loss.png", "sheet.png"]


# ---------------------------------------------------------------- losses


def rows_of(picture, colour):
    """Mean height at which a colour is drawn in each column of the plot's middle, or NaN."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    here = (abs(picture.astype(int) - rgb).max(-1) < 12)[60:]  # below the legend
    return np.array([np.nan if not c.any() else np.nonzero(c)[0].mean() for c in here.T])


def test_both_losses_are_drawn_where_they_belong():
    steps = np.arange(2000)
    picture = draw_losses(steps, np.full(2000, 0.2), np.full(2000, 0.1))
    a, b = rows_of(picture, BLUE), rows_of(picture, VERMILION)
    both = ~np.isnan(a) & ~np.isnan(b)
    assert both.sum() > 300
    assert (a[both] < b[both]).all()  # the higher loss is the higher on the page
    assert np.nanmax(a) - np.nanmin(a) < 3


def test_a_wide_range_is_drawn_on_a_logarithmic_axis():
    steps = np.arange(500)
    decay = np.exp(-steps / 100)  # a straight line if, and only if, the axis is logarithmic
    line = np.linspace(0.3, 0.15, 500)
    for losses, straight in ((decay, True), (decay - 0.01, False), (line, True)):
        rows = rows_of(draw_losses(steps, losses, losses * np.nan), BLUE)
        x = np.nonzero(~np.isnan(rows))[0][30:-30]
        misfit = abs(rows[x] - np.polyval(np.polyfit(x, rows[x], 1), x)).max()
        assert (misfit < 3) == straight


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_short_runs(count):
    losses = np.linspace(0.3, 0.1, count)
    picture = draw_losses(range(count), losses, list(losses / 2))
    assert picture.shape == draw_losses(range(9), np.ones(9), np.ones(9)).shape
    assert picture.dtype == np.uint8


def test_losses_that_are_not_finite_are_left_out():
    steps, losses = np.arange(100), np.linspace(0.3, 0.1, 100)
    holed = losses.copy()
    holed[[10, 50]] = np.nan, np.inf
    kept = np.isfinite(holed)
    picture = draw_losses(steps, holed, holed)
    assert (picture == draw_losses(steps[kept], losses[kept], losses[kept])).all()
    assert draw_losses(steps, losses * np.nan, losses).shape == picture.shape


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="3 steps, but 3 and 2 losses"):
        draw_losses(range(3), np.ones(3), np.ones(2))


def test_drawing_leaves_no_pyplot_figure():
    draw_losses(range(3), np.ones(3), np.ones(3))
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("count", [1, 2, 50, POINTS, POINTS + 1, 5 * POINTS + 7])
def test_thin_keeps_spikes_and_means(count):
    rng = np.random.default_rng(count)
    steps, losses = np.arange(count) * 10.0, rng.uniform(1, 2, count)
    losses[count // 3], losses[count // 2] = 0.5, 9.0
    (raw_steps, raw), (centres, means) = thin(steps, losses)
    assert len(raw) == len(raw_steps) <= 2 * POINTS
    assert len(means) == len(centres) == min(count, POINTS)
    assert raw.min() == losses.min()
    assert raw.max() == losses.max()
    assert (np.diff(raw_steps) >= 0).all()
    reach = count // 100
    for centre, mean in zip(centres, means, strict=True):
        at = int(centre) // 10
        near = losses[max(at - reach, 0) : at + reach + 1]
        np.testing.assert_allclose(mean, near.mean(), rtol=1e-9)


def test_a_million_points_are_thinned():
    losses = np.linspace(1, 0.1, 1_000_000)
    raw, smooth = thin(np.arange(1_000_000.0), losses)
    assert len(raw[0]) == 2 * POINTS
    assert len(smooth[0]) == POINTS
    np.testing.assert_allclose(smooth[1][20:-20], losses[smooth[0].astype(int)][20:-20], rtol=1e-9)
