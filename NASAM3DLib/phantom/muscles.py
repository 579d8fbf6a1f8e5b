"""Muscles of trunk, hip and thigh; the fat between them is what they leave free."""

from __future__ import annotations

import numpy as np

from NASAM3DLib.phantom.scene import SIDES, Scene, axes_along, mirrored
from NASAM3DLib.phantom.shapes import Capsule, Ellipsoid, HalfSpace, Loft, Plate, Shape
from NASAM3DLib.phantom.solids import Complement, Intersection, Offset, Union, tube

Curve = tuple[tuple[tuple[float, float, float], ...], tuple[float, ...]]

CORDS: tuple[Curve, ...] = (
    # psoas, from the lumbar spine to the lesser trochanter
    (
        (
            (28, -24, 262),
            (40, -28, 200),
            (46, -20, 140),
            (60, 4, 85),
            (76, 34, 28),
            (88, 34, -15),
            (103, -6, -55),
        ),
        (7, 17, 21, 20, 16, 14, 8),
    ),
    # erector spinae, medial and lateral
    (
        ((24, -84, 62), (23, -68, 110), (24, -64, 200), (24, -72, 300), (22, -78, 420)),
        (10, 17, 19, 18, 16),
    ),
    (
        ((40, -80, 72), (46, -64, 115), (50, -58, 200), (48, -68, 300), (42, -76, 420)),
        (8, 16, 19, 18, 14),
    ),
    # quadratus lumborum, medial and lateral
    (((66, -40, 126), (60, -42, 180), (48, -46, 270)), (9, 11, 7)),
    (((86, -42, 122), (77, -46, 180), (60, -52, 270)), (9, 9, 6)),
    # piriformis
    (((24, -72, 42), (66, -68, 22), (118, -34, 16)), (8, 12, 5)),
    # obturator externus, pectineus, adductors
    (((28, 32, -34), (62, 4, -34), (106, -22, -20)), (13, 13, 5)),
    (((30, 46, -14), (66, 28, -40), (104, 4, -80)), (11, 14, 8)),
    (((20, 34, -46), (46, 16, -100), (72, 0, -220)), (16, 30, 26)),
    # sartorius, rectus femoris, tensor fasciae latae
    (((122, 46, 72), (114, 58, 10), (84, 58, -90), (50, 30, -260)), (5, 9, 11, 11)),
    (((104, 36, 32), (106, 46, -10), (104, 48, -90), (98, 50, -260)), (6, 14, 20, 18)),
    (((130, 40, 70), (138, 34, 10), (142, 20, -80)), (6, 13, 9)),
    # vastus around the femur, hamstrings
    (((126, 2, -48), (122, 8, -110), (110, 12, -300)), (20, 36, 34)),
    (((66, -46, -66), (74, -46, -120), (84, -44, -300)), (14, 26, 26)),
)

N_INNER_CORDS = 8
"""So many of the cords, the first ones, are painted after the cavity was cleared."""


def paint_outer_muscles(scene: Scene) -> None:
    """Paint the muscles outside the cavity: trunk wall, gluteal muscles, thighs.

    Parameters
    ----------
    scene : Scene
        Where to paint.
    """
    _paint_wall(scene)
    for side in SIDES:
        _paint_gluteal(scene, side)
        for curve in CORDS[N_INNER_CORDS:]:
            _paint_cord(scene, curve, side)


def paint_inner_muscles(scene: Scene) -> None:
    """Paint the muscles that line the cavity: back, psoas, pelvic wall and floor.

    Parameters
    ----------
    scene : Scene
        Where to paint.
    """
    for side in SIDES:
        for curve in CORDS[:N_INNER_CORDS]:
            _paint_cord(scene, curve, side)
        _paint_pelvic_wall(scene, side)
    _paint_pelvic_floor(scene)


def _paint_cord(scene: Scene, curve: Curve, side: float) -> None:
    """Paint a muscle that runs along a curve."""
    points, radii = curve
    cord = tube([mirrored(p, side) for p in points], radii, step_mm=18)
    clipped = Intersection([cord, Offset(scene.outline, -1.5)])
    scene.paint(clipped, "muscle", "muscle")


