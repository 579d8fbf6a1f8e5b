"""TIGRE's and RTK's conventions: round trips, defining formulas, RTK's own matrices and files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from NASAM3DLib.scan.conventions import from_tigre, to_tigre, volume_from_rtk, volume_to_rtk
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.rtk import RtkGeometry, from_rtk, to_rtk
from NASAM3DLib.scan.rtk_xml import read_rtk_xml, write_rtk_xml
from NASAM3DLib.scan.vendor import load_rtk

POSES = ("sources_ras", "detector_centres_ras", "detector_u_ras", "detector_v_ras")


def orbit(**changes: Any) -> CircularOrbit:
    angles = np.linspace(0, 2 * np.pi, 7, endpoint=False)
    values: dict[str, Any] = {
        "source_to_isocenter_mm": 1000.0,
        "source_to_detector_mm": 1500.0,
        "detector_offset_mm": (3.0, -11.0),
        "rotation_centre_shift_mm": 2.5,
    }
    return CircularOrbit(angles, (1.5, 2.0), **{**values, **changes})


def assert_same_poses(one: ConeBeamGeometry, other: ConeBeamGeometry) -> None:
    assert one.detector_shape == other.detector_shape
    for name in POSES:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-9)


def random_geometry(n_views: int = 6) -> ConeBeamGeometry:
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(4)
    axes = Rotation.random(n_views, rng=rng).as_matrix()
    sources = np.einsum(
        "nab,nb->na", axes, rng.uniform((-30, -30, 800), (30, 30, 1200), (n_views, 3))
    )
    centres = np.einsum(
        "nab,nb->na", axes, rng.uniform((-50, -50, -600), (50, 50, -300), (n_views, 3))
    )
    return ConeBeamGeometry(
        np.column_stack([sources, np.ones(n_views)]),
        centres,
        axes[:, :, 0] * 0.8,
        axes[:, :, 1] * 1.2,
        (20, 30),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"detector_tilt_rad": (0.1, 0.05, -0.03)},
        {"isocenter_ras": (10.0, -20.0, 30.0)},
        {"source_to_isocenter_mm": None, "source_to_detector_mm": None},
    ],
)
def test_tigre_round_trip(changes: dict[str, Any]) -> None:
    geometry = ConeBeamGeometry.circular(orbit(**changes), (16, 24))
    grid = VolumeGrid.centred((8, 10, 12), (1.0, 2.0, 3.0), centre_ras=(5, 6, 7))
    tigre = to_tigre(geometry, grid)
    centre = geometry.orbit.isocenter_ras if geometry.orbit else (0.0, 0.0, 0.0)
    back, back_grid = from_tigre(tigre, isocenter_ras=centre)
    assert_same_poses(geometry, back)
    assert back_grid.same_as(grid, tolerance_mm=1e-9)
    assert back.orbit is not None


def test_tigre_geometry_satisfies_its_defining_formulas() -> None:
    """Source, detector centre and rotated axes as TIGRE's projector computes them."""
    tilt = (0.2, 0.1, -0.15)
    geometry = ConeBeamGeometry.circular(orbit(detector_tilt_rad=tilt), (16, 24))
    tigre = to_tigre(geometry, VolumeGrid.centred((4, 5, 6), 1.0))

    def turn(axis: int, angle: float) -> np.ndarray:
        from scipy.spatial.transform import Rotation

        return Rotation.from_rotvec(np.eye(3)[axis] * angle).as_matrix()

    r = tigre.rotDetector
    rotated = turn(2, r[2]) @ turn(1, r[1]) @ turn(0, r[0])
    for view, angle in enumerate(tigre.angles):
        beam = np.array([np.cos(angle), np.sin(angle), 0])
        u, v = np.array([-np.sin(angle), np.cos(angle), 0]), np.array([0, 0, 1])
        shift = tigre.COR * u
        np.testing.assert_allclose(
            geometry.sources_ras[view, :3], tigre.DSO * beam + shift, atol=1e-9
        )
        centre = (tigre.DSO - tigre.DSD) * beam + shift + tigre.offDetector[1] * u
        centre = centre + tigre.offDetector[0] * v
        np.testing.assert_allclose(geometry.detector_centres_ras[view], centre, atol=1e-9)
        frame = np.stack([beam, u, v], axis=1) @ rotated
        np.testing.assert_allclose(geometry.detector_u_ras[view], frame[:, 1] * 2.0, atol=1e-9)
        np.testing.assert_allclose(geometry.detector_v_ras[view], frame[:, 2] * 1.5, atol=1e-9)


