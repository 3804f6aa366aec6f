"""Mutation testing of the layers and their arithmetic: one small error at a time is put into the source, and the
tests must fail. What survives is printed; bench/MUTATION.md keeps the last run and says why each survivor may live.

python -m bench mutation                                  every file of the table below
python -m bench mutation --files nn/reference/conv.py     one of them
python -m bench mutation --list                           only counts the mutants

Errors are made by Cosmic Ray's operators (arithmetic, comparisons, numbers, not, and/or, loops that never run) and by
those at the end of this file (a statement left out, += for =, neighbouring arguments exchanged, min for max ...). Each
goes into a copy of the project in a temporary folder, never into the working tree. It counts as killed by the first of

    checks    the checks of `nn check` for the layers that the file concerns, PyTorch's live ones apart
    tests     python -m pytest -x tests/nn, apart from the files there that have nothing to say of it (IGNORED)
    crash     either of them ending by a signal, or not ending in time

pip install cosmic-ray==8.7.0
"""

import argparse
import ast
import importlib.util
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORD = Path(__file__).with_suffix(".md").with_stem("MUTATION")
MAY_LIVE = "## Survivors that may live"  # what stands below it in the record is known
COPIED = ("nn", "swap", "tests", "pyproject.toml")
SECONDS = 120  # a mutant that takes longer hangs
BYTES = 24 << 30  # of address space: a mutant that asks for more has asked for nonsense
ROOM = 400  # characters that a mutant may be longer than its original
# Tests of the checks and of the command that runs them; PyTorch's, whose results the checks compare, too; and those
# of files and imports, which know no arithmetic.
IGNORED = (
    *(
        f"check/test_{name}.py"
        for name in ("complex_step", "every_check", "html", "mine", "mutants")
    ),
    *(f"test_{name}.py" for name in ("checkpoint", "cli", "imports", "oracle_torch")),
)
# Not what a file computes: PyTorch's builders, samples, what an object looks like in print.
NEVER = ("_torch", "_sample", "__repr__")
ACTIVATIONS = ("ReLU", "LeakyReLU", "Sigmoid", "Tanh")
LOSSES = ("MSE", "MAE", "BCEWithLogits")


@dataclass(frozen=True)
class Target:
    """A file's layers; functions to leave alone; at most so many mutants a line, and in all (0: every one)."""

    specs: tuple[str, ...]
    skip: tuple[str, ...] = ()
    a_line: int = 0
    at_most: int = 0


# On the CPU: every line that a backward pass runs through.
TARGETS = {
    "nn/layers/activation.py": Target(ACTIVATIONS),
    "nn/layers/conv.py": Target(("Conv2d",)),
    "nn/layers/dense.py": Target(("Dense",)),
    "nn/layers/pixel_shuffle.py": Target(("PixelShuffle",)),
    "nn/layers/shape.py": Target(("Flatten", "Reshape")),
    "nn/reference/activation.py": Target(ACTIVATIONS),
    "nn/reference/conv.py": Target(("Conv2d",)),
    "nn/reference/conv_block.py": Target(("ConvBlock",)),
    "nn/reference/dense.py": Target(("Dense",)),
    "nn/reference/losses.py": Target(LOSSES),
    "nn/reference/optim.py": Target(("SGD", "Adam")),
    "nn/reference/pixel_shuffle.py": Target(("PixelShuffle",)),
    "nn/cpu/activation.py": Target(
        ACTIVATIONS, ("_leaky_relu", "_sigmoid", "_tanh", "*_forward"), a_line=2
    ),
    "nn/cpu/losses.py": Target(LOSSES, ("_mse", "_mae", "_bce_with_logits", "*_forward"), a_line=2),
    "nn/cpu/dense.py": Target(("Dense",), ("*_forward",), a_line=2),
    "nn/cpu/optim.py": Target(("SGD", "Adam"), a_line=2),
    "nn/cpu/pixel_shuffle.py": Target(("PixelShuffle",), ("*_forward",), a_line=2),
    "nn/cpu/rows.py": Target(("Dense", "Conv2d"), a_line=2),
    "nn/cpu/conv.py": Target(("Conv2d", "ConvBlock"), ("conv2d_forward",), a_line=1),
    "nn/cpu/conv_block.py": Target(("ConvBlock",), ("conv_block_forward",), a_line=1),
    "nn/cpu/ends.py": Target(("Conv2d", "ConvBlock"), a_line=1),
    "nn/cpu/exponential.py": Target(("Sigmoid", "BCEWithLogits"), a_line=2),
    "nn/cpu/im2col.py": Target(("Conv2d",), a_line=1),
    "nn/cpu/phases.py": Target(("Conv2d",), a_line=1),
    "nn/cpu/lines.py": Target(("Conv2d",), a_line=1),
    "nn/cpu/direct.py": Target(("Conv2d",), a_line=1),
    "nn/cpu/dots.py": Target(("Conv2d",), a_line=1),
    "nn/cpu/pointwise.py": Target(("Conv2d",), a_line=1),
    "nn/cpu/winograd.py": Target(("Conv2d",), a_line=1),
    "nn/cpu/gemm.py": Target(("Dense", "Conv2d"), at_most=10),
    "nn/cpu/simd.py": Target(("Dense", "PixelShuffle", "Conv2d"), at_most=10),
}

