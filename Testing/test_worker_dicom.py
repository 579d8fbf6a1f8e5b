"""The worker's job "dicom_seg": from a source series, or with images of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highdicom")

import pydicom

from NASAM3DLib.reconstruct.dicom_ct import save_ct_series
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.dicom import dicom_seg_request
from NASAM3DLib.worker.job import WorkerError
from NASAM3DLib.worker.mask_parts import MaskPart
from NASAM3DLib.worker.payloads import pack_volume
from NASAM3DLib.worker.protocol import Message

GRID = VolumeGrid((8, 10, 12), np.diag([-1.5, -2.0, 3.0, 1.0]))
VOLUME = Volume(np.zeros(GRID.shape_kji, np.float32), GRID, "HU")
FULL = MaskPart(np.ones((3, 4, 5), dtype=bool), (2, 3, 4))
EMPTY = MaskPart(np.zeros((0, 0, 0), dtype=bool), (0, 0, 0))
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def client() -> Iterator[WorkerClient]:
    """A worker with the real jobs."""
    running = WorkerClient()
    yield running
    running.close()


def told(name: str) -> dict[str, Any]:
    """What is told of a segment."""
    return {"name": name, "colour": [0.9, 0.2, 0.1], "terminology": ""}


def asked(client: WorkerClient, path: Path, segments: Any, **fields: Any) -> Message:
    """Have segments written; with the volume unless a series is given."""
    request = dicom_seg_request(path, GRID, segments)
    whole = Message("", {}) if "series" in fields else pack_volume("", VOLUME)
    merged = {**whole.fields, **request.fields, **fields}
    message = Message("dicom_seg", merged, {**whole.arrays, **request.arrays})
    return client.wait(client.submit(message), TIMEOUT_S)


def test_a_source_series_is_referred_to(client: WorkerClient, tmp_path: Path) -> None:
    source = [str(path) for path in save_ct_series(VOLUME, tmp_path / "ct")]
    segments = [(FULL, told("Lesion")), (EMPTY, told("Nothing"))]
    done = asked(client, tmp_path / "seg.dcm", segments, series=source)
    assert (done.fields["folder"], done.fields["n_images"]) == (None, 8)
    read = pydicom.dcmread(tmp_path / "seg.dcm")
    assert [segment.SegmentLabel for segment in read.SegmentSequence] == ["Lesion"]
    assert read.pixel_array.sum() == 60
    assert read.FrameOfReferenceUID == pydicom.dcmread(source[0]).FrameOfReferenceUID


def test_without_a_series_the_images_are_written_beside(
    client: WorkerClient, tmp_path: Path
) -> None:
    path = tmp_path / "lesions.dcm"
    done = asked(client, path, [(FULL, told("Lesion"))], description="trunk")
    folder = tmp_path / "lesions_images"
    assert done.fields["folder"] == str(folder)
    images = sorted(folder.iterdir())
    assert len(images) == done.fields["n_images"] == 8
    image, read = pydicom.dcmread(images[0]), pydicom.dcmread(path)
    assert image.SeriesDescription == "trunk"
    assert read.StudyInstanceUID == image.StudyInstanceUID
    with pytest.raises(WorkerError, match="is not empty"):
        asked(client, path, [(FULL, told("Lesion"))])


def test_nothing_is_written_without_a_voxel_or_a_series(
    client: WorkerClient, tmp_path: Path
) -> None:
    path = tmp_path / "seg.dcm"
    with pytest.raises(WorkerError, match="All segments are empty"):
        asked(client, path, [(EMPTY, told("Nothing"))])
    with pytest.raises(WorkerError, match="there is no source series"):
        asked(client, path, [(FULL, told("Lesion"))], series=[])
    assert list(tmp_path.iterdir()) == []
