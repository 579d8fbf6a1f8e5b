"""Bones: spine, sacrum, hip bones, femora, ribs. Coordinates in mm over the femoral heads."""

from __future__ import annotations

import numpy as np

from NASAM3DLib.phantom.scene import (
    OUTLINE_EXPONENT,
    OUTLINE_LEVELS_MM,
    OUTLINE_SECTIONS_MM,
    SIDES,
    Scene,
    mirrored,
)
from NASAM3DLib.phantom.shapes import Capsule, Ellipsoid, HalfSpace, Loft, Plate, Shape
from NASAM3DLib.phantom.solids import Intersection, Offset, Union, tube

VERTEBRAE_MM = (
    (-30.0, 124.0),
    (-21.0, 158.0),
    (-17.0, 192.0),
    (-19.0, 227.0),
    (-26.0, 261.0),
    (-33.0, 294.0),
    (-40.0, 325.0),
    (-46.0, 355.0),
    (-50.0, 384.0),
    (-52.0, 412.0),
    (-53.0, 439.0),
    (-53.0, 465.0),
)
"""Centre y and z of the vertebral bodies from L5 up to T6, mm."""

RIBS = (
    (5, 25.0, -35.0),
    (6, 45.0, -5.0),
    (7, 65.0, 30.0),
    (8, 75.0, 50.0),
    (9, 80.0, 60.0),
    (10, 80.0, 65.0),
)
"""Vertebra (index), descent (mm) and front end (degrees) of the ribs, from the 12th up."""

FEMORAL_HEAD_MM = (88.0, 2.0, 0.0)


def paint_skeleton(scene: Scene) -> None:
    """Paint all bones, their discs and joints.

    Parameters
    ----------
    scene : Scene
        Where to paint.
    """
    for index in range(len(RIBS)):
        for side in SIDES:
            _paint_rib(scene, index, side)
    for level in range(len(VERTEBRAE_MM)):
        _paint_vertebra(scene, level)
    _paint_sacrum(scene)
    for side in SIDES:
        _paint_hip_bone(scene, side)
        _paint_femur(scene, side)
    scene.paint(Ellipsoid((0.0, 49.0, -22.0), (2.5, 9.0, 17.0)), "cartilage", "muscle")


def _paint_vertebra(scene: Scene, level: int) -> None:
    """Paint one vertebra with the disc below it."""
    y, z = VERTEBRAE_MM[level]
    below = VERTEBRAE_MM[level - 1] if level else (-44.0, 94.0)
    size = 1.0 - 0.025 * level
    height = 13.0 - 0.35 * level
    disc_y, disc_z = (y + below[0]) / 2, (z + below[1]) / 2
    disc = Ellipsoid((0.0, disc_y, disc_z - 1.0), (24 * size, 16.5 * size, 8.0))
    scene.paint(disc, "cartilage", "spine")
    wide, waist = (0, y, 25 * size, 17 * size), (0, y, 22 * size, 15 * size)
    body = Loft((z - height, z, z + height), np.array([wide, waist, wide], dtype=float), 2.4)
    scene.paint_layers(body, [(0.0, "thin_cortex", "spine"), (1.6, "marrow", "spine")])
    arch = Union(_arch(y, z, size), blend_mm=4.0)
    scene.paint_layers(arch, [(0.0, "thin_cortex", "spine"), (2.2, "marrow", "spine")])
    top = (0.0, y - 26 * size, z + 16)
    bottom = (0.0, below[0] - 26 * size, below[1] + 16)
    canal = Capsule(top, bottom, 9.0 * size, 9.0 * size)
    scene.paint_layers(canal, [(0.0, "fat", "deep_fat"), (2.0, "spinal_canal", "spinal_canal")])


