"""Some hundred mutated checkpoints: the short form of `python -m bench fuzz_checkpoint`."""

import pytest

from bench.fuzz_checkpoint import Judge, fuzz
from nn import checkpoint


def fuzzed(count, spare=0):
    told = []
    return fuzz(count, 1, 2.0, told.append, None, spare), "\n".join(told)


def test_each_is_the_original_or_refused():
    bad, told = fuzzed(400, spare=200)
    assert bad == 0, told


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("check_digest", lambda self, name: None),
        ("_check_layout", lambda self: None),
        ("check_fits", lambda self, name, target: None),
    ],
)
def test_a_reader_that_believes_is_found_out(monkeypatch, name, broken):
    monkeypatch.setattr(checkpoint._Contents, name, broken)
    if name != "check_digest":  # what is behind the first line of defence
        monkeypatch.setattr(
            checkpoint, "_seal", lambda header: header["__metadata__"].get("seal", "")
        )
    assert fuzzed(400)[0] > 0


def test_a_reader_that_takes_what_a_header_says_is_found_out(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint, "_appetite", lambda raw: 0)
    judge = Judge(tmp_path)
    text = b"{" + b",".join(b'"n%06d":[{},{}]' % i for i in range(30_000)) + b"}"
    whole = len(text).to_bytes(8, "little") + text
    assert "times the file's size" in judge.check(whole, 2.0)[1]
    monkeypatch.undo()
    assert judge.check(whole, 2.0)[:2] == ("refused", "")
