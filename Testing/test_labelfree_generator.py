"""The generator of training volumes: determinism, ranges, objects, acquisition by its laws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

torch = pytest.importorskip("torch")

from NASAM3DLib.segment.labelfree.generator.acquisition import (  # noqa: E402
    AcquisitionChances,
    combed,
    rescanned,
    thick_slices,
)
from NASAM3DLib.segment.labelfree.generator.draws import Draws, gaussian_blur  # noqa: E402
from NASAM3DLib.segment.labelfree.generator.sample import (  # noqa: E402
    MAX_TARGET_SHARE,
    MIN_TARGET_VOXELS,
    GeneratorSettings,
    generate,
)
from NASAM3DLib.segment.labelfree.generator.shapes import (  # noqa: E402
    ellipsoid,
    power_diagram,
    tube,
)
from NASAM3DLib.segment.labelfree.generator.tissues import lesion_hu, tissue_hu  # noqa: E402

QUICK = GeneratorSettings(32, chances=AcquisitionChances(scan=0.0))


def draws(seed: int = 0, edge: int = 32) -> Draws:
    return Draws(np.random.default_rng(seed), edge)


@pytest.fixture(scope="module")
def volumes():
    torch.set_num_threads(1)
    return [generate([5, n], QUICK) for n in range(30)]


def test_the_seed_decides_everything():
    first, again, other = generate(3, QUICK), generate(3, QUICK), generate(4, QUICK)
    np.testing.assert_array_equal(first.array_hu, again.array_hu)
    for ours, theirs in zip(first.targets, again.targets, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(first.array_hu, other.array_hu)


def test_volumes_look_like_ct_in_numbers(volumes):
    true = np.stack([volume.true_hu for volume in volumes])
    seen = np.stack([volume.array_hu for volume in volumes])
    assert np.isfinite(seen).all()
    assert true.min() > -1250
    assert true.max() < 2600
    shares = [np.mean((true > low) & (true < high)) for low, high in ((-60, 200), (-180, -60))]
    assert 0.3 < shares[0] < 0.85
    assert 0.03 < shares[1] < 0.4
    assert 0.005 < np.mean(true > 250) < 0.35
    assert 0.01 < np.mean(true < -500) < 0.4


def test_every_object_is_one_piece_of_a_size_that_can_be_clicked(volumes):
    n_targets = 0
    for volume in volumes:
        for target in volume.targets:
            n_targets += 1
            assert ndimage.label(target)[1] == 1
            assert MIN_TARGET_VOXELS <= target.sum() <= MAX_TARGET_SHARE * target.size
    assert n_targets > 2 * len(volumes)


def test_objects_are_made_of_whole_parts_or_their_largest_piece(volumes):
    for volume in volumes:
        labels = volume.anatomy.labels.numpy()
        assert labels.min() >= 0
        assert labels.max() < len(volume.anatomy.densities_hu)
        for target in volume.targets:
            parts = np.unique(labels[target])
            pieces = ndimage.label(np.isin(labels, parts))[0]
            # A part reaches beyond the object only in another piece.
            owner = np.unique(pieces[target])
            assert len(owner) == 1
            np.testing.assert_array_equal(pieces == owner[0], target)


def test_marrow_and_wall_belong_to_their_objects(volumes):
    n_bones = 0
    for volume in volumes:
        anatomy = volume.anatomy
        labels = anatomy.labels.numpy()
        for target in volume.targets:
            for part in np.unique(labels[target]).tolist():
                whole = anatomy.wholes.get(part)
                if whole is not None and anatomy.densities_hu[whole] > 150:
                    n_bones += part not in anatomy.lesions
                    if part not in anatomy.lesions and (labels == whole).sum() > 0:
                        touching = ndimage.binary_dilation(target) & (labels == whole)
                        assert not (touching & ~target).any()
    assert n_bones > 0


def test_neighbours_are_often_nearly_equal():
    rng = draws(1)
    hosts = np.array([tissue_hu(rng) for _ in range(400)])
    assert np.mean((hosts > 0) & (hosts < 160)) > 0.4
    contrast = np.array([abs(lesion_hu(rng, 50.0) - 50.0) for _ in range(200)])
    assert contrast.min() >= 15
    assert contrast.max() <= 90
    assert min(lesion_hu(rng, -850.0) for _ in range(50)) > -100


def test_cells_part_the_volume_and_the_gap_vanishes_at_their_walls():
    rng = draws(2)
    cells, gap = power_diagram(rng, rng.coordinates, n_cells=6, extent=1.0)
    assert cells.min() >= 0
    assert cells.max() < 6
    assert (gap >= 0).all()
    array, width = cells.numpy(), gap.numpy()
    wall = ndimage.maximum_filter(array, 3) != ndimage.minimum_filter(array, 3)
    assert width[wall].mean() < 0.4 * width[~wall].mean()


def test_the_level_of_a_ball_is_its_relative_radius():
    rng = draws(3)
    shape = ellipsoid(rng, rng.coordinates, centre=np.array([0.1, 0, -0.2]), radius=0.4, spread=0)
    inside = rng.coordinates[(slice(None), *shape.box)]
    away = inside - rng.tensor([0.1, 0, -0.2])[:, None, None, None]
    torch.testing.assert_close(shape.level, away.square().sum(0).sqrt() / 0.4, atol=2e-3, rtol=1e-3)
    outside = ellipsoid(rng, rng.coordinates, centre=np.array([4.0, 0, 0]), radius=0.4)
    assert outside is None


@pytest.mark.parametrize("seed", range(4))
def test_a_tube_is_connected(seed):
    rng = draws(seed, 48)
    shape = tube(rng, rng.coordinates, centre=np.zeros(3), radius=0.12)
    assert ndimage.label((shape.level < 1).numpy(), np.ones((3, 3, 3)))[1] == 1


def test_a_blur_keeps_means_and_leaves_constants():
    torch.testing.assert_close(
        gaussian_blur(torch.full((8, 9, 10), 7.0), (1.0, 0, 2.0)), torch.full((8, 9, 10), 7.0)
    )
    point = torch.zeros(21, 21, 21)
    point[10, 10, 10] = 1
    blurred = gaussian_blur(point, (1.5, 1.0, 0))
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-5)
    spread = (blurred.sum((1, 2)) * (torch.arange(21.0) - 10) ** 2).sum()
    assert float(spread) == pytest.approx(1.5**2, rel=0.05)


def test_the_comb_keeps_the_mean_and_does_nothing_at_strength_zero():
    image = draws(5).noise() * 100 + 40
    same = combed(image, n_views=30, strength=0.0, phase_rad=0.3)
    torch.testing.assert_close(same, image, atol=1e-2, rtol=1e-4)
    changed = combed(image, n_views=30, strength=1.0, phase_rad=0.3)
    torch.testing.assert_close(changed.mean((1, 2)), image.mean((1, 2)), atol=1e-2, rtol=1e-4)
    assert float((changed - image).std()) > 1


def test_thick_slices_average_along_the_first_axis_only():
    image = torch.arange(12.0)[:, None, None].expand(12, 6, 5).contiguous()
    result = thick_slices(image, 3)
    assert result.shape == image.shape
    torch.testing.assert_close(result[1], image[1])
    noise = draws(6).noise()
    assert float(thick_slices(noise, 2).std()) < 0.8 * float(noise.std())
    torch.testing.assert_close(thick_slices(noise, 1), noise)


def test_a_reconstruction_keeps_what_many_photons_and_views_show(monkeypatch):
    from NASAM3DLib.segment.labelfree.generator import acquisition

    monkeypatch.setattr(acquisition, "VIEWS", (90, 91))
    monkeypatch.setattr(acquisition, "PHOTONS", (1e8, 1.0001e8))
    rng = draws(7)
    away = rng.coordinates.square().sum(0).sqrt()
    image = torch.where(away < 0.5, 300.0, 0.0)
    result = rescanned(rng, image)
    assert float(result[away < 0.3].mean()) == pytest.approx(300, abs=25)
    middle = (rng.coordinates[1:].square().sum(0).sqrt() < 0.8) & (away > 0.65)
    middle &= rng.coordinates[0].abs() < 0.3
    assert float(result[middle].mean()) == pytest.approx(0, abs=40)
    corner = rng.coordinates[1:].square().sum(0).sqrt() > 1.1
    torch.testing.assert_close(result[corner], image[corner])


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="at least 16 voxels"):
        GeneratorSettings(8)
    with pytest.raises(ValueError, match="together at most 1"):
        AcquisitionChances(comb=0.7, scan=0.6)
