"""Organs of the pelvis: bladder, genital organs, rectum and the lesion on its wall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.phantom.scene import SIDES, Scene, mirrored
from NASAM3DLib.phantom.shapes import Capsule, Ellipsoid, HalfSpace, Shape
from NASAM3DLib.phantom.solids import Intersection, Lumpy, Offset, Union, smooth_curve, tube
from NASAM3DLib.phantom.texture import BandNoise

RECTUM_MM = (
    (0.0, -46.0, -92.0),
    (0.0, -44.0, -66.0),
    (0.0, -38.0, -46.0),
    (1.0, -50.0, -24.0),
    (5.0, -60.0, 2.0),
    (7.0, -60.0, 28.0),
    (-4.0, -50.0, 52.0),
    (-20.0, -34.0, 72.0),
)
"""Axis of the anal canal and rectum, from the anus to the sigmoid colon, mm."""

RECTUM_RADII_MM = (7.0, 9.0, 11.0, 17.0, 19.0, 18.0, 15.0, 13.0)
WALL_MM = 3.6
FIRST_OPEN_POINT = 3
"""From this point of the axis on the lumen is open; below it the sphincter closes it."""


@dataclass(frozen=True, eq=False)
class RectalLesion:
    """A lesion on the wall of the rectum.

    Parameters
    ----------
    shape : Shape
        The lesion.
    centre_mm : ndarray, shape (3,)
        A point in its thickest part, in the template's frame, mm.
    channel : Shape
        What remains of the lumen beside it.
    """

    shape: Shape
    centre_mm: npt.NDArray[np.float64]
    channel: Shape


def paint_pelvis(scene: Scene, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Paint bladder, genital organs, sigmoid colon, rectum and lesion.

    Parameters
    ----------
    scene : Scene
        Where to paint.
    rng : numpy.random.Generator
        Source of the random numbers.

    Returns
    -------
    ndarray, shape (3,)
        A point in the rectal lesion, in the template's frame, mm.
    """
    _paint_bladder(scene, rng)
    if scene.patient.sex == "male":
        _paint_male(scene, rng)
    else:
        _paint_female(scene, rng)
    _paint_sigmoid(scene, rng)
    return _paint_rectum(scene, rng)


def _paint_bladder(scene: Scene, rng: np.random.Generator) -> None:
    """Paint a bladder that is more or less full."""
    fill = rng.uniform(0.72, 1.2)
    centre = (rng.normal(0, 2.0), 39.0 - 29.0 * fill, -5.0 + 29.0 * fill)
    body = Ellipsoid(centre, (41.0 * fill, 31.0 * fill, 28.0 * fill))
    bladder = Lumpy(body, BandNoise(rng, 45.0), 2.0)
    wall = 2.5 + 2.0 * (1.2 - fill)
    scene.paint_layers(bladder, [(0.0, "bladder_wall", "bladder"), (wall, "urine", "bladder")])


def _paint_male(scene: Scene, rng: np.random.Generator) -> None:
    """Paint prostate, seminal vesicles and the root of the penis."""
    size = rng.uniform(0.85, 1.25)
    prostate = Ellipsoid((0.0, 4.0, -20.0), (23.0 * size, 16.0 * size, 16.0))
    scene.paint(Lumpy(prostate, BandNoise(rng, 20.0), 0.8), "prostate", "genital_organs")
    for side in SIDES:
        points = [(3, -16, -4), (16, -20, 2), (32, -22, 8)]
        vesicle = tube([mirrored(p, side) for p in points], (4.0, 6.0, 4.0), step_mm=6)
        scene.paint(Lumpy(vesicle, BandNoise(rng, 8.0), 0.9), "prostate", "genital_organs")
        crus = Capsule(mirrored((26, 14, -62), side), mirrored((5, 40, -74), side), 6.0, 8.0)
        scene.paint(crus, "muscle", "genital_organs")
    scene.paint(Capsule((0, 10, -62), (0, 46, -80), 9.0, 11.0), "muscle", "genital_organs")