def _arch(y: float, z: float, size: float) -> list[Shape]:
    """Pedicles, laminae, spinous and transverse processes, facet joints."""
    parts: list[Shape] = [
        Capsule((0, y - 42 * size, z - 4), (0, y - 58 * size, z - 12), 4.0, 4.5),
    ]
    for side in SIDES:
        pedicle = (side * 15 * size, y - 28 * size, z + 3)
        parts += [
            Capsule((side * 14 * size, y - 11 * size, z + 5), pedicle, 5.0, 5.0),
            Capsule(pedicle, (0.0, y - 42 * size, z - 4), 4.2, 4.2),
            Capsule(pedicle, (side * 43 * size, y - 33 * size, z + 4), 4.5, 3.5),
            Ellipsoid((side * 18 * size, y - 33 * size, z - 12), (6.0, 7.0, 11.0)),
        ]
    return parts


def _paint_sacrum(scene: Scene) -> None:
    """Paint sacrum and coccyx with canal and foramina."""
    parts: list[Shape] = [
        Ellipsoid((0, -49, 99), (27, 18, 14)),
        Ellipsoid((0, -65, 76), (24, 14, 15)),
        Ellipsoid((0, -79, 52), (20, 12, 14)),
        Ellipsoid((0, -87, 31), (21, 9, 12)),
        Ellipsoid((0, -88, 13), (15, 8, 10)),
        Capsule((0, -76, 98), (0, -97, 52), 5.0, 4.0),
        tube([(0, -86, 3), (0, -78, -13), (0, -69, -22)], (6.5, 5.0, 3.5)),
    ]
    for side in SIDES:
        parts += [
            Ellipsoid((side * 34, -56, 94), (24, 18, 17)),
            Ellipsoid((side * 30, -67, 74), (21, 14, 16)),
            Ellipsoid((side * 21, -79, 52), (14, 11, 14)),
        ]
    scene.paint_layers(
        Union(parts, blend_mm=6.0), [(0.0, "thin_cortex", "pelvis"), (1.8, "marrow", "pelvis")]
    )
    canal = tube([(0, -71, 112), (0, -80, 80), (0, -92, 48)], (8.0, 6.0, 4.0))
    scene.paint_layers(canal, [(0.0, "fat", "deep_fat"), (3.0, "spinal_canal", "spinal_canal")])
    for side in SIDES:
        for front, back in (((-46, 84), (-78, 80)), ((-64, 61), (-88, 58)), ((-76, 40), (-95, 38))):
            hole = Capsule((side * 18, *front), (side * 17, *back), 4.0, 3.5)
            scene.paint(hole, "fat", "deep_fat")
            nerve = Capsule((side * 18, *front), (side * 17, *back), 2.0, 2.0)
            scene.paint(nerve, "spinal_canal", "spinal_canal")


def _paint_hip_bone(scene: Scene, side: float) -> None:
    """Paint ilium, ischium and pubis of one side, and the sacroiliac joint."""
    wing_axes = _wing_axes(side)
    wing = Plate(
        mirrored((98.0, -15.0, 76.0), side),
        wing_axes,
        (78.0, 60.0),
        (4.5, 12.0),
        (-0.0027, 0.0006, 0.0008),
    )
    cup = Ellipsoid(mirrored(FEMORAL_HEAD_MM, side), (35.0, 35.0, 37.0))
    opening = np.array([side * 0.80, 0.25, -0.55]) / np.linalg.norm([0.80, 0.25, 0.55])
    head = np.array(mirrored(FEMORAL_HEAD_MM, side))
    socket = Intersection([cup, HalfSpace(opening.tolist(), float(opening @ head) + 6.0)])

    def rod(start: tuple[float, ...], stop: tuple[float, ...], radii: tuple[float, float]) -> Shape:
        return Capsule(mirrored(start, side), mirrored(stop, side), *radii)

    bone = Union(
        [
            wing,
            socket,
            rod((86, 0, 28), (84, -20, 58), (17.0, 10.0)),
            rod((82, -25, 50), (50, -70, 72), (12.0, 12.0)),
            rod((50, -70, 72), (45, -78, 96), (12.0, 10.0)),
            rod((84, -24, -6), (63, -40, -56), (15.0, 15.0)),
            rod((60, -32, -62), (14, 40, -40), (8.0, 6.5)),
            rod((74, 24, 10), (16, 52, -12), (9.5, 8.0)),
            Ellipsoid(mirrored((11.5, 48.0, -24.0), side), (9.0, 9.0, 18.0)),
        ],
        blend_mm=9.0,
    )
    scene.paint_layers(bone, [(0.0, "cortex", "pelvis"), (2.0, "marrow", "pelvis")])
    joint_axes = np.stack([[side * 0.5, 0.866, 0.0], [0.0, 0.0, 1.0], [side * 0.866, -0.5, 0.0]], 1)
    joint = Plate(
        mirrored((52.0, -60.0, 84.0), side), joint_axes, (20.0, 27.0), (2.6, 2.6), (0.003, 0, 0.002)
    )
    scene.paint(joint, "cartilage", "muscle")


