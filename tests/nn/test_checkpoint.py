"""Checkpoints: to the bit, all or nothing, and never a number from a file that was cut or altered."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import nn.checkpoint
from nn.checkpoint import (
    CheckpointError,
    DamagedError,
    load_checkpoint,
    read_facts,
    save_checkpoint,
    verify_checkpoint,
)

FACTS = {"step": 1234, "seed": 7, "preset": "tiny", "learning_rate": 5e-5, "sides": ["a", "b"]}


@pytest.fixture
def arrays(rng):
    return {
        "encoder.weight": rng.standard_normal((3, 4)).astype(np.float32),
        "encoder.bias": np.array([np.pi, -0.0, np.inf, 1e-45], np.float32),
        "m/encoder.weight": rng.standard_normal((3, 4)),
        "count": np.array(5, np.int64),
        "nothing": np.zeros((0, 3), np.float32),
    }


@pytest.fixture
def path(tmp_path, arrays):
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, arrays, FACTS)
    return path


def sentinels(arrays):
    return {name: np.full_like(a, 77) for name, a in arrays.items()}


def untouched(targets):
    return all((a == 77).all() for a in targets.values())


def refused(path, targets, match=None):
    with pytest.raises(CheckpointError, match=match) as error:
        load_checkpoint(path, lambda facts: targets)
    assert untouched(targets)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_round_trip_to_the_bit(path, arrays):
    seen = {}
    targets = sentinels(arrays)

    def into(facts):
        seen.update(facts)
        return targets

    assert load_checkpoint(path, into) == FACTS == seen
    for name, array in arrays.items():
        assert targets[name].tobytes() == array.tobytes(), name
        assert targets[name].shape == array.shape


def test_views_and_strided_arrays_are_kept_as_they_look(tmp_path, rng):
    base = rng.standard_normal((6, 8)).astype(np.float32)
    arrays = {"strided": base[::2, ::-3], "transposed": base.T}
    save_checkpoint(tmp_path / "c", arrays, {})
    flat = np.zeros(100, np.float32)  # targets may be views, as an arena's parameters are
    targets = {"strided": flat[:9].reshape(3, 3), "transposed": flat[16:64].reshape(8, 6)}
    load_checkpoint(tmp_path / "c", lambda facts: targets)
    for name, array in arrays.items():
        np.testing.assert_array_equal(targets[name], array)
    assert not flat[64:].any()


def test_a_part_can_be_read_alone(path, arrays):
    target = np.zeros((3, 4), np.float32)
    load_checkpoint(path, lambda facts: {"encoder.weight": target})
    np.testing.assert_array_equal(target, arrays["encoder.weight"])
    assert read_facts(path) == FACTS


def test_a_whole_run_goes_on_to_the_bit(tmp_path, rng):
    """Weights and optimizer state through a file, and three more steps are the same bits."""

    def build():
        net = nn.Sequential(nn.Dense(4, 8, rng=1), nn.Tanh(), nn.Dense(8, 2, rng=2))
        arena = nn.Arena(net.named_parameters())
        return net, nn.Adam(arena, 1e-2)

    def train(net, optimizer, batches):
        for x in batches:
            optimizer.arena.zero_grad()
            y, cache = net.forward(x)
            net.backward(y, cache)
            optimizer.step()

    def arrays(optimizer):
        flats = {"": optimizer.arena.values} | {f"{k}/": v for k, v in optimizer.state.items()}
        names = optimizer.arena.parameters
        return {p + n: optimizer.arena.view(flat, n) for p, flat in flats.items() for n in names}

    batches = rng.standard_normal((6, 5, 4)).astype(np.float32)
    net, optimizer = build()
    train(net, optimizer, batches[:3])
    save_checkpoint(tmp_path / "run", arrays(optimizer), {"steps": optimizer.steps})
    train(net, optimizer, batches[3:])
    again, resumed = build()
    resumed.steps = load_checkpoint(tmp_path / "run", lambda facts: arrays(resumed))["steps"]
    train(again, resumed, batches[3:])
    assert resumed.arena.values.tobytes() == optimizer.arena.values.tobytes()


# Files that are not whole


def test_every_cut_is_refused(path, arrays):
    whole = path.read_bytes()
    for size in [*range(0, 64), *range(64, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:size])
        refused(path, sentinels(arrays))


def test_a_longer_file_is_refused(path, arrays):
    path.write_bytes(path.read_bytes() + b"\0")
    refused(path, sentinels(arrays))


def test_no_flipped_bit_is_taken_for_the_truth(path, arrays):
    """One bit of each byte of the file in turn: refused, and nothing touched."""
    whole = path.read_bytes()
    for position in range(len(whole)):
        altered = bytearray(whole)
        altered[position] ^= 1 << (position % 8)
        path.write_bytes(altered)
        refused(path, sentinels(arrays))


def test_two_values_exchanged_within_the_file_are_noticed(path, arrays):
    whole = path.read_bytes()
    one, two = arrays["encoder.weight"].tobytes()[:4], arrays["encoder.weight"].tobytes()[4:8]
    path.write_bytes(whole.replace(one + two, two + one))
    assert "checksum" in refused(path, sentinels(arrays))


# Files that are something else


def test_a_missing_file(tmp_path, arrays):
    refused(tmp_path / "nowhere", sentinels(arrays), match="there is no checkpoint")


def test_a_folder(tmp_path, arrays):
    refused(tmp_path, sentinels(arrays), match="there is no checkpoint")


@pytest.mark.parametrize("content", [b"", b"hello", os.urandom(5000), b"\x80\x04K\x01."])
def test_a_file_of_another_kind(tmp_path, arrays, content):
    (tmp_path / "other").write_bytes(content)
    refused(tmp_path / "other", sentinels(arrays))


def test_safetensors_of_somebody_else(tmp_path, arrays):
    path = tmp_path / "other.safetensors"
    for metadata in (None, {"format": "pt"}, {"format": "numpy", "version": "1"}):
        save_file(arrays, path, metadata)
        refused(path, sentinels(arrays), match="not like a latentface checkpoint")


def test_another_version(path, arrays, monkeypatch):
    monkeypatch.setattr(nn.checkpoint, "VERSION", 2)
    save_checkpoint(path, arrays, FACTS)
    monkeypatch.undo()
    refused(path, sentinels(arrays), match="version '2' and this program reads 1")


@pytest.mark.parametrize("key", ["facts", "facts_sha256", "sha256"])
@pytest.mark.parametrize("value", [None, "", "{", "[]", "3", "null", '"text"'])
def test_a_damaged_header(path, arrays, key, value):
    with safe_open(path, framework="numpy") as f:
        metadata = f.metadata()
    del metadata[key]
    if value is not None:
        metadata[key] = value
    if key == "facts" and value is not None:
        metadata["facts_sha256"] = hashlib.sha256(value.encode()).hexdigest()
    save_file(arrays, path, metadata)
    refused(path, sentinels(arrays), match="header of the checkpoint .* is damaged")


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("encoder.other", np.full((3, 4), 77, np.float32), "does not hold 'encoder.other'"),
        ("encoder.weight", np.full((4, 3), 77, np.float32), r"shape \(3, 4\).*\(4, 3\) is needed"),
        ("encoder.weight", np.full((12,), 77, np.float32), r"shape \(3, 4\).*\(12,\) is needed"),
        ("encoder.weight", np.full((3, 4), 77, np.float64), "'encoder.weight'.*dtype"),
        ("encoder.weight", np.full((3, 4), 77, np.int32), "'encoder.weight'.*dtype"),
    ],
)
def test_one_that_does_not_fit_changes_none(path, arrays, name, target, message):
    """The array that does not fit comes last: those before it must not have been filled yet."""
    targets = sentinels(arrays)
    targets.pop(name, None)
    refused(path, targets | {name: target}, match=message)


# Writing that fails


class Full(Exception):
    pass


@pytest.mark.parametrize("error", [OSError("no space"), Full()])
@pytest.mark.parametrize("moment", ["_write", "os.fsync", "before_replacing"])
def test_a_failed_write_leaves_the_old_file_whole(path, monkeypatch, error, moment):
    before = path.read_bytes()

    def fail(file=None, *rest):
        if moment == "_write":
            file.write(b"half of a file")
        raise error

    if moment != "before_replacing":
        monkeypatch.setattr(f"nn.checkpoint.{moment}", fail)
    with pytest.raises(type(error)):
        save_checkpoint(path, {"w": np.ones(3)}, {"step": 2}, fail)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_whole(path):
    """A real write that the system stops half-way, in a process whose files may not grow further."""
    before = path.read_bytes()
    script = """
