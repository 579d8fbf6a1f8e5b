"""What methods are shown: reconstructions by several recipes, kept on disk with what they cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmark_folder import make_folder

from NASAM3DLib.benchmark.case import Case, Target
from NASAM3DLib.benchmark.click_task import ClickSettings, View, prepare
from NASAM3DLib.benchmark.discovery import find_cases
from NASAM3DLib.benchmark.recipes import RECIPES, Reconstructed
from NASAM3DLib.benchmark.reconstruction_table import (
    VolumeFigures,
    all_figures,
    case_table,
    reconstruction_table,
    volume_figures,
)
from NASAM3DLib.benchmark.sources import CaseStore, FileSource, GeneratedSource, ThinnedSource
from NASAM3DLib.benchmark.views import (
    ScanSettings,
    scanned_volume,
    seen,
    sparse_volume,
    true_volume,
    view_name,
)
from NASAM3DLib.evaluate.metrics import rmse
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FileSource:
    folder = make_folder(tmp_path_factory.mktemp("data"))
    return FileSource(find_cases(folder)[0])


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ClickSettings:
    looks = (Reconstructed("fdk", 20), Reconstructed("tv", 20, uncertainty=True), None)
    return ClickSettings(tmp_path_factory.mktemp("kept"), views=looks)


def test_a_look_has_a_name_that_says_recipe_and_views():
    assert view_name(None) == "full"
    assert view_name(50) == "50 views"
    assert view_name(Reconstructed("fdk", 50)) == "fdk, 50 views"


def test_an_unknown_recipe_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="no reconstruction 'magic': choose from fdk, os, tv"):
        Reconstructed("magic", 50)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_settings_that_can_be_made(name: str):
    settings = Reconstructed(name, 50).settings
    assert settings.device == "cpu"
    assert settings.method in ("fdk", "tv", "field", "naf")
    assert (settings.tv_strength == 0) == (name == "os")


def test_total_variation_is_nearer_to_the_truth_than_back_projection(
    source: FileSource, settings: ClickSettings
):
    figures = all_figures([source], settings)
    assert [one.view for one in figures] == ["fdk, 20 views", "tv, 20 views"]
    assert figures[1].psnr_db > figures[0].psnr_db + 3
    assert figures[1].ssim > figures[0].ssim
    # PSNR and RMSE are one figure on two scales.
    for one in figures:
        assert one.psnr_db == pytest.approx(20 * np.log10(3000 / one.rmse_hu))
        assert one.cpu_s > 0
        assert not one.error


def test_a_reconstruction_is_kept_with_its_cost_and_uncertainty(
    source: FileSource, settings: ClickSettings
):
    store, scan = settings.store, settings.scan
    first = seen(store, source, Reconstructed("tv", 20, uncertainty=True), scan)
    again = seen(store, source, Reconstructed("tv", 20, uncertainty=True), scan)
    np.testing.assert_array_equal(first.volume.array, again.volume.array)
    assert again.cpu_s == pytest.approx(first.cpu_s)
    assert again.volume.uncertainty is not None
    assert first.volume.uncertainty is not None
    np.testing.assert_array_equal(again.volume.uncertainty, first.volume.uncertainty)
    assert (again.volume.uncertainty >= 0).all()
    whole = seen(store, source, None, scan)
    assert (whole.cpu_s, whole.volume.uncertainty) == (0.0, None)


def test_what_is_scanned_is_the_truth_without_metal():
    grid = VolumeGrid.centred((8, 8, 8), 3.0)
    array = np.linspace(-2000, 9000, 512, dtype=np.float32).reshape(8, 8, 8)
    case = Case("a", "set", Volume(array, grid, "HU"), ())
    scanned = scanned_volume(case).array
    assert (scanned.min(), scanned.max()) == (-1000, 2000)


def test_reconstructions_are_compared_with_the_mean_of_what_was_scanned():
    grid = VolumeGrid.centred((4, 4, 9), 3.0)
    array = np.zeros(grid.shape_kji, dtype=np.float32)
    array[:, :, 4:] = 800
    truth = true_volume(Case("a", "set", Volume(array, grid, "HU"), ()))
    assert truth.grid.same_as(grid)
    # An edge between voxels 3 and 4 that linear interpolation widens.
    assert truth.array[2, 2].tolist() == [0, 0, 0, 100, 700, 800, 800, 800, 800]


def test_a_dense_noiseless_scan_comes_nearer_to_the_mean_than_to_the_voxels():
    grid = VolumeGrid.centred((12, 24, 24), 3.0)
    array = np.where(np.random.default_rng(1).random(grid.shape_kji) < 0.5, -100, 300)
    array[:, (0, 1, -2, -1)] = array[:, :, (0, 1, -2, -1)] = -1000
    case = Case("a", "set", Volume(array.astype(np.float32), grid, "HU"), ())
    settings = ScanSettings(photons=1e9, electronic_noise=0.0)
    found = sparse_volume(case, 180, settings).array
    to_mean = rmse(found, true_volume(case).array)
    assert to_mean < 0.5 * rmse(found, scanned_volume(case).array)


def test_a_recipe_that_fails_is_listed_and_the_others_have_figures(
    source: FileSource, settings: ClickSettings
):
    class Broken(FileSource):
        def load(self, spacing_mm: float) -> Case:
            raise ValueError("no such patient")

    bad = Broken(source.files)
    # Its files are those of the other source, whose case is kept already under the same key.
    store = CaseStore(settings.folder / "elsewhere", 3.0)
    elsewhere = ClickSettings(store.folder, views=settings.views)
    figures = volume_figures(elsewhere, View(bad, Reconstructed("fdk", 20)))
    assert figures.error == "ValueError: no such patient"
    assert prepare(elsewhere, View(bad, None)).error == figures.error


def test_the_table_of_reconstructions_averages_over_the_cases_of_a_data_set():
    figures = [
        VolumeFigures("a", "one", "fdk", 20.0, 0.5, 100.0, 1.0),
        VolumeFigures("b", "one", "fdk", 30.0, 0.7, 50.0, 3.0),
        VolumeFigures("c", "two", "fdk", 40.0, 0.9, 10.0, 5.0),
        VolumeFigures("d", "", "fdk", error="ValueError: no"),
    ]
    table = reconstruction_table(figures)
    assert table.rows[0] == ("one", "fdk", 2, 25.0, 0.6, 75.0, 2.0, 20.0)
    assert table.rows[1][:4] == ("two", "fdk", 1, 40.0)
    assert len(table.rows) == 2
    assert case_table(figures).rows[3][-1] == "ValueError: no"


def test_thinning_keeps_targets_of_all_sizes_and_tells_what_it_left_out():
    grid = VolumeGrid.centred((24, 24, 24), 3.0)

    def target(name: str, n: int) -> Target:
        array = np.zeros(grid.shape_kji, dtype=bool)
        array.ravel()[:n] = True
        return Target(name, "organ", Mask(array, grid))

    class Many:
        name = "many"

        def key(self) -> str:
            return "many"

        def load(self, spacing_mm: float) -> Case:
            targets = tuple(target(f"t{n}", n) for n in (500, 40, 300, 100, 200))
            volume = Volume(np.zeros(grid.shape_kji, np.float32), grid, "HU")
            return Case("many", "set", volume, targets)

    thinned = ThinnedSource(Many(), 3)
    case = thinned.load(3.0)
    assert [one.name for one in case.targets] == ["t500", "t40", "t200"]
    assert case.left_out == (
        "many, t300: left out to save time",
        "many, t100: left out to save time",
    )
    assert thinned.key() != ThinnedSource(Many(), 2).key()
    assert len(ThinnedSource(Many(), 9).load(3.0).targets) == 5


def test_generated_cases_are_compared_with_what_was_scanned(tmp_path: Path):
    settings = ClickSettings(tmp_path, views=(Reconstructed("fdk", 20),))
    source = GeneratedSource(0, edge=32)
    figures = volume_figures(settings, View(source, Reconstructed("fdk", 20)))
    case = source.load(3.0)
    assert case.scanned is not None
    found = seen(settings.store, source, Reconstructed("fdk", 20), ScanSettings()).volume.array
    truth = true_volume(case).array
    assert np.abs(truth - case.scanned.array).max() > 10
    assert figures.rmse_hu == pytest.approx(np.sqrt(np.mean((found - truth) ** 2)), rel=1e-5)
