"""The projector over the width of a pixel."""

from __future__ import annotations

import numpy as np
import pytest

from NASAM3DLib.reconstruct.footprint import FootprintProjector, split_columns
from NASAM3DLib.reconstruct.iterative import TotalVariationProblem
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.projections import ProjectionSet

GRID = VolumeGrid.centred((14, 16, 18), 2.0)


@pytest.fixture(scope="module")
def geometry() -> ConeBeamGeometry:
    angles = np.linspace(0, 2 * np.pi, 7, endpoint=False)
    orbit = CircularOrbit(angles, (4.0, 5.0), 200.0, 300.0, detector_offset_mm=(3.0, -7.0))
    return ConeBeamGeometry.circular(orbit, (15, 17))


def test_split_columns_cover_the_same_detector(geometry):
    fine = split_columns(geometry, 3)
    assert fine.detector_shape == (15, 51)
    middle = fine.pixel_centres_ras(2, np.array([4]), np.array([3 * 6 + 1]))
    np.testing.assert_allclose(
        middle, geometry.pixel_centres_ras(2, np.array([4]), np.array([6])), atol=1e-9
    )
    with pytest.raises(ValueError, match="at least one ray, got 0"):
        split_columns(geometry, 0)


def test_it_is_the_mean_of_its_rays(geometry):
    volume = np.random.default_rng(1).random(GRID.shape_kji, dtype=np.float32)
    fine = Projector(GRID, split_columns(geometry, 2)).forward(volume)
    got = FootprintProjector(GRID, geometry, 2).forward(volume)
    expected = (fine[:, :, 0::2] + fine[:, :, 1::2]) / 2
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
    one = FootprintProjector(GRID, geometry, 1).forward(volume)
    np.testing.assert_array_equal(one, Projector(GRID, geometry).forward(volume))


def test_the_adjoint_is_exact(geometry):
    rng = np.random.default_rng(2)
    projector = FootprintProjector(GRID, geometry, 3)
    x = rng.standard_normal(GRID.shape_kji).astype(np.float32)
    y = rng.standard_normal(geometry.projections_shape).astype(np.float32)
    left = np.vdot(projector.forward(x).astype(np.float64), y)
    right = np.vdot(x, projector.adjoint(y).astype(np.float64))
    scale = np.linalg.norm(projector.forward(x)) * np.linalg.norm(y)
    assert abs(left - right) < 1e-6 * scale


def test_torch_agrees(geometry):
    torch = pytest.importorskip("torch")
    from NASAM3DLib.reconstruct.footprint_torch import TorchFootprintProjector

    rng = np.random.default_rng(3)
    ours = FootprintProjector(GRID, geometry, 2)
    theirs = TorchFootprintProjector(GRID, geometry, "cpu", 2)
    x = rng.random(GRID.shape_kji, dtype=np.float32)
    y = rng.random(geometry.projections_shape, dtype=np.float32)
    forward, adjoint = ours.forward(x), ours.adjoint(y)
    np.testing.assert_allclose(
        theirs.forward(torch.from_numpy(x)).numpy(), forward, atol=1e-5 * forward.max()
    )
    np.testing.assert_allclose(
        theirs.adjoint(torch.from_numpy(y)).numpy(), adjoint, atol=1e-5 * adjoint.max()
    )


def test_voxels_much_smaller_than_pixels_are_seen(geometry):
    # Seen from +R, layers along A change twice within a pixel: its mean is half of the path.
    first = geometry.select([0])
    fine = VolumeGrid.centred((8, 24, 8), 1.5)
    volume = np.zeros(fine.shape_kji, dtype=np.float32)
    volume[:, ::2] = 1.0
    even = np.full(fine.shape_kji, 0.5, dtype=np.float32)
    expected = Projector(fine, first).forward(even)
    errors = [
        float(np.abs(FootprintProjector(fine, first, n).forward(volume) - expected).mean())
        for n in (1, 4)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_both_solvers_take_several_rays(geometry):
    pytest.importorskip("torch")
    from NASAM3DLib.reconstruct.iterative_torch import TorchTotalVariationProblem

    volume = np.zeros(GRID.shape_kji, dtype=np.float32)
    volume[4:10, 5:11, 6:12] = 0.02
    measured = FootprintProjector(GRID, geometry, 2).forward(volume)
    projection_set = ProjectionSet(measured, geometry)
    phases = (Phase(2, 6),)
    ours = TotalVariationProblem(projection_set, GRID, n_rays=2).solve(1e-3, phases)
    theirs = TorchTotalVariationProblem(projection_set, GRID, "cpu", n_rays=2).solve(1e-3, phases)
    np.testing.assert_allclose(ours, theirs, atol=1e-3 * ours.max())
    plain = TotalVariationProblem(projection_set, GRID).solve(1e-3, phases)
    assert np.abs(ours - volume).mean() < np.abs(plain - volume).mean()
