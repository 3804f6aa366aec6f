"""A trace as a page: one file that needs nothing else and asks nothing of a network.

pack.py       arrays as text
contents.py   what the page is told: tensors, calls, equations, and which tensors it makes itself
page.html, page.css, *.js   what a reader sees; put into one file here

The page holds everything exactly where that fits into ``megabytes``. Where it does not, it first leaves out what the
page can compute from what it has (behind activations and pixel shuffles exactly, dw and db as sums of their products),
then digits.
"""

import base64
import hashlib
import json
import math
import os
from bisect import bisect_right
from importlib.resources import files
from pathlib import Path
from typing import Any

from nn.files import write_atomic
from nn.trace.page.contents import Contents
from nn.trace.page.pack import FEWEST, FRACTION, estimate, pack, rounded
from nn.trace.record import Trace

# In the order in which they need each other.
SCRIPTS = (
    "format.js", "tensors.js", "terms.js", "texts.js", "layout.js", "picture.js", "chain.js", "panel.js",
    "layer.js", "address.js", "number.js", "main.js",
)  # fmt: skip
SLACK = 0.995  # of the size allowed: what an estimate may be off
ALWAYS = 4096  # numbers: a tensor no larger is never rounded


def write_page(trace: Trace, file: str | os.PathLike, *, megabytes: float = 15.0) -> None:
    """Writes the page, whole or not at all; ValueError where 7 bits of each number do not fit into ``megabytes``."""
    write_atomic(Path(file), page(trace, megabytes).encode())


def page(trace: Trace, megabytes: float = 15.0) -> str:
    """The page's text, no longer than ``megabytes`` (of 10^6 bytes)."""
    room = megabytes * 1e6
    finest = FRACTION[trace.ends[0].y.dtype]
    draft = Draft(Contents(trace))
    full = math.ceil(draft.size(finest) * 1.03 / 1e6)
    said = {"megabytes": megabytes, "full": full}
    if draft.size(finest, lean=False) <= room / SLACK:
        text = draft.written(finest, said, lean=False)
        if len(text) <= room:
            return text
    # More bits take more room: how many of 7, 8, ... fit.
    fit = bisect_right(range(FEWEST, finest + 1), room / SLACK, key=draft.size)
    for bits in range(FEWEST + fit - 1, FEWEST - 1, -1):
        text = draft.written(bits, said)
        if len(text) <= room:
            return text
    size = draft.size(FEWEST) * 1.02 / 1e6
    raise ValueError(
        f"the page would take {size:.1f} MB with {FEWEST} bits of each number's fraction, and {megabytes:g} MB are "
        f"allowed: give html(file, megabytes={math.ceil(size)}), a smaller batch or a smaller model"
    )


class Draft:
    """The page at any number of bits."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self._estimates: dict[tuple[int, int], int] = {}

    def size(self, bits: int, *, lean: bool = True) -> int:
        """Bytes of the page, about."""
        each = {i: self._bits(i, bits) for i in self.contents.given(lean)}
        empty = _page(self.contents.told(each, lean), dict.fromkeys(each, ""))
        return len(empty) + sum(self._estimate(i, m) for i, m in each.items())

    def written(self, bits: int, said: dict[str, Any], *, lean: bool = True) -> str:
        """The page."""
        each = {i: self._bits(i, bits) for i in self.contents.given(lean)}
        texts = {i: pack(rounded(self.contents.array(i), m)) for i, m in each.items()}
        return _page(self.contents.told(each, lean) | said | {"bits": bits}, texts)

    def _bits(self, source: int, bits: int) -> int:
        """Small tensors stay exact, and so do those of few different numbers, which cost little (pictures, signs)."""
        array = self.contents.array(source)
        finest = FRACTION[array.dtype]
        if array.size <= ALWAYS or bits >= finest:
            return finest
        cheap = self._estimate(source, finest) <= 1.2 * self._estimate(source, bits)
        return finest if cheap else bits

    def _estimate(self, source: int, bits: int) -> int:
        if (source, bits) not in self._estimates:
            self._estimates[source, bits] = estimate(self.contents.array(source), bits)
        return self._estimates[source, bits]


def _page(told: dict[str, Any], texts: dict[int, str]) -> str:
    """One file: the style, the contents, the tensors' texts, the scripts; and a policy that allows no more."""
    style = _asset("page.css")
    script = "\n".join(_asset(name) for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}\n}})();'
    data = "\n".join(
        f'<script type="text/plain" id="t{i}">{text}</script>' for i, text in texts.items()
    )
    json_text = json.dumps(told, separators=(",", ":"), allow_nan=False)
    parts = {
        "POLICY": f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'",
        "STYLE": style,
        "CONTENTS": json_text.replace("<", "\\u003c"),
        "TENSORS": data,
        "SCRIPT": script,
    }
    text = _asset("page.html")
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part, 1)
    return text


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8").strip()


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