def test_tigre_orders_are_zyx_and_vu() -> None:
    grid = VolumeGrid.centred((4, 5, 6), (1.0, 2.0, 3.0), centre_ras=(7, 8, 9))
    tigre = to_tigre(ConeBeamGeometry.circular(orbit(), (16, 24)), grid)
    np.testing.assert_array_equal(tigre.nVoxel, (4, 5, 6))
    np.testing.assert_allclose(tigre.dVoxel, (3, 2, 1))
    np.testing.assert_allclose(tigre.offOrigin, (9, 8, 7))
    np.testing.assert_array_equal(tigre.nDetector, (16, 24))
    np.testing.assert_allclose(tigre.offDetector, (3, -11))


def test_tigre_with_one_offset_per_view_becomes_general() -> None:
    grid = VolumeGrid.centred((4, 4, 4), 1.0)
    geometry = ConeBeamGeometry.circular(orbit(), (16, 24))
    tigre = to_tigre(geometry, grid)
    moving = replace(tigre, offDetector=np.column_stack([np.full(7, 3.0), np.arange(7.0)]))
    general, _ = from_tigre(moving)
    assert general.orbit is None
    for view in range(7):
        fixed = ConeBeamGeometry.circular(orbit(detector_offset_mm=(3.0, float(view))), (16, 24))
        np.testing.assert_allclose(
            general.detector_centres_ras[view], fixed.detector_centres_ras[view]
        )


def test_tigre_refuses_what_it_cannot_say() -> None:
    grid = VolumeGrid.centred((4, 4, 4), 1.0)
    with pytest.raises(ValueError, match=r"TIGRE knows circular scans only.*use RTK"):
        to_tigre(random_geometry(), grid)
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    circular = ConeBeamGeometry.circular(orbit(), (16, 24))
    with pytest.raises(ValueError, match=r"axes must be the R, A and S axes.*resample"):
        to_tigre(circular, VolumeGrid((4, 4, 4), affine))
    tigre = to_tigre(circular, grid)
    with pytest.raises(ValueError, match=r"sVoxel must be nVoxel \* dVoxel"):
        from_tigre(replace(tigre, sVoxel=tigre.sVoxel * 2))
    euler = np.column_stack([tigre.angles, tigre.angles, tigre.angles])
    with pytest.raises(ValueError, match=r"rotations that are not about z"):
        from_tigre(replace(tigre, angles=euler))
    with pytest.raises(
        ValueError, match=r"DSO must have one entry or one for each of the 7 angles, got 3"
    ):
        from_tigre(replace(tigre, DSO=np.full(3, 1000.0)))
    with pytest.raises(ValueError, match=r"these look like degrees"):
        from_tigre(replace(tigre, angles=np.degrees(tigre.angles)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"detector_tilt_rad": (0.1, 0.05, -0.03)},
        {"isocenter_ras": (10.0, -20.0, 30.0)},
        {"source_to_isocenter_mm": None, "source_to_detector_mm": None},
    ],
)
def test_rtk_round_trip_of_circular_scans(changes: dict[str, Any]) -> None:
    geometry = ConeBeamGeometry.circular(orbit(**changes), (16, 24))
    back = from_rtk(to_rtk(geometry))
    if geometry.is_parallel:
        # RTK does not keep how far a parallel beam's detector is away.
        for view in range(geometry.n_views):
            points = np.random.default_rng(0).normal(0, 50, (5, 3))
            np.testing.assert_allclose(
                back.project_points(view, points), geometry.project_points(view, points), atol=1e-9
            )
    else:
        assert_same_poses(geometry, back)


def test_rtk_keeps_the_orbit_of_plain_scans() -> None:
    plain = ConeBeamGeometry.circular(orbit(), (16, 24))
    back = from_rtk(to_rtk(plain)).orbit
    assert back is not None
    assert back.rotation_centre_shift_mm == pytest.approx(2.5)
    assert back.detector_offset_mm == pytest.approx((3.0, -11.0))
    tilted = ConeBeamGeometry.circular(orbit(detector_tilt_rad=(0.1, 0, 0)), (16, 24))
    assert from_rtk(to_rtk(tilted)).orbit is None


def test_rtk_round_trip_of_general_poses() -> None:
    geometry = random_geometry()
    assert_same_poses(geometry, from_rtk(to_rtk(geometry)))


