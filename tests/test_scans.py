"""The distance of a true mesh from a surface of another topology: closed forms on spheres."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from mofa_jax.errors import InputError
from mofa_jax.evaluation.scans import scan_error

RADIUS = 100.0  # mm
DIRECTIONS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-0.6, 0.8, 0], [0, -0.6, 0.8]])


@pytest.fixture(scope="module")
def estimate():
    """A sphere about the origin and its five landmarks."""
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=RADIUS)
    return np.array(sphere.vertices), np.array(sphere.faces), RADIUS * DIRECTIONS


def truth() -> np.ndarray:
    """Points of the sphere that no mesh connects, as many on each side of each axis."""
    points = np.abs(np.random.default_rng(0).normal(size=(200, 3)))
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    points = np.concatenate([points * sign for sign in signs])
    return RADIUS * points / np.linalg.norm(points, axis=1, keepdims=True)


def moved(points, scale: float = 1.0) -> np.ndarray:
    turned = Rotation.from_rotvec([0.4, -1.1, 0.3]).apply(points)
    return scale * turned + [30.0, -200.0, 1000.0]


@pytest.mark.parametrize("rounds", [0, 50])
def test_a_sphere_moved_turned_and_scaled_has_no_error(estimate, rounds):
    vertices, triangles, landmarks = estimate
    found = scan_error(
        moved(vertices, 0.01), triangles, truth(), moved(landmarks, 0.01), landmarks, rounds=rounds
    )
    assert found.mean < 0.1  # mm: what the triangles cut off the sphere
    np.testing.assert_allclose(np.linalg.norm(found.aligned, axis=1), RADIUS, atol=0.1)


def test_the_unit_is_that_of_the_truth(estimate):
    vertices, triangles, landmarks = estimate
    true, true_landmarks = moved(vertices, 3.0), moved(landmarks, 3.0)
    assert scan_error(vertices, triangles, true, landmarks, true_landmarks).mean < 1e-6


def test_a_sphere_grown_by_a_millimeter_is_a_millimeter_away_unless_it_is_scaled(estimate):
    vertices, triangles, landmarks = estimate
    arguments = (moved(1.01 * vertices), triangles, truth(), moved(1.01 * landmarks), landmarks)
    rigid = scan_error(*arguments, with_scale=False)
    assert rigid.mean == pytest.approx(1.0, abs=0.1)
    np.testing.assert_allclose(rigid.distances, 1.0, atol=0.12)
    assert scan_error(*arguments).mean < 0.1


def test_the_surfaces_correct_landmarks_that_are_off(estimate):
    """Of an ellipsoid, whose pose the surface tells."""
    vertices, triangles, landmarks = estimate
    axes = np.array([1.0, 1.4, 0.7])
    off = axes * landmarks + np.random.default_rng(1).normal(scale=8.0, size=landmarks.shape)
    true = axes * truth()
    arguments = (axes * vertices, triangles, true, off, axes * landmarks)
    assert scan_error(*arguments, rounds=0).mean > 1.0
    assert scan_error(*arguments).mean < 0.15


def test_only_the_region_counts(estimate):
    vertices, triangles, landmarks = estimate
    true = truth()
    upper = true[:, 1] > 0
    true[~upper] *= 1.5
    arguments = (vertices, triangles, true, landmarks, landmarks)
    assert scan_error(*arguments, region=upper).mean < 0.1
    assert scan_error(*arguments, region=np.flatnonzero(upper)).distances.shape == (upper.sum(),)
    assert scan_error(*arguments).mean > 5


def test_meshes_of_files_are_compared(estimate, tmp_path):
    """As a person does: an OBJ of ours, in millimeters, and a scan of another program."""
    vertices, triangles, landmarks = estimate
    trimesh.Trimesh(vertices, triangles, process=False).export(tmp_path / "estimate.obj")
    coarse = trimesh.creation.icosphere(subdivisions=3, radius=RADIUS / 10)  # centimeters
    coarse.export(tmp_path / "scan.ply")
    ours, scan = (
        trimesh.load(tmp_path / name, process=False) for name in ("estimate.obj", "scan.ply")
    )
    found = scan_error(ours.vertices, ours.faces, scan.vertices, landmarks, landmarks / 10)
    assert found.mean < 0.01  # cm


@pytest.mark.parametrize("count", [0, 2])
def test_too_few_landmarks_are_one_sentence(estimate, count):
    vertices, triangles, landmarks = estimate
    with pytest.raises(InputError, match="give the same 3 or more"):
        scan_error(vertices, triangles, vertices, landmarks[:count], landmarks[:count])


def test_nan_and_empty_regions_are_one_sentence(estimate):
    vertices, triangles, landmarks = estimate
    with pytest.raises(InputError, match=r"true_vertices have shape .* or hold NaN"):
        scan_error(vertices, triangles, vertices * np.nan, landmarks, landmarks)
    nothing = np.zeros(len(vertices), bool)
    with pytest.raises(InputError, match="the region holds no true vertex"):
        scan_error(vertices, triangles, vertices, landmarks, landmarks, region=nothing)


def test_indices_outside_are_one_sentence(estimate):
    vertices, triangles, landmarks = estimate
    for region in (np.ones(7, bool), np.array([len(vertices)]), np.ones(3)):
        with pytest.raises(InputError, match=rf"the region is {region.dtype} \({len(region)},\)"):
            scan_error(vertices, triangles, vertices, landmarks, landmarks, region=region)
    with pytest.raises(InputError, match="corners outside"):
        scan_error(vertices, triangles + len(vertices), vertices, landmarks, landmarks)
