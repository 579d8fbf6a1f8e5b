"""TIGRE's verbs against a stand-in that checks what it is given and computes by TIGRE's formulas.

The real TIGRE needs a GPU; the stand-in follows its documented convention.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, draw

from NASAM3DLib.reconstruct import tigre as ours
from NASAM3DLib.reconstruct.projector import Projector, forward_project
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

GRID = VolumeGrid.centred((12, 18, 22), (5.0, 5.5, 6.0), centre_ras=(4.0, -3.0, 7.0))
SCANS = {
    "cone": circular_scan(5, detector=(20, 30), pixel_mm=6.0),
    "offsets": circular_scan(
        5,
        detector=(20, 30),
        pixel_mm=6.0,
        detector_offset_mm=(7.0, -11.0),
        rotation_centre_shift_mm=3.0,
        isocenter_ras=(10.0, 2.0, -6.0),
    ),
    "parallel": circular_scan(5, detector=(20, 30), pixel_mm=6.0, parallel=True),
}


def scan_and_grid_of(
    geo: SimpleNamespace, angles: np.ndarray
) -> tuple[ConeBeamGeometry, VolumeGrid]:
    """Place source, detector and voxels by TIGRE's formulas, (x, y, z) read as (R, A, S)."""
    assert abs(geo.nVoxel * geo.dVoxel - geo.sVoxel).sum() < 1e-6
    assert abs(geo.nDetector * geo.dDetector - geo.sDetector).sum() < 1e-6
    assert not geo.rotDetector.any()
    for name in ("DSO", "DSD", "COR"):
        assert type(getattr(geo, name)) is float
    cosine, sine, zero = np.cos(angles), np.sin(angles), np.zeros(len(angles))
    away, along_u = np.stack([cosine, sine, zero], 1), np.stack([-sine, cosine, zero], 1)
    along_v = np.broadcast_to([0.0, 0.0, 1.0], away.shape)
    shift = geo.COR * along_u
    offset = geo.offDetector[1] * along_u + geo.offDetector[0] * along_v
    if geo.mode == "cone":
        sources = np.column_stack([geo.DSO * away + shift, np.ones(len(angles))])
        centres = -(geo.DSD - geo.DSO) * away + shift + offset
    else:
        sources, centres = np.column_stack([away, zero]), shift + offset
    scan = ConeBeamGeometry(
        sources,
        centres,
        along_u * geo.dDetector[1],
        along_v * geo.dDetector[0],
        tuple(int(n) for n in geo.nDetector),
    )
    first = -geo.sVoxel / 2 + geo.dVoxel / 2 + geo.offOrigin
    affine = np.diag([*geo.dVoxel[::-1], 1.0])
    affine[:3, 3] = first[::-1]
    return scan, VolumeGrid(tuple(int(n) for n in geo.nVoxel), affine)


@pytest.fixture
def calls(monkeypatch) -> list[tuple[str, SimpleNamespace, dict[str, object]]]:
    """Put a stand-in for TIGRE in place and collect its calls."""
    made: list[tuple[str, SimpleNamespace, dict[str, object]]] = []
    module, algorithms = ModuleType("tigre"), ModuleType("tigre.algorithms")

    def geometry(mode="cone", nVoxel=None, default=False):
        return SimpleNamespace(mode=mode)

    def check(array, shape):
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert array.shape == tuple(shape)

    def Ax(img, geo, angles, projection_type="Siddon"):
        check(img, geo.nVoxel)
        made.append(("Ax", geo, {"projection_type": projection_type}))
        scan, grid = scan_and_grid_of(geo, angles)
        return forward_project(img, grid, scan)

    def algorithm(name):
        def run(proj, geo, angles, *arguments, **options):
            check(proj, (len(angles), *geo.nDetector))
            made.append((name, geo, {"arguments": arguments, **options}))
            scan, grid = scan_and_grid_of(geo, angles)
            return Projector(grid, scan).adjoint(proj)

        return run

    module.geometry, module.Ax, module.algorithms = geometry, Ax, algorithms
    for name in ("fdk", "ossart", "asd_pocs"):
        setattr(algorithms, name, algorithm(name))
    monkeypatch.setitem(sys.modules, "tigre", module)
    monkeypatch.setitem(sys.modules, "tigre.algorithms", algorithms)
    return made


@pytest.fixture
def volume() -> Volume:
    bodies = [
        Ellipsoid(0.02, (45.0, 35.0, 22.0), (4.0, -3.0, 7.0)),
        Ellipsoid(0.03, (10.0, 12.0, 8.0), (25.0, 10.0, 15.0)),
    ]
    return Volume(draw(bodies, GRID, 2), GRID)


@pytest.mark.parametrize("name", SCANS)
def test_geometry_arrives_as_tigre_defines_it(calls, volume, name):
    scan = SCANS[name]
    projected = ours.project_with_tigre(volume, scan)
    expected = forward_project(volume.array, GRID, scan)
    np.testing.assert_allclose(projected.projections, expected, atol=1e-4 * expected.max())
    (verb, geo, options) = calls[0]
    assert (verb, options) == ("Ax", {"projection_type": "interpolated"})
    assert geo.mode == ("parallel" if name == "parallel" else "cone")
    assert geo.accuracy == 0.5