# Runs in the copy: the first check that fails, cheapest first.
CHECKS = f"""
import sys
from pathlib import Path
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, ({BYTES}, {BYTES}))
except ImportError:  # Windows
    pass
sys.modules["torch"] = None  # its results are kept in a file; importing it takes longer than all else
import nn
from nn.check import first_failure
from nn.layer import REGISTRY
if not Path(nn.__file__).resolve().is_relative_to(Path.cwd().resolve()):
    sys.exit("another copy of nn was imported: " + nn.__file__)
for name in sys.argv[2:]:
    row = first_failure(REGISTRY[name], sys.argv[1])
    if row is not None:
        sys.exit(row.sentence())
"""


@dataclass(frozen=True)
class Mutant:
    """One error in one line; ``text`` is the whole file with it."""

    path: str
    line: int
    function: str  # "" outside all
    kind: str
    before: str
    after: str
    text: str

    @property
    def row(self) -> str:
        """How it is named in the record, a row of a Markdown table."""
        before, after = (
            code.replace("|", "\\|").replace("`", "'") for code in (self.before, self.after)
        )
        return f"| {self.path} | {self.function or 'a constant'} | `{before}` | `{after}` |"


def main(argv: list[str]) -> int:
    """Runs the mutants; 1 where one survives that the record does not know."""
    parser = argparse.ArgumentParser(
        prog="python -m bench mutation", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument(
        "--files", nargs="+", metavar="FILE", choices=TARGETS, default=list(TARGETS)
    )
    parser.add_argument("--list", action="store_true", help="count the mutants and run none")
    parser.add_argument(
        "--lines", metavar="WORD", default="", help="only mutants of lines with WORD in them"
    )
    parser.add_argument(
        "--sample",
        type=int,
        default=0,
        metavar="N",
        help="at most N mutants a file, drawn at random",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help=f"a mutant that takes longer hangs ({SECONDS})",
    )
    parser.add_argument(
        "--no-suite", action="store_true", help="the checks alone, without the tests"
    )
    parser.add_argument(
        "--out", type=Path, help="append each verdict to this file, a line of JSON each"
    )
    options = parser.parse_args(argv)
    if importlib.util.find_spec("cosmic_ray") is None:
        print(
            "bench mutation: Cosmic Ray, which makes the mutants, is not installed: pip install cosmic-ray==8.7.0",
            file=sys.stderr,
        )
        return 2
    plan = {
        path: [m for m in mutants_of(path) if options.lines in m.before] for path in options.files
    }
    if options.sample:
        plan = {path: _drawn(mutants, options.sample) for path, mutants in plan.items()}
    if options.list:
        for path, mutants in plan.items():
            print(f"{path}: {len(mutants)}")
        return 0
    known = RECORD.read_text().partition(MAY_LIVE)[2] if RECORD.is_file() else ""
    new = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder), options.seconds)
        for path, mutants in plan.items():
            new += _run_file(copy, path, mutants, known, options)
    return int(new > 0)


