"""The points at which shapes are evaluated, and the part of them that a box needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Lattice:
    """Voxel centres in the frame of the phantom.

    Parameters
    ----------
    x, y, z : ndarray, shape (k, j, i), float32
        Coordinates of the voxel centres, mm. They may be displaced smoothly from a regular lattice.
    ijk_to_mm : ndarray, shape (4, 4), float64
        Affine of the regular lattice from voxel index (i, j, k) to mm.
    displacement_mm : float
        Largest displacement of a point from the regular lattice, mm.
    origin_kji : tuple of int
        Index of the first point in the lattice that this one was cut from.
    """

    x: Float32
    y: Float32
    z: Float32
    ijk_to_mm: npt.NDArray[np.float64]
    displacement_mm: float = 0.0
    origin_kji: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def regular(
        cls, shape_kji: tuple[int, int, int], ijk_to_mm: npt.NDArray[np.float64]
    ) -> Lattice:
        """Make an undisplaced lattice.

        Parameters
        ----------
        shape_kji : tuple of int
            Number of points along k, j and i.
        ijk_to_mm : ndarray, shape (4, 4)
            Affine from index (i, j, k) to mm.

        Returns
        -------
        Lattice
        """
        k, j, i = (np.arange(n, dtype=np.float32) for n in shape_kji)
        rows = np.asarray(ijk_to_mm, dtype=np.float32)
        coordinates = [
            row[0] * i[None, None, :]
            + row[1] * j[None, :, None]
            + row[2] * k[:, None, None]
            + row[3]
            for row in rows[:3]
        ]
        return cls(coordinates[0], coordinates[1], coordinates[2], np.asarray(ijk_to_mm))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of points along k, j and i."""
        return self.x.shape

    @property
    def spacing_mm(self) -> float:
        """Edge of a cube of a voxel's volume, mm."""
        return float(abs(np.linalg.det(self.ijk_to_mm[:3, :3])) ** (1 / 3))

    def box(self, bounds_mm: npt.NDArray[np.float64], margin_mm: float) -> Box:
        """Find the points that may lie within some bounds.

        Parameters
        ----------
        bounds_mm : ndarray, shape (2, 3)
            Minimum and maximum corner, mm.
        margin_mm : float
            Distance by which the bounds are widened, mm.

        Returns
        -------
        tuple of slice
            Part of the lattice along k, j and i; may be empty.
        """
        reach = margin_mm + self.displacement_mm
        low, high = bounds_mm[0] - reach, bounds_mm[1] + reach
        corners = np.array(
            [[high[a] if n >> a & 1 else low[a] for a in range(3)] for n in range(8)]
        )
        inverse = np.linalg.inv(self.ijk_to_mm)
        index = (corners @ inverse[:3, :3].T + inverse[:3, 3])[:, ::-1] - self.origin_kji
        first = np.clip(np.ceil(index.min(axis=0)), 0, self.shape).astype(int)
        last = np.clip(np.floor(index.max(axis=0)) + 1, 0, self.shape).astype(int)
        k, j, i = (slice(int(a), int(max(a, b))) for a, b in zip(first, last, strict=True))
        return k, j, i

    def alone(self, box: Box) -> Lattice:
        """Make a lattice of its own from a part of an undisplaced one.

        Parameters
        ----------
        box : tuple of slice
            What :meth:`box` gave.

        Returns
        -------
        Lattice
            Starts at index (0, 0, 0).
        """
        first = np.array([s.start for s in box])[::-1]
        affine = np.array(self.ijk_to_mm)
        affine[:3, 3] += affine[:3, :3] @ first
        return Lattice(self.x[box], self.y[box], self.z[box], affine)

    def cut(self, box: Box) -> Lattice:
        """Take a part of the lattice.

        Parameters
        ----------
        box : tuple of slice
            What :meth:`box` gave.

        Returns
        -------
        Lattice
            Views on the same coordinates.
        """
        k, j, i = (a + s.start for a, s in zip(self.origin_kji, box, strict=True))
        return Lattice(
            self.x[box],
            self.y[box],
            self.z[box],
            self.ijk_to_mm,
            self.displacement_mm,
            (k, j, i),
        )
