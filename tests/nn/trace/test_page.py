"""The page of a trace, in a browser: what it says a number is the sum of, against nn.explain."""

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import nn
from nn.trace.losses import explain_end
from nn.trace.page import page
from nn.trace.page.pack import FRACTION, estimate, pack, rounded, unpack

ROUND = 1e-12  # JavaScript's exp and tanh are not C's to the last bit


class Doubled(nn.Layer):
    """A layer of which the tracer knows nothing."""

    def _forward(self, x):
        return 2 * x, None

    def _backward(self, dy, saved, need_dx):
        return 2 * dy


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    with sync_api.sync_playwright() as play:
        try:
            chromium = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(
                f"no Chromium: none of {', '.join(names)} on PATH, nor playwright's own ({error.name})"
            )
        yield chromium
        chromium.close()


class Reader:
    """Somebody who reads a page: opens states and numbers, and notes errors and requests."""

    def __init__(self, browser, file, size=(1280, 900)):
        self.tab = browser.new_page(viewport={"width": size[0], "height": size[1]})
        self.file, self.errors, self.requests = Path(file).as_uri(), [], []
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(self.file)
        self.wait()

    def wait(self):
        """Until the state of the address is shown."""
        address = self.tab.evaluate("location.hash || '#'")
        self.tab.wait_for_selector(f'body[data-state="{address}"]')

    def go(self, number):
        """To a number by the field for one; what the panel then says of it."""
        field = self.tab.locator(".jump input")
        field.fill(number)
        field.press("Enter")
        assert self.tab.locator(".jump .error").inner_text() == "", number
        self.wait()
        return self.panel()

    def panel(self):
        return self.tab.evaluate(
            """() => {
              const rows = (root) => [...root.querySelectorAll("[data-product]")].map((row) => {
                const d = row.dataset;
                return [d.left, Number(d.leftValue), d.right, Number(d.rightValue)];
              });
              const terms = (root) => { // turns the list's pages
                const all = rows(root);
                for (;;) {
                  const later = root.querySelector("[aria-label='later products']:not(:disabled)");
                  if (!later) return all;
                  later.click();
                  all.push(...rows(root));
                }
              };
              const panel = document.getElementById("panel");
              const start = panel.querySelector("[data-start]");
              const parts = [...panel.querySelectorAll("[data-part]")];
              return {
                ...panel.dataset,
                terms: parts.length ? [] : terms(panel),
                parts: parts.map((part) => [part.dataset.part, terms(part), Number(part.dataset.computed)]),
                start: start && [start.dataset.start, Number(start.dataset.startValue)],
              };
            }"""
        )

    def close(self):
        assert self.errors == []
        assert [url for url in self.requests if not url.startswith(self.file)] == []
        self.tab.close()


@pytest.fixture
def read(browser, tmp_path):
    readers = []

    def opened(trace, **options):
        trace.html(tmp_path / "trace.html", **options)
        readers.append(Reader(browser, tmp_path / "trace.html"))
        return readers[-1]

    yield opened
    for reader in readers:
        reader.close()


def step(dtype, rng):
    """Every kind of layer once: odd kernels and borders, strides, a matrix, shapes, and a layer that nobody knows."""

    def array(*shape):
        return rng.normal(size=shape).astype(dtype)

    model = nn.Sequential(
        ("conv1", nn.Conv2d(3, 2, (5, 3), stride=2, padding="same", rng=rng)),
        ("leaky", nn.LeakyReLU(0.1)),
        ("conv2", nn.Conv2d(2, 4, (2, 3), stride=(1, 2), padding=(2, 0, 1, 1), bias=False, rng=rng)),
        ("relu", nn.ReLU()),
        ("shuffle", nn.PixelShuffle(2)),
        ("doubled", Doubled()),
        ("tanh", nn.Tanh()),
        ("flatten", nn.Flatten()),
        ("dense", nn.Dense(5 * 2 * 4, 8, rng=rng)),
        ("reshape", nn.Reshape((2, 2, 2))),
        ("sigmoid", nn.Sigmoid()),
    ).to("reference")  # fmt: skip
    for p in model.parameters():
        p.value = p.value.astype(dtype)
        p.grad = np.zeros_like(p.value)
    return nn.trace(model, array(2, 7, 6, 3), nn.MSE().to("reference"), array(2, 2, 2, 2))