def _run_file(
    copy: "Copy", path: str, mutants: list[Mutant], known: str, options: argparse.Namespace
) -> int:
    """Prints a line for the file and each survivor; how many of them the record does not know."""
    began, verdicts, new = (
        time.perf_counter(),
        dict.fromkeys(("checks", "tests", "crash", "survived"), 0),
        0,
    )
    said = copy.warm(path)
    if said:
        raise SystemExit(
            f"bench mutation: {path} fails as it is, so nothing can be learned: {said}"
        )
    for mutant in mutants:
        start = time.perf_counter()
        verdict, said = copy.judge(mutant, suite=not options.no_suite)
        verdicts[verdict] += 1
        if options.out:
            row = {name: value for name, value in vars(mutant).items() if name != "text"}
            row |= {
                "verdict": verdict,
                "said": said,
                "seconds": round(time.perf_counter() - start, 2),
            }
            with options.out.open("a") as file:
                print(json.dumps(row, ensure_ascii=False), file=file)
        if verdict == "survived":
            new += mutant.row not in known
            print(
                f"{'known' if mutant.row in known else 'NEW'}, line {mutant.line}, {mutant.kind}:\n{mutant.row}"
            )
    told = ", ".join(f"{name} {count}" for name, count in verdicts.items())
    print(
        f"{path}: {len(mutants)} mutants, {told}; {time.perf_counter() - began:.0f} s", flush=True
    )
    return new


