"""Projector that integrates over the width of a pixel instead of sampling its middle.

A pixel measures the mean over its area. Where voxels are smaller than pixels (as seen at the
object), one ray through the pixel's middle misses some of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid

Float32Array = npt.NDArray[np.float32]


def split_columns(geometry: ConeBeamGeometry, n_rays: int) -> ConeBeamGeometry:
    """Cut each detector column into narrower ones.

    Parameters
    ----------
    geometry : ConeBeamGeometry
        Views.
    n_rays : int
        Columns that one becomes.

    Returns
    -------
    ConeBeamGeometry
        The same detector in narrower pixels.

    Raises
    ------
    ValueError
        If the number is below one.
    """
    if n_rays < 1:
        raise ValueError(f"A pixel needs at least one ray, got {n_rays}.")
    rows, columns = geometry.detector_shape
    return ConeBeamGeometry(
        geometry.sources_ras,
        geometry.detector_centres_ras,
        geometry.detector_u_ras / n_rays,
        geometry.detector_v_ras,
        (rows, columns * n_rays),
    )


class FootprintProjector:
    """Mean of several rays side by side in each pixel, and its exact adjoint.

    Parameters
    ----------
    grid : VolumeGrid
        Voxels.
    geometry : ConeBeamGeometry
        Views.
    n_rays : int
        Rays in each pixel, spread evenly over its width.

    Notes
    -----
    With A' the projector of :func:`split_columns` and B the mean over the columns of a pixel it
    is B A'; the adjoint is ``A'^T B^T``, which spreads a pixel's value evenly.
    """

    def __init__(self, grid: VolumeGrid, geometry: ConeBeamGeometry, n_rays: int) -> None:
        self.grid, self.geometry, self.n_rays = grid, geometry, n_rays
        self._projector = Projector(grid, split_columns(geometry, n_rays))

    def forward(
        self, array: npt.ArrayLike, *, progress: ProgressCallback = no_progress
    ) -> Float32Array:
        """Compute line integrals.

        Parameters
        ----------
        array : array_like, shape (k, j, i)
            Attenuation, 1/mm.
        progress : callable
            Called before every fraction of a second of work.

        Returns
        -------
        ndarray, shape (n_views, n_rows, n_cols), float32
            Line integrals; the memory order is (view, column, row).
        """
        fine = self._projector.forward(array, progress=progress).transpose(0, 2, 1)
        n_views, n_fine, n_rows = fine.shape
        parts = fine.reshape(n_views, n_fine // self.n_rays, self.n_rays, n_rows)
        return np.asarray(parts.mean(axis=2).transpose(0, 2, 1), dtype=np.float32)

    def adjoint(
        self,
        projections: npt.ArrayLike,
        *,
        out: Float32Array | None = None,
        progress: ProgressCallback = no_progress,
    ) -> Float32Array:
        """Apply the exact transpose of :meth:`forward`.

        Parameters
        ----------
        projections : array_like, shape (n_views, n_rows, n_cols)
            Values on the detector.
        out : ndarray, shape (k, j, i), float32, optional
            Overwritten with the result, as in :meth:`Projector.adjoint`.
        progress : callable
            Called before every fraction of a second of work.

        Returns
        -------
        ndarray, shape (k, j, i), float32
            Unnormalised back-projection, mm.
        """
        values = np.asarray(projections, dtype=np.float32).transpose(0, 2, 1)
        fine = np.repeat(values, self.n_rays, axis=1) / np.float32(self.n_rays)
        return self._projector.adjoint(fine.transpose(0, 2, 1), out=out, progress=progress)