def chains(rng):
    """Two chains that share an encoder."""
    encoder = nn.Sequential(
        ("conv", nn.Conv2d(3, 4, 3, stride=2, padding="same", rng=rng)), ("leaky", nn.LeakyReLU(0.1))
    )  # fmt: skip
    sides = {
        side: nn.Sequential(
            ("encoder", encoder),
            (f"decoder_{side}", nn.Sequential(("conv", nn.Conv2d(4, 12, 3, padding="same", rng=rng)))),
            ("shuffle", nn.PixelShuffle(2)),
        ).to("reference")
        for side in "ab"
    }  # fmt: skip
    x = {side: rng.random((2, 6, 6, 3)).astype(np.float32) for side in "ab"}
    return nn.trace(sides, x, nn.MAE().to("reference"))


def near(found, expected):
    return math.isclose(found, expected, rel_tol=ROUND, abs_tol=1e-300)


def same_terms(found, expected):
    """The same products in whatever order, names and values."""
    found, expected = sorted(map(tuple, found)), sorted(map(tuple, expected))
    assert [(left, right) for left, _, right, _ in found] == [(t[0], t[2]) for t in expected]
    for a, b in zip(found, expected, strict=True):
        assert near(a[1], b[1])
        assert near(a[3], b[3])


def same(said, terms):
    """What the panel says is what nn.explain says, and it adds up to the number."""
    assert near(float(said["value"]), terms.value)
    assert near(float(said["computed"]), terms.computed)
    assert said["equation"] == terms.equation
    assert said["note"].replace("\u2212", "-") == terms.note
    if terms.parts:
        assert [chain for chain, *_ in said["parts"]] == list(terms.parts)
        for chain, found, computed in said["parts"]:
            same_terms(found, terms.parts[chain].terms)
            assert near(computed, terms.parts[chain].computed)
    same_terms(said["terms"], terms.terms)
    assert (said["start"] and tuple(said["start"])) == terms.start
    if terms.right:
        assert said.get("verdict", "rounding") in ("rounding", "the same")
    total = math.fsum([float(said["computed"])])
    assert abs(total - terms.value) <= 200 * terms.eps * max(terms.size, abs(terms.value))


def numbers_of(trace, rng, count):
    """Names of random numbers of every tensor of every call."""
    for call in trace.calls:
        tensors = {"y": call.y, "dx": call.dx, "x": call.x, "dy": call.dy, **call.parameters}
        tensors |= {f"d{p}": grad for p, grad in call.grads.items()}
        for name, array in tensors.items():
            for _ in range(count if name in ("y", "dx") or name[1:] in call.grads else 1):
                at = ",".join(str(rng.integers(size)) for size in array.shape)
                yield f"{call.label}.{name}[{at}]"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_kind_of_layer_says_what_explain_says(read, rng, dtype):
    trace = step(dtype, rng)
    reader = read(trace)
    for number in numbers_of(trace, rng, 2 if dtype == np.float32 else 1):
        same(reader.go(number), nn.explain(trace, number))
    same(reader.go("loss"), nn.explain(trace, "loss"))
    same(reader.go("loss.dy[1,0,1,0]"), explain_end(trace.ends[0], (1, 0, 1, 0)))


def test_shared_layers_show_each_chain_and_the_sum(read, rng):
    trace = chains(rng)
    reader = read(trace)
    for number in ("encoder.conv.dw[1,2,0,3]", "encoder.conv.db[2]", "loss"):
        terms = nn.explain(trace, number)
        assert set(terms.parts) == {"a", "b"}
        same(reader.go(number), terms)
    same(reader.go("b:loss"), nn.explain(trace, "b:loss"))
    for number in numbers_of(trace, rng, 1):
        same(reader.go(number), nn.explain(trace, number))
    assert reader.tab.locator("[data-tensor='sum-dw']").count() == 0  # the last one is of a decoder
    reader.go("a:encoder.conv.dw[0,0,0,0]")
    assert reader.tab.locator("[data-tensor='sum-dw']").count() == 1


