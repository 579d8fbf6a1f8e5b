"""Objects of known shape in noise, and clicks on them, for the tests of segmentation."""

from __future__ import annotations

import numpy as np

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.segmenter import (
    PromptableSegmenter,
    SegmentationSettings,
    make_segmenter,
)

GRID = VolumeGrid.centred((48, 48, 48), 3.0)
PLAIN = SegmentationSettings(density_guidance=False)


def distance_from(grid: VolumeGrid, centre_ras: tuple[float, float, float]) -> np.ndarray:
    k, j, i = np.meshgrid(*(np.arange(n) for n in grid.shape_kji), indexing="ij")
    return np.linalg.norm(grid.to_ras(np.stack([i, j, k], axis=-1)) - centre_ras, axis=-1)


def sphere(
    grid: VolumeGrid, centre_ras: tuple[float, float, float], radius_mm: float
) -> np.ndarray:
    return distance_from(grid, centre_ras) < radius_mm


def volume_of(*objects: tuple[np.ndarray, float], noise_hu: float = 10.0, grid=GRID) -> Volume:
    """Objects of given HU in soft tissue of 0 HU, with whole-numbered noise."""
    array = np.random.default_rng(0).normal(0, noise_hu, grid.shape_kji)
    for inside, hu in objects:
        array[inside] += hu
    return Volume(np.rint(array).astype(np.float32), grid, "HU")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def engine(volume: Volume, choice: SegmentationSettings | None = None) -> PromptableSegmenter:
    segmenter = make_segmenter("density-guided", choice)
    segmenter.set_volume(volume)
    return segmenter


def clicks(*points: tuple[tuple[float, float, float], bool]) -> Prompts:
    prompts = Prompts()
    for point, positive in points:
        prompts = prompts.with_point(point, positive=positive)
    return prompts


ONE = clicks(((0, 0, 0), True))
BALL = sphere(GRID, (0, 0, 0), 24.0)
BALL_VOLUME = volume_of((BALL, 60.0))