class Copy:
    """The project in a folder of its own, with a Numba cache beside it.

    Numba recompiles a file's kernels when its date or size changes, and not when what they call changes. Here date
    and size stay as they are (a comment at the end makes up the length), and the kernels that a mutant reaches are
    taken out of the cache by name: so the others need not be compiled again for every mutant.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.seconds = seconds
        self.tree, self.warmed, self.cache = folder / "tree", folder / "warm", folder / "cache"
        self.warmed.mkdir()
        for name in COPIED:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
                shutil.copytree(ROOT / name, self.tree / name, ignore=ignored)
            else:
                shutil.copy2(ROOT / name, self.tree / name)
        for path in TARGETS:
            self.write(path, (self.tree / path).read_text())
        self.uses = _uses(self.tree / "nn" / "cpu")

    def write(self, path: str, text: str) -> None:
        """The file with ``text``, at the size and date that it keeps throughout."""
        size = (ROOT / path).stat().st_size + ROOM
        data = text.encode()
        data += b"#" * (size - len(data) - 1) + b"\n"
        (self.tree / path).write_bytes(data)
        os.utime(self.tree / path, (1_000_000_000, 1_000_000_000))
        for compiled in (self.tree / path).parent.glob(f"__pycache__/{Path(path).stem}.*.pyc"):
            compiled.unlink()

    def warm(self, path: str) -> str:
        """Compiles what the file's layers need; what is wrong without any mutant."""
        return self._checks(path, "cpu", self.warmed, 10 * self.seconds)[1]

    def judge(self, mutant: Mutant, *, suite: bool) -> tuple[str, str]:
        """(verdict, what was said)."""
        shutil.rmtree(self.cache, ignore_errors=True)
        stale = _reached(mutant, self.uses)
        shutil.copytree(
            self.warmed,
            self.cache,
            ignore=lambda _, names: [n for n in names if _kernel(n) in stale],
        )
        self.write(mutant.path, mutant.text)
        run = {
            "reference": lambda: self._checks(mutant.path, "reference", self.cache, self.seconds),
            "cpu": lambda: self._checks(mutant.path, "cpu", self.cache, self.seconds),
            "tests": lambda: self._tests(self.cache, self.seconds),
        }
        try:
            for stage in _stages(mutant) if suite else _stages(mutant)[:1]:
                status, said = run[stage]()
                if status:
                    return (
                        "crash" if status == 2 else "tests" if stage == "tests" else "checks",
                        said,
                    )
            return "survived", ""
        finally:
            self.write(mutant.path, (ROOT / mutant.path).read_text())

    def _checks(self, path: str, backend: str, cache: Path, seconds: float) -> tuple[int, str]:
        return self._run(["-c", CHECKS, backend, *TARGETS[path].specs], cache, seconds)

    def _tests(self, cache: Path, seconds: float) -> tuple[int, str]:
        ignored = (f"--ignore=tests/nn/{name}" for name in IGNORED)
        options = ("-x", "-q", "--no-header", "-p", "no:cacheprovider", "--tb=line")
        return self._run(["-m", "pytest", *options, *ignored, "tests/nn"], cache, seconds)

    def _run(self, command: list[str], cache: Path, seconds: float) -> tuple[int, str]:
        """(0, "") where all passed, (1, why) where something failed, (2, why) where it crashed or hung."""
        path = os.pathsep.join(filter(None, (str(self.tree), os.environ.get("PYTHONPATH"))))
        environment = os.environ | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(cache)}
        try:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=self.tree, env=environment, timeout=seconds, capture_output=True, text=True, errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return 2, f"did not end within {seconds} s"
        lines = [
            line
            for line in (done.stdout + done.stderr).splitlines()
            if line.strip(" .%0123456789[]")
        ]
        if done.returncode < 0:
            return 2, f"signal {-done.returncode}"
        failed = [line for line in lines if line.startswith("FAILED")] or lines[-1:] or [""]
        return (1, failed[-1][:300]) if done.returncode else (0, "")


def _stages(mutant: Mutant) -> tuple[str, ...]:
    """Cheapest first: a convolution's checks take longer than the tests of what its options and shapes may be."""
    if mutant.path.startswith("nn/cpu/"):
        return "cpu", "tests"
    computes = ("_forward", "_backward", "_same")
    if mutant.path == "nn/layers/conv.py" and mutant.function not in computes:
        return "tests", "reference", "cpu"
    return "reference", "tests", "cpu"


def _uses(folder: Path) -> dict[str, set[str]]:
    """For each function and constant of a package: every name that it mentions."""
    uses: dict[str, set[str]] = {}
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            if isinstance(node, ast.FunctionDef):
                uses.setdefault(node.name, set()).update(names)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    uses.setdefault(ast.unparse(target), set()).update(names)
    return uses


def _reached(mutant: Mutant, uses: dict[str, set[str]]) -> set[str]:
    """What is compiled otherwise because of the mutant: its function or constant, and what rests on that."""
    start = mutant.function or mutant.before.partition("=")[0].strip()
    reached, new = {start}, {start}
    while new:
        new = {name for name, names in uses.items() if names & new} - reached
        reached |= new
    return reached


def _kernel(file: str) -> str:
    """The function in the name of a file of Numba's cache, ``conv._patches-46.py311.1.nbc``."""
    match = re.match(r"\w+\.(\w+)-\d+\.py", file)
    return match[1] if match else ""


# The mutants