import resource, signal, sys, pathlib, numpy, nn
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    nn.save_checkpoint(pathlib.Path(sys.argv[1]), {"w": numpy.ones(1_000_000)}, {})
except OSError as error:
    print("refused:", error)
"""
    if sys.platform == "win32":
        pytest.skip("no limit on the size of files to set here")
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused:")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_finished_write_leaves_no_temporary_file(path, arrays):
    save_checkpoint(path, arrays, FACTS | {"step": 2})
    assert list(path.parent.iterdir()) == [path]
    assert read_facts(path)["step"] == 2


def test_a_folder_that_is_not_there(tmp_path, arrays):
    with pytest.raises(OSError, match="nowhere"):
        save_checkpoint(tmp_path / "nowhere" / "run", arrays, FACTS)


def test_facts_that_cannot_be_written_leave_the_old_file_whole(path, arrays):
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_checkpoint(path, arrays, {"step": object()})
    assert path.read_bytes() == before


def test_the_library_of_the_format_reads_the_same(path, arrays):
    """safetensors' own reader is independent of ours."""
    with safe_open(path, framework="numpy") as f:
        assert set(f.keys()) == set(arrays)
        for name, array in arrays.items():
            found = f.get_tensor(name)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert found.tobytes() == array.tobytes()


def test_what_the_library_wrote_is_read(path, arrays):
    """Files of earlier versions, which the library wrote, carry no seal."""
    with safe_open(path, framework="numpy") as f:
        metadata = f.metadata()
    del metadata["seal"]
    save_file({name: np.asarray(a, order="C") for name, a in arrays.items()}, path, metadata)
    targets = sentinels(arrays)
    assert load_checkpoint(path, lambda facts: targets) == FACTS == verify_checkpoint(path)
    assert all(targets[name].tobytes() == array.tobytes() for name, array in arrays.items())


