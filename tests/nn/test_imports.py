"""Who may import what: ``import nn`` is light, and each library stays in its own room."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

HEAVY = ("numba", "llvmlite", "cupy", "torch", "cv2", "av", "PIL", "matplotlib", "swap")


def modules_after(statement: str) -> set[str]:
    script = f"{statement}; import sys; print(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    return set(done.stdout.split())


def test_importing_nn_loads_no_backend_and_no_picture_library():
    assert modules_after("import nn").isdisjoint(HEAVY)


def test_the_reference_backend_needs_only_numpy():
    loaded = modules_after(
        "import nn, numpy; net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Sigmoid()).to('reference');"
        "y, c = net.forward(numpy.ones((1, 4, 4, 1), 'float32')); net.backward(y, c)"
    )
    assert loaded.isdisjoint(HEAVY)


def test_the_command_needs_no_backend_to_check_the_book():
    loaded = modules_after(
        "import nn, nn.check; d = nn.REGISTRY['Dense'];"
        "nn.check.check_gradients(d, d.samples[0]); nn.check.mine(nn.reference.dense_backward)"
    )
    assert loaded.isdisjoint(HEAVY)
    assert modules_after("import nn.cli").isdisjoint(HEAVY)


def test_the_gpu_backend_loads_no_cupy_before_it_computes_and_never_numba():
    loaded = modules_after("import nn; nn.get_backend('gpu'); nn.backend.why_no_gpu()")
    assert loaded.isdisjoint({"numba", "llvmlite"})
    assert "cupy" not in modules_after("import nn; nn.get_backend('gpu')")


def test_numba_arrives_with_its_backend():
    """Or the tests above would pass in a world where nothing is ever loaded."""
    assert "numba" in modules_after("import nn; nn.get_backend('cpu')")


def imports_of(file) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def sources(package: str) -> list:
    return sorted((REPOSITORY / package).rglob("*.py"))


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("numba", ("nn/cpu", "swap/studio", "swap/data/fused.py")),
        ("llvmlite", ("nn/cpu",)),
        ("cupy", ("nn/gpu",)),
    ],
)
def test_each_backend_library_stays_in_its_rooms(library, rooms):
    outside = [
        str(file.relative_to(REPOSITORY))
        for package in ("nn", "swap")
        for file in sources(package)
        if not any(file.is_relative_to(REPOSITORY / room) for room in rooms)
        and any(name.partition(".")[0] == library for name in imports_of(file))
    ]
    assert outside == []
    assert len(sources("nn")) > 20


def test_the_engine_knows_nothing_of_the_swapper():
    for file in sources("nn"):
        assert "swap" not in {name.partition(".")[0] for name in imports_of(file)}, file


def test_the_book_needs_only_numpy_and_itself():
    allowed = {"numpy", "typing", "collections", "math", "nn"}
    for file in (REPOSITORY / "nn" / "reference").glob("*.py"):
        names = imports_of(file)
        assert {name.partition(".")[0] for name in names} <= allowed, file
        assert all(n.startswith("nn.reference") for n in names if n.startswith("nn")), file


def test_every_public_name_exists():
    import nn
    import nn.check

    for module in (nn, nn.check):
        assert len(set(module.__all__)) == len(module.__all__)
        for name in module.__all__:
            assert getattr(module, name) is not None