def test_rtk_gantry_is_the_orbits_angle() -> None:
    rtk = to_rtk(ConeBeamGeometry.circular(orbit(), (16, 24)))
    gantry = np.mod(rtk.parameters[:, 2], 360)
    np.testing.assert_allclose(gantry, np.arange(7) * 360 / 7, atol=1e-9)
    np.testing.assert_allclose(rtk.parameters[:, :2], [[1000, 1500]] * 7)
    np.testing.assert_allclose(rtk.parameters[:, 3:5], [[-11 + 2.5, 3]] * 7, atol=1e-9)


def test_rtk_matrix_projects_as_our_geometry_does() -> None:
    geometry = random_geometry()
    rtk = to_rtk(geometry)
    points = np.random.default_rng(1).normal(0, 60, (9, 3))
    turned = np.column_stack([points[:, [1, 2, 0]], np.ones(9)])
    for view, matrix in enumerate(rtk.matrices()):
        u, v, w = matrix @ turned.T
        rows = (v / w - rtk.origin_mm[0]) / rtk.spacing_mm[0]
        columns = (u / w - rtk.origin_mm[1]) / rtk.spacing_mm[1]
        expected = geometry.project_points(view, points)
        np.testing.assert_allclose(np.column_stack([rows, columns]), expected, atol=1e-8)


def test_gantry_lock_is_resolved() -> None:
    """At 90 degrees out of plane only the sum of the other two angles is defined."""
    locked = RtkGeometry(
        np.array([[1000, 1500, 20, 0, 0, 90, 30, 0, 0]], dtype=float), (4, 4), (1, 1), (-1.5, -1.5)
    )
    again = to_rtk(from_rtk(locked))
    np.testing.assert_allclose(again.rotations(), locked.rotations(), atol=1e-9)


def test_rtk_refuses_what_it_cannot_say() -> None:
    geometry = random_geometry()
    mirrored = replace(geometry, detector_u_ras=-geometry.detector_u_ras)
    with pytest.raises(ValueError, match=r"this detector is mirrored. Reverse its columns"):
        to_rtk(mirrored)
    oblique = replace(
        geometry, detector_u_ras=geometry.detector_u_ras + 0.3 * geometry.detector_v_ras
    )
    with pytest.raises(ValueError, match=r"right angles: these are oblique"):
        to_rtk(oblique)
    growing = replace(geometry, detector_u_ras=geometry.detector_u_ras * np.arange(1, 7)[:, None])
    with pytest.raises(ValueError, match=r"pixels of one size"):
        to_rtk(growing)
    mixed = np.array([[1000, 1500, *[0] * 7], [1000, 0, *[0] * 7]], dtype=float)
    with pytest.raises(ValueError, match=r"mixes parallel views.*split the scan"):
        RtkGeometry(mixed, (2, 2), (1, 1), (0, 0))


def test_our_xml_round_trip(tmp_path: Path) -> None:
    for name, geometry in (
        ("circular", ConeBeamGeometry.circular(orbit(), (16, 24))),
        ("general", random_geometry()),
    ):
        rtk = to_rtk(geometry)
        path = tmp_path / f"{name}.xml"
        write_rtk_xml(rtk, path)
        again = replace(rtk, parameters=read_rtk_xml(path))
        assert_same_poses(geometry, from_rtk(again))


def test_damaged_xml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "geometry.xml"
    write_rtk_xml(to_rtk(random_geometry()), path)
    text = path.read_text()
    path.write_text(text[:300])
    with pytest.raises(ValueError, match=r"is not a complete XML file.*write it again"):
        read_rtk_xml(path)
    path.write_text("<html></html>")
    with pytest.raises(ValueError, match=r"must hold <RTKThreeDCircularGeometry>, got <html>"):
        read_rtk_xml(path)
    path.write_text(text.replace('version="3"', 'version="2"'))
    with pytest.raises(ValueError, match=r"has version 2 of RTK's geometry, this program reads 3"):
        read_rtk_xml(path)
    moved = text.replace("<SourceToIsocenterDistance>", "<SourceToIsocenterDistance>4", 1)
    path.write_text(moved)
    with pytest.raises(ValueError, match=r"<Matrix> of view 0 .* contradicts"):
        read_rtk_xml(path)
    path.write_text(text.replace("<GantryAngle>", "<GantryAngle>x", 1))
    with pytest.raises(ValueError, match=r"<GantryAngle> in .* must be a number, got 'x"):
        read_rtk_xml(path)
    path.write_text('<RTKThreeDCircularGeometry version="3"></RTKThreeDCircularGeometry>')
    with pytest.raises(ValueError, match=r"has no <Projection>"):
        read_rtk_xml(path)
    curved = "<RadiusCylindricalDetector>900</RadiusCylindricalDetector>"
    path.write_text(f'<RTKThreeDCircularGeometry version="3">{curved}</RTKThreeDCircularGeometry>')
    with pytest.raises(ValueError, match=r"describes a curved detector: only flat ones"):
        read_rtk_xml(path)
    with pytest.raises(FileNotFoundError, match=r"There is no RTK geometry file"):
        read_rtk_xml(tmp_path / "absent.xml")


