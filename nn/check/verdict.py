"""The table of mistakes against the checks: is every wrong backward rejected, and no right one?

reject(mutant)          the row of the report that rejects it; None if it survives
name_it(of, backend)    what ``nn.check.mine`` says of the function that a backend uses now
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nn.backend import get_backend
from nn.check.engine import Row, first_failure
from nn.check.mine import Answer, judge
from nn.check.mutants import MUTANTS, Mutant, planted
from nn.check.observe import functions, right_function
from nn.layer import LayerSpec


@dataclass(frozen=True)
class Verdict:
    """What became of one mistake. row: what rejected it, None where nothing did. answer: how it was named."""

    mutant: Mutant
    backend: str
    seed: int
    row: Row | None
    answer: Answer | None = None

    @property
    def rejected(self) -> bool:
        return self.row is not None

    @property
    def named(self) -> bool:
        """Whether ``mine`` named this very mistake."""
        return self.answer is not None and any(
            sentence.endswith(f"looks like {self.mutant.name}") for sentence in self.answer.mistakes
        )


def reject(mutant: Mutant, backend: str = "reference", seed: int = 0) -> Row | None:
    """The first row that fails while ``backend`` makes this mistake."""
    with planted(mutant, backend):
        return first_failure(functions()[mutant.of], backend, seed)


def try_mutants(
    mutants: Iterable[Mutant] | None = None,
    *,
    backend: str = "reference",
    seeds: Iterable[int] = (0,),
    name: bool = False,
) -> Iterator[Verdict]:
    """Every mistake with every seed; ``name``: also whether ``mine`` finds out which it is."""
    for mutant in MUTANTS if mutants is None else mutants:
        for seed in seeds:
            row = reject(mutant, backend, seed)
            answer = None
            if name:
                made = mutant.make(right_function(mutant.of, backend))
                answer = judge(made, mutant.of, mutant.of, seed=seed)
            yield Verdict(mutant, backend, seed, row, answer)


def mutants_of(spec: LayerSpec) -> list[Mutant]:
    """The mistakes in the table for one layer, loss or optimizer."""
    mine_ = {of for of, owner in functions().items() if owner.name == spec.name}
    return [m for m in MUTANTS if m.of in mine_]


def name_it(spec: LayerSpec, backend: str) -> list[str]:
    """Sentences "dw looks like ..." on the functions that ``backend`` uses now; the other backend counts as right."""
    sentences = []
    for of, owner in functions().items():
        if owner.name != spec.name or "." in of:
            continue
        truth = "cpu" if backend == "reference" else "reference"
        answer = judge(getattr(get_backend(backend), of), of, of, truth=truth)
        sentences += [f"{of}: {sentence}" for sentence in answer.mistakes]
        if answer.problem:
            sentences.append(f"{of}: {answer.problem}")
    return sentences
