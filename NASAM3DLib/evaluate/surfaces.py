"""Distances between the surfaces of two masks, in millimetres.

The surface of a mask is the set of its voxels that touch the outside through a face. Where MONAI is
installed and the axes of the grid are perpendicular, MONAI computes the distances; otherwise the
same definitions are computed here from the voxels' positions in patient space, which also serves
sheared grids (a tilted gantry). Both give the same figures.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.evaluate.metrics import check_same_grid
from NASAM3DLib.segment.mask import Mask

FloatArray = npt.NDArray[np.float64]

PERPENDICULAR_TOLERANCE = 1e-6


def hd95_mm(mask: Mask, reference: Mask, *, percentile: float = 95.0) -> float:
    """Compute the robust Hausdorff distance.

    Parameters
    ----------
    mask, reference : Mask
        Mask to judge and the truth, on one grid.
    percentile : float
        95 leaves out the worst twentieth of each surface; 100 gives the Hausdorff distance.

    Returns
    -------
    float
        The larger of the two directed percentiles, mm.

    Raises
    ------
    ValueError
        If the grids differ or one of the masks is empty: the message says which.

    Notes
    -----
    ``max(P95 d(a, B) over a in A, P95 d(b, A) over b in B)`` with the surface voxels A and B.
    """
    _check(mask, reference)
    if _monai_serves(mask):
        return _from_monai("compute_hausdorff_distance", mask, reference, percentile=percentile)
    distances = surface_distances_mm(mask, reference)
    return max(float(np.percentile(d, percentile)) for d in distances)


def asd_mm(mask: Mask, reference: Mask) -> float:
    """Compute the average symmetric surface distance.

    Parameters
    ----------
    mask, reference : Mask
        Mask to judge and the truth, on one grid.

    Returns
    -------
    float
        Mean over the distances of both surfaces to each other, mm.

    Raises
    ------
    ValueError
        If the grids differ or one of the masks is empty: the message says which.
    """
    _check(mask, reference)
    if _monai_serves(mask):
        return _from_monai("compute_average_surface_distance", mask, reference, symmetric=True)
    return float(np.concatenate(surface_distances_mm(mask, reference)).mean())


def surface_distances_mm(mask: Mask, reference: Mask) -> tuple[FloatArray, FloatArray]:
    """Measure from each surface voxel of either mask to the other surface.

    Parameters
    ----------
    mask, reference : Mask
        Masks on one grid, which may be anisotropic, oblique or sheared.

    Returns
    -------
    to_reference, from_reference : ndarray, shape (n,) each, float64
        Distances of the mask's surface voxels and of the reference's, mm.

    Raises
    ------
    ValueError
        If the grids differ or one of the masks is empty.
    """
    from scipy.spatial import KDTree

    _check(mask, reference)
    surface, other = surface_ras(mask), surface_ras(reference)
    to_reference = KDTree(other).query(surface)[0]
    from_reference = KDTree(surface).query(other)[0]
    return np.asarray(to_reference), np.asarray(from_reference)


def surface_ras(mask: Mask) -> FloatArray:
    """Find the voxels of a mask that touch the outside through a face.

    Parameters
    ----------
    mask : Mask
        Beyond the edge of its grid counts as outside.

    Returns
    -------
    ndarray, shape (n, 3), float64
        Voxel centres, mm.
    """
    from scipy.ndimage import binary_erosion

    surface = mask.array & ~binary_erosion(mask.array)
    return mask.grid.to_ras(np.argwhere(surface)[:, ::-1])


def _check(mask: Mask, reference: Mask) -> None:
    """Refuse masks between which no distance is defined."""
    check_same_grid(mask, reference)
    for name, one in (("mask", mask), ("reference mask", reference)):
        if not one.n_voxels:
            raise ValueError(
                f"The {name} is empty, so no surface distance is defined: report it as missed "
                "instead of giving it a distance."
            )


def _monai_serves(mask: Mask) -> bool:
    """Tell whether MONAI is installed and the axes are perpendicular, as it takes for granted."""
    axes = mask.grid.ijk_to_ras[:3, :3] / mask.grid.spacing_mm
    perpendicular = np.allclose(axes.T @ axes, np.eye(3), atol=PERPENDICULAR_TOLERANCE)
    return perpendicular and find_spec("monai") is not None


def _from_monai(function: str, mask: Mask, reference: Mask, **options: Any) -> float:
    """Call one of MONAI's surface metrics on the two masks."""
    with warnings.catch_warnings():
        # MONAI 1.5 and 1.6 warn of an argument that MONAI itself passes.
        warnings.simplefilter("ignore", category=FutureWarning)
        import monai.metrics

        value = getattr(monai.metrics, function)(
            mask.array[None, None],
            reference.array[None, None],
            include_background=True,
            spacing=mask.grid.spacing_mm[::-1].tolist(),
            **options,
        )
    return float(value)
