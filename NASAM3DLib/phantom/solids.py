"""Shapes made of shapes: unions, intersections, shells, tubes along a curve, lumpy surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from NASAM3DLib.phantom.lattice import Float32, Lattice
from NASAM3DLib.phantom.shapes import EVERYWHERE, FAR_MM, Bounds, Capsule, Shape
from NASAM3DLib.phantom.texture import BandNoise

SURFACE_REACH_MM = 8.0
"""Distances are only needed this close to a surface; parts are not evaluated farther out."""


@dataclass(frozen=True, eq=False)
class Union(Shape):
    """The union of several shapes, optionally with fillets.

    Parameters
    ----------
    shapes : sequence of Shape
        The parts.
    blend_mm : float
        Width of the fillet between parts, mm; 0 for none.

    Notes
    -----
    Blending is the polynomial smooth minimum ``min(a, b) - h^2 / (4 k)`` with
    ``h = max(k - |a - b|, 0)``.
    """

    shapes: Sequence[Shape]
    blend_mm: float = 0.0

    @property
    def bounds_mm(self) -> Bounds:
        """Box around all parts, mm."""
        bounds = np.array([shape.bounds_mm for shape in self.shapes])
        return np.array([bounds[:, 0].min(axis=0), bounds[:, 1].max(axis=0)])

    def distance(self, at: Lattice) -> Float32:
        """Signed distance, mm; large where no part is near."""
        total = np.full(at.shape, FAR_MM, dtype=np.float32)
        for shape in self.shapes:
            box = at.box(shape.bounds_mm, SURFACE_REACH_MM + self.blend_mm)
            part = total[box]
            if not part.size:
                continue
            distance = shape.distance(at.cut(box))
            if self.blend_mm > 0:
                near = np.maximum(np.float32(self.blend_mm) - np.abs(part - distance), 0)
                fillet = near * near / np.float32(4 * self.blend_mm)
                total[box] = np.minimum(part, distance) - fillet
            else:
                np.minimum(part, distance, out=part)
        return total


@dataclass(frozen=True, eq=False)
class Intersection(Shape):
    """What lies in all of several shapes.

    Parameters
    ----------
    shapes : sequence of Shape
        The shapes.
    """

    shapes: Sequence[Shape]

    @property
    def bounds_mm(self) -> Bounds:
        """Box around the intersection, mm."""
        bounds = np.array([shape.bounds_mm for shape in self.shapes])
        return np.stack([bounds[:, 0].max(axis=0), bounds[:, 1].min(axis=0)])

    def distance(self, at: Lattice) -> Float32:
        """Signed distance, mm."""
        total = self.shapes[0].distance(at)
        for shape in self.shapes[1:]:
            total = np.maximum(total, shape.distance(at))
        return total


@dataclass(frozen=True, eq=False)
class Complement(Shape):
    """Everything but a shape.

    Parameters
    ----------
    shape : Shape
        What to leave out.
    """

    shape: Shape

    @property
    def bounds_mm(self) -> Bounds:
        """Unbounded."""
        return EVERYWHERE

    def distance(self, at: Lattice) -> Float32:
        """Signed distance, mm."""
        return np.asarray(-self.shape.distance(at))


@dataclass(frozen=True, eq=False)
class Offset(Shape):
    """A shape grown (positive) or shrunk (negative) by a distance.

    Parameters
    ----------
    shape : Shape
        The shape.
    offset_mm : float
        Distance, mm.
    """

    shape: Shape
    offset_mm: float

    @property
    def bounds_mm(self) -> Bounds:
        """Box around the result, mm."""
        growth = max(self.offset_mm, 0.0)
        return np.asarray(self.shape.bounds_mm + np.array([[-growth], [growth]]))

    def distance(self, at: Lattice) -> Float32:
        """Signed distance, mm."""
        return np.asarray(self.shape.distance(at) - np.float32(self.offset_mm))


@dataclass(frozen=True, eq=False)
class Lumpy(Shape):
    """A shape whose surface rises and falls at random.

    Parameters
    ----------
    shape : Shape
        The smooth shape.
    noise : BandNoise
        Field of unit standard deviation.
    amplitude_mm : float
        Standard deviation of the surface's height, mm.
    """

    shape: Shape
    noise: BandNoise
    amplitude_mm: float

    @property
    def bounds_mm(self) -> Bounds:
        """Box around the result, mm."""
        growth = 3 * self.amplitude_mm
        return np.asarray(self.shape.bounds_mm + np.array([[-growth], [growth]]))

    def distance(self, at: Lattice) -> Float32:
        """Signed distance, mm."""
        height = np.clip(self.noise.sample(at), -3, 3) * np.float32(self.amplitude_mm)
        return np.asarray(self.shape.distance(at) - height)


@dataclass(frozen=True, eq=False)
class Sampled(Shape):
    """A shape whose distances on the whole lattice are known already.

    Parameters
    ----------
    values_mm : ndarray, shape (k, j, i), float32
        Signed distances on the uncut lattice, mm.
    limits_mm : ndarray, shape (2, 3)
        Box around the shape, mm.
    """

    values_mm: Float32
    limits_mm: Bounds

    @property
    def bounds_mm(self) -> Bounds:
        """Box around the shape, mm."""
        return self.limits_mm

    def distance(self, at: Lattice) -> Float32:
        """Signed distance, mm."""
        k, j, i = (slice(a, a + n) for a, n in zip(at.origin_kji, at.shape, strict=True))
        return self.values_mm[k, j, i]


def tube(points_mm: npt.ArrayLike, radii_mm: npt.ArrayLike, *, step_mm: float = 12.0) -> Union:
    """Make a tube along a smooth curve through points.

    Parameters
    ----------
    points_mm : array_like, shape (n, 3)
        Points on the axis, mm.
    radii_mm : array_like, shape (n,) or scalar
        Radius at each point, mm.
    step_mm : float
        Length of the straight pieces, mm.

    Returns
    -------
    Union
        A chain of capsules.
    """
    curve = smooth_curve(points_mm, radii_mm, step_mm=step_mm)
    return Union([Capsule(a[:3], b[:3], float(a[3]), float(b[3])) for a, b in pairwise(curve)])


def smooth_curve(
    points_mm: npt.ArrayLike, radii_mm: npt.ArrayLike, *, step_mm: float
) -> npt.NDArray[np.float64]:
    """Sample a smooth curve through points, radius included.

    Parameters
    ----------
    points_mm : array_like, shape (n, 3)
        Points on the curve, mm.
    radii_mm : array_like, shape (n,) or scalar
        Radius at each point, mm.
    step_mm : float
        Distance between samples, mm.

    Returns
    -------
    ndarray, shape (m, 4), float64
        Position and radius, mm. Monotone cubic interpolation, so that it does not overshoot.
    """
    from scipy.interpolate import PchipInterpolator

    points = np.asarray(points_mm, dtype=np.float64)
    radii = np.broadcast_to(np.asarray(radii_mm, dtype=np.float64), (len(points),))
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(lengths)])
    n_samples = max(int(np.ceil(arc[-1] / step_mm)) + 1, len(points))
    knots = np.column_stack([points, radii])
    return np.asarray(PchipInterpolator(arc, knots)(np.linspace(0, arc[-1], n_samples)))