def header_of(path):
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    return json.loads(whole[8 : 8 + size]), whole[8 + size :]


def with_header(path, header, data, *, sealed=True, text=None):
    """Writes a file with a header of one's own, its seal made to match."""
    if sealed:
        header["__metadata__"]["seal"] = nn.checkpoint._seal(header)
    text = json.dumps(header).encode() if text is None else text
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


ENTRY = "encoder.weight"
ABSURD = {
    "a hole": {"data_offsets": [16, 64]},
    "backwards": {"data_offsets": [48, 0]},
    "before the beginning": {"data_offsets": [-48, 0]},
    "behind the end": {"data_offsets": [10**9, 10**9 + 48]},
    "a billion numbers": {"shape": [10**9]},
    "so many that they wrap around": {"shape": [2**32, 2**32, 12]},
    "less than none": {"shape": [-3, -4]},
    "a truth for a number": {"shape": [True, 12]},
    "half a number": {"shape": [3.0, 4]},
    "text": {"shape": "34"},
    "no such dtype": {"dtype": "F33"},
    "another dtype of that width": {"dtype": "I32"},
    "more than is known": {"strides": [4, 1]},
}


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("what", ABSURD)
def test_an_absurd_entry_is_refused(path, arrays, what, sealed):
    header, data = header_of(path)
    header[ENTRY] |= ABSURD[what]
    with_header(path, header, data, sealed=sealed)
    refused(path, sentinels(arrays))


def test_two_arrays_in_one_place_are_refused(path, arrays):
    header, data = header_of(path)
    header["encoder.bias"]["data_offsets"] = header[ENTRY]["data_offsets"]
    header["encoder.bias"]["shape"] = [12]
    with_header(path, header, data)
    refused(path, sentinels(arrays))


def test_a_name_that_comes_twice_is_refused(path, arrays):
    header, data = header_of(path)
    text = json.dumps(header)
    entry = json.dumps({ENTRY: header[ENTRY]})[1:-1]
    with_header(path, header, data, text=text.replace(entry, f"{entry},{entry}").encode())
    refused(path, sentinels(arrays))


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**30, 10**6])
def test_a_gigantic_header_is_refused_before_it_is_read(path, arrays, length):
    data = path.read_bytes()[8:]
    path.write_bytes(length.to_bytes(8, "little") + data)
    assert "header" in refused(path, sentinels(arrays))


@pytest.mark.parametrize("text", [b"[" * 500_000, b'{"a":' * 100_000, b"9" * 900_000, b"NaN"])
def test_a_header_that_would_exhaust_a_parser_is_refused(path, arrays, text):
    with_header(path, {}, b"", sealed=False, text=text)
    refused(path, sentinels(arrays))


def test_names_shapes_and_offsets_are_under_the_seal(path, arrays):
    """Two arrays of one shape exchange their names and their digests: only the seal can tell."""
    twins = {"one": np.ones(4, np.float32), "two": np.zeros(4, np.float32)}
    save_checkpoint(path, twins, FACTS)
    header, data = header_of(path)
    header["one"], header["two"] = header["two"], header["one"]
    digests = json.loads(header["__metadata__"]["sha256"])
    digests["one"], digests["two"] = digests["two"], digests["one"]
    header["__metadata__"]["sha256"] = json.dumps(digests)
    with_header(path, header, data, sealed=False)
    refused(path, sentinels(twins), match="damaged")


def test_all_of_a_file_can_be_verified(path):
    assert verify_checkpoint(path) == FACTS
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    assert read_facts(path) == FACTS  # which looks at the header alone
    with pytest.raises(DamagedError, match="checksum"):
        verify_checkpoint(path)


def test_what_is_damaged_is_told_from_what_does_not_fit(path, arrays, monkeypatch):
    """Only a damaged file is a reason to go back to an earlier one."""
    targets = sentinels(arrays) | {"encoder.other": np.ones(3)}
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path, lambda facts: targets)
    assert not isinstance(error.value, DamagedError)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError):
        load_checkpoint(path, lambda facts: sentinels(arrays))


def test_the_header_can_be_read_by_anybody(path, arrays):
    """8 bytes of length, then JSON: the format is plain safetensors."""
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    assert set(header) == {"__metadata__", *arrays}
    assert json.loads(header["__metadata__"]["facts"]) == FACTS
