"""The way through the lessons: nothing is used before it is explained, nothing is missing from the README."""

import ast
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"
LESSONS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def table(title: str) -> dict[str, int]:
    """A table of the README with rows ``| some, words | lesson | ...``: each word and the number of its lesson."""
    part = README.partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \|", part, re.MULTILINE)
    return {word.strip(" `"): int(lesson) for words, lesson in rows for word in words.split(",")}


def number(lesson: Path) -> int:
    return int(lesson.stem[:2])


def names_used(lesson: Path) -> set[str]:
    """Dotted names below nn and swap that the lesson uses: nn.Dense, nn.check.mine, swap.model.SwapModel."""
    tree = ast.parse(lesson.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            if re.fullmatch(r"nn(\.\w+)+", dotted):
                found.add(dotted)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("nn", "swap"):
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


@pytest.mark.parametrize("word", sorted(table("Words")))
def test_no_word_comes_before_the_lesson_that_explains_it(word: str):
    explained = table("Words")[word]
    pattern = re.compile(rf"\b{re.escape(word)}", re.IGNORECASE)
    for lesson in LESSONS:
        text = lesson.read_text(encoding="utf-8")
        if number(lesson) < explained:
            prose = "\n".join(line for line in text.splitlines() if line.startswith("#"))
            assert not pattern.search(prose), (
                f"{lesson.name} says {word!r} before lesson {explained}"
            )
        if number(lesson) == explained:
            assert pattern.search(text), f"{lesson.name} should explain {word!r}"


def test_the_readme_names_every_part_of_the_library_that_a_lesson_uses():
    named = table("Names")
    for lesson in LESSONS:
        for name in sorted(names_used(lesson)):
            heads = [h for h in named if name == h or name.startswith(f"{h}.")]
            assert heads, f"{lesson.name} uses {name}, which examples/README.md does not name"
            first = min(named[h] for h in heads)
            assert first <= number(lesson), f"{lesson.name} uses {name} before lesson {first}"


def test_the_readme_leads_to_every_lesson_and_every_picture_is_there():
    for lesson in LESSONS:
        assert f"({lesson.name})" in README, f"{lesson.name} is not in examples/README.md"
    for picture in re.findall(r"\]\(([^)#]+\.png)\)", README):
        assert (FOLDER / picture).is_file(), picture


def test_lessons_are_numbered_without_a_gap():
    assert [number(lesson) for lesson in LESSONS] == list(range(1, len(LESSONS) + 1))
