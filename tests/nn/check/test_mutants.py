"""The table of wrong backwards: every one rejected, on every backend; no right one rejected; every one named."""

import pytest

from nn.backend import BACKENDS, get_backend
from nn.check import first_failure
from nn.check.mine import judge
from nn.check.mutants import MUTANTS, Mutant, mutant, planted
from nn.check.observe import functions, right_function
from nn.check.verdict import Verdict, mutants_of, name_it, reject, try_mutants
from nn.layer import REGISTRY

ids = [f"{m.of}: {m.name}" for m in MUTANTS]
each_mutant = pytest.mark.parametrize("wrong", MUTANTS, ids=ids)
NETWORK = [s for s in REGISTRY.values() if s.kind != "model"]


def backends_of(m: Mutant) -> tuple[str, ...]:
    """A method of a layer is the same on every backend."""
    return BACKENDS[:1] if "." in m.of else BACKENDS


@each_mutant
def test_every_mistake_is_rejected(wrong):
    for backend in backends_of(wrong):
        row = reject(wrong, backend)
        assert row is not None, f"nothing saw on {backend} that {wrong.name}"
        assert not row.error, (
            row.error
        )  # a mistake that cannot even be made would be rejected for the wrong reason
        assert wrong.of.split("_")[0].split(".")[0].lower() in row.sentence().lower().replace(
            " ", ""
        )


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("spec", NETWORK, ids=lambda s: s.name)
def test_nothing_right_is_rejected(spec, seed):
    for backend in BACKENDS:
        row = first_failure(spec, backend, seed)
        assert row is None, row.sentence()


@each_mutant
def test_every_mistake_is_named(wrong):
    answer = judge(wrong.make(right_function(wrong.of)), wrong.of, "wrong")
    assert Verdict(wrong, "reference", 0, None, answer).named, answer


def test_there_are_mistakes_for_everything_with_a_gradient():
    assert len(MUTANTS) >= 443
    for spec in NETWORK:
        names = [m.name for m in mutants_of(spec)]
        assert len(names) >= 15, spec.name
    assert {m.of for m in MUTANTS} == set(functions())


def test_a_planted_mistake_is_named_in_the_report():
    (wrong,) = (
        m for m in MUTANTS if (m.of, m.name) == ("conv2d_backward", "the kernel is flipped")
    )
    for backend in BACKENDS:
        with planted(wrong, backend):
            assert "conv2d_backward: dw looks like the kernel is flipped" in name_it(
                REGISTRY["Conv2d"], backend
            )


def test_planting_leaves_nothing_behind():
    before = get_backend("reference").relu_backward
    wrong = next(m for m in MUTANTS if m.of == "relu_backward")

    def stop() -> None:
        with planted(wrong):
            assert get_backend("reference").relu_backward is not before
            raise KeyError

    with pytest.raises(KeyError):
        stop()
    assert get_backend("reference").relu_backward is before


def test_each_mistake_has_one_name():
    wrong = MUTANTS[0]
    with pytest.raises(ValueError, match="already"):
        mutant(wrong.of, wrong.name, *wrong.outputs)
    assert len(ids) == len(set(ids))


def test_what_nothing_changes_survives():
    """Or the tests above would pass whatever the checks do."""
    harmless = Mutant("dense_backward", "nothing is changed", ("dx",), lambda right: right)
    (verdict,) = try_mutants([harmless], name=True)
    assert not verdict.rejected
    assert not verdict.named
    assert verdict.answer.right
