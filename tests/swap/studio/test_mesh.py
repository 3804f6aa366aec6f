"""The packed head: what it must contain, and that its shapes move what their names say."""

import numpy as np
import pytest

from swap.studio.mesh import ASSET, EXPRESSION, load_mesh, normals_of


@pytest.fixture(scope="module")
def mesh():
    return load_mesh()


def test_the_file_is_small_and_the_mesh_is_whole(mesh):
    assert ASSET.stat().st_size <= 2 * 2**20
    assert mesh.triangles.min() == 0
    assert mesh.triangles.max() == len(mesh.vertices) - 1
    assert sum(name.startswith(EXPRESSION) for name in mesh.targets) == 52
    assert all(
        i.min() >= 0 and i.max() < len(mesh.vertices) for i, _ in mesh.targets.values() if len(i)
    )


def test_the_mesh_is_symmetric(mesh):
    mirrored = np.sort((mesh.vertices * [-1, 1, 1]).round(3).view(np.ndarray), axis=0)
    np.testing.assert_allclose(mirrored, np.sort(mesh.vertices.round(3), axis=0), atol=2e-3)


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ("eyeBlinkLeft", ((0.05, 6.9, 0.8), (0.9, 7.8, 1.7))),
        ("eyeBlinkRight", ((-0.9, 6.9, 0.8), (-0.05, 7.8, 1.7))),
        ("jawOpen", ((-0.9, 5.2, -0.3), (0.9, 7.2, 1.8))),
    ],
)
def test_expressions_move_their_part_of_the_face(mesh, shape, box):
    moved = np.linalg.norm(mesh.shaped({EXPRESSION + shape: 1.0}) - mesh.vertices, axis=1)
    inside = ((mesh.vertices > box[0]) & (mesh.vertices < box[1])).all(axis=1)
    hidden = mesh.vertices[:, 2] < 1.25  # MakeHuman's lids drag at the walls within the head
    assert moved.max() > 0.05
    assert (moved[~inside & ~hidden] < 0.2 * moved.max()).all()


def test_shapes_add_up_and_stars_stand_for_both_sides(mesh):
    a, b = mesh.shaped({"head-round": 0.5}), mesh.shaped({"nose-hump-incr": 1.0})
    both = mesh.shaped({"head-round": 0.5, "nose-hump-incr": 1.0})
    np.testing.assert_allclose(both, a + b - mesh.vertices, atol=1e-5)
    star = mesh.shaped({"*-eye-scale-incr": 1.0})
    sides = mesh.shaped({"l-eye-scale-incr": 1.0, "r-eye-scale-incr": 1.0})
    np.testing.assert_array_equal(star, sides)
    with pytest.raises(KeyError):
        mesh.shaped({"no-such-shape": 1.0})


def test_normals_point_outwards(mesh):
    skin = mesh.part_triangles("skin")
    normals = normals_of(mesh.vertices, skin)
    front = (mesh.vertices[:, 2] > 1.3) & (mesh.masks["inside-mouth"] < 0.1)
    front &= np.isin(np.arange(len(normals)), skin)
    assert normals[front, 2].mean() > 0.4
