"""The voxel grid of a volume and its place in patient space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

DIMENSION = 3


@dataclass(frozen=True, eq=False)
class VolumeGrid:
    """Voxel centres in patient space.

    Arrays on the grid have the axes (k, j, i), as ``slicer.util.arrayFromVolume`` gives them. The
    affine maps the *reversed* index (i, j, k) to millimetres in RAS.

    Parameters
    ----------
    shape_kji : tuple of int
        Number of voxels along k, j and i.
    ijk_to_ras : ndarray, shape (4, 4), float64
        Affine from voxel index to RAS, mm. May be oblique, anisotropic or mirrored, not singular.

    Raises
    ------
    ValueError
        If the shape is not three positive integers or the affine is not finite and invertible.
    """

    shape_kji: tuple[int, int, int]
    ijk_to_ras: FloatArray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape_kji)
        if len(shape) != DIMENSION or min(shape) < 1:
            raise ValueError(
                f"VolumeGrid.shape_kji must be three positive integers (k, j, i), got "
                f"{self.shape_kji}."
            )
        affine = np.array(self.ijk_to_ras, dtype=np.float64)
        if affine.shape != (4, 4):
            raise ValueError(
                f"VolumeGrid.ijk_to_ras must have shape (4, 4), got {affine.shape}: give the 3x3 "
                "directions times spacing with the origin as fourth column."
            )
        if not np.isfinite(affine).all():
            raise ValueError("VolumeGrid.ijk_to_ras must be finite, got NaN or infinity.")
        if not np.allclose(affine[3], (0.0, 0.0, 0.0, 1.0)):
            raise ValueError(
                f"The last row of VolumeGrid.ijk_to_ras must be (0, 0, 0, 1), got {affine[3]}."
            )
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if min(lengths) <= 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
            raise ValueError(
                "VolumeGrid.ijk_to_ras must be invertible: its axes have zero length or lie in one "
                f"plane (column lengths {lengths})."
            )
        affine.setflags(write=False)
        object.__setattr__(self, "shape_kji", shape)
        object.__setattr__(self, "ijk_to_ras", affine)

    @classmethod
    def centred(
        cls,
        shape_kji: tuple[int, int, int],
        spacing_mm: float | tuple[float, float, float],
        *,
        centre_ras: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> VolumeGrid:
        """Make a grid whose axes are the RAS axes, centred on a point.

        Parameters
        ----------
        shape_kji : tuple of int
            Number of voxels along k, j and i.
        spacing_mm : float or tuple of float
            Voxel spacing along i, j and k, mm; one number for all three.
        centre_ras : tuple of float
            Centre of the grid, mm.

        Returns
        -------
        VolumeGrid

        Raises
        ------
        ValueError
            If a spacing is not positive.
        """
        spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (DIMENSION,))
        if not np.isfinite(spacing).all() or spacing.min() <= 0:
            raise ValueError(
                f"Voxel spacing must be positive and finite in mm, got {tuple(spacing)}."
            )
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = np.asarray(centre_ras) - spacing * (np.array(shape_kji[::-1]) - 1) / 2
        return cls(shape_kji, affine)

    @property
    def ras_to_ijk(self) -> FloatArray:
        """Affine from RAS (mm) to voxel index, shape (4, 4)."""
        return np.asarray(np.linalg.inv(self.ijk_to_ras), dtype=np.float64)

    @property
    def spacing_mm(self) -> FloatArray:
        """Voxel spacing along i, j, k in mm, shape (3,)."""
        return np.asarray(np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0), dtype=np.float64)

    @property
    def centre_ras(self) -> FloatArray:
        """Centre of the grid in RAS, mm, shape (3,)."""
        return self.to_ras((np.array(self.shape_kji[::-1]) - 1) / 2)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in cubic millimetres."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3])))

    @property
    def corners_ras(self) -> FloatArray:
        """The eight outer corners (voxel faces, not centres) in RAS, mm, shape (8, 3)."""
        upper = np.array(self.shape_kji[::-1]) - 0.5
        choices = np.array([[(n >> axis) & 1 for axis in range(DIMENSION)] for n in range(8)])
        return self.to_ras(np.where(choices == 1, upper, -0.5))

    def to_ijk(self, points_ras: npt.ArrayLike) -> FloatArray:
        """Convert points from RAS (mm) to continuous voxel index.

        Parameters
        ----------
        points_ras : array_like, shape (..., 3)
            Points in mm.

        Returns
        -------
        ndarray, shape (..., 3), float64
            Continuous (i, j, k).
        """
        matrix = self.ras_to_ijk
        return np.asarray(points_ras, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]

    def to_ras(self, points_ijk: npt.ArrayLike) -> FloatArray:
        """Convert points from continuous voxel index (i, j, k) to RAS in mm.

        Parameters
        ----------
        points_ijk : array_like, shape (..., 3)
            Continuous voxel indices.

        Returns
        -------
        ndarray, shape (..., 3), float64
            Points in mm.
        """
        matrix = self.ijk_to_ras
        return np.asarray(points_ijk, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]

    def contains(self, points_ras: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Tell for each point whether it lies inside a voxel of the grid.

        Parameters
        ----------
        points_ras : array_like, shape (..., 3)
            Points in mm.

        Returns
        -------
        ndarray, shape (...), bool
        """
        ijk = self.to_ijk(points_ras)
        inside = (ijk >= -0.5) & (ijk < np.array(self.shape_kji[::-1]) - 0.5)
        return np.asarray(inside.all(axis=-1))

    def refined(self, factor: int) -> VolumeGrid:
        """Make the grid that splits each voxel into ``factor`` cubed.

        Parameters
        ----------
        factor : int
            Number of parts along each axis.

        Returns
        -------
        VolumeGrid
            Covers exactly the same box.
        """
        return self.resampled(tuple(n * factor for n in self.shape_kji))

    def resampled(self, shape_kji: tuple[int, ...]) -> VolumeGrid:
        """Make a grid with another number of voxels over exactly the same box.

        Parameters
        ----------
        shape_kji : tuple of int
            New number of voxels along k, j and i.

        Returns
        -------
        VolumeGrid
        """
        scale = np.array(self.shape_kji[::-1]) / np.array(shape_kji[::-1])
        affine = np.array(self.ijk_to_ras)
        affine[:3, :3] = affine[:3, :3] * scale
        # Both grids share the outer corner at index (-0.5, -0.5, -0.5).
        affine[:3, 3] = self.to_ras((-0.5,) * DIMENSION) + affine[:3, :3] @ np.full(DIMENSION, 0.5)
        k, j, i = (int(n) for n in shape_kji)
        return VolumeGrid((k, j, i), affine)

    def same_as(self, other: VolumeGrid, *, tolerance_mm: float = 1e-3) -> bool:
        """Tell whether two grids have the same voxels within a tolerance.

        Parameters
        ----------
        other : VolumeGrid
            Grid to compare with.
        tolerance_mm : float
            Largest distance between corresponding corners, mm.

        Returns
        -------
        bool
        """
        if self.shape_kji != other.shape_kji:
            return False
        distance = np.linalg.norm(self.corners_ras - other.corners_ras, axis=1)
        return bool(distance.max() <= tolerance_mm)

    def to_dict(self) -> dict[str, Any]:
        """Describe the grid with plain numbers, for JSON.

        Returns
        -------
        dict
            ``shape_kji`` and ``ijk_to_ras`` as lists.
        """
        return {"shape_kji": list(self.shape_kji), "ijk_to_ras": self.ijk_to_ras.tolist()}

    @classmethod
    def from_dict(cls, description: dict[str, Any]) -> VolumeGrid:
        """Make a grid from what :meth:`to_dict` gave.

        Parameters
        ----------
        description : dict
            ``shape_kji`` and ``ijk_to_ras``.

        Returns
        -------
        VolumeGrid

        Raises
        ------
        ValueError
            If an entry is missing or wrong.
        """
        missing = {"shape_kji", "ijk_to_ras"} - set(description)
        if missing:
            raise ValueError(f"A grid needs shape_kji and ijk_to_ras, missing: {sorted(missing)}.")
        return cls(
            tuple(description["shape_kji"]), np.array(description["ijk_to_ras"], dtype=float)
        )

    def __str__(self) -> str:
        i, j, k = self.shape_kji[::-1]
        a, b, c = self.spacing_mm
        return f"{i}x{j}x{k} voxels of {a:.3g}x{b:.3g}x{c:.3g} mm"
