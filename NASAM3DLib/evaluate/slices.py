"""Planes through patient space as a radiologist looks at them.

Slices are sampled along the axes of RAS whatever the grid's own axes are, so volumes and masks on
different grids, even oblique ones, appear in one place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from NASAM3DLib.evaluate.resample import AIR_HU, sample_at
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask

FloatArray = npt.NDArray[np.float64]
PlaneName = Literal["axial", "coronal", "sagittal"]

BODY_HU = -300.0
LEAST_PART = 0.005
"""Part of a layer's voxels that must be denser than air; less is noise, a blanket or a wire."""

AIR_AROUND_MM = 6.0

LETTERS = ("RL", "AP", "SI")
"""Letter of the positive and the negative end of each axis of RAS."""


@dataclass(frozen=True)
class Plane:
    """A viewing direction.

    Parameters
    ----------
    name : {"axial", "coronal", "sagittal"}
        What radiologists call it.
    right, up : tuple of int
        Axis of RAS (0 to 2) and sign (1 or -1) that point to the right and up in the picture.
    """

    name: PlaneName
    right: tuple[int, int]
    up: tuple[int, int]

    @property
    def normal_axis(self) -> int:
        """Axis of RAS that the slice is perpendicular to."""
        return 3 - self.right[0] - self.up[0]

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Letters at the left, right, top and bottom edge."""
        right, up = (
            LETTERS[axis] if sign > 0 else LETTERS[axis][::-1]
            for axis, sign in (self.right, self.up)
        )
        return right[1], right[0], up[0], up[1]


PLANES: dict[PlaneName, Plane] = {
    "axial": Plane("axial", right=(0, -1), up=(1, 1)),
    "coronal": Plane("coronal", right=(0, -1), up=(2, 1)),
    "sagittal": Plane("sagittal", right=(1, -1), up=(2, 1)),
}
"""The radiological views: the patient's right on the left, the nose to the left."""