def _paint_female(scene: Scene, rng: np.random.Generator) -> None:
    """Paint uterus, ovaries and vagina."""
    tip = np.array([rng.normal(0, 6), rng.uniform(-22, -4), rng.uniform(52, 66)])
    cervix = np.array([0.0, -22.0, 10.0])
    size = rng.uniform(0.8, 1.15)
    isthmus, middle = cervix + 0.35 * (tip - cervix), cervix + 0.75 * (tip - cervix)
    body = Ellipsoid(middle, np.array([26.0, 19.0, 22.0]) * size)
    uterus = Union([Capsule(cervix, isthmus, 11.0, 13.0 * size), body], blend_mm=10.0)
    scene.paint(Lumpy(uterus, BandNoise(rng, 25.0), 1.0), "uterus", "genital_organs")
    cavity = Ellipsoid(cervix + 0.7 * (tip - cervix), (9.0, 2.5, 14.0))
    scene.paint(cavity, "muscle", "genital_organs")
    for x in (-7.0, 0.0, 7.0):
        vagina = Capsule((x, -20, 6), (0.7 * x, -12, -62), 5.0, 4.0)
        scene.paint(vagina, "prostate", "genital_organs")
    scene.paint(Capsule((0, 6, -12), (0, 14, -60), 7.0, 6.0), "prostate", "genital_organs")
    for side in SIDES:
        ovary = Ellipsoid(mirrored((rng.uniform(36, 46), -18, 44), side), (11.0, 9.0, 15.0))
        scene.paint(Lumpy(ovary, BandNoise(rng, 12.0), 1.0), "prostate", "genital_organs")


def _paint_sigmoid(scene: Scene, rng: np.random.Generator) -> None:
    """Paint the loop of the sigmoid colon from the descending colon to the rectum."""
    bend = rng.normal(0, 6, (3, 3))
    points = np.array(
        [(-94, 2, 106), (-78, 22, 84), (-52, 6, 92), (-34, -14, 92), (-20, -34, 72)], float
    )
    points[1:4] += bend
    colon = Lumpy(tube(points, rng.uniform(11.0, 15.0)), BandNoise(rng, 18.0), 1.5)
    scene.paint(Offset(colon, 3.0), "fat", "deep_fat", within=scene.cavity)
    scene.paint_layers(colon, [(0.0, "bowel_wall", "bowel"), (3.2, "stool", "bowel")])
    bubbles = Lumpy(HalfSpace((0.0, -1.0, 0.0), -5.0), BandNoise(rng, 14.0), 14.0)
    scene.paint(Intersection([Offset(colon, -4.0), bubbles]), "gas", "bowel")


