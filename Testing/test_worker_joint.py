"""The worker's job "joint": scan, volume and clicks of one reconstruction refine each other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, project

from NASAM3DLib.joint.rounds import mask_change
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.io import save_projections
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.job import WorkerError
from NASAM3DLib.worker.joint import joint_request
from NASAM3DLib.worker.payloads import receive_volume, unpack_mask, unpack_volume
from NASAM3DLib.worker.protocol import Message

GRID = VolumeGrid.centred((20, 20, 20), 7.0)
GEOMETRY = circular_scan(12, detector=(30, 30), pixel_mm=8.5)
TARGET = Ellipsoid(0.006, (24.0, 20.0, 26.0), (14.0, 6.0, -4.0), 0.4)
BODIES = [Ellipsoid(0.02, (62.0, 54.0, 60.0), (0.0, 0.0, 0.0)), TARGET]
CLICKS = Prompts().with_point(TARGET.centre_ras)
N_VIEWS = 10
TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def client() -> Iterator[WorkerClient]:
    """A worker with the real jobs."""
    running = WorkerClient()
    yield running
    running.close()


@pytest.fixture(scope="module")
def scan_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a slightly noisy scan."""
    exact = project(BODIES, GEOMETRY)
    noise = np.random.default_rng(0).normal(0, 0.004, exact.shape)
    path = tmp_path_factory.mktemp("scan") / "scan.npz"
    save_projections(ProjectionSet(np.maximum(exact + noise, 0).astype(np.float32), GEOMETRY), path)
    return path


@pytest.fixture(scope="module")
def base(client: WorkerClient, scan_path: Path) -> Message:
    """The reconstruction that is to be refined."""
    wanted = {"path": str(scan_path), "grid": GRID.to_dict(), "n_views": N_VIEWS}
    return client.wait(client.submit(Message("reconstruct", wanted)), TIMEOUT_S)


def request(base: Message, path: Path, *, shares_files: bool = True, **fields: Any) -> Any:
    """Ask for the refinement of the reconstruction, unless a field says otherwise."""
    wanted = {"basis": base.fields["basis"], "n_views": N_VIEWS, **fields}
    clicks = wanted.pop("clicks", CLICKS)
    return joint_request(
        path, lambda: unpack_volume(base), clicks, shares_files=shares_files, **wanted
    )


def test_volume_and_mask_come_back_with_the_reason(
    client: WorkerClient, base: Message, scan_path: Path
) -> None:
    previews: list[Message] = []
    stages: list[str] = []
    job = client.submit(
        request(base, scan_path, previews=True),
        on_preview=previews.append,
        on_progress=lambda progress: stages.append(progress.stage),
    )
    done = client.wait(job, TIMEOUT_S)
    report = done.fields["report"]
    assert done.fields["is_joint"] is (report["returned"] == "joint") is True
    assert report["why"]
    volume, before = receive_volume(done), unpack_volume(base)
    assert volume.quantity == "HU"
    assert volume.grid.same_as(before.grid)
    assert np.abs(volume.array - before.array).max() > 1.0, "the volume is another one"
    mask = unpack_mask(done).astype(bool)
    assert mask.sum() == done.fields["n_voxels"] > 0
    assert done.fields["mean"] == pytest.approx(volume.array[mask].mean(), abs=0.5)
    inside = np.abs(GRID.to_ras(np.argwhere(mask)[:, ::-1]) - TARGET.centre_ras).max(axis=0)
    assert (inside < 60).all()
    assert len(set(stages)) > 1
    assert {preview.fields["stage"] for preview in previews} == {"refining jointly"}


def test_the_same_comes_from_a_worker_that_sees_no_files(
    client: WorkerClient, base: Message, scan_path: Path
) -> None:
    here = client.wait(client.submit(request(base, scan_path)), TIMEOUT_S)
    remote = WorkerClient([sys.executable, "-m", "NASAM3DLib.worker"])
    try:
        sent = request(base, scan_path, shares_files=remote.shares_files)
        there = remote.wait(remote.submit(sent), TIMEOUT_S)
    finally:
        remote.close()
    np.testing.assert_array_equal(there.arrays["volume"], here.arrays["volume"])
    assert mask_change(unpack_mask(there) > 0, unpack_mask(here) > 0) == 0


def test_attenuation_stays_attenuation(
    client: WorkerClient, base: Message, scan_path: Path
) -> None:
    wanted = joint_request(
        scan_path,
        lambda: unpack_volume(base).to_attenuation(),
        CLICKS,
        shares_files=True,
        basis=base.fields["basis"],
        n_views=N_VIEWS,
    )
    volume = receive_volume(client.wait(client.submit(wanted), TIMEOUT_S))
    assert volume.quantity == "attenuation"
    assert 0.01 < float(volume.array.max()) < 0.05


def test_another_scan_is_refused(client: WorkerClient, base: Message, scan_path: Path) -> None:
    for fields in ({"n_views": 8}, {"n_views": 0}):
        with pytest.raises(WorkerError, match="made from other projections") as caught:
            client.wait(client.submit(request(base, scan_path, **fields)), TIMEOUT_S)
        assert caught.value.kind == "input"


def test_a_volume_without_a_basis_is_refused(
    client: WorkerClient, base: Message, scan_path: Path
) -> None:
    with pytest.raises(WorkerError, match="reconstruct it anew"):
        client.wait(client.submit(request(base, scan_path, basis={})), TIMEOUT_S)


def test_a_volume_without_total_variation_is_refused(client: WorkerClient, scan_path: Path) -> None:
    wanted = {"path": str(scan_path), "grid": GRID.to_dict(), "settings": {"method": "fdk"}}
    volume = client.wait(client.submit(Message("reconstruct", wanted)), TIMEOUT_S)
    with pytest.raises(WorkerError, match="reconstruct with the method tv"):
        client.wait(client.submit(request(volume, scan_path, n_views=0)), TIMEOUT_S)


def test_too_few_views_give_the_reason_and_nothing_else(
    client: WorkerClient, scan_path: Path
) -> None:
    wanted = {"path": str(scan_path), "grid": GRID.to_dict(), "n_views": 6}
    volume = client.wait(client.submit(Message("reconstruct", wanted)), TIMEOUT_S)
    done = client.wait(client.submit(request(volume, scan_path, n_views=6)), TIMEOUT_S)
    assert done.fields["is_joint"] is False
    assert "too few views" in done.fields["report"]["why"]
    assert done.arrays == {}


def test_it_can_be_cancelled(client: WorkerClient, base: Message, scan_path: Path) -> None:
    job = client.submit(
        request(base, scan_path),
        on_progress=lambda progress: progress.fraction > 0.1 and job.cancel(),
    )
    with pytest.raises(WorkerError) as caught:
        client.wait(job, TIMEOUT_S)
    assert caught.value.kind == "cancelled"


def test_a_click_that_is_wanted_must_lie_in_the_volume(
    client: WorkerClient, base: Message, scan_path: Path
) -> None:
    outside = Prompts().with_point((900.0, 0.0, 0.0))
    with pytest.raises(WorkerError, match="outside the volume"):
        client.wait(client.submit(request(base, scan_path, clicks=outside)), TIMEOUT_S)


def test_the_volume_is_read_only_when_the_request_is_sent() -> None:
    def read() -> Volume:
        raise AssertionError("read too early")

    assert joint_request("scan.npz", read, CLICKS, shares_files=True).kind == "joint"