def mutants_of(path: str) -> list[Mutant]:
    """The file's mutants, in the order of its lines."""
    text, target = (ROOT / path).read_text(), TARGETS[path]
    lines, tree = text.splitlines(), ast.parse(text)
    words = _words(tree)
    stars = {n for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
             for n in range(node.lineno, node.body[0].lineno)}  # * in a list of arguments is no product  # fmt: skip
    mutants, seen = [], {text}

    def place(at: tuple[int, int]) -> str | None:
        function = _place(tree, at[0])
        wanted = function is not None and _wanted(function, path, target)
        return function if wanted and not any(a <= at < b for a, b in words) else None

    for kind, at, changed in (*_by_cosmic_ray(text, place), *_by_hand(text, tree)):
        function = place(at)
        if changed is None or changed in seen or function is None:
            continue
        if kind.startswith("ReplaceBinary") and at[0] in stars:
            continue
        if kind == "NumberReplacer" and "reshape(- 2)" in changed:  # NumPy reads it as -1
            continue
        seen.add(changed)
        try:
            ast.parse(changed)
        except SyntaxError:
            continue
        after = changed.splitlines()
        if len(after) != len(lines) or len(changed.encode()) >= len(text.encode()) + ROOM:
            continue
        differ = [i for i in range(len(lines)) if lines[i] != after[i]]
        first = differ[0]
        mutants.append(Mutant(path, first + 1, function.rpartition(".")[2], kind, lines[first].strip(),
                              " ".join(after[i].strip() for i in differ), changed))  # fmt: skip
    mutants.sort(key=lambda m: m.line)
    rng = random.Random(0)
    if target.a_line:
        by_line: dict[int, list[Mutant]] = {}
        for m in mutants:
            by_line.setdefault(m.line, []).append(m)
        mutants = [
            m for some in by_line.values() for m in rng.sample(some, min(target.a_line, len(some)))
        ]
    if target.at_most:
        mutants = _drawn(mutants, target.at_most)
    return mutants


def _drawn(mutants: list[Mutant], count: int) -> list[Mutant]:
    """At most so many of them, the same ones every time, in the order of their lines."""
    drawn = random.Random(0).sample(mutants, min(count, len(mutants)))
    return sorted(drawn, key=lambda m: m.line)


def _place(tree: ast.Module, line: int) -> str | None:
    """The function of a line, "Class.method", "" for a constant; None for docstrings, imports, samples, decorators."""
    for node in tree.body:
        if not node.lineno <= line <= node.end_lineno:
            continue
        if isinstance(node, ast.FunctionDef):
            return node.name
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.lineno <= line <= item.end_lineno:
                    return f"{node.name}.{item.name}"
            return None
        is_number = isinstance(node, ast.Assign) and not isinstance(
            node.value, (ast.Tuple, ast.Call)
        )
        return "" if is_number else None
    return None


def _wanted(function: str, path: str, target: Target) -> bool:
    name = function.rpartition(".")[2]
    if name in NEVER or name in target.skip:
        return False
    if function == "":
        return path.startswith("nn/cpu/")
    return not any(s.startswith("*") and name.endswith(s[1:]) for s in target.skip)


