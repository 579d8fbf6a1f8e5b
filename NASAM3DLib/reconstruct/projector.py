"""Forward projection and its exact adjoint.

``forward_project`` computes line integrals of a voxel volume with Joseph's interpolation;
``back_project`` is its exact transpose, which gradient methods need. :class:`Projector` keeps what
both share for repeated use.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid

Float32Array = npt.NDArray[np.float32]

FloatArray = npt.NDArray[np.float64]

STRAIGHT = 1e-7
"""Largest component, relative to the step, at which a detector row still counts as along k."""

PLANES_PER_BLOCK = 8
"""Planes that one thread of the adjoint does with the same running sums."""

MOST_SAMPLES = 300_000_000
"""Samples of rays that one call of a kernel does: up to about half a second of a core."""

PROJECTING = "projecting"


class Projector:
    """The linear operator A from voxels to line integrals.

    Parameters
    ----------
    grid : VolumeGrid
        Voxels.
    geometry : ConeBeamGeometry
        Views.
    separable : bool, optional
        Force the fast kernel (True) or the general one (False). By default the fast one is taken
        where it applies: detector rows along the k axis of the grid, columns across it, and no ray
        steeper than one voxel of k per voxel of i or j.

    Raises
    ------
    ValueError
        If the fast kernel is forced where it does not apply.

    Notes
    -----
    Joseph's method [1]_ steps along the axis that a ray follows most and interpolates linearly in
    the plane across it. With ``d`` the ray's direction in voxels, ``A`` its mm matrix, ::

        p = |A d| / |d_main| * sum_planes mu(ray at the plane),

    where mu falls off linearly to zero within one voxel outside the grid. Only the part of a ray
    between source and detector counts.

    The fast kernel uses that all rays of a detector column then share their path over (i, j).

    References
    ----------
    .. [1] P. M. Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE
       Trans. Med. Imaging 1(3), 1982, eq. 4-8.
    """

    def __init__(
        self, grid: VolumeGrid, geometry: ConeBeamGeometry, *, separable: bool | None = None
    ) -> None:
        self.grid = grid
        self.geometry = geometry
        matrix = grid.ras_to_ijk
        linear = matrix[:3, :3]
        rows, columns = geometry.detector_shape
        corner = (
            geometry.detector_centres_ras
            - geometry.detector_u_ras * (columns - 1) / 2
            - geometry.detector_v_ras * (rows - 1) / 2
        )
        weight = geometry.sources_ras[:, 3:]
        self._sources = np.concatenate(
            [geometry.sources_ras[:, :3] @ linear.T + weight * matrix[:3, 3], weight], axis=1
        )
        self._corners = grid.to_ijk(corner)
        self._steps_u = geometry.detector_u_ras @ linear.T
        self._steps_v = geometry.detector_v_ras @ linear.T
        self._matrix = np.ascontiguousarray(grid.ijk_to_ras[:3, :3])
        possible = self._is_separable()
        if separable and not possible:
            raise ValueError(
                "The separable projector needs detector rows along the grid's k axis and columns "
                "across it: turn the grid or leave separable unset."
            )
        self.separable = possible if separable is None else separable
        self._axes: npt.NDArray[np.bool_] | None = None

    def _is_separable(self) -> bool:
        """Tell whether the fast kernel applies to all views."""
        step_v, step_u = np.abs(self._steps_v), np.abs(self._steps_u)
        if (step_v[:, :2].max(axis=1) > STRAIGHT * step_v[:, 2]).any():
            return False
        if (step_u[:, 2] > STRAIGHT * step_u[:, :2].max(axis=1)).any():
            return False
        rows, columns = self.geometry.detector_shape
        steepest = 0.0
        for row in (0, rows - 1):
            for column in (0, columns - 1):
                pixel = self._corners + column * self._steps_u + row * self._steps_v
                direction = np.abs(self._sources[:, :3] - self._sources[:, 3:] * pixel)
                steepest = max(
                    steepest, float((direction[:, 2] / direction[:, :2].max(axis=1)).max())
                )
        return steepest <= 1.0

    def forward(
        self,
        array: npt.ArrayLike,
        *,
        out: Float32Array | None = None,
        progress: ProgressCallback = no_progress,
    ) -> Float32Array:
        """Compute line integrals.

        Parameters
        ----------
        array : array_like, shape (k, j, i)
            Attenuation, 1/mm. A float32 array in Fortran order is used without a copy.
        out : ndarray, shape (n_views, n_rows, n_cols), float32, optional
            Overwritten with the result: what this method gave before.
        progress : callable
            Called before every fraction of a second of work.

        Returns
        -------
        ndarray, shape (n_views, n_rows, n_cols), float32
            Line integrals, dimensionless. The memory order is (view, column, row).

        Raises
        ------
        ValueError
            If a shape is not the grid's or the geometry's.
        """
        from NASAM3DLib.reconstruct import kernels_cpu, kernels_general

        volume = np.asarray(array, dtype=np.float32)
        if volume.shape != self.grid.shape_kji:
            raise ValueError(
                f"The volume must have shape (k, j, i) = {self.grid.shape_kji} as the projector's "
                f"grid, got {volume.shape}."
            )
        volume = np.ascontiguousarray(volume.transpose(2, 1, 0))
        result = _memory(out, self.geometry.projections_shape, (0, 2, 1))
        for part, fraction in self._chunks():
            progress(PROJECTING, fraction)
            poses = self._poses(part)
            if self.separable:
                kernels_cpu.forward_separable(volume, *poses, result[part])
                kernels_cpu.weight_pixels(*poses, self._matrix, result[part])
            else:
                kernels_general.forward_general(volume, *poses, result[part])
                kernels_general.weight_general(*poses, self._matrix, result[part])
        return result.transpose(0, 2, 1)

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
            Overwritten with the result: what this method gave before.
        progress : callable
            Called before every fraction of a second of work.

        Returns
        -------
        ndarray, shape (k, j, i), float32
            For every voxel the sum over rays of value times intersection weight, mm. Fortran order.

        Raises
        ------
        ValueError
            If a shape is not the geometry's or the grid's.
        """
        values = np.asarray(projections, dtype=np.float32)
        if values.shape != self.geometry.projections_shape:
            raise ValueError(
                "The projections must have shape (n_views, n_rows, n_cols) = "
                f"{self.geometry.projections_shape} as the projector's geometry, got "
                f"{values.shape}."
            )
        values = values.transpose(0, 2, 1)
        result = _memory(out, self.grid.shape_kji, (2, 1, 0))
        result.fill(0.0)
        if self.separable:
            self._adjoint_separable(values, result, progress)
        else:
            self._adjoint_general(values, result, progress)
        return result.transpose(2, 1, 0)

    def _adjoint_separable(
        self, values: Float32Array, result: Float32Array, progress: ProgressCallback
    ) -> None:
        """Add the contributions of rays along i, then of those along j."""
        from NASAM3DLib.reconstruct import kernels_cpu

        for along_i in (True, False):
            for part, fraction in self._chunks():
                progress(PROJECTING, (fraction + (not along_i)) / 2)
                poses = self._poses(part)
                weighted = np.array(values[part], order="C")
                kernels_cpu.weight_pixels(*poses, self._matrix, weighted)
                kernels_cpu.adjoint_separable(weighted, *poses, along_i, PLANES_PER_BLOCK, result)

    def _adjoint_general(
        self, values: Float32Array, result: Float32Array, progress: ProgressCallback
    ) -> None:
        """Add the contributions of the rays that follow each axis."""
        from NASAM3DLib.reconstruct import kernels_general

        rows, columns = self.geometry.detector_shape
        if self._axes is None:
            self._axes = np.zeros((self.geometry.n_views, 3), dtype=bool)
            poses = self._poses(slice(None))
            kernels_general.mark_axes(*poses, (columns, rows), self._axes)
        for axis in range(3):
            for part, fraction in self._chunks():
                progress(PROJECTING, (fraction + axis) / 3)
                used = np.arange(self.geometry.n_views)[part][self._axes[part, axis]]
                if used.size:
                    chosen = np.array(values[used], order="C")
                    poses = self._poses(used)
                    kernels_general.weight_general(*poses, self._matrix, chosen)
                    kernels_general.adjoint_general(chosen, *poses, axis, result)

    def _poses(self, views: slice | npt.NDArray[np.intp]) -> tuple[FloatArray, ...]:
        """Give the poses of some views in index space."""
        return tuple(
            pose[views] for pose in (self._sources, self._corners, self._steps_u, self._steps_v)
        )

    def _chunks(self) -> list[tuple[slice, float]]:
        """Split the views so that no call of a kernel takes long; the result stays the same."""
        rows, columns = self.geometry.detector_shape
        samples = rows * columns * max(self.grid.shape_kji)
        size = max(1, MOST_SAMPLES // samples)
        n_views = self.geometry.n_views
        return [
            (slice(first, min(first + size, n_views)), first / n_views)
            for first in range(0, n_views, size)
        ]


def _memory(
    out: Float32Array | None, shape: tuple[int, ...], order: tuple[int, ...]
) -> Float32Array:
    """Give contiguous memory for a result, in the order of axes that the kernels want."""
    if out is None:
        return np.empty([shape[axis] for axis in order], dtype=np.float32)
    given = out.transpose(order)
    if out.shape != shape or out.dtype != np.float32 or not given.flags.c_contiguous:
        raise ValueError(
            f"out must be a float32 array of shape {shape} in the memory order that the same "
            f"method returns, got {out.dtype} of shape {out.shape}."
        )
    return given


def forward_project(
    array: npt.ArrayLike, grid: VolumeGrid, geometry: ConeBeamGeometry
) -> Float32Array:
    """Compute line integrals of a volume.

    Parameters
    ----------
    array : array_like, shape (k, j, i)
        Attenuation, 1/mm.
    grid : VolumeGrid
        Where its voxels lie.
    geometry : ConeBeamGeometry
        Views.

    Returns
    -------
    ndarray, shape (n_views, n_rows, n_cols), float32
        Line integrals, dimensionless.
    """
    return Projector(grid, geometry).forward(array)


def back_project(
    projections: npt.ArrayLike, grid: VolumeGrid, geometry: ConeBeamGeometry
) -> Float32Array:
    """Apply the exact adjoint of :func:`forward_project`.

    Parameters
    ----------
    projections : array_like, shape (n_views, n_rows, n_cols)
        Values on the detector.
    grid : VolumeGrid
        Voxels to fill.
    geometry : ConeBeamGeometry
        Views.

    Returns
    -------
    ndarray, shape (k, j, i), float32
        Unnormalised back-projection, mm.
    """
    return Projector(grid, geometry).adjoint(projections)
