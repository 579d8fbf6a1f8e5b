"""Geometries in TIGRE's words, and arrays in TIGRE's and RTK's order.

TIGRE's (x, y, z) are read as (R, A, S), so that its volumes ``img[z, y, x]`` and projections
``proj[angle, v, u]`` are this library's arrays unchanged, for a grid whose axes are the RAS axes.
RTK's rotation axis is y: its (x, y, z) are (A, S, R).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit

FloatArray = npt.NDArray[np.float64]

PARALLEL_DISTANCES_MM = (1000.0, 1500.0)
"""DSO and DSD that a parallel beam gets, because TIGRE wants numbers there."""

ALIGNMENT_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class TigreGeometry:
    """What TIGRE's ``geometry`` object holds, with its angles.

    Parameters
    ----------
    DSO, DSD : float or ndarray, shape (n_views,)
        Source to origin and source to detector, mm.
    nVoxel : ndarray, shape (3,), int
        Number of voxels (z, y, x).
    dVoxel, sVoxel : ndarray, shape (3,)
        Size of a voxel and of the whole volume (z, y, x), mm.
    offOrigin : ndarray, shape (3,) or (n_views, 3)
        Centre of the volume (z, y, x), mm.
    nDetector : ndarray, shape (2,), int
        Number of pixels (v, u).
    dDetector, sDetector : ndarray, shape (2,)
        Size of a pixel and of the whole detector (v, u), mm.
    offDetector : ndarray, shape (2,) or (n_views, 2)
        Shift of the detector's centre (v, u), mm.
    rotDetector : ndarray, shape (3,) or (n_views, 3)
        Rotations of the detector about the beam axis, about u and about v, rad, applied in this
        order.
    COR : float or ndarray, shape (n_views,)
        Shift of source and detector along u, mm.
    angles : ndarray, shape (n_views,) or (n_views, 3)
        Rotation about z, rad; or the Euler angles z-y-z, of which the last two must be 0.
    mode : {"cone", "parallel"}
        Kind of beam.
    """

    DSO: float | FloatArray
    DSD: float | FloatArray
    nVoxel: npt.NDArray[np.int64]  # noqa: N815
    dVoxel: FloatArray  # noqa: N815
    sVoxel: FloatArray  # noqa: N815
    offOrigin: FloatArray  # noqa: N815
    nDetector: npt.NDArray[np.int64]  # noqa: N815
    dDetector: FloatArray  # noqa: N815
    sDetector: FloatArray  # noqa: N815
    offDetector: FloatArray  # noqa: N815
    rotDetector: FloatArray  # noqa: N815
    COR: float | FloatArray
    angles: FloatArray
    mode: Literal["cone", "parallel"] = "cone"


def to_tigre(geometry: ConeBeamGeometry, grid: VolumeGrid) -> TigreGeometry:
    """Express a circular scan and a grid in TIGRE's convention.

    Parameters
    ----------
    geometry : ConeBeamGeometry
        Circular: made by :meth:`ConeBeamGeometry.circular` or read from such a file.
    grid : VolumeGrid
        Axes along R, A and S.

    Returns
    -------
    TigreGeometry

    Raises
    ------
    ValueError
        If the geometry is not circular or the grid is oblique or mirrored.
    """
    orbit = geometry.orbit
    if orbit is None:
        raise ValueError(
            "TIGRE knows circular scans only, and this geometry has one free pose per view: use "
            "RTK, or make the geometry with ConeBeamGeometry.circular."
        )
    _check_aligned(grid)
    near, far = orbit.source_to_isocenter_mm, orbit.source_to_detector_mm
    spacing = grid.spacing_mm[::-1]
    shape = np.array(grid.shape_kji)
    detector = np.array(geometry.detector_shape)
    pixel = np.array(orbit.pixel_spacing_mm)
    in_plane, about_v, about_u = orbit.detector_tilt_rad
    return TigreGeometry(
        DSO=PARALLEL_DISTANCES_MM[0] if near is None else near,
        DSD=PARALLEL_DISTANCES_MM[1] if far is None else far,
        nVoxel=shape,
        dVoxel=spacing,
        sVoxel=shape * spacing,
        offOrigin=(grid.centre_ras - np.array(orbit.isocenter_ras))[::-1],
        nDetector=detector,
        dDetector=pixel,
        sDetector=detector * pixel,
        offDetector=np.array(orbit.detector_offset_mm),
        rotDetector=np.array([in_plane, about_u, about_v]),
        COR=orbit.rotation_centre_shift_mm,
        angles=np.array(orbit.angles_rad),
        mode="parallel" if orbit.is_parallel else "cone",
    )


def from_tigre(
    tigre: TigreGeometry, *, isocenter_ras: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> tuple[ConeBeamGeometry, VolumeGrid]:
    """Read a geometry in TIGRE's convention.

    Parameters
    ----------
    tigre : TigreGeometry
        Geometry and angles. Distances and offsets may differ from view to view; the volume's
        offset may not.
    isocenter_ras : tuple of float
        Where TIGRE's origin lies, mm.

    Returns
    -------
    geometry : ConeBeamGeometry
        Circular where nothing changes from view to view but the angle, else general.
    grid : VolumeGrid

    Raises
    ------
    ValueError
        If the rotation is not about z, sizes contradict each other, or the volume moves.
    """
    angles = _angles_about_z(tigre.angles)
    _check_sizes(tigre)
    offset = np.atleast_2d(tigre.offOrigin)
    if np.ptp(offset, axis=0).max() > 0:
        raise ValueError(
            "TigreGeometry.offOrigin must be the same for all views: a volume that moves during "
            "the scan has no grid. Move source and detector instead."
        )
    grid = VolumeGrid.centred(
        _three(tigre.nVoxel),
        tuple(float(s) for s in np.asarray(tigre.dVoxel)[::-1]),  # type: ignore[arg-type]
        centre_ras=tuple(np.array(isocenter_ras) + offset[0, ::-1]),
    )
    rows, columns = (int(n) for n in tigre.nDetector)
    if not _varies(tigre):
        orbit = _orbit(tigre, angles, isocenter_ras)
        return ConeBeamGeometry.circular(orbit, (rows, columns)), grid
    poses = [
        _orbit(_one_view(tigre, n), angles[n : n + 1], isocenter_ras).poses()
        for n in range(angles.size)
    ]
    sources, centres, step_u, step_v = (np.concatenate(part) for part in zip(*poses, strict=True))
    return ConeBeamGeometry(sources, centres, step_u, step_v, (rows, columns)), grid


def _three(values: npt.ArrayLike) -> tuple[int, int, int]:
    """Give three integers."""
    first, second, third = (int(n) for n in np.asarray(values))
    return first, second, third


def _orbit(
    tigre: TigreGeometry, angles: FloatArray, isocenter_ras: tuple[float, float, float]
) -> CircularOrbit:
    """Make the orbit of a geometry that is the same for all views."""
    about_w, about_u, about_v = (float(r) for r in np.asarray(tigre.rotDetector).reshape(3))
    offset_v, offset_u = (float(o) for o in np.asarray(tigre.offDetector).reshape(2))
    pixel_v, pixel_u = (float(d) for d in np.asarray(tigre.dDetector))
    is_cone = tigre.mode == "cone"
    return CircularOrbit(
        angles,
        (pixel_v, pixel_u),
        float(np.ravel(tigre.DSO)[0]) if is_cone else None,
        float(np.ravel(tigre.DSD)[0]) if is_cone else None,
        (offset_v, offset_u),
        (about_w, about_v, about_u),
        float(np.ravel(tigre.COR)[0]),
        isocenter_ras,
    )


_PER_VIEW = {"DSO": 0, "DSD": 0, "offDetector": 1, "rotDetector": 1, "COR": 0}
"""Fields that may have one entry per view, with the number of dimensions of one entry."""


def _varies(tigre: TigreGeometry) -> bool:
    """Tell whether anything but the angle changes from view to view."""
    return any(np.ndim(getattr(tigre, name)) > ndim for name, ndim in _PER_VIEW.items())


def _one_view(tigre: TigreGeometry, view: int) -> TigreGeometry:
    """Take one view of a geometry with one entry per view."""
    values: dict[str, Any] = dict(vars(tigre))
    for name, ndim in _PER_VIEW.items():
        if np.ndim(values[name]) > ndim:
            entries = np.asarray(values[name])
            n_views = np.shape(tigre.angles)[0]
            if len(entries) != n_views:
                raise ValueError(
                    f"TigreGeometry.{name} must have one entry or one for each of the {n_views} "
                    f"angles, got {len(entries)}."
                )
            values[name] = entries[view]
    return TigreGeometry(**values)


def _angles_about_z(angles: npt.ArrayLike) -> FloatArray:
    """Give one angle per view, refusing rotations that are not about z."""
    values = np.asarray(angles, dtype=np.float64)
    if values.ndim == 2 and values.shape[1] == 3:
        if np.abs(values[:, 1:]).max() > 0:
            raise ValueError(
                "TigreGeometry.angles has rotations that are not about z; only the first of the "
                "three Euler angles may differ from 0. Describe such a scan by general poses."
            )
        return values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"TigreGeometry.angles must have shape (n_views,) or (n_views, 3), got {values.shape}."
        )
    return values


def _check_sizes(tigre: TigreGeometry) -> None:
    """Refuse sizes that are not number times spacing, as TIGRE does."""
    for total, count, step in (
        ("sVoxel", "nVoxel", "dVoxel"),
        ("sDetector", "nDetector", "dDetector"),
    ):
        expected = np.asarray(getattr(tigre, count)) * np.asarray(getattr(tigre, step))
        if not np.allclose(getattr(tigre, total), expected, atol=1e-6):
            raise ValueError(
                f"TigreGeometry.{total} must be {count} * {step} = {expected}, got "
                f"{np.asarray(getattr(tigre, total))}."
            )
    if tigre.mode not in ("cone", "parallel"):
        raise ValueError(f'TigreGeometry.mode must be "cone" or "parallel", got {tigre.mode!r}.')


def _check_aligned(grid: VolumeGrid) -> None:
    """Refuse grids whose axes are not R, A and S."""
    spacing = grid.spacing_mm
    if not np.allclose(grid.ijk_to_ras[:3, :3] / spacing, np.eye(3), atol=ALIGNMENT_TOLERANCE):
        raise ValueError(
            "The grid's axes must be the R, A and S axes, without rotation or mirroring: resample "
            "the volume to such a grid first."
        )


def volume_to_rtk(
    array: npt.NDArray[Any], grid: VolumeGrid
) -> tuple[npt.NDArray[Any], FloatArray, FloatArray]:
    """Reorder a volume for RTK.

    Parameters
    ----------
    array : ndarray, shape (k, j, i)
        Voxels on a grid along R, A and S.
    grid : VolumeGrid
        Their places.

    Returns
    -------
    array : ndarray, shape (i, k, j)
        The array to make an ITK image of: its axes are RTK's z, y and x.
    origin_mm, spacing_mm : ndarray, shape (3,)
        Origin and spacing of that image in ITK's order (x, y, z).

    Raises
    ------
    ValueError
        If the grid is oblique or mirrored.
    """
    _check_aligned(grid)
    order = [1, 2, 0]
    return array.transpose(2, 0, 1), grid.ijk_to_ras[:3, 3][order], grid.spacing_mm[order]


def volume_from_rtk(
    array: npt.NDArray[Any], origin_mm: npt.ArrayLike, spacing_mm: npt.ArrayLike
) -> tuple[npt.NDArray[Any], VolumeGrid]:
    """Reorder a volume that came from RTK, the inverse of :func:`volume_to_rtk`.

    Parameters
    ----------
    array : ndarray, shape (nz, ny, nx)
        Voxels as ITK's ``array_from_image`` gives them.
    origin_mm, spacing_mm : array_like, shape (3,)
        Of the ITK image, (x, y, z), mm.

    Returns
    -------
    array : ndarray, shape (k, j, i)
    grid : VolumeGrid
    """
    order = [2, 0, 1]
    turned = array.transpose(1, 2, 0)
    affine = np.diag([*np.asarray(spacing_mm, dtype=np.float64)[order], 1.0])
    affine[:3, 3] = np.asarray(origin_mm, dtype=np.float64)[order]
    return turned, VolumeGrid(_three(turned.shape), affine)
