"""Organs of the abdomen and the bases of the lungs. Coordinates in mm over the femoral heads."""

from __future__ import annotations

import numpy as np

from NASAM3DLib.phantom.scene import SIDES, Scene, mirrored
from NASAM3DLib.phantom.shapes import Ellipsoid, HalfSpace, Shape
from NASAM3DLib.phantom.skeleton import VERTEBRAE_MM
from NASAM3DLib.phantom.solids import Complement, Intersection, Lumpy, Offset, Union, tube
from NASAM3DLib.phantom.texture import BandNoise

Points = list[tuple[float, float, float]]

DOMES = (
    ((66.0, 4.0, 200.0), (84.0, 96.0, 182.0)),
    ((-62.0, 4.0, 200.0), (84.0, 92.0, 166.0)),
    ((0.0, 14.0, 200.0), (90.0, 90.0, 152.0)),
)
"""Centres and half axes of the two halves of the diaphragm and its central tendon, mm."""


def paint_thorax(scene: Scene) -> None:
    """Paint lungs, diaphragm, heart and what lies around the thoracic spine.

    Parameters
    ----------
    scene : Scene
        Where to paint.
    """
    domes = [Ellipsoid(centre, radii) for centre, radii in DOMES]
    slope = np.hypot(0.36, 1.0)
    chest = Intersection(
        [
            Offset(scene.outline, -14.0),
            HalfSpace((0.0, 0.36 / slope, -1.0 / slope), -308.0 / slope),
            *[Complement(dome) for dome in domes],
        ]
    )
    scene.paint(Offset(chest, 2.5), "muscle", "muscle")
    scene.paint(chest, "lung", "lungs")
    middle = tube(
        [(0, -40, 280), (0, -34, 360), (0, -20, 460), (0, -20, 560)], (34, 34, 36, 36), step_mm=40
    )
    scene.paint(middle, "fat", "deep_fat")
    heart = Union(
        [
            Ellipsoid((-26.0, 40.0, 384.0), (58.0, 44.0, 42.0)),
            Ellipsoid((6.0, 34.0, 410.0), (46.0, 42.0, 42.0)),
        ],
        blend_mm=15.0,
    )
    above = Intersection([heart, *[Complement(Offset(dome, 2.0)) for dome in domes]])
    scene.paint(Offset(above, 3.0), "fat", "deep_fat")
    scene.paint(above, "heart", "heart")


def paint_abdomen(scene: Scene, rng: np.random.Generator) -> tuple[float, float, float]:
    """Paint bowel, liver, spleen, kidneys and the other organs of the abdomen.

    Parameters
    ----------
    scene : Scene
        Where to paint.
    rng : numpy.random.Generator
        Source of the random numbers.

    Returns
    -------
    tuple of float
        Centre of the liver metastasis in the template's frame, mm.
    """
    _paint_small_bowel(scene, rng)
    _paint_colon(scene, rng)
    for side in SIDES:
        _paint_kidney(scene, rng, side)
    _paint_stomach(scene, rng)
    pancreas = tube(
        [(34, 14, 236), (26, 22, 250), (0, 26, 256), (-42, 10, 272), (-80, -12, 288)],
        (13, 11, 9, 9, 7),
    )
    scene.paint(Lumpy(pancreas, BandNoise(rng, 14.0), 1.2), "pancreas", "pancreas")
    spleen = Ellipsoid((-106.0, -28.0, 304.0), (26.0, 42.0, 46.0 * rng.uniform(0.85, 1.15)))
    scene.paint(Lumpy(spleen, BandNoise(rng, 50.0), 2.5), "spleen", "spleen", within=scene.cavity)
    return _paint_liver(scene, rng)