def _paint_rectum(scene: Scene, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Paint wall, contents and gas of the rectum, the fat around it, and the lesion."""
    axis = np.array(RECTUM_MM)
    axis[FIRST_OPEN_POINT:-1] += rng.normal(
        0, (3.0, 1.5, 2.0), (len(axis) - FIRST_OPEN_POINT - 1, 3)
    )
    radii = np.array(RECTUM_RADII_MM)
    radii[FIRST_OPEN_POINT:] *= rng.uniform(0.82, 1.15) * rng.uniform(
        0.92, 1.08, len(radii) - FIRST_OPEN_POINT
    )
    outer = Lumpy(tube(axis, radii, step_mm=8), BandNoise(rng, 22.0), 0.8)
    open_axis, open_radii = axis[FIRST_OPEN_POINT:], radii[FIRST_OPEN_POINT:] - WALL_MM
    lumen = Intersection([tube(open_axis, open_radii, step_mm=8), Offset(outer, -WALL_MM)])
    mesorectum = tube(
        axis[FIRST_OPEN_POINT:], radii[FIRST_OPEN_POINT:] + rng.uniform(4, 9), step_mm=12
    )
    _paint_mesorectum(scene, mesorectum, rng)
    scene.paint(outer, "rectal_wall", "rectum")
    slit = tube(axis[: FIRST_OPEN_POINT + 1], (1.0, 1.0, 1.5, 5.0), step_mm=8)
    scene.paint(slit, "stool", "rectum")
    scene.paint(lumen, "stool", "rectum")
    _paint_gas(scene, (open_axis, open_radii), lumen, rng)
    lesion = _make_lesion((open_axis, open_radii), outer, rng)
    scene.paint(lesion.shape, "rectal_lesion", "rectal_lesion")
    scene.paint(Intersection([lesion.channel, lumen]), "gas", "rectal_gas")
    return lesion.centre_mm


def _paint_mesorectum(scene: Scene, shape: Shape, rng: np.random.Generator) -> None:
    """Paint the fat around the rectum with its vessels and a few small nodes."""
    scene.paint(shape, "fat", "deep_fat", within=scene.cavity)
    centres = np.array(RECTUM_MM[FIRST_OPEN_POINT:-1])
    for _ in range(int(rng.integers(3, 8))):
        base = centres[rng.integers(len(centres))]
        turn = rng.uniform(np.pi, 2 * np.pi)
        place = base + 23.0 * np.array([np.cos(turn), np.sin(turn), 0.0])
        node = Ellipsoid(place, rng.uniform(1.6, 3.4, 3))
        scene.paint(node, "prostate", "deep_fat", within=scene.cavity)
    for side in SIDES:
        vessel = centres + np.array([side * 5.0, -20.0, 4.0])
        scene.paint(tube(vessel, 1.6, step_mm=15), "vein", "veins", within=scene.cavity)


def _paint_gas(
    scene: Scene,
    axis: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    lumen: Shape,
    rng: np.random.Generator,
) -> None:
    """Paint gas in the front of the lumen, where it rises to in a patient on his back."""
    points, radii = axis
    share = rng.uniform(0.55, 0.95)
    shifted = points + np.outer((1 - share) * radii, [0.0, 1.0, 0.0])
    first = int(rng.integers(0, 2))
    bubble = tube(shifted[first:], share * radii[first:], step_mm=8)
    gas = Intersection([Lumpy(bubble, BandNoise(rng, 14.0), 1.0), lumen])
    scene.paint(gas, "gas", "rectal_gas")


def _make_lesion(
    axis: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    outer: Shape,
    rng: np.random.Generator,
) -> RectalLesion:
    """Make a lesion that follows the wall over an arc: polyp-like, crescent or nearly annular.

    A crescent is a chain of capsules along an arc on the wall, thickest in the middle, repeated at
    several heights and blended into one body. It may bulge into lumen and fat by a few millimetres.
    """
    points, radii = axis
    curve = smooth_curve(points, radii + WALL_MM, step_mm=2.0)
    index = int(rng.integers(len(curve) // 6, int(0.62 * len(curve))))
    centre, radius = curve[index, :3], curve[index, 3] - 0.5 * WALL_MM
    tangent = curve[index + 1, :3] - curve[index - 1, :3]
    tangent /= np.linalg.norm(tangent)
    first = np.cross(tangent, [1.0, 0.0, 0.0])
    first /= np.linalg.norm(first)
    second = np.cross(tangent, first)
    middle, half_arc = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(30, 140))
    thick, length = rng.uniform(6.0, 9.0), rng.uniform(8.0, 28.0)
    turns = middle + np.linspace(-half_arc, half_arc, 9)
    ring = radius * (np.outer(np.cos(turns), first) + np.outer(np.sin(turns), second))
    taper = thick * (1 - 0.6 * np.linspace(-1, 1, 9) ** 2)
    bodies: list[Shape] = []
    for height in np.linspace(-0.5, 0.5, 4) * length:
        level = curve[int(np.clip(index + round(height / 2), 0, len(curve) - 1)), :3]
        bodies.append(
            tube(level + ring, taper * (1 - 0.8 * (height / (length + 8)) ** 2), step_mm=5)
        )
    lumpy = Lumpy(Union(bodies, blend_mm=4.0), BandNoise(rng, 9.0), 0.9)
    shape = Intersection([lumpy, Offset(outer, 4.0)])
    inner = radii.max() - WALL_MM
    away = -(np.cos(middle) * first + np.sin(middle) * second)
    path = curve[max(index - 12, 0) : index + 13, :3] + 0.45 * inner * away
    channel = tube(path[::4], 0.42 * inner, step_mm=8)
    thickest = centre + radius * (np.cos(middle) * first + np.sin(middle) * second)
    return RectalLesion(shape, thickest, channel)
