import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from swap.errors import UserError
from swap.evaluate import Pairs, Training, measure, measure_real, real_report, report, verdict
from swap.evaluate.measures import PSNR_CAP, mae, psnr
from swap.evaluate.picture import FULL_SCALE, cases, error_colours, error_sheet, write_error_sheet
from swap.provenance import SourceType, read_mark
from tests.swap.evaluate.test_regressor import Params, draw
from tests.swap.helpers import face_sets

LOOKS = {"a": 0.0, "b": 0.12}


def subject(side, values):
    """(N, 64, 64, 3): the two patches of `draw` in front of a wall of the subject's own."""
    made = draw(np.asarray(values)).repeat(2, 1).repeat(2, 2) * (0.9 if side == "a" else 0.7)
    made[:, :, 58:] += 0.2
    return made + np.float32(LOOKS[side])


def pairs(count=12, seed=0):
    values = np.c_[np.random.default_rng(seed).random((count, 2)), np.full(count, 0.5)]
    mask = np.zeros((count, 64, 64), np.float32)
    mask[:, 6:58, 6:58] = 1
    faces = {side: subject(side, values) for side in "ab"}
    return Pairs(faces, dict.fromkeys("ab", mask), [Params(*row) for row in values.tolist()])


def training(count=60):
    rng = np.random.default_rng(5)
    values = {side: np.c_[rng.random((count, 2)), np.full(count, 0.5)] for side in "ab"}
    params = {side: [Params(*row) for row in v.tolist()] for side, v in values.items()}
    return Training({side: subject(side, v) for side, v in values.items()}, params)


TEST, TRAINING = pairs(), training()


def perfect(faces, source, target):
    """The truth, by the pictures' place among those that are tested."""
    given = TEST.faces[source]
    places = [next(i for i, g in enumerate(given) if np.array_equal(f, g)) for f in faces]
    return TEST.faces[target][places]


def nothing(faces, source, target):
    return faces


@pytest.fixture(scope="module")
def right():
    return measure(perfect, TEST, TRAINING, clip=TEST, others={"control": nothing})


@pytest.fixture(scope="module")
def lazy():
    return measure(nothing, Pairs(TEST.faces, TEST.masks), TRAINING)


def test_a_perfect_swap(right):
    for direction in right.directions.values():
        swap, best = direction.rows["swap"], direction.rows[direction.best_baseline]
        assert (swap.psnr_face, swap.mae_face, swap.mae_picture) == (PSNR_CAP, 0, 0)
        assert swap.ssim_face == pytest.approx(1)
        assert direction.gain_over_best_baseline_db == PSNR_CAP - best.psnr_face
        assert direction.loss_to_reconstruction_db == 0
        assert direction.identity.share == 1
        assert direction.identity.margin == pytest.approx(direction.identity.of_truth)
        assert direction.recovery.rows["swap"] == direction.recovery.rows["truth"]
        assert direction.jitter.swap == direction.jitter.own == 0 < direction.jitter.truth


def test_who_answers_with_the_input_is_the_baseline_copy(right, lazy):
    for name, direction in lazy.directions.items():
        assert direction.rows["swap"] == direction.rows["copy"]
        assert right.directions[name].rows["control"] == direction.rows["copy"]
        assert direction.gain_over_best_baseline_db <= 0
        assert direction.identity.share == 0
        assert direction.identity.margin == pytest.approx(-direction.identity.of_truth)
        assert direction.rows["own"].psnr_face == PSNR_CAP
        assert direction.jitter is None