def _paint_liver(scene: Scene, rng: np.random.Generator) -> tuple[float, float, float]:
    """Paint liver, gallbladder, portal and hepatic veins, and one metastasis."""
    size = rng.uniform(0.92, 1.1)
    lobes = Union(
        [
            Ellipsoid((74.0, -2.0, 296.0), (64.0 * size, 84.0, 86.0 * size)),
            Ellipsoid((4.0, 42.0, 322.0), (82.0 * size, 38.0, 40.0 * size)),
        ],
        blend_mm=22.0,
    )
    hollow = Ellipsoid((14.0, -4.0, 222.0), (62.0, 60.0, 62.0))
    domes = Union([Ellipsoid(c, np.array(r) - 3.0) for c, r in DOMES])
    whole = Intersection([lobes, Complement(hollow), domes, Offset(scene.outline, -16.5)])
    liver = scene.canvas.sampled(Lumpy(whole, BandNoise(rng, 60.0), 1.5))
    scene.paint(liver, "liver", "liver", within=scene.cavity)
    vessels: list[Points] = [
        [(32, 16, 262), (46, 2, 288), (80, -8, 298), (106, -20, 292)],
        [(46, 2, 288), (74, 26, 306), (100, 40, 306)],
        [(40, 6, 284), (8, 34, 308), (-30, 44, 320)],
        [(22, -10, 346), (54, -6, 336), (92, -26, 322)],
        [(22, -10, 346), (48, 22, 334), (70, 48, 318)],
        [(20, -8, 346), (0, 26, 336), (-20, 46, 330)],
    ]
    for points in vessels:
        radii = np.linspace(rng.uniform(4.5, 6.5), 1.5, len(points))
        scene.paint(tube(points, radii), "vein", "veins", within=liver)
    gallbladder = Ellipsoid((52.0, 46.0, 246.0), (13.0, 17.0, 27.0 * rng.uniform(0.8, 1.2)))
    scene.paint_layers(
        gallbladder, [(0.0, "bowel_wall", "gallbladder"), (1.5, "bile", "gallbladder")]
    )
    centre = (
        float(rng.uniform(72, 98)),
        float(rng.uniform(-30, 20)),
        float(rng.uniform(285, 315)),
    )
    radius = rng.uniform(8.0, 18.0)
    metastasis = Lumpy(
        Ellipsoid(centre, radius * rng.uniform(0.85, 1.15, 3)), BandNoise(rng, 12.0), 0.8
    )
    scene.paint(metastasis, "liver_lesion", "liver_lesion", within=liver)
    return centre