def _wing_axes(side: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Columns: along the iliac crest, up and outwards, and out of the wing."""
    along = np.array([0.524, 0.852, 0.0])
    up = np.array([0.30, -0.10, 0.95])
    up -= along * (up @ along)
    up /= np.linalg.norm(up)
    axes = np.stack([along, up, np.cross(along, up)], axis=1)
    return np.asarray(axes * np.array([[side], [1.0], [1.0]]))


def _paint_femur(scene: Scene, side: float) -> None:
    """Paint the hip joint's cartilage and one femur."""
    head = mirrored(FEMORAL_HEAD_MM, side)
    scene.paint(Ellipsoid(head, (26.5, 26.5, 26.5)), "cartilage", "muscle")
    shaft_points = [(117, -8, -35), (113, -5, -90), (100, 2, -400)]
    shaft = tube([mirrored(p, side) for p in shaft_points], (18.0, 15.0, 14.0), step_mm=40)
    upper = Union(
        [
            Ellipsoid(head, (23.5, 23.5, 23.5)),
            Capsule(mirrored((95, 0, -5), side), mirrored((117, -6, -22), side), 15.0, 17.0),
            Ellipsoid(mirrored((127, -15, -14), side), (13.0, 19.0, 22.0)),
            Ellipsoid(mirrored((104, -16, -54), side), (9.0, 9.0, 11.0)),
            shaft,
        ],
        blend_mm=8.0,
    )
    scene.paint_layers(upper, [(0.0, "cortex", "femur"), (1.8, "marrow", "femur")])
    # The shaft has a thick wall; its marrow reaches up into the spongy bone, without a lid.
    scene.paint(Intersection([shaft, HalfSpace((0.0, 0.0, 1.0), -62.0)]), "cortex", "femur")
    marrow = Intersection([Offset(shaft, -6.5), HalfSpace((0.0, 0.0, 1.0), -48.0)])
    scene.paint(marrow, "shaft_marrow", "femur")


def _paint_rib(scene: Scene, index: int, side: float) -> None:
    """Paint one rib along the chest wall, from the vertebra forwards and down."""
    level, descent, front_deg = RIBS[index]
    y, z = VERTEBRAE_MM[level]
    turn = np.radians(np.linspace(-72.0, front_deg, 9))
    progress = np.linspace(0.0, 1.0, turn.size)
    heights = z - 4 - descent * progress
    sections = np.stack(
        [np.interp(heights, OUTLINE_LEVELS_MM, column) for column in OUTLINE_SECTIONS_MM.T]
    )
    power = 2 / OUTLINE_EXPONENT
    across = np.abs(np.cos(turn)) ** power * (sections[2] - 9)
    depth = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power * (sections[3] - 9)
    points = np.stack([side * across, sections[1] + depth, heights], axis=1)
    start = np.array([[side * 21.0, y - 16.0, z + 4.0]])
    bone = tube(np.concatenate([start, points]), 5.2, step_mm=14)
    scene.paint_layers(bone, [(0.0, "thin_cortex", "ribs"), (1.8, "marrow", "ribs")])