def rtk_module() -> Any:
    try:
        return load_rtk()
    except ModuleNotFoundError:
        pytest.skip("itk-rtk is not installed")


@pytest.mark.slow  # Loading RTK's wrappers takes 12 CPU seconds.
def test_rtk_own_matrices_agree() -> None:
    module = rtk_module()
    itk = pytest.importorskip("itk")
    ours = to_rtk(random_geometry())
    theirs = module.ThreeDCircularProjectionGeometry.New()
    for row in ours.parameters:
        theirs.AddProjection(*[float(value) for value in row])
    for view, matrix in enumerate(ours.matrices()):
        expected = itk.array_from_vnl_matrix(theirs.GetMatrix(view).GetVnlMatrix().as_matrix())
        np.testing.assert_allclose(matrix, expected, atol=1e-6)


@pytest.mark.slow  # Loading RTK's wrappers takes 12 CPU seconds.
def test_rtk_own_parallel_matrix_agrees() -> None:
    module = rtk_module()
    itk = pytest.importorskip("itk")
    changes = {"source_to_isocenter_mm": None, "source_to_detector_mm": None}
    ours = to_rtk(ConeBeamGeometry.circular(orbit(**changes), (16, 24)))
    theirs = module.ThreeDCircularProjectionGeometry.New()
    for row in ours.parameters:
        theirs.AddProjection(*[float(value) for value in row])
    for view, matrix in enumerate(ours.matrices()):
        expected = itk.array_from_vnl_matrix(theirs.GetMatrix(view).GetVnlMatrix().as_matrix())
        np.testing.assert_allclose(matrix, expected, atol=1e-6)


@pytest.mark.slow  # Loading RTK's wrappers takes 12 CPU seconds.
@pytest.mark.parametrize("kind", ["circular", "general", "parallel"])
def test_files_are_read_by_rtk_and_by_us(tmp_path: Path, kind: str) -> None:
    module = rtk_module()
    itk = pytest.importorskip("itk")
    changes = {"source_to_isocenter_mm": None, "source_to_detector_mm": None}
    geometry = {
        "circular": ConeBeamGeometry.circular(orbit(), (16, 24)),
        "general": random_geometry(),
        "parallel": ConeBeamGeometry.circular(orbit(**changes), (16, 24)),
    }[kind]
    rtk = to_rtk(geometry)
    write_rtk_xml(rtk, tmp_path / "ours.xml")
    theirs = module.read_geometry(str(tmp_path / "ours.xml"))
    assert len(theirs.GetGantryAngles()) == geometry.n_views
    for view, matrix in enumerate(rtk.matrices()):
        expected = itk.array_from_vnl_matrix(theirs.GetMatrix(view).GetVnlMatrix().as_matrix())
        np.testing.assert_allclose(matrix, expected, atol=1e-6)
    module.write_geometry(theirs, str(tmp_path / "theirs.xml"))
    again = replace(rtk, parameters=read_rtk_xml(tmp_path / "theirs.xml"))
    np.testing.assert_allclose(again.matrices(), rtk.matrices(), atol=1e-6)


def test_volume_axes_to_rtk_and_back() -> None:
    grid = VolumeGrid.centred((3, 4, 5), (1.0, 2.0, 3.0), centre_ras=(7, 8, 9))
    array = np.arange(60.0).reshape(3, 4, 5)
    turned, origin, spacing = volume_to_rtk(array, grid)
    assert turned.shape == (5, 3, 4)
    # The voxel (k, j, i) = (2, 1, 4) lies at (A, S, R) in RTK's frame.
    ras = grid.to_ras((4, 1, 2))
    x, y, z = (int(n) for n in np.rint((ras[[1, 2, 0]] - origin) / spacing))
    assert turned[z, y, x] == array[2, 1, 4]
    back, back_grid = volume_from_rtk(turned, origin, spacing)
    np.testing.assert_array_equal(back, array)
    assert back_grid.same_as(grid)