def _paint_kidney(scene: Scene, rng: np.random.Generator, side: float) -> None:
    """Paint one kidney: cortex, medulla, and the fat of the sinus with the renal pelvis."""
    lower = 8.0 if side > 0 else 0.0
    centre = np.array([side * 66.0, -40.0, 242.0 - lower]) + rng.normal(0, (2.0, 2.0, 5.0))
    tilt = np.radians(rng.uniform(6, 16)) * side
    turn = np.radians(35.0) * side
    about_y = np.array(
        [[np.cos(tilt), 0, -np.sin(tilt)], [0, 1, 0], [np.sin(tilt), 0, np.cos(tilt)]]
    )
    about_z = np.array(
        [[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    axes = about_y @ about_z
    length = rng.uniform(50.0, 60.0)
    kidney = Lumpy(Ellipsoid(centre, (26.0, 30.0, length), axes), BandNoise(rng, 25.0), 0.8)
    inward = axes @ np.array([-side * 16.0, 6.0, 0.0])
    sinus = Lumpy(
        Ellipsoid(centre + inward, (18.0, 12.0, 0.5 * length), axes), BandNoise(rng, 16.0), 2.0
    )
    scene.paint_layers(
        kidney, [(0.0, "kidney_cortex", "kidneys"), (7.5, "kidney_medulla", "kidneys")]
    )
    scene.paint(sinus, "fat", "deep_fat")
    pelvis = Ellipsoid(centre + inward, (10.0, 6.0, 0.22 * length), axes)
    scene.paint(pelvis, "urine", "kidneys")
    inner = centre + 1.9 * inward
    scene.paint(tube([centre + inward, inner, (side * 18, -4, 246)], (4, 4, 4)), "vein", "veins")


def _paint_stomach(scene: Scene, rng: np.random.Generator) -> None:
    """Paint stomach and duodenum, gas in front and liquid behind."""
    size = rng.uniform(0.8, 1.15)
    points: Points = [
        (-52, -8, 346),
        (-66, 12, 320),
        (-66, 36, 288),
        (-40, 56, 262),
        (0, 56, 252),
        (30, 40, 254),
    ]
    stomach = tube(points, np.array([22, 34, 31, 26, 20, 12]) * size, step_mm=15)
    paint_hollow(scene, stomach, ("stomach", 4.0, 30.0 + rng.uniform(-5, 15)), rng)
    duodenum = tube(
        [(30, 40, 254), (46, 20, 256), (48, 2, 236), (44, 2, 205), (0, 14, 196), (-24, 26, 214)],
        12.0,
    )
    paint_hollow(scene, duodenum, ("bowel", 2.5, 200.0), rng)


def paint_hollow(
    scene: Scene, shape: Union, filling: tuple[str, float, float], rng: np.random.Generator
) -> None:
    """Paint a hollow organ: wall, contents, and gas above an irregular level.

    Parameters
    ----------
    scene : Scene
        Where to paint.
    shape : Union
        Outer surface.
    filling : tuple of (str, float, float)
        Label, thickness of the wall (mm) and y above which gas gathers (mm).
    rng : numpy.random.Generator
        Source of the random numbers.
    """
    label, wall_mm, level_mm = filling
    tissue = "stomach_wall" if label == "stomach" else "bowel_wall"
    content = "bowel_content" if rng.random() < 0.6 else "stool"
    scene.paint_layers(
        shape, [(0.0, tissue, label), (wall_mm, content, label)], within=scene.cavity
    )
    surface: Shape = HalfSpace((0.0, -1.0, 0.0), -level_mm)
    if label != "stomach":
        surface = Lumpy(surface, BandNoise(rng, 12.0), 5.0)
    gas = Intersection([Offset(shape, -wall_mm - 0.5), surface])
    scene.paint(gas, "gas", label, within=scene.cavity)


def _paint_small_bowel(scene: Scene, rng: np.random.Generator) -> None:
    """Paint loops of small bowel that wander through the middle of the cavity."""
    bubble_shift = np.array([0.0, 2.0, 0.0])
    centre, half = np.array([4.0, 36.0, 140.0]), np.array([72.0, 32.0, 72.0])
    for _ in range(26):
        position = centre + half * rng.uniform(-1, 1, 3)
        heading = rng.standard_normal(3)
        points = []
        for _ in range(6):
            points.append(position)
            heading = 0.6 * heading / np.linalg.norm(heading) + 0.8 * rng.standard_normal(3)
            heading -= 0.7 * ((position - centre) / half) ** 3
            position = position + 18.0 * heading / np.linalg.norm(heading)
        loop = tube(points, rng.uniform(8.5, 12.5), step_mm=9)
        fat = Offset(loop, rng.uniform(1.5, 4.0))
        scene.paint(fat, "fat", "deep_fat", within=scene.cavity)
        layers = [(0.0, "bowel_wall", "bowel"), (2.2, "bowel_content", "bowel")]
        scene.paint_layers(loop, layers, within=scene.cavity)
        if rng.random() < 0.2:
            bubble = tube([p + bubble_shift for p in points], 5.0, step_mm=9)
            scene.paint(bubble, "gas", "bowel", within=scene.cavity)


def _paint_colon(scene: Scene, rng: np.random.Generator) -> None:
    """Paint the colon from the caecum to the sigmoid, with haustra."""
    parts: list[tuple[Points, float, float]] = [
        ([(84, 16, 84), (94, 4, 110), (100, -10, 160), (98, -8, 205), (84, 14, 232)], 22.0, 8.0),
        ([(84, 14, 232), (56, 62, 206), (4, 72, 194), (-58, 62, 222), (-96, 14, 276)], 19.0, 62.0),
        ([(-96, 14, 276), (-104, -22, 228), (-102, -18, 160), (-94, 2, 106)], 16.0, -12.0),
    ]
    for points, radius, level in parts:
        smooth = np.array(points, dtype=float) + rng.normal(0, 3.0, (len(points), 3))
        size = radius * rng.uniform(0.8, 1.15)
        colon = tube(smooth, size, step_mm=14)
        lumpy = Union([Lumpy(part, BandNoise(rng, 24.0), 2.0) for part in [colon]])
        paint_hollow(scene, lumpy, ("bowel", 2.8, level + rng.uniform(-8, 8)), rng)


def paint_great_vessels(scene: Scene, rng: np.random.Generator) -> None:
    """Paint aorta, vena cava and the iliac vessels down to the thigh.

    Parameters
    ----------
    scene : Scene
        Where to paint.
    rng : numpy.random.Generator
        Source of the random numbers.
    """
    radius = rng.uniform(7.5, 10.5)
    spine = [(y, z) for y, z in VERTEBRAE_MM[1:]]
    cava: Points = [(18.0, y + 25.0, z) for y, z in spine[:6]] + [(20, -4, 352), (16, 14, 384)]
    scene.paint(tube(cava, 1.15 * radius, step_mm=20), "vein", "veins")
    aorta = [(-7.0, y + 27.0, z) for y, z in spine]
    scene.paint(tube(aorta, radius, step_mm=20), "artery", "aorta")
    fork = (-5.0, aorta[0][1], aorta[0][2])
    for side in SIDES:
        vein: Points = [
            (28, -14, 112),
            (40, -18, 90),
            (51, 10, 60),
            (57, 34, 28),
            (58, 44, 0),
            (62, 32, -60),
            (74, 20, -300),
        ]
        paths = [mirrored(p, side) for p in vein]
        scene.paint(tube([(18.0, 4.0, 150.0), *paths], 0.72 * radius), "vein", "veins")
        outer: Points = [
            (32, -4, 116),
            (47, -4, 90),
            (60, 20, 60),
            (65, 42, 28),
            (67, 50, 0),
            (70, 40, -60),
            (78, 26, -300),
        ]
        artery = tube(
            [fork, *[mirrored(p, side) for p in outer]], [0.7 * radius] * 3 + [0.5 * radius] * 5
        )
        scene.paint(artery, "artery", "iliac_arteries")
        inner: Points = [(46, -4, 92), (45, -34, 66), (50, -46, 40), (56, -40, 16)]
        branch = tube([mirrored(p, side) for p in inner], np.array([0.5, 0.4, 0.33, 0.2]) * radius)
        scene.paint(branch, "artery", "iliac_arteries")