@dataclass(frozen=True, eq=False)
class SliceView:
    """A rectangle in a plane through patient space.

    Parameters
    ----------
    plane : Plane
        Viewing direction.
    centre_ras : ndarray, shape (3,), float64
        Middle of the rectangle, mm.
    width_mm, height_mm : float
        Size of the rectangle.
    spacing_mm : float
        Distance between samples.
    """

    plane: Plane
    centre_ras: FloatArray
    width_mm: float
    height_mm: float
    spacing_mm: float

    @classmethod
    def through(cls, volume: Volume, name: PlaneName, point_ras: npt.ArrayLike) -> SliceView:
        """Cut the whole of a body at a point.

        Parameters
        ----------
        volume : Volume
            What the rectangle shall hold, without the air around it.
        name : {"axial", "coronal", "sagittal"}
            Viewing direction.
        point_ras : array_like, shape (3,)
            A point in the plane, mm.

        Returns
        -------
        SliceView
            With two samples for each voxel, so that the picture looks smooth.
        """
        plane = PLANES[name]
        low, high = body_box_ras(volume)
        centre = (low + high) / 2
        centre[plane.normal_axis] = np.asarray(point_ras, dtype=np.float64)[plane.normal_axis]
        size = high - low
        spacing = float(volume.grid.spacing_mm.min()) / 2
        return cls(plane, centre, float(size[plane.right[0]]), float(size[plane.up[0]]), spacing)

    def zoomed(self, point_ras: npt.ArrayLike, size_mm: float) -> SliceView:
        """Give a square part of the same plane.

        Parameters
        ----------
        point_ras : array_like, shape (3,)
            Middle of the part, mm.
        size_mm : float
            Length of its sides.

        Returns
        -------
        SliceView
        """
        centre = np.array(point_ras, dtype=np.float64)
        centre[self.plane.normal_axis] = self.centre_ras[self.plane.normal_axis]
        return replace(self, centre_ras=centre, width_mm=size_mm, height_mm=size_mm)

    @property
    def position_mm(self) -> float:
        """Coordinate of the plane along its normal, mm."""
        return float(self.centre_ras[self.plane.normal_axis])

    @property
    def extent_mm(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge relative to the centre, mm."""
        return -self.width_mm / 2, self.width_mm / 2, -self.height_mm / 2, self.height_mm / 2

    def axes_mm(self) -> tuple[FloatArray, FloatArray]:
        """Give where the samples lie relative to the centre.

        Returns
        -------
        to_right, upwards : ndarray, shape (n_columns,) and (n_rows,), float64
            Distances, mm, rising.
        """
        n_columns = max(round(self.width_mm / self.spacing_mm), 2)
        n_rows = max(round(self.height_mm / self.spacing_mm), 2)
        to_right = ((np.arange(n_columns) + 0.5) / n_columns - 0.5) * self.width_mm
        upwards = ((np.arange(n_rows) + 0.5) / n_rows - 0.5) * self.height_mm
        return to_right, upwards

    def sample(self, volume: Volume) -> FloatArray:
        """Sample a volume in HU.

        Parameters
        ----------
        volume : Volume
            Attenuation is converted with the default water and air.

        Returns
        -------
        ndarray, shape (n_rows, n_columns), float64
            First row at the bottom; air outside the volume.
        """
        return sample_at(volume.to_hu().array, volume.grid, self._points_ras(), outside=AIR_HU)

    def sample_mask(self, mask: Mask) -> FloatArray:
        """Sample a mask for drawing its outline at 0.5.

        Parameters
        ----------
        mask : Mask
            Mask on any grid.

        Returns
        -------
        ndarray, shape (n_rows, n_columns), float64
            Between 0 and 1, first row at the bottom.
        """
        return self.sample_array(mask.array.astype(np.float32), mask.grid)

    def sample_array(self, array: npt.NDArray[np.float32], grid: VolumeGrid) -> FloatArray:
        """Sample any values that voxels have.

        Parameters
        ----------
        array : ndarray, shape (k, j, i), float32
            Values.
        grid : VolumeGrid
            Where the voxels lie.

        Returns
        -------
        ndarray, shape (n_rows, n_columns), float64
            First row at the bottom; 0 outside the grid.
        """
        return sample_at(array, grid, self._points_ras(), outside=0.0)

    def place(self, points_ras: npt.ArrayLike) -> FloatArray:
        """Find where points lie in the picture.

        Parameters
        ----------
        points_ras : array_like, shape (n, 3)
            Points, mm.

        Returns
        -------
        ndarray, shape (n, 3), float64
            To the right and upwards of the centre, and towards the positive end of the normal axis,
            mm.
        """
        relative = np.asarray(points_ras, dtype=np.float64).reshape(-1, 3) - self.centre_ras
        (right, right_sign), (up, up_sign) = self.plane.right, self.plane.up
        parts = (
            relative[:, right] * right_sign,
            relative[:, up] * up_sign,
            relative[:, self.plane.normal_axis],
        )
        return np.stack(parts, axis=1)

    def _points_ras(self) -> FloatArray:
        """Give the samples' positions in RAS, mm, shape (n_rows, n_columns, 3)."""
        to_right, upwards = self.axes_mm()
        points = np.tile(self.centre_ras, (len(upwards), len(to_right), 1))
        (right, right_sign), (up, up_sign) = self.plane.right, self.plane.up
        points[..., right] += right_sign * to_right[None, :]
        points[..., up] += up_sign * upwards[:, None]
        return points


def body_box_ras(volume: Volume) -> tuple[FloatArray, FloatArray]:
    """Find the box around a body in a volume.

    Parameters
    ----------
    volume : Volume
        Volume of a patient or an object in air.

    Returns
    -------
    low, high : ndarray, shape (3,), float64
        Corners in RAS with a little air around the body, mm. Where next to nothing is denser than
        air, the corners of the whole volume.
    """
    grid = volume.grid
    is_body = volume.to_hu().array > BODY_HU
    ranges = [_crossed(is_body.mean(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    corners_kji = np.array(np.meshgrid(*ranges, indexing="ij")).reshape(3, -1).T
    corners_ras = grid.to_ras(corners_kji[:, ::-1])
    whole = grid.corners_ras
    low = np.maximum(corners_ras.min(axis=0) - AIR_AROUND_MM, whole.min(axis=0))
    high = np.minimum(corners_ras.max(axis=0) + AIR_AROUND_MM, whole.max(axis=0))
    return low, high


def _crossed(part: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Give the outer faces of the first and the last layer that the body crosses."""
    layers = np.flatnonzero(part > LEAST_PART)
    if not layers.size:
        return -0.5, len(part) - 0.5
    return float(layers[0]) - 0.5, float(layers[-1]) + 0.5