def _paint_wall(scene: Scene) -> None:
    """Paint the abdominal and chest wall: straight muscles in front, flat muscles at the side."""
    skin_side = Offset(scene.outline, -0.5)
    for side in SIDES:
        straight = Intersection(
            [
                skin_side,
                Complement(Offset(scene.outline, -10.0)),
                HalfSpace((-side, 0.0, 0.0), -2.0),
                HalfSpace((side, 0.0, 0.0), 62.0),
                HalfSpace((0.0, -1.0, 0.0), -20.0),
                HalfSpace((0.0, 0.0, -1.0), 12.0),
            ]
        )
        scene.paint(straight, "muscle", "muscle")
        for outer, inner in ((-0.5, -6.0), (-7.2, -12.0), (-13.0, -17.0)):
            flat = Intersection(
                [
                    Offset(scene.outline, outer),
                    Complement(Offset(scene.outline, inner)),
                    HalfSpace((-side, 0.0, 0.0), -58.0),
                    HalfSpace((0.0, -1.0, 0.0), 62.0),
                    HalfSpace((0.0, 0.0, -1.0), -62.0),
                ]
            )
            scene.paint(flat, "muscle", "muscle")
    back = Intersection(
        [
            skin_side,
            Complement(Offset(scene.outline, -7.0)),
            HalfSpace((0.0, 1.0, 0.0), -40.0),
            HalfSpace((0.0, 0.0, -1.0), -150.0),
        ]
    )
    scene.paint(back, "muscle", "muscle")


def _paint_gluteal(scene: Scene, side: float) -> None:
    """Paint the three gluteal muscles of one side."""
    slanted = np.array([side * -0.35, 0.90, 0.0]) / np.hypot(0.35, 0.90)
    cleft = np.array([side * -0.92, -0.39, 0.0])
    upper = np.array([side * 0.45, -0.15, 0.88])
    largest = Intersection(
        [
            Offset(scene.outline, -0.5),
            Complement(Offset(scene.outline, -31.0)),
            HalfSpace(cleft.tolist(), 27.0),
            HalfSpace(slanted.tolist(), -68.0),
            HalfSpace((upper / np.linalg.norm(upper)).tolist(), 100.0),
            HalfSpace((0.0, 0.0, -1.0), 74.0),
        ]
    )
    scene.paint(largest, "muscle", "muscle")
    axes = axes_along((0.35, 0.75, 0.0), side)
    for centre, radii in (
        ((117.0, -18.0, 64.0), (52.0, 56.0, 19.0)),
        ((122.0, -4.0, 24.0), (38.0, 38.0, 15.0)),
    ):
        belly = Intersection(
            [Ellipsoid(mirrored(centre, side), radii, axes), Offset(scene.outline, -2.0)]
        )
        scene.paint(belly, "muscle", "muscle")


def _paint_pelvic_wall(scene: Scene, side: float) -> None:
    """Paint iliacus on the iliac wing and obturator internus on the inside of the hip bone."""
    axes = axes_along((0.524, 0.852, 0.0), side)
    iliacus = Plate(
        mirrored((84.0, -2.0, 72.0), side), axes, (58.0, 50.0), (22.0, 8.0), (-0.002, 0.0, 0.0)
    )
    scene.paint(iliacus, "muscle", "muscle")
    obturator = Union(
        [
            Ellipsoid(mirrored((57.0, -2.0, -12.0), side), (9.0, 36.0, 30.0)),
            Capsule(
                mirrored((58.0, -25.0, -18.0), side), mirrored((82.0, -44.0, -14.0), side), 9.0, 6.0
            ),
            Capsule(
                mirrored((82.0, -44.0, -14.0), side), mirrored((120.0, -26.0, -4.0), side), 6.0, 5.0
            ),
        ],
        blend_mm=5.0,
    )
    scene.paint(obturator, "muscle", "muscle")


def _paint_pelvic_floor(scene: Scene) -> None:
    """Paint the fat of the ischioanal fossae and the funnel of levator ani."""
    for side in SIDES:
        fossa = Ellipsoid(mirrored((34.0, -52.0, -46.0), side), (19.0, 30.0, 34.0))
        scene.paint(fossa, "fat", "deep_fat")
    levels = (-66.0, -48.0, -30.0, -12.0, 0.0)
    sections = [
        (0, -42, 14, 16),
        (0, -38, 17, 24),
        (0, -28, 31, 40),
        (0, -20, 47, 54),
        (0, -20, 54, 58),
    ]
    outer = Loft(levels, np.array(sections, dtype=float))
    inner = Loft(levels, np.array(sections, dtype=float) - np.array([0, 0, 4.5, 4.5]))
    funnel: Shape = Intersection([outer, Complement(inner), HalfSpace((0.0, 1.0, 0.0), 22.0)])
    scene.paint(funnel, "muscle", "muscle")
