"""Painting shapes into a volume with partial volumes at their edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.phantom.lattice import Float32, Lattice
from NASAM3DLib.phantom.shapes import Shape
from NASAM3DLib.phantom.solids import SURFACE_REACH_MM, Sampled


@dataclass(frozen=True)
class Layer:
    """One skin of an onion: the part of a shape deeper than a depth.

    Parameters
    ----------
    depth_mm : float
        Distance below the shape's surface at which the layer begins, mm.
    hu : float
        Value inside, HU.
    label : int
        Label inside.
    """

    depth_mm: float
    hu: float
    label: int


class Canvas:
    """HU values and labels on a lattice, painted from the outside in.

    Parameters
    ----------
    lattice : Lattice
        Voxel centres.
    background_hu : float
        Value of the empty canvas, HU.
    """

    def __init__(self, lattice: Lattice, background_hu: float) -> None:
        self.lattice = lattice
        self.hu: Float32 = np.full(lattice.shape, background_hu, dtype=np.float32)
        self.labels: npt.NDArray[np.uint8] = np.zeros(lattice.shape, dtype=np.uint8)
        self._limit: Float32 | None = None

    def paint(
        self, shape: Shape, layers: Sequence[Layer], *, within: Sampled | None = None
    ) -> None:
        """Paint a shape over what is there.

        Parameters
        ----------
        shape : Shape
            What to paint.
        layers : sequence of Layer
            From the surface inwards.
        within : Sampled, optional
            Paint only inside this shape, besides the limit of the canvas.

        Notes
        -----
        A voxel's coverage is ``clip(1/2 - d / w, 0, 1)`` for distance d and voxel size w, the box
        average across a plane through the voxel; values mix by coverage and the label changes at
        one half. On a sphere of radius r this overestimates the volume by ``w^2 / (4 r^2)``.
        """
        box = self.lattice.box(shape.bounds_mm, self.lattice.spacing_mm)
        part = self.lattice.cut(box)
        if not part.x.size:
            return
        distance = shape.distance(part)
        limited = distance
        if within is not None:
            limited = np.maximum(limited, within.distance(part))
        if self._limit is not None:
            limited = np.maximum(limited, self._limit[box])
        for layer in layers:
            deep = distance + np.float32(layer.depth_mm) if layer.depth_mm else distance
            deep = np.maximum(deep, limited)
            coverage = np.clip(np.float32(0.5) - deep / np.float32(self.lattice.spacing_mm), 0, 1)
            view = self.hu[box]
            view += coverage * (np.float32(layer.hu) - view)
            self.labels[box][coverage >= 0.5] = layer.label

    def limit_to(self, shape: Sampled) -> None:
        """Let nothing be painted outside a shape from now on.

        Parameters
        ----------
        shape : Sampled
            Usually the skin.
        """
        self._limit = shape.values_mm

    def sampled(self, shape: Shape) -> Sampled:
        """Compute a shape's distances once for repeated use.

        Parameters
        ----------
        shape : Shape
            The shape.

        Returns
        -------
        Sampled
            Distances on the whole lattice; a large number far outside the shape.
        """
        values = np.full(self.lattice.shape, 1e3, dtype=np.float32)
        box = self.lattice.box(shape.bounds_mm, SURFACE_REACH_MM)
        part = self.lattice.cut(box)
        if part.x.size:
            values[box] = shape.distance(part)
        return Sampled(values, shape.bounds_mm)