def test_arrows_walk_through_every_state_and_the_address_keeps_it(read, rng):
    trace = chains(rng)
    reader = read(trace)
    states = 2 * len(trace.calls) + len(trace.ends)
    seen = []
    for _ in range(states):
        seen.append(reader.tab.locator("h1").inner_text())
        reader.tab.keyboard.press("ArrowRight")
        reader.wait()
    assert len({(i, text) for i, text in enumerate(seen)}) == states
    assert seen[0].startswith("forward")
    assert "backward" in seen[-1]
    assert reader.tab.evaluate("document.body.dataset.step") == str(states - 1)
    reader.tab.keyboard.press("ArrowLeft")
    reader.wait()
    said = reader.go("a:encoder.conv.y[1,2,0,3]")
    address = reader.tab.url
    reader.tab.keyboard.press("ArrowRight")
    reader.wait()
    assert reader.tab.url != address
    reader.tab.go_back()
    reader.wait()
    assert reader.tab.url == address
    assert reader.panel()["number"] == said["number"]
    reader.tab.reload()
    reader.wait()
    assert reader.panel()["number"] == said["number"]


def test_a_factor_leads_to_where_it_was_made_and_escape_back(read, rng):
    trace = step(np.float32, rng)
    reader = read(trace)
    reader.go("conv2.y[0,2,1,3]")
    row = reader.tab.locator("[data-product]").first
    left = row.get_attribute("data-left")
    row.locator(".factor").first.click()
    reader.wait()
    assert reader.panel()["number"] == f"leaky.y{left[1:]}"
    assert reader.tab.evaluate("document.activeElement.id") == "number"
    reader.tab.keyboard.press("Escape")
    reader.wait()
    assert reader.panel()["number"] == "conv2.y[0,2,1,3]"


def test_pictures_are_read_by_pointer_and_by_keyboard(read, rng):
    trace = step(np.float32, rng)
    reader = read(trace)
    tab = reader.tab
    dense = next(call for call in trace.calls if call.name == "dense")
    reader.go("dense.y[1,5]")
    picture = tab.locator("[data-tensor=y] .scroll")
    picture.hover(position={"x": 12, "y": 12})
    text = tab.locator("[data-tensor=y] .readout").inner_text().replace("\u2212", "-")
    name, value = re.fullmatch(r"(y\[\d+,\d+\]) = (\S+)", text).groups()
    assert name == "y[0,0]"
    assert float(value) == pytest.approx(float(dense.y[0, 0]), rel=1e-8)
    picture.click(position={"x": 12, "y": 12})
    reader.wait()
    same(reader.panel(), nn.explain(trace, "dense.y[0,0]"))
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        tab.keyboard.press(key)
    assert tab.locator("#said").inner_text().startswith("y[1,2] = ")
    tab.keyboard.press("Enter")
    reader.wait()
    same(reader.panel(), nn.explain(trace, "dense.y[1,2]"))


def test_a_wrong_index_is_refused_in_a_sentence(read, rng):
    reader = read(step(np.float32, rng))
    field = reader.tab.locator(".jump input")
    for number in ("y[0,0]", "y[9,0,0,0]", "nowhere.y[0]", "q[0]", "nonsense"):
        field.fill(number)
        field.press("Enter")
        assert reader.tab.locator(".jump .error").inner_text() != ""


def test_a_lean_page_makes_what_was_left_out(read, rng):
    trace = step(np.float32, rng)
    whole = len(page(trace)) / 1e6
    reader = read(trace, megabytes=whole - 0.0015)
    text = Path(reader.file.removeprefix("file://")).read_text()
    assert '"lean":true' in text
    assert len(text) <= (whole - 0.0015) * 1e6
    for number in (
        "leaky.y[1,2,1,0]",
        "relu.dx[0,3,1,2]",
        "shuffle.y[0,5,3,0]",
        "shuffle.dx[1,2,1,3]",
    ):
        same(reader.go(number), nn.explain(trace, number))
    for number in (
        "conv1.dw[2,1,0,1]",
        "conv1.db[1]",
        "dense.dw[3,4]",
        "dense.db[0]",
        "conv2.dw[0,2,1,3]",
    ):
        said, terms = reader.go(number), nn.explain(trace, number)
        same_terms(said["terms"], terms.terms)
        assert "value" not in said  # the page was not given the engine's
        assert near(float(said["computed"]), terms.computed)


