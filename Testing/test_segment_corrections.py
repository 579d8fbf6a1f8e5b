"""A correcting click at the rim repairs its surroundings and takes no neighbour along."""

from __future__ import annotations

import numpy as np
import pytest

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.density import DensityModel, correction_model
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.segmenter import SegmentationSettings, make_segmenter

GRID = VolumeGrid.centred((48, 48, 48), 2.5)
LESION_RADIUS_MM = 14.0


def a_lesion_between_gas_and_fat() -> tuple[Volume, np.ndarray]:
    """A lesion with gas on one side and patchy fat all around, HU."""
    k, j, i = np.indices(GRID.shape_kji)
    ras = GRID.to_ras(np.stack([i, j, k], axis=-1))
    random = np.random.default_rng(0)
    array = np.full(GRID.shape_kji, -70.0)
    array[np.linalg.norm(ras - (18.0, 0.0, 0.0), axis=-1) < 10.0] = -850.0
    lesion = np.linalg.norm(ras, axis=-1) < LESION_RADIUS_MM
    array[lesion] = 50.0
    return Volume(array + random.normal(0.0, 8.0, array.shape), GRID, "HU"), lesion


def volume_after_rim_click() -> float:
    """Volume of the mask over that of the lesion, after a click on the rim beside the gas."""
    volume, lesion = a_lesion_between_gas_and_fat()
    segmenter = make_segmenter("density-guided", SegmentationSettings())
    segmenter.set_volume(volume)
    prompts = Prompts().with_point((0.0, 0.0, 0.0)).with_point((10.0, 9.0, 0.0))
    return segmenter.predict(prompts).n_voxels / float(lesion.sum())


def test_a_click_on_the_rim_does_not_flood_the_neighbours():
    # Taken for a click on the fat beside it, it floods 150 times the lesion.
    assert volume_after_rim_click() < 1.5


def test_the_model_at_a_rim_is_that_of_the_objects_side():
    volume = np.full((9, 9, 9), -850.0, dtype=np.float32)
    volume[:, :, :5] = 50.0
    volume[:, :, 5] = -70.0
    first = DensityModel(48.0, 12.0)
    at_rim = correction_model(volume, (4, 4, 5), first=first)
    assert at_rim.median_hu == pytest.approx(50.0)
    assert at_rim.sigma_hu == pytest.approx(24.0)
    elsewhere = correction_model(volume, (4, 4, 7), first=first)
    assert elsewhere.median_hu == pytest.approx(-850.0)
