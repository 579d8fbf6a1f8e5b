"""Training volumes as few noisy views show them: seeds, size of faults, share of volumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from NASAM3DLib.segment.labelfree import rescan  # noqa: E402
from NASAM3DLib.segment.labelfree.generator.acquisition import AcquisitionChances  # noqa: E402
from NASAM3DLib.segment.labelfree.generator.sample import GeneratorSettings, generate  # noqa: E402
from NASAM3DLib.segment.labelfree.rescan import rescanned_hu  # noqa: E402
from NASAM3DLib.segment.labelfree.training_data import (  # noqa: E402
    GeneratedSource,
    TrainingSettings,
)

EDGE = 24
NO_FAULTS = AcquisitionChances(0.0, 0.0, 0.0, 0.0)
QUICK = TrainingSettings(n_updates=2, batch_size=2, edge=EDGE, n_targets=2, seed=5)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return generate(3, GeneratorSettings(EDGE, chances=NO_FAULTS)).true_hu


def error(found, truth) -> float:
    return float(np.sqrt(np.mean(np.square(found - np.clip(truth, *rescan.LIMITS_HU)))))


def shown(rescans, *, number=0) -> np.ndarray:
    source = GeneratedSource(replace(QUICK, rescans=rescans))
    one = source.interaction(number, np.random.default_rng(0))
    return one.fronts.region.array_hu


def test_the_seed_decides_the_scan(truth):
    first, again, other = (rescanned_hu(truth, np.random.default_rng(n)) for n in (1, 1, 2))
    assert first.shape == truth.shape
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 10


def test_more_views_and_photons_bring_the_truth_closer(truth, monkeypatch):
    errors = []
    for views, photons in ((15, 50.0), (15, 1e6), (90, 1e6)):
        monkeypatch.setattr(rescan, "VIEWS", (views, views))
        monkeypatch.setattr(rescan, "DARKEST", (photons, photons))
        errors.append(error(rescanned_hu(truth, np.random.default_rng(0)), truth))
    assert errors[0] > errors[1] > errors[2]


def test_densities_keep_their_scale(monkeypatch):
    # Water with a block of contrast: means inside are the densities themselves.
    truth = np.zeros((EDGE,) * 3, dtype=np.float32)
    truth[8:16, 8:16, 8:16] = 200
    monkeypatch.setattr(rescan, "VIEWS", (90, 90))
    monkeypatch.setattr(rescan, "DARKEST", (1e6, 1e6))
    found = rescanned_hu(truth, np.random.default_rng(0))
    assert found[10:14, 10:14, 10:14].mean() == pytest.approx(200, abs=10)
    assert found[10:14, 2:6, 10:14].mean() == pytest.approx(0, abs=10)


def test_the_share_of_rescanned_volumes_is_kept():
    plain, all_of_them = shown(0.0), shown(1.0)
    assert np.abs(plain - all_of_them).max() > 10
    some = [np.array_equal(shown(0.5, number=n), shown(1.0, number=n)) for n in range(2)]
    drawn = [np.random.default_rng([QUICK.seed, n, 1]).random() < 0.5 for n in range(2)]
    assert some == drawn


def test_a_share_out_of_range_is_refused():
    with pytest.raises(ValueError, match="rescans"):
        TrainingSettings(rescans=1.5)
