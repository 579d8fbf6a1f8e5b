"""The sample scan: what it holds, and that it is made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from NASAM3DLib.demo import sample
from NASAM3DLib.progress import Cancelled, no_progress
from NASAM3DLib.reconstruct.volume import WATER_ATTENUATION, Volume
from NASAM3DLib.scan.field_of_view import default_grid
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.io import load_projections
from NASAM3DLib.worker.jobs import Session
from NASAM3DLib.worker.payloads import pack_volume
from NASAM3DLib.worker.protocol import Message


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller sample, which is quick to make."""
    monkeypatch.setattr(sample, "N_VOXELS", 24)
    monkeypatch.setattr(sample, "N_VIEWS", 6)
    monkeypatch.setattr(sample, "DETECTOR_SHAPE", (24, 24))


@pytest.mark.usefixtures("small")
def test_the_sample_is_made_once_and_found_again(tmp_path: Path) -> None:
    stages: list[str] = []
    request = Message("sample", {"folder": str(tmp_path / "cache")})
    job = Session().jobs()["sample"]
    answer = job(request, lambda stage, _: stages.append(stage))
    assert {"generating a patient", "measuring"} <= set(stages)
    scan = load_projections(Path(answer.fields["path"]))
    assert scan.projections.shape == (6, 24, 24)
    (point,) = np.array(answer.fields["lesion_ras"])
    assert default_grid(scan.geometry).contains(point[None]).all()
    stages.clear()
    again = job(request, lambda stage, _: stages.append(stage))
    assert stages == []
    assert again.fields["path"] == answer.fields["path"]
    np.testing.assert_allclose(again.fields["lesion_ras"], [point], atol=1e-4)


@pytest.mark.usefixtures("small")
def test_a_cancelled_sample_leaves_no_file(tmp_path: Path) -> None:
    def stop(stage: str, fraction: float) -> None:
        if stage == "measuring":
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        sample.make_sample(tmp_path, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_views_of_a_volume_are_simulated_into_a_file(tmp_path: Path) -> None:
    grid = VolumeGrid.centred((16, 16, 16), 10.0)
    array = np.full(grid.shape_kji, -1000.0, dtype=np.float32)
    array[4:12, 4:12, 4:12] = 0.0
    path = tmp_path / "ct.npz"
    request = pack_volume("simulate", Volume(array, grid, "HU"), path=str(path), n_views=3)
    answer = Session().jobs()["simulate"](request, no_progress)
    assert answer.fields["path"] == str(path)
    scan = load_projections(path)
    assert scan.geometry.n_views == 3
    # Through the middle of a cube of water of 80 mm.
    rows, columns = (n // 2 for n in scan.geometry.detector_shape)
    middle = scan.projections[:, rows - 4 : rows + 4, columns - 4 : columns + 4].mean()
    assert 80 * WATER_ATTENUATION <= middle <= 80 * np.sqrt(2) * WATER_ATTENUATION * 1.02
