"""A patient on a canvas: the trunk's outlines and short ways to paint tissues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.phantom.canvas import Canvas, Layer
from NASAM3DLib.phantom.lattice import Lattice
from NASAM3DLib.phantom.patient import Patient
from NASAM3DLib.phantom.shapes import Ellipsoid, Loft, Shape
from NASAM3DLib.phantom.solids import Complement, Intersection, Sampled, Union, tube
from NASAM3DLib.phantom.tissues import LABELS

SIDES = (1.0, -1.0)
"""Factors of x for the patient's right and left."""

OUTLINE_EXPONENT = 2.3

OUTLINE_LEVELS_MM = (
    -128.0,
    -116.0,
    -98.0,
    -78.0,
    -40.0,
    0.0,
    50.0,
    90.0,
    130.0,
    190.0,
    250.0,
    320.0,
    420.0,
    560.0,
)
"""Heights over the femoral heads of the sections through the muscular trunk, mm."""

OUTLINE_SECTIONS_MM = np.array(
    [
        (0, -12, 30, 16),
        (0, -13, 92, 46),
        (0, -15, 132, 68),
        (0, -17, 150, 80),
        (0, -18, 156, 86),
        (0, -16, 158, 86),
        (0, -16, 153, 88),
        (0, -10, 148, 86),
        (0, -2, 138, 88),
        (0, 2, 130, 90),
        (0, 4, 136, 94),
        (0, 4, 144, 100),
        (0, 2, 148, 102),
        (0, 2, 150, 100),
    ],
    dtype=np.float64,
)
"""Centre x, centre y, half width and half depth of those sections, mm."""

CAVITY_LEVELS_MM = (-45.0, -20.0, 10.0, 40.0, 70.0, 100.0, 130.0, 170.0, 220.0, 270.0, 320.0, 560.0)
CAVITY_SECTIONS_MM = np.array(
    [
        (0, -20, 26, 28),
        (0, -18, 44, 46),
        (0, -20, 58, 58),
        (0, -14, 64, 62),
        (0, 2, 84, 58),
        (0, 16, 104, 54),
        (0, 20, 112, 56),
        (0, 14, 114, 66),
        (0, 12, 116, 70),
        (0, 12, 122, 76),
        (0, 10, 130, 82),
        (0, 6, 134, 84),
    ],
    dtype=np.float64,
)

LEG_POINTS_MM = ((82.0, -10.0, -45.0), (88.0, -6.0, -130.0), (90.0, 0.0, -400.0))
LEG_RADII_MM = (74.0, 72.0, 56.0)


@dataclass(frozen=True, eq=False)
class Scene:
    """What the painters of the anatomy share.

    Parameters
    ----------
    canvas : Canvas
        Where it is painted.
    patient : Patient
        Who is painted.
    outline : Sampled
        Surface of the muscles below the subcutaneous fat.
    cavity : Sampled
        Abdominal and pelvic cavity.
    """

    canvas: Canvas
    patient: Patient
    outline: Sampled
    cavity: Sampled

    def paint(
        self, shape: Shape, tissue: str, label: str, *, within: Sampled | None = None
    ) -> None:
        """Paint a shape with one tissue.

        Parameters
        ----------
        shape : Shape
            What to paint.
        tissue, label : str
            Its material and its label.
        within : Sampled, optional
            Paint only inside this shape.
        """
        self.paint_layers(shape, [(0.0, tissue, label)], within=within)

    def paint_layers(
        self,
        shape: Shape,
        layers: Sequence[tuple[float, str, str]],
        *,
        within: Sampled | None = None,
    ) -> None:
        """Paint a shape with several tissues, from the surface inwards.

        Parameters
        ----------
        shape : Shape
            What to paint.
        layers : sequence of (float, str, str)
            Depth (mm), tissue and label of each layer.
        within : Sampled, optional
            Paint only inside this shape.
        """
        painted = [Layer(d, self.patient.hu[t], LABELS[name]) for d, t, name in layers]
        self.canvas.paint(shape, painted, within=within)


def set_scene(lattice: Lattice, patient: Patient) -> Scene:
    """Paint skin and fat, and find the outlines that the anatomy refers to.

    Parameters
    ----------
    lattice : Lattice
        Voxel centres in the template's frame.
    patient : Patient
        Who is painted.

    Returns
    -------
    Scene
    """
    canvas = Canvas(lattice, patient.hu["air"])
    body = canvas.sampled(_trunk(patient.fat_mm))
    outline = canvas.sampled(_trunk(np.zeros(3)))
    cavity = canvas.sampled(Loft(CAVITY_LEVELS_MM, CAVITY_SECTIONS_MM, OUTLINE_EXPONENT))
    scene = Scene(canvas, patient, outline, cavity)
    scene.paint_layers(body, [(0.0, "skin", "subcutaneous_fat"), (2.0, "fat", "subcutaneous_fat")])
    canvas.limit_to(body)
    scene.paint(outline, "fat", "deep_fat")
    return scene


def trunk_bounds_mm(patient: Patient) -> npt.NDArray[np.float64]:
    """Find the box that holds a patient's trunk and thighs.

    Parameters
    ----------
    patient : Patient
        The patient.

    Returns
    -------
    ndarray, shape (2, 3)
        Minimum and maximum corner in the template's frame, mm.
    """
    return _trunk(patient.fat_mm).bounds_mm


def _trunk(fat_mm: npt.NDArray[np.float64]) -> Shape:
    """Trunk and thighs with so much fat at the side, in front and behind."""
    side, front, back = fat_mm
    grown = OUTLINE_SECTIONS_MM + np.array([0, (front - back) / 2, side, (front + back) / 2])
    trunk = Loft(OUTLINE_LEVELS_MM, grown, OUTLINE_EXPONENT)
    legs = [
        tube(
            [mirrored(p, s) for p in LEG_POINTS_MM], np.array(LEG_RADII_MM) + 0.8 * side, step_mm=50
        )
        for s in SIDES
    ]
    cleft = Ellipsoid((0.0, -116.0 - back, -50.0), (7.0 + 0.2 * back, 24.0 + 0.5 * back, 62.0))
    return Intersection([Union([trunk, *legs], blend_mm=15.0), Complement(cleft)])


def mirrored(point_mm: Sequence[float], side: float) -> tuple[float, float, float]:
    """Give a point on the patient's right (1) or left (-1).

    Parameters
    ----------
    point_mm : sequence of float
        Point on the right, mm.
    side : float
        1 or -1.

    Returns
    -------
    tuple of float
    """
    return (side * point_mm[0], point_mm[1], point_mm[2])


def axes_along(direction: Sequence[float], side: float = 1.0) -> npt.NDArray[np.float64]:
    """Make an orthonormal frame whose first axis has a direction.

    Parameters
    ----------
    direction : sequence of float
        Direction on the patient's right.
    side : float
        1 or -1; mirrors the frame.

    Returns
    -------
    ndarray, shape (3, 3)
        Columns: the direction, one close to S or A across it, and the third.
    """
    first = np.asarray(direction, dtype=np.float64) / np.linalg.norm(direction)
    other = np.array([0.0, 0.0, 1.0]) if abs(first[2]) < 0.9 else np.array([0.0, 1.0, 0.0])
    second = other - first * (first @ other)
    second /= np.linalg.norm(second)
    frame = np.stack([first, second, np.cross(first, second)], axis=1)
    return np.asarray(frame * np.array([[side], [1.0], [1.0]]))
