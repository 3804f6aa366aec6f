"""`bench recipes`: what cannot work is one sentence, and what was measured is kept."""

import json

import pytest

from bench import recipes
from bench.__main__ import main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "RESULTS", tmp_path / "recipes.json")
    monkeypatch.setattr(recipes, "TABLE", tmp_path / "RECIPES.md")
    monkeypatch.setattr(recipes, "PICTURES", dict(recipes.PICTURES))
    recipes.pictures.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pictures", "10"], "at least 25 faces a side, not 10"),
        (["--pair", "apple", "nobody"], "no subject 'nobody'"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(capsys, arguments, said):
    asked = ["recipes", "--family", "fruit", "--only", "alike", "--seeds", "1", *arguments]
    assert main(asked) == 2
    sentence = capsys.readouterr().err
    assert said in sentence
    assert sentence.count("\n") == 1


@pytest.mark.parametrize("damaged", ["", '{"fruit/apple-kiwi/alike/0/8', "[]", None])
def test_damaged_results_are_one_sentence_and_left_alone(capsys, damaged):
    if damaged is None:
        recipes.RESULTS.mkdir()
    else:
        recipes.RESULTS.write_text(damaged)
    assert main(["recipes", "--table"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not recipes.TABLE.exists()
    assert damaged is None or recipes.RESULTS.read_text() == damaged


def test_a_run_is_measured_at_its_end():
    assert recipes.measured_at(800) == {160, 320, 480, 640, 800}
    assert recipes.measured_at(3) == {1, 2, 3}
    assert all(steps in recipes.measured_at(steps) for steps in range(1, 300))


def test_results_kept_are_read_again():
    recipes.keep({"controls/0/800": {}})
    assert recipes.load() == json.loads(recipes.RESULTS.read_text()) == {"controls/0/800": {}}