def test_the_lite_swapper_fits_into_fifteen_megabytes(read, rng, tmp_path):
    swap = pytest.importorskip("swap.model")
    model = swap.SwapModel(swap.get_preset("lite"))
    sides = {
        side: nn.Sequential(("encoder", model.encoder), (f"decoder_{side}", decoder), ("sigmoid", nn.Sigmoid()))
        for side, decoder in model.decoders.items()
    }  # fmt: skip
    # Soft shapes with a little noise: as hard to pack as faces.
    place = np.linspace(0, 3, 64)
    soft = 0.5 + 0.3 * np.sin(place[:, None, None] * [1, 2, 3] + place[None, :, None] * [3, 1, 2])
    x = {side: (soft + 0.05 * rng.normal(size=(4, 64, 64, 3))).astype(np.float32) for side in sides}
    trace = nn.trace(sides, x, nn.MAE())
    reader = read(trace)
    size = (tmp_path / "trace.html").stat().st_size / 1e6
    shown = reader.tab.evaluate("document.body.dataset.shown")
    print(f"lite, two chains, batch 4: {size:.1f} MB, first state shown after {shown} ms")
    assert size <= 15
    encoder = next(call for call in trace.calls if call.label == "a:encoder.conv2d3")
    said = reader.go("a:encoder.conv2d3.y[1,7,8,33]")
    assert said["verdict"] in ("rounding", "the same")
    assert said["count"] == str(25 * 32)
    assert float(said["value"]) == pytest.approx(float(encoder.y[1, 7, 8, 33]), rel=2.0**-8)
    said = reader.go("encoder.conv2d3.dw[2,3,7,9]")
    terms = nn.explain(trace, "encoder.conv2d3.dw[2,3,7,9]")
    assert abs(float(said["computed"]) - terms.value) <= 2.0**-7 * terms.size


def test_packed_arrays_come_back_as_they_were(rng):
    for dtype in FRACTION:
        for size in (0, 1, 7, 1000):
            array = rng.normal(size=size).astype(dtype)
            array[:3] = [np.nan, -np.inf, -0.0][:size]
            assert unpack(pack(array), dtype, size).tobytes() == array.tobytes()
            assert abs(estimate(array, FRACTION[dtype]) - len(pack(array))) <= dtype.itemsize + 4


def test_rounding_keeps_so_many_bits_and_no_more(rng):
    for dtype in FRACTION:
        array = (rng.normal(size=4000) * 10.0 ** rng.integers(-30, 30, 4000)).astype(dtype)
        array[:4] = [np.nan, np.inf, 0, np.finfo(dtype).max]
        for bits in (7, 10, 16, 23):
            near = rounded(array, bits)
            assert np.isnan(near[0])
            assert np.isinf(near[1])
            assert np.isfinite(near[2:]).all()
            fraction, _ = np.frexp(near[4:].astype(float))
            assert (np.ldexp(fraction, bits + 1) % 1 == 0).all()
            assert (abs(near[4:] / array[4:].astype(float) - 1) <= 2.0 ** -(bits + 1)).all()


def test_too_small_a_page_is_refused_and_nothing_is_written(tmp_path, rng):
    trace = step(np.float32, rng)
    with pytest.raises(ValueError, match="MB are allowed: give html"):
        trace.html(tmp_path / "trace.html", megabytes=0.05)
    assert list(tmp_path.iterdir()) == []


def test_the_page_allows_no_network(rng):
    text = page(step(np.float32, rng))
    assert "default-src 'none'" in text
    assert not re.search(
        r"""(src|href|action)\s*=\s*["']?https?:|eval\(|new Function|fetch\(|import\(""", text
    )