def test_each_direction_is_measured_against_the_other_subject(lazy):
    mask = TEST.masks["b"]
    expected = psnr(TEST.faces["a"], TEST.faces["b"], mask)
    direction = lazy.directions["a_to_b"]
    np.testing.assert_allclose(direction.psnr_face, expected)
    assert direction.rows["swap"].psnr_face == pytest.approx(expected.mean())
    assert direction.rows["swap"].psnr_face_low == pytest.approx(np.percentile(expected, 5))
    assert (np.diff(direction.psnr_face[direction.order]) >= 0).all()
    own = TRAINING.faces["a"].mean(0, dtype=float)
    mean = mae(np.broadcast_to(own, (12, 64, 64, 3)), TEST.faces["a"], mask).mean()
    assert lazy.directions["b_to_a"].rows["mean"].mae_face == pytest.approx(mean, rel=1e-4)


def test_json_holds_the_headline_numbers(right):
    told = json.loads(json.dumps(right.to_json(), allow_nan=False))
    found = told["directions"]["a_to_b"]
    assert found["rows"]["swap"]["psnr_face"] == PSNR_CAP
    assert found["gain_over_best_baseline_db"] > 3
    assert found["recovery"]["readable"] == ["left", "right"]
    assert told["training"] == {"a": 60, "b": 60}
    assert told["pictures"] == 12


def test_without_parameters_there_is_no_recovery(right, lazy):
    assert lazy.directions["a_to_b"].recovery is None
    assert right.directions["a_to_b"].recovery is not None


def test_the_report_says_the_verdict(right):
    out = io.StringIO()
    Console(file=out, width=120).print(report(right))
    direction = right.directions["b_to_a"]
    assert verdict(direction) in out.getvalue()
    assert f"{direction.gain_over_best_baseline_db:.1f} dB above" in verdict(direction)
    assert "0.0 dB below A's own reconstruction" in verdict(direction)
    assert "control" in out.getvalue()


def test_a_diverged_network_is_named():
    with pytest.raises(UserError, match="diverged"):
        measure(lambda faces, s, t: faces * np.nan, TEST, TRAINING)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="equal faces and masks"):
        Pairs(TEST.faces, {side: mask[:3] for side, mask in TEST.masks.items()})
    with pytest.raises(ValueError, match="3 parameters for 12"):
        Pairs(TEST.faces, TEST.masks, TEST.params[:3])


def test_the_error_sheet_shows_the_worst_first_and_is_marked(lazy, tmp_path):
    direction = lazy.directions["a_to_b"]
    shown = cases(direction)
    assert [name for name, _ in shown] == ["worst"] * 4 + ["median"] * 2 + ["best"] * 2
    errors = [direction.psnr_face[i] for _, i in shown]
    assert errors == sorted(errors)
    assert shown[0][1] == direction.psnr_face.argmin()
    assert shown[-1][1] == direction.psnr_face.argmax()
    path = tmp_path / "errors.png"
    write_error_sheet(path, lazy, title="a title", details={"Run": "7"})
    mark = read_mark(path)
    assert (mark.source_type, mark.details) == (SourceType.COMPOSITE, {"Run": "7"})
    sheet = np.array(Image.open(path))
    np.testing.assert_array_equal(sheet, error_sheet(lazy, title="a title"))


def test_error_colours_get_lighter_and_end_at_full_scale():
    colours = error_colours(np.array([0, 0.05, 0.15, FULL_SCALE, 1])).astype(int)
    assert (np.diff(colours[:4].sum(1)) > 0).all()
    np.testing.assert_array_equal(colours[3], colours[4])
    assert colours[2, 0] > colours[2, 2]  # red, not blue: RGB


def test_a_real_run_reports_its_reconstruction_and_what_it_cannot_know():
    sets = face_sets(30)
    found = measure_real(nothing, sets["a"], sets["b"])
    assert found.reconstruction["a"].psnr_face == PSNR_CAP
    assert found.faces == {"a": len(sets["a"]), "b": len(sets["b"])}
    steady = found.steadiness["b"]
    assert steady.given == steady.own == steady.swap > 0
    told = json.loads(json.dumps(found.to_json()))
    assert "nobody knows" in told["cannot_know"]
    out = io.StringIO()
    Console(file=out, width=200).print(real_report(found))
    assert "nobody knows" in out.getvalue()
