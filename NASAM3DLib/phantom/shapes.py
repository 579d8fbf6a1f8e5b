"""Solid shapes by signed distance: negative inside, in millimetres, right to first order.

Each shape knows the box that holds it, so that only voxels in the box are ever computed. What an
implicit function ``f`` does not give as a distance is divided by the length of its gradient,
``d = f / |grad f|`` (Taubin, PAMI 13:1115, 1991), which is exact to first order at the surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from NASAM3DLib.phantom.lattice import Float32, Lattice

Vector = Sequence[float] | npt.NDArray[np.float64]
Bounds = npt.NDArray[np.float64]

FAR_MM = np.float32(1e3)
EVERYWHERE: Bounds = np.array([[-1e4] * 3, [1e4] * 3])


class Shape(Protocol):
    """A solid: where it is, and how far each point is from its surface."""

    @property
    def bounds_mm(self) -> Bounds:
        """Minimum and maximum corner of a box around the shape, mm, shape (2, 3)."""
        ...

    def distance(self, at: Lattice) -> Float32:
        """Compute the signed distance of each point from the surface.

        Parameters
        ----------
        at : Lattice
            Points.

        Returns
        -------
        ndarray, shape of the lattice, float32
            Distance, mm; negative inside.
        """
        ...


@dataclass(frozen=True, eq=False)
class Ellipsoid(Shape):
    """An ellipsoid, axes along the frame or turned by a rotation.

    Parameters
    ----------
    centre_mm, radii_mm : sequence of float
        Centre and half axes, mm.
    rotation : ndarray, shape (3, 3), optional
        Columns are the directions of the half axes.
    """

    centre_mm: Vector
    radii_mm: Vector
    rotation: npt.NDArray[np.float64] | None = None

    @property
    def bounds_mm(self) -> Bounds:
        """Box around the ellipsoid, mm."""
        rotation = np.eye(3) if self.rotation is None else self.rotation
        half = np.sqrt(((rotation * np.asarray(self.radii_mm)) ** 2).sum(axis=1))
        return np.array([np.asarray(self.centre_mm) - half, np.asarray(self.centre_mm) + half])

    def distance(self, at: Lattice) -> Float32:
        """Signed distance, mm."""
        centre = np.asarray(self.centre_mm, dtype=np.float32)
        offset = [at.x - centre[0], at.y - centre[1], at.z - centre[2]]
        if self.rotation is not None:
            axes = self.rotation.T.astype(np.float32)
            offset = [a[0] * offset[0] + a[1] * offset[1] + a[2] * offset[2] for a in axes]
        value = np.zeros(at.shape, dtype=np.float32)
        slope = np.zeros(at.shape, dtype=np.float32)
        for part, radius in zip(offset, self.radii_mm, strict=True):
            scaled = part / np.float32(radius)
            value += scaled * scaled
            scaled /= np.float32(radius)
            slope += scaled * scaled
        np.sqrt(value, out=value)
        np.sqrt(slope, out=slope)
        np.maximum(slope, np.float32(1e-12), out=slope)
        return np.asarray(np.where(value > 0, value * (value - 1) / slope, -min(self.radii_mm)))


@dataclass(frozen=True, eq=False)
class Capsule(Shape):
    """A straight piece of tube with round ends and a radius that changes linearly.

    Parameters
    ----------
    start_mm, stop_mm : sequence of float
        Ends of its axis, mm.
    start_radius_mm, stop_radius_mm : float
        Radii at the ends, mm.
    """

    start_mm: Vector
    stop_mm: Vector
    start_radius_mm: float
    stop_radius_mm: float

    @property
    def bounds_mm(self) -> Bounds:
        """Box around the capsule, mm."""
        ends = np.array([self.start_mm, self.stop_mm], dtype=float)
        radius = np.array([[self.start_radius_mm], [self.stop_radius_mm]])
        return np.array([(ends - radius).min(axis=0), (ends + radius).max(axis=0)])

    def distance(self, at: Lattice) -> Float32:
        """Signed distance, mm."""
        start = np.asarray(self.start_mm, dtype=np.float32)
        axis = np.asarray(self.stop_mm, dtype=np.float32) - start
        length2 = max(float(axis @ axis), 1e-12)
        x, y, z = at.x - start[0], at.y - start[1], at.z - start[2]
        along = (x * axis[0] + y * axis[1] + z * axis[2]) / np.float32(length2)
        np.clip(along, 0, 1, out=along)
        x -= along * axis[0]
        y -= along * axis[1]
        z -= along * axis[2]
        radius = along * np.float32(self.stop_radius_mm - self.start_radius_mm)
        radius += np.float32(self.start_radius_mm)
        return np.asarray(np.sqrt(x * x + y * y + z * z) - radius)


@dataclass(frozen=True, eq=False)
class Loft(Shape):
    """A stack of superellipses along z: the cross-sections of a trunk, a bladder, a vertebra.

    Parameters
    ----------
    levels_mm : sequence of float
        Ascending z of the sections, mm.
    sections_mm : ndarray, shape (n_levels, 4)
        Centre x, centre y, half axis in x and half axis in y of each section, mm; smooth between.
    exponent : float
        2 for ellipses; larger is closer to a rectangle.
    """

    levels_mm: Sequence[float]
    sections_mm: npt.NDArray[np.float64]
    exponent: float = 2.0

    @property
    def bounds_mm(self) -> Bounds:
        """Box around the stack, mm."""
        table = self._table(np.linspace(self.levels_mm[0], self.levels_mm[-1], 200))
        centre, half = table[:2], table[2:]
        low, high = (centre - half).min(axis=1), (centre + half).max(axis=1)
        return np.array([[*low, self.levels_mm[0]], [*high, self.levels_mm[-1]]], dtype=float)

    def _table(self, levels: npt.NDArray[np.float64]) -> Float32:
        """Interpolate the four numbers of the sections without overshoot."""
        from scipy.interpolate import PchipInterpolator

        curve = PchipInterpolator(np.asarray(self.levels_mm, float), np.asarray(self.sections_mm))
        return np.asarray(curve(levels).T, dtype=np.float32)

    def distance(self, at: Lattice) -> Float32:
        """Signed distance, mm."""
        first, last = float(self.levels_mm[0]), float(self.levels_mm[-1])
        n_steps = max(int(4 * (last - first)), 1)
        table = self._table(np.linspace(first, last, n_steps + 1))
        index = ((at.z - np.float32(first)) * np.float32(n_steps / (last - first))).round()
        index = np.clip(index, 0, n_steps).astype(np.int32)
        half_x, half_y = table[2][index], table[3][index]
        x = (at.x - table[0][index]) / half_x
        y = (at.y - table[1][index]) / half_y
        distance = _superellipse(x, y, (half_x, half_y), self.exponent)
        middle, half = np.float32((first + last) / 2), np.float32((last - first) / 2)
        return np.asarray(np.maximum(distance, np.abs(at.z - middle) - half))


def _superellipse(x: Float32, y: Float32, half: tuple[Float32, Float32], power: float) -> Float32:
    """Distance from |x|^n + |y|^n = 1 for coordinates in units of the half axes."""
    x, y = np.abs(x), np.abs(y)
    if power == 2.0:
        norm = np.sqrt(x * x + y * y)
        slope = np.sqrt((x / half[0]) ** 2 + (y / half[1]) ** 2) / np.maximum(norm, 1e-6)
    else:
        x_low, y_low = x ** np.float32(power - 1), y ** np.float32(power - 1)
        norm = (x * x_low + y * y_low) ** np.float32(1 / power)
        slope = np.sqrt((x_low / half[0]) ** 2 + (y_low / half[1]) ** 2)
        slope /= np.maximum(norm, 1e-6) ** np.float32(power - 1)
    floor = 0.5 / np.maximum(half[0], half[1])
    return np.asarray((norm - 1) / np.maximum(slope, floor), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Plate(Shape):
    """A bent plate: an elliptic outline, a thickness, a quadratic bend.

    Parameters
    ----------
    centre_mm : sequence of float
        Centre, mm.
    axes : ndarray, shape (3, 3)
        Columns: the two directions in the plate and its normal, orthonormal.
    radii_mm : sequence of float
        Half axes of the outline, mm.
    thickness_mm : tuple of float
        Full thickness in the middle and at the rim, mm.
    bend : sequence of float
        Coefficients of s^2, s t, t^2 of the mid-surface's height over the plane, 1/mm.
    """

    centre_mm: Vector
    axes: npt.NDArray[np.float64]
    radii_mm: Vector
    thickness_mm: tuple[float, float]
    bend: Vector = (0.0, 0.0, 0.0)

    @property
    def bounds_mm(self) -> Bounds:
        """Box around the plate, mm."""
        s, t = self.radii_mm
        height = np.dot(np.abs(self.bend), (s * s, s * t, t * t)) + max(self.thickness_mm)
        half = np.sqrt(((self.axes * np.array([s, t, height])) ** 2).sum(axis=1)) + height
        return np.array([np.asarray(self.centre_mm) - half, np.asarray(self.centre_mm) + half])

    def distance(self, at: Lattice) -> Float32:
        """Signed distance, mm."""
        centre = np.asarray(self.centre_mm, dtype=np.float32)
        x, y, z = at.x - centre[0], at.y - centre[1], at.z - centre[2]
        s, t, height = (a[0] * x + a[1] * y + a[2] * z for a in self.axes.T.astype(np.float32))
        a, b, c = (np.float32(value) for value in self.bend)
        middle = a * s * s + b * s * t + c * t * t
        radius = (np.float32(self.radii_mm[0]), np.float32(self.radii_mm[1]))
        ones = np.ones((), dtype=np.float32)
        outline = _superellipse(
            s / radius[0], t / radius[1], (radius[0] * ones, radius[1] * ones), 2.0
        )
        rim = np.minimum((s / radius[0]) ** 2 + (t / radius[1]) ** 2, 1)
        inner, outer = self.thickness_mm
        half = np.float32(inner / 2) + np.float32((outer - inner) / 2) * rim
        # A bent sheet is crossed obliquely by the height; its slope gives the distance.
        slope = np.sqrt(1 + (2 * a * s + b * t) ** 2 + (b * s + 2 * c * t) ** 2)
        sheet = (np.abs(height - middle) - half) / slope
        rounded = np.minimum(half, np.float32(6.0))
        return np.asarray(_round_corner(sheet, outline, rounded), dtype=np.float32)


def _round_corner(first: Float32, second: Float32, radius: Float32) -> Float32:
    """Intersect two solids with an edge of the given radius."""
    a, b = first + radius, second + radius
    corner = np.sqrt(np.maximum(a, 0) ** 2 + np.maximum(b, 0) ** 2)
    return np.asarray(np.minimum(np.maximum(a, b), 0) + corner - radius)


@dataclass(frozen=True, eq=False)
class HalfSpace(Shape):
    """All points x with ``normal . x < offset``; the normal must have length one.

    Parameters
    ----------
    normal : sequence of float
        Outward direction.
    offset_mm : float
        Position of the plane along the normal, mm.
    """

    normal: Vector
    offset_mm: float

    @property
    def bounds_mm(self) -> Bounds:
        """Unbounded."""
        return EVERYWHERE

    def distance(self, at: Lattice) -> Float32:
        """Signed distance, mm."""
        a, b, c = (np.float32(value) for value in self.normal)
        return np.asarray(a * at.x + b * at.y + c * at.z - np.float32(self.offset_mm))