def _words(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where types are written, and what errors say: no arithmetic rests on either."""
    found = []
    for node in ast.walk(tree):
        kinds = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        kinds.append(node if isinstance(node, ast.JoinedStr) else None)
        for a in kinds:
            if isinstance(a, ast.expr):
                found.append(((a.lineno, a.col_offset), (a.end_lineno, a.end_col_offset)))
    return found


OPERATORS = [
    *(f"ReplaceBinaryOperator_{a}_{b}" for a, b in (
        ("Add", "Sub"), ("Add", "Mul"), ("Sub", "Add"), ("Mul", "Div"), ("Mul", "Add"), ("Div", "Mul"),
        ("FloorDiv", "Mul"), ("FloorDiv", "Div"), ("Mod", "FloorDiv"), ("Pow", "Mul"))),
    *(f"ReplaceComparisonOperator_{a}_{b}"
      for some in (("Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"), ("Is", "IsNot"))
      for a in some for b in some if a != b),
    *(f"ReplaceUnaryOperator_{name}" for name in ("USub_UAdd", "Delete_USub", "Delete_Not")),
    "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd",
    "NumberReplacer", "ZeroIterationForLoop",
]  # fmt: skip
Change = tuple[str, tuple[int, int], str | None]


def _by_cosmic_ray(text: str, wanted: Callable[[tuple[int, int]], str | None]) -> Iterator[Change]:
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    nodes = list(ast_nodes(get_ast(text)))
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        places = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        for occurrence, start in enumerate(places):
            if wanted(start) is None:
                continue
            yield name, start, mutate_code(text, operator, occurrence)


def _by_hand(text: str, tree: ast.Module) -> Iterator[Change]:
    """What Cosmic Ray has no operator for; each change keeps the number of lines."""
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    data = text.encode()

    def span(node: ast.AST) -> tuple[int, int]:
        return starts[node.lineno - 1] + node.col_offset, starts[
            node.end_lineno - 1
        ] + node.end_col_offset

    def put(node: ast.AST, code: str) -> str:
        a, b = span(node)
        return (data[:a] + code.encode() + b"\n" * data[a:b].count(b"\n") + data[b:]).decode()

    def source(node: ast.AST) -> str:
        a, b = span(node)
        return data[a:b].decode()

    def exchange(one: ast.AST, other: ast.AST) -> str:
        (a, b), (c, d) = span(one), span(other)
        return (data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]).decode()

    for node in ast.walk(tree):
        at = (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield "statement left out", at, put(node, "pass")
        if isinstance(node, ast.Assign) and isinstance(
            node.targets[0], (ast.Subscript, ast.Attribute)
        ):
            yield "statement left out", at, put(node, "pass")
        if isinstance(node, ast.Raise):
            yield "statement left out", at, put(node, "pass")
        if isinstance(node, ast.AugAssign):
            yield "statement left out", at, put(node, "pass")
            a, b = span(node.target)[1], span(node.value)[0]
            for sign in (" = ", " += " if isinstance(node.op, ast.Sub) else " -= "):
                yield f"{sign.strip()} put in", at, (data[:a] + sign.encode() + data[b:]).decode()
        if isinstance(node, ast.Return) and node.value is not None and source(node.value) != "None":
            yield (
                "None returned",
                at,
                put(node.value, "None") if "\n" not in source(node.value) else None,
            )
        if isinstance(node, ast.Attribute) and node.attr == "T":
            yield "transpose left out", at, put(node, source(node.value))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            yield "factors exchanged", at, exchange(node.left, node.right)
        if isinstance(node, ast.Call):
            for one, other in zip(node.args, node.args[1:], strict=False):
                yield "arguments exchanged", (one.lineno, one.col_offset), exchange(one, other)
            for keyword in node.keywords:
                if keyword.arg is not None:
                    a, b = span(keyword)
                    b += len(re.match(rb"\s*,?[ ]?", data[b:])[0].rstrip(b"\n"))
                    cut = data[:a] + data[b:]
                    yield "keyword left out", (keyword.lineno, keyword.col_offset), cut.decode()
            other = {"min": "max", "max": "min", "zeros": "ones", "empty": None}.get(
                getattr(node.func, "id", getattr(node.func, "attr", "")))  # fmt: skip
            if other:
                yield (
                    f"{other} put in",
                    at,
                    put(node.func, re.sub(r"\w+$", other, source(node.func))),
                )
        if isinstance(node, ast.IfExp):
            yield "always the first", at, put(node.test, "True")
            yield "always the second", at, put(node.test, "False")
        if (
            isinstance(node, ast.Slice)
            and node.lower is not None
            and not isinstance(node.lower, ast.Constant)
        ):
            yield "slice shifted", at, put(node.lower, f"({source(node.lower)}) + 1")
        if isinstance(node, ast.Slice) and node.step is not None:
            yield "order not turned", at, put(node.step, "1")
        if isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) > 1:
            for one, other in zip(node.elts, node.elts[1:], strict=False):
                if source(one) != source(other):
                    yield "neighbours exchanged", (one.lineno, one.col_offset), exchange(one, other)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
