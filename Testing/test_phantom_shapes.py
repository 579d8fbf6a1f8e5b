"""Shapes have the volumes that geometry says, whatever the voxels, and distances are distances."""

from __future__ import annotations

import numpy as np
import pytest

from NASAM3DLib.phantom.canvas import Canvas, Layer
from NASAM3DLib.phantom.lattice import Lattice
from NASAM3DLib.phantom.shapes import Capsule, Ellipsoid, HalfSpace, Loft, Plate, Shape
from NASAM3DLib.phantom.solids import Complement, Intersection, Lumpy, Offset, Union, tube
from NASAM3DLib.phantom.texture import BandNoise


def lattice(spacing_mm: float, half_mm: float = 40.0, turn_rad: float = 0.0) -> Lattice:
    n = int(np.ceil(2 * half_mm / spacing_mm)) + 1
    cosine, sine = np.cos(turn_rad), np.sin(turn_rad)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) * spacing_mm
    affine[:3, 3] = -affine[:3, :3] @ np.full(3, (n - 1) / 2) + (0.3, -0.2, 0.1)
    return Lattice.regular((n, n, n), affine)


def painted_volume_mm3(shape: Shape, at: Lattice) -> float:
    canvas = Canvas(at, 0.0)
    canvas.paint(shape, [Layer(0.0, 1.0, 1)])
    return float(canvas.hu.sum(dtype=np.float64)) * at.spacing_mm**3


@pytest.mark.parametrize("spacing_mm", [1.5, 2.5])
@pytest.mark.parametrize("turn_rad", [0.0, 0.5])
def test_sphere_has_its_volume_within_one_percent(spacing_mm: float, turn_rad: float) -> None:
    volume = painted_volume_mm3(
        Ellipsoid((1, 2, 3), (15, 15, 15)), lattice(spacing_mm, 30, turn_rad)
    )
    assert volume == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.01)


def test_turned_ellipsoid_has_its_volume() -> None:
    axes = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    shape = Ellipsoid((0, 0, 0), (24, 10, 14), axes)
    assert painted_volume_mm3(shape, lattice(2.0)) == pytest.approx(
        4 / 3 * np.pi * 24 * 10 * 14, rel=0.015
    )


def test_capsule_and_elliptic_cylinder_have_their_volumes() -> None:
    capsule = Capsule((-15, 0, 0), (15, 0, 0), 8, 8)
    expected = np.pi * 64 * 30 + 4 / 3 * np.pi * 512
    assert painted_volume_mm3(capsule, lattice(2.0)) == pytest.approx(expected, rel=0.01)
    section = np.array([[0, 0, 20, 12]] * 3, dtype=float)
    cylinder = Loft((-20, 0, 20), section)
    assert painted_volume_mm3(cylinder, lattice(2.0)) == pytest.approx(np.pi * 240 * 40, rel=0.01)


def test_superellipse_has_the_area_of_its_formula() -> None:
    from scipy.special import gamma

    power = 2.6
    area = 4 * 20 * 12 * gamma(1 + 1 / power) ** 2 / gamma(1 + 2 / power)
    shape = Loft((-20, 20), np.array([[0, 0, 20, 12]] * 2, dtype=float), power)
    assert painted_volume_mm3(shape, lattice(2.0)) == pytest.approx(area * 40, rel=0.01)


def test_flat_plate_has_nearly_the_volume_of_a_disc() -> None:
    plate = Plate((0, 0, 0), np.eye(3), (25, 20), (8, 8))
    full = np.pi * 25 * 20 * 8
    rounded = painted_volume_mm3(plate, lattice(1.5))
    assert 0.9 * full < rounded < full


def test_curved_tube_matches_pappus() -> None:
    turns = np.linspace(0, np.pi, 13)
    points = np.stack([25 * np.cos(turns), 25 * np.sin(turns), 0 * turns], axis=1)
    volume = painted_volume_mm3(tube(points, 6.0, step_mm=3.0), lattice(2.0))
    expected = np.pi * 36 * np.pi * 25 + 4 / 3 * np.pi * 216
    assert volume == pytest.approx(expected, rel=0.02)


