"""A ball in noise and a tiny SAM-Med3D, for the tests of clicks and of the engine."""

from __future__ import annotations

from clicked_objects import clicks, sphere, volume_of
from sam_med3d_numpy import TINY

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.sam_med3d.inference import Predictor
from NASAM3DLib.segment.sam_med3d.model import build_sam_med3d, fill_parameters

GRID = VolumeGrid.centred((40, 44, 48), (2.0, 1.6, 1.8), centre_ras=(3.0, -2.0, 5.0))
MIDDLE = (3.0, -2.0, 5.0)
BALL = sphere(GRID, MIDDLE, 16.0)
VOLUME = volume_of((BALL, 60.0), grid=GRID)
THREE = clicks((MIDDLE, True), ((3, 20, 5), False), ((14, -2, 5), True))


def tiny_predictor(**options) -> Predictor:
    """A network with weights from its names."""
    return Predictor(fill_parameters(build_sam_med3d(TINY)), **{"device": "cpu", **options})