def test_fields_of_the_geometry_object(calls):
    geo, angles = ours.tigre_geometry(SCANS["offsets"], GRID)
    assert (geo.DSO, geo.DSD, geo.COR) == (500.0, 800.0, 3.0)
    np.testing.assert_array_equal(geo.nVoxel, (12, 18, 22))
    np.testing.assert_allclose(geo.dVoxel, (6.0, 5.5, 5.0))
    np.testing.assert_allclose(geo.sVoxel, (72.0, 99.0, 110.0))
    # The grid's centre seen from the isocenter, in the order z, y, x.
    np.testing.assert_allclose(geo.offOrigin, (13.0, -5.0, -6.0))
    np.testing.assert_array_equal(geo.nDetector, (20, 30))
    np.testing.assert_allclose(geo.dDetector, (6.0, 6.0))
    np.testing.assert_allclose(geo.offDetector, (7.0, -11.0))
    np.testing.assert_allclose(angles, np.arange(5) * 2 * np.pi / 5)


@pytest.mark.parametrize("name", SCANS)
def test_geometry_makes_the_round_trip(calls, name):
    scan = SCANS[name]
    back, grid = ours.geometry_from_tigre(
        *ours.tigre_geometry(scan, GRID), isocenter_ras=scan.orbit.isocenter_ras
    )
    for field in ("sources_ras", "detector_centres_ras", "detector_u_ras", "detector_v_ras"):
        np.testing.assert_allclose(getattr(back, field), getattr(scan, field), atol=1e-9)
    assert back.detector_shape == scan.detector_shape
    np.testing.assert_allclose(grid.ijk_to_ras, GRID.ijk_to_ras, atol=1e-9)
    assert grid.shape_kji == GRID.shape_kji


def test_fields_that_tigre_fills_itself_may_be_missing(calls):
    geo, angles = ours.tigre_geometry(SCANS["cone"], GRID)
    for name in ("offOrigin", "offDetector", "rotDetector", "COR"):
        delattr(geo, name)
    scan, grid = ours.geometry_from_tigre(geo, angles)
    np.testing.assert_allclose(scan.sources_ras, SCANS["cone"].sources_ras)
    np.testing.assert_allclose(grid.centre_ras, 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("verb", "name", "options"),
    [
        (ours.fdk_with_tigre, "fdk", {"arguments": ()}),
        (
            ours.os_sart_with_tigre,
            "ossart",
            {"arguments": (50,), "blocksize": 20, "verbose": False},
        ),
        (
            ours.asd_pocs_with_tigre,
            "asd_pocs",
            {"arguments": (50,), "tviter": 20, "verbose": False},
        ),
    ],
)
def test_algorithms_get_projections_and_give_volumes(calls, volume, verb, name, options):
    scan = SCANS["offsets"]
    projections = forward_project(volume.array, GRID, scan)
    result = verb(ProjectionSet(projections, scan), GRID)
    assert calls[0][0] == name
    assert calls[0][2] == options
    expected = Projector(GRID, scan).adjoint(projections)
    np.testing.assert_allclose(result.array, expected, atol=1e-4 * expected.max())
    assert result.quantity == "attenuation"
    assert result.grid is GRID


def test_progress_tells_begin_and_end(calls, volume):
    scan = SCANS["cone"]
    projections = ProjectionSet(forward_project(volume.array, GRID, scan), scan)
    seen: list[tuple[str, float]] = []
    ours.os_sart_with_tigre(projections, GRID, progress=lambda *report: seen.append(report))
    assert seen == [("TIGRE", 0.0), ("TIGRE", 1.0)]


def test_hounsfield_units_and_free_poses_are_refused(calls, volume):
    with pytest.raises(ValueError, match="got HU: use to_attenuation"):
        ours.project_with_tigre(volume.to_hu(), SCANS["cone"])
    scan = SCANS["cone"]
    free = ConeBeamGeometry(
        scan.sources_ras,
        scan.detector_centres_ras,
        scan.detector_u_ras,
        scan.detector_v_ras,
        scan.detector_shape,
    )
    with pytest.raises(ValueError, match="TIGRE knows circular scans only"):
        ours.project_with_tigre(volume, free)


def test_its_absence_says_what_it_is_and_how_to_install_it(monkeypatch, volume):
    monkeypatch.setitem(sys.modules, "tigre", None)
    with pytest.raises(ModuleNotFoundError, match="TIGRE is not installed") as caught:
        ours.project_with_tigre(volume, SCANS["cone"])
    assert caught.value.name == "tigre"
    for part in ("NVIDIA GPUs", "github.com/CERN/TIGRE", "pip install", "works without it"):
        assert part in str(caught.value)


def test_a_broken_build_is_told_from_a_missing_one(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "tigre":
                raise ImportError("libcudart.so.12: cannot open shared object file")
            return None

    monkeypatch.delitem(sys.modules, "tigre", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(ImportError, match="CUDA extensions cannot be loaded: libcudart"):
        ours.import_tigre()


@pytest.mark.gpu
def test_real_tigre_agrees_to_a_hundredth(volume):
    pytest.importorskip("tigre", reason="TIGRE is not installed")
    for name in SCANS:
        expected = forward_project(volume.array, GRID, SCANS[name])
        found = ours.project_with_tigre(volume, SCANS[name]).projections
        rms = np.sqrt(np.mean((found - expected) ** 2))
        assert rms < 0.01 * expected.max(), name
