"""TIGRE's projector and reconstructions, where a CUDA build of TIGRE is installed.

TIGRE [1]_ is a toolbox for cone-beam CT on NVIDIA GPUs. Nothing else of this library needs it: it
serves as a yardstick, and for those who know its algorithms. Its arrays are this library's, so
only the geometry is converted.

References
----------
.. [1] A. Biguri, M. Dosanjh, S. Hancock, M. Soleimani, "TIGRE: a MATLAB-GPU toolbox for CBCT image
   reconstruction", Biomed. Phys. Eng. Express 2(5), 2016. https://github.com/CERN/TIGRE
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.conventions import TigreGeometry, from_tigre, to_tigre
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
Interpolation = Literal["interpolated", "Siddon"]

INSTALLATION = (
    "TIGRE is an optional toolbox for NVIDIA GPUs. To install it, get the CUDA toolkit and a C++ "
    'compiler, clone https://github.com/CERN/TIGRE and run "pip install ." in its folder. '
    "Everything else works without it: choose another method."
)

_COPIED = (
    "nVoxel",
    "dVoxel",
    "sVoxel",
    "offOrigin",
    "nDetector",
    "dDetector",
    "sDetector",
    "offDetector",
    "rotDetector",
)
_NUMBERS = ("DSO", "DSD", "COR")


def import_tigre() -> ModuleType:
    """Import TIGRE.

    Returns
    -------
    module

    Raises
    ------
    ModuleNotFoundError
        If TIGRE is not installed, with what it is and how to install it.
    ImportError
        If it is installed but its CUDA extensions cannot be loaded.
    """
    try:
        import tigre
        import tigre.algorithms
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "tigre":
            raise ImportError(
                f"TIGRE is installed, but a part that it needs is not: {error}. {INSTALLATION}"
            ) from error
        raise ModuleNotFoundError(
            f"TIGRE is not installed. {INSTALLATION}", name="tigre"
        ) from error
    except (ImportError, OSError) as error:
        raise ImportError(
            f"TIGRE is installed, but its CUDA extensions cannot be loaded: {error}. {INSTALLATION}"
        ) from error
    return tigre  # type: ignore[no-any-return]


def tigre_geometry(geometry: ConeBeamGeometry, grid: VolumeGrid) -> tuple[Any, FloatArray]:
    """Make TIGRE's geometry object.

    Parameters
    ----------
    geometry : ConeBeamGeometry
        Circular.
    grid : VolumeGrid
        Axes along R, A and S.

    Returns
    -------
    geo : tigre.geometry
        TIGRE's object.
    angles : ndarray, shape (n_views,), float64
        Angle of each view, rad.

    Raises
    ------
    ModuleNotFoundError
        If TIGRE is not installed.
    ValueError
        If the geometry is not circular or the grid is oblique or mirrored.
    """
    description = to_tigre(geometry, grid)
    tigre = import_tigre()
    geo = tigre.geometry(mode=description.mode, nVoxel=np.array(description.nVoxel), default=False)
    geo.mode = description.mode
    for name in _COPIED:
        setattr(geo, name, np.array(getattr(description, name)))
    for name in _NUMBERS:
        # TIGRE looks at the exact type: a NumPy array without dimensions is refused.
        setattr(geo, name, float(getattr(description, name)))
    geo.accuracy = 0.5
    return geo, np.asarray(description.angles, dtype=np.float64)


def geometry_from_tigre(
    geo: Any, angles: npt.ArrayLike, *, isocenter_ras: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> tuple[ConeBeamGeometry, VolumeGrid]:
    """Read TIGRE's geometry object, the inverse of :func:`tigre_geometry`.

    Parameters
    ----------
    geo : tigre.geometry
        TIGRE's object; fields that TIGRE itself fills with zeros may be missing.
    angles : array_like, shape (n_views,) or (n_views, 3)
        Angles that go with it, rad.
    isocenter_ras : tuple of float
        Where TIGRE's origin lies, mm.

    Returns
    -------
    geometry : ConeBeamGeometry
    grid : VolumeGrid

    Raises
    ------
    ValueError
        If the rotation is not about z or sizes contradict each other.
    """
    zeros = {"offOrigin": np.zeros(3), "offDetector": np.zeros(2), "rotDetector": np.zeros(3)}
    fields: dict[str, Any] = {
        name: np.asarray(getattr(geo, name, zeros.get(name))) for name in _COPIED
    }
    numbers: dict[str, Any] = {
        name: np.asarray(getattr(geo, name, 0.0), dtype=np.float64) for name in _NUMBERS
    }
    description = TigreGeometry(
        **fields,
        **numbers,
        angles=np.asarray(angles, dtype=np.float64),
        mode=getattr(geo, "mode", None) or "cone",
    )
    return from_tigre(description, isocenter_ras=isocenter_ras)


def project_with_tigre(
    volume: Volume, geometry: ConeBeamGeometry, *, interpolation: Interpolation = "interpolated"
) -> ProjectionSet:
    """Compute line integrals with TIGRE.

    Parameters
    ----------
    volume : Volume
        Attenuation, 1/mm.
    geometry : ConeBeamGeometry
        Circular.
    interpolation : {"interpolated", "Siddon"}
        Samples every half voxel, or exact lengths in the voxels. TIGRE's own default is Siddon.

    Returns
    -------
    ProjectionSet

    Raises
    ------
    ModuleNotFoundError
        If TIGRE is not installed.
    ValueError
        If the geometry or the volume does not suit TIGRE.
    """
    if volume.quantity != "attenuation":
        raise ValueError("TIGRE projects attenuation in 1/mm, got HU: use to_attenuation().")
    geo, angles = tigre_geometry(geometry, volume.grid)
    array = np.ascontiguousarray(volume.array, dtype=np.float32)
    projections = import_tigre().Ax(array, geo, angles, interpolation)
    return ProjectionSet(np.asarray(projections, dtype=np.float32), geometry)


def fdk_with_tigre(projection_set: ProjectionSet, grid: VolumeGrid) -> Volume:
    """Reconstruct with TIGRE's FDK (Ram-Lak filter).

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals of a circular scan.
    grid : VolumeGrid
        Axes along R, A and S.

    Returns
    -------
    Volume
        Attenuation, 1/mm; streaks may be negative.

    Raises
    ------
    ModuleNotFoundError
        If TIGRE is not installed.
    ValueError
        If the geometry or the grid does not suit TIGRE.

    Notes
    -----
    TIGRE weights redundant rays of a short scan only where it is asked to; for less than a full
    turn :func:`~NASAM3DLib.reconstruct.analytic.reconstruct_fdk` is the better choice.
    """
    return _run("fdk", projection_set, grid, ())


def os_sart_with_tigre(
    projection_set: ProjectionSet,
    grid: VolumeGrid,
    *,
    n_iterations: int = 50,
    block_size: int = 20,
    progress: ProgressCallback = no_progress,
) -> Volume:
    """Reconstruct with TIGRE's ordered-subset SART.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals of a circular scan.
    grid : VolumeGrid
        Axes along R, A and S.
    n_iterations : int
        Passes over all views.
    block_size : int
        Views per update.
    progress : callable
        Called before and after; TIGRE cannot be stopped in between.

    Returns
    -------
    Volume
        Attenuation, 1/mm.

    Raises
    ------
    ModuleNotFoundError
        If TIGRE is not installed.
    ValueError
        If the geometry or the grid does not suit TIGRE.
    """
    progress("TIGRE", 0.0)
    options = {"blocksize": block_size, "verbose": False}
    volume = _run("ossart", projection_set, grid, (n_iterations,), **options)
    progress("TIGRE", 1.0)
    return volume


def asd_pocs_with_tigre(
    projection_set: ProjectionSet,
    grid: VolumeGrid,
    *,
    n_iterations: int = 50,
    tv_iterations: int = 20,
    progress: ProgressCallback = no_progress,
) -> Volume:
    """Reconstruct with TIGRE's ASD-POCS: SART alternating with steps of steepest descent of TV.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals of a circular scan.
    grid : VolumeGrid
        Axes along R, A and S.
    n_iterations : int
        Passes over all views.
    tv_iterations : int
        Descent steps of total variation after each pass.
    progress : callable
        Called before and after; TIGRE cannot be stopped in between.

    Returns
    -------
    Volume
        Attenuation, 1/mm.

    Raises
    ------
    ModuleNotFoundError
        If TIGRE is not installed.
    ValueError
        If the geometry or the grid does not suit TIGRE.
    """
    progress("TIGRE", 0.0)
    options = {"tviter": tv_iterations, "verbose": False}
    volume = _run("asd_pocs", projection_set, grid, (n_iterations,), **options)
    progress("TIGRE", 1.0)
    return volume


def _run(
    algorithm: str,
    projection_set: ProjectionSet,
    grid: VolumeGrid,
    arguments: tuple[int, ...],
    **options: Any,
) -> Volume:
    """Call one of TIGRE's algorithms."""
    geo, angles = tigre_geometry(projection_set.geometry, grid)
    projections = np.ascontiguousarray(projection_set.projections, dtype=np.float32)
    solve = getattr(import_tigre().algorithms, algorithm)
    array = solve(projections, geo, angles, *arguments, **options)
    return Volume(np.ascontiguousarray(array, dtype=np.float32), grid)