def test_union_and_intersection_and_complement_obey_set_laws() -> None:
    at = lattice(2.0)
    left, right = Ellipsoid((-6, 0, 0), (14, 14, 14)), Ellipsoid((6, 0, 0), (14, 14, 14))
    union = painted_volume_mm3(Union([left, right]), at)
    common = painted_volume_mm3(Intersection([left, right]), at)
    both = painted_volume_mm3(left, at) + painted_volume_mm3(right, at)
    assert union + common == pytest.approx(both, rel=0.005)
    rest = painted_volume_mm3(Intersection([left, Complement(right)]), at)
    assert rest + common == pytest.approx(painted_volume_mm3(left, at), rel=0.01)


def test_offset_of_a_sphere_is_a_larger_sphere() -> None:
    grown = painted_volume_mm3(Offset(Ellipsoid((0, 0, 0), (10, 10, 10)), 4.0), lattice(2.0))
    assert grown == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.01)


def test_blending_only_adds() -> None:
    at = lattice(2.0)
    parts = [Ellipsoid((-9, 0, 0), (10, 10, 10)), Ellipsoid((9, 0, 0), (10, 10, 10))]
    plain, blended = Union(parts).distance(at), Union(parts, blend_mm=6.0).distance(at)
    assert (blended <= plain + 1e-5).all()
    assert blended.min() < 0
    near = plain < 5
    assert (plain - blended)[near].max() <= 6.0 / 4 + 1e-4


def test_half_space_distance_is_exact_and_halves_a_voxel() -> None:
    at = lattice(2.0)
    np.testing.assert_allclose(HalfSpace((0, 0, 1), 5.0).distance(at), at.z - 5, atol=1e-5)
    canvas = Canvas(at, 0.0)
    canvas.paint(HalfSpace((0, 0, 1), float(at.z[10, 0, 0])), [Layer(0.0, 100.0, 7)])
    assert canvas.hu[10, 3, 4] == pytest.approx(50.0, abs=1e-3)
    assert canvas.labels[10, 3, 4] == 7


def test_layers_nest_and_box_does_not_clip() -> None:
    at = lattice(2.0)
    ball = Ellipsoid((0, 0, 0), (20, 20, 20))
    canvas = Canvas(at, -1000.0)
    canvas.paint(ball, [Layer(0.0, 1000.0, 1), Layer(5.0, 100.0, 2)])
    centre = tuple(n // 2 for n in at.shape)
    assert canvas.labels[centre] == 2
    assert canvas.hu[centre] == pytest.approx(100.0)
    inner = np.count_nonzero(canvas.labels == 2) * 8
    assert inner == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.05)


def test_nothing_is_painted_beyond_the_limit() -> None:
    at = lattice(2.0)
    canvas = Canvas(at, 0.0)
    canvas.limit_to(canvas.sampled(HalfSpace((1, 0, 0), 0.0)))
    canvas.paint(Ellipsoid((0, 0, 0), (20, 20, 20)), [Layer(0.0, 1.0, 1)])
    assert (canvas.labels[at.x > 1.1] == 0).all()
    assert canvas.labels[at.x < -1.1].any()


def test_noise_is_fixed_in_space_with_zero_mean_and_unit_deviation() -> None:
    noise = BandNoise(np.random.default_rng(0), 6.0)
    fine, coarse = noise.sample(lattice(1.0)), noise.sample(lattice(2.0))
    np.testing.assert_allclose(fine[::2, ::2, ::2], coarse, atol=1e-3)
    assert abs(float(fine.mean())) < 0.1
    assert float(fine.std()) == pytest.approx(1.0, abs=0.15)


def test_noise_has_the_stated_scale() -> None:
    noise = BandNoise(np.random.default_rng(1), 10.0)
    at = lattice(1.0)
    values = noise.sample(at) - noise.sample(at).mean()
    halfway = float((values[5:] * values[:-5]).mean() / (values**2).mean())
    assert halfway == pytest.approx(0.5, abs=0.1)


def test_lumpy_surface_stays_within_three_deviations() -> None:
    at = lattice(2.0)
    ball = Ellipsoid((0, 0, 0), (15, 15, 15))
    rough = Lumpy(ball, BandNoise(np.random.default_rng(2), 12.0), 1.5)
    change = np.abs(rough.distance(at) - ball.distance(at))
    assert change.max() <= 4.5 + 1e-4
    assert change.max() > 1.0
