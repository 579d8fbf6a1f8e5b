"""The sample scan: what it holds, and that it is made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from NASAM3DLib.demo import sample
from NASAM3DLib.progress import Cancelled
from NASAM3DLib.scan.field_of_view import default_grid
from NASAM3DLib.scan.io import load_projections
from NASAM3DLib.worker.jobs import Session
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
