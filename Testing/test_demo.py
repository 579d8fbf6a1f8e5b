"""The whole road on a small generated patient, and the folder that it leaves."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from NASAM3DLib.demo.output import FILES, check_folder, save_demo
from NASAM3DLib.demo.results import Demo, DemoSettings
from NASAM3DLib.demo.story import run_demo
from NASAM3DLib.evaluate.metrics import dice
from NASAM3DLib.progress import Cancelled
from NASAM3DLib.reconstruct.volume_io import load_volume
from NASAM3DLib.scan.io import load_projections
from NASAM3DLib.segment.mask_io import load_mask
from NASAM3DLib.segment.prompts_io import load_prompts

SMALL = DemoSettings(n_voxels=64, n_views=24, detector_shape=(80, 80))


@pytest.fixture(scope="module")
def told() -> tuple[Demo, list[tuple[str, float]]]:
    steps: list[tuple[str, float]] = []
    return run_demo(SMALL, progress=lambda stage, part: steps.append((stage, part))), steps


@pytest.fixture(scope="module")
def demo(told: tuple[Demo, list[tuple[str, float]]]) -> Demo:
    return told[0]


@pytest.fixture(scope="module")
def folder(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("demo") / "output"
    save_demo(demo, place)
    return place


def test_iterations_beat_back_projection(demo: Demo) -> None:
    quality = {row[0]: row[1] for row in demo.volume_table.rows}
    assert list(quality) == ["FDK", "total variation"]
    assert quality["total variation"] > quality["FDK"] + 3


def test_the_lesion_is_found(demo: Demo) -> None:
    assert demo.lesion.volume_ml > 3
    assert demo.result.guided
    # With voxels of 5.5 mm, thicker than the rectal wall, one of the two ways may leak along it.
    assert max(one.session.records[-1].dice for one in demo.segmentations[-2:]) > 0.3
    first = demo.result.session.prompts.points_ras[0]
    assert demo.lesion.array[tuple(np.rint(demo.lesion.grid.to_ijk(first)).astype(int)[::-1])]


def test_every_click_is_tabulated(demo: Demo) -> None:
    names = [row[0] for row in demo.click_table.rows]
    assert names[0] == "FDK, guided"
    assert set(names[-2:]) == {"total variation, guided"}
    assert len(demo.mask_table.rows) == 3


def test_progress_never_falls_back(told: tuple[Demo, list[tuple[str, float]]]) -> None:
    fractions = [fraction for _, fraction in told[1]]
    assert fractions == sorted(fractions)
    assert told[1][0] == ("generating the patient", 0.0)
    assert told[1][-1] == ("done", 1.0)


def test_folder_holds_what_the_readme_lists(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == set(FILES)
    text = (folder / "README.txt").read_text("utf-8")
    assert all(name in text for name in FILES)
    assert max(len(line) for line in text.splitlines()) < 100


def test_files_agree_with_each_other(folder: Path, demo: Demo) -> None:
    volume, mask = load_volume(folder / "volume.nrrd"), load_mask(folder / "lesion.seg.nrrd")
    assert volume.quantity == "HU"
    assert mask.grid.same_as(volume.grid)
    assert load_projections(folder / "scan.npz").n_views == SMALL.n_views
    prompts = load_prompts(folder / "points.mrk.json")
    assert mask.disagreements(prompts) == []
    truth = load_mask(folder / "truth-lesion.seg.nrrd")
    assert dice(mask, truth) == pytest.approx(demo.result.session.records[-1].dice)
    rows = list(csv.DictReader((folder / "lesion.csv").read_text("utf-8").splitlines()))
    assert float(rows[-1]["Dice"]) == pytest.approx(dice(mask, truth))
    report = json.loads((folder / "reconstruction.json").read_text("utf-8"))
    assert report["returned"] == "tv"


def test_report_tells_the_figures_and_loads_nothing(folder: Path, demo: Demo) -> None:
    text = (folder / "report.html").read_text("utf-8")

    class Elements(HTMLParser):
        sources: list[str]
        text = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "link", "iframe", "object")
            source = dict(attrs).get("src") or dict(attrs).get("href")
            if source:
                self.sources.append(source)

        def handle_data(self, data: str) -> None:
            self.text += data

    page = Elements()
    page.sources = []
    page.feed(text)
    assert len(page.sources) == 4
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    # Base64 knows no colon: letters of an embedded picture may spell http by chance.
    assert "://" not in text
    assert f"{demo.volume_table.rows[-1][1]:.2f}" in page.text
    assert f"{demo.result.session.records[-1].dice:.3f}" in page.text
    for heading in ("What was measured", "Limits", "Open it in 3D Slicer", "not a medical device"):
        assert heading in page.text


def test_existing_results_are_kept(folder: Path) -> None:
    with pytest.raises(FileExistsError, match=r"exists already.*--force"):
        check_folder(folder)
    check_folder(folder, force=True)


def test_same_seed_same_results(demo: Demo) -> None:
    one, other = run_demo(SMALL), demo
    np.testing.assert_array_equal(one.scan.projections, other.scan.projections)
    np.testing.assert_array_equal(one.volume.array, other.volume.array)
    masks = [each.result.session.masks[-1].array for each in (one, other)]
    np.testing.assert_array_equal(*masks)


def test_cancelling_ends_it() -> None:
    def stop(stage: str, fraction: float) -> None:
        if stage == "measuring":
            raise Cancelled

    with pytest.raises(Cancelled):
        run_demo(SMALL, progress=stop)


def test_impossible_scans_are_refused() -> None:
    with pytest.raises(ValueError, match="measures 1 to 360 views, got 400"):
        run_demo(DemoSettings(n_views=400))
