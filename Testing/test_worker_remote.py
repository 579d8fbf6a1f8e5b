"""A worker is any command: behind a pipe, in another folder, seeing none of this side's files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, project

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.io import load_projections, save_projections
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.worker.clicks import ClickedSegmentation, ClickState
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.files import (
    load_sent_scan,
    pack_files,
    scan_files,
    scan_request,
    without_path,
)
from NASAM3DLib.worker.job import WorkerError
from NASAM3DLib.worker.launch import worker_environment
from NASAM3DLib.worker.payloads import unpack_mask, unpack_volume
from NASAM3DLib.worker.protocol import Deferred, Message

TIMEOUT_S = 120.0
GEOMETRY = circular_scan(12, detector=(24, 32), pixel_mm=10.0)
GRID = VolumeGrid.centred((12, 16, 16), 10.0)

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


@pytest.fixture(scope="module")
def scan() -> ProjectionSet:
    """A ball of water."""
    ball = Ellipsoid(0.0206, (50.0, 50.0, 50.0), (0.0, 0.0, 0.0))
    return ProjectionSet(project([ball], GEOMETRY).astype(np.float32), GEOMETRY)


@pytest.fixture(scope="module")
def far_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerClient]:
    """A worker behind two pipes that begins in an empty folder and says a word on its log."""
    folder = tmp_path_factory.mktemp("far")
    command = f"cd '{folder}' && echo welcome >&2 && cat | '{sys.executable}' -m NASAM3DLib.worker"
    client = WorkerClient(["sh", "-c", f"{command} | cat"], worker_environment())
    yield client
    client.close()


@posix_only
def test_the_whole_road_works_behind_a_pipe_without_a_shared_path(
    far_client: WorkerClient, scan: ProjectionSet, tmp_path: Path
) -> None:
    path = tmp_path / "scan.npz"
    save_projections(scan, path)
    assert not far_client.shares_files
    requests = [
        # Whoever names a path has its files sent.
        Message("inspect", {"path": str(path)}),
        scan_request(
            "reconstruct",
            path,
            shares_files=far_client.shares_files,
            grid=GRID.to_dict(),
            settings={"method": "fdk"},
        ),
    ]
    told, made = (far_client.wait(far_client.submit(r), TIMEOUT_S) for r in requests)
    assert (told.fields["n_views"], told.fields["detector_shape"]) == (12, [24, 32])
    assert len(told.fields["shape_kji"]) == 3
    volume = unpack_volume(made)
    assert volume.array[6, 8, 8] == pytest.approx(0.0, abs=150.0)

    got: list[Message | WorkerError] = []
    state = ClickState("v", lambda: lambda: volume, Prompts().with_point((0.0, 0.0, 0.0)))
    clicks = ClickedSegmentation(far_client)
    clicks.update(state, on_result=got.append, on_error=got.append)
    while far_client.is_busy:
        far_client.poll()
    (answer,) = got
    assert isinstance(answer, Message), answer
    assert unpack_mask(answer)[6, 8, 8] == 1


@posix_only
def test_a_file_that_is_not_there_is_an_error_of_its_job(
    far_client: WorkerClient, tmp_path: Path
) -> None:
    generation = far_client.generation
    job = far_client.submit(scan_request("inspect", tmp_path / "gone.npz", shares_files=False))
    with pytest.raises(WorkerError, match="There is no file or folder") as caught:
        far_client.wait(job, TIMEOUT_S)
    assert caught.value.kind == "input"
    assert far_client.generation == generation


def test_a_worker_of_this_computer_gets_the_path(tmp_path: Path) -> None:
    client = WorkerClient()
    assert client.shares_files
    request = scan_request("inspect", tmp_path, shares_files=client.shares_files, n_views=5)
    assert isinstance(request, Message)
    assert request.fields == {"n_views": 5, "path": str(tmp_path)}
    client.close()


def test_only_the_paths_of_scans_are_replaced() -> None:
    for request in (
        Message("inspect", {"geometry": {}}),
        Message("sample", {"path": "anything"}),
        scan_request("inspect", "scan.npz", shares_files=False),
    ):
        assert without_path(request) is request
    replaced = without_path(Message("reconstruct", {"path": "scan.npz", "n_views": 3}))
    assert isinstance(replaced, Deferred)
    assert replaced.kind == "reconstruct"


@posix_only
def test_a_worker_that_the_user_names_shares_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASAM3D_WORKER", "ssh -T 'gpu host' python -m NASAM3DLib.worker")
    client = WorkerClient()
    assert client.command == ["ssh", "-T", "gpu host", "python", "-m", "NASAM3DLib.worker"]
    assert not client.shares_files
    monkeypatch.setenv("NASAM3D_WORKER", " ")
    assert WorkerClient().shares_files


def same(got: ProjectionSet, wanted: ProjectionSet) -> bool:
    """Whether two scans have the same values and geometry."""
    poses = np.allclose(got.geometry.sources_ras, wanted.geometry.sources_ras)
    return poses and np.array_equal(got.projections, wanted.projections)


@pytest.mark.parametrize("name", ["scan.npz", "scan.tiff", "scan.mha"])
def test_a_scan_arrives_with_what_stands_beside_it(
    name: str, scan: ProjectionSet, tmp_path: Path
) -> None:
    path = tmp_path / name
    save_projections(scan, path)
    (tmp_path / "other.tiff").write_bytes(b"of another scan")
    message = pack_files("inspect", path, n_views=3)
    assert message.fields["n_views"] == 3
    assert "other.tiff" not in [name for name, _ in message.fields["files"]]
    assert same(load_sent_scan(message), load_projections(path))


def test_a_folder_of_images_arrives_with_the_geometry_beside_or_inside(
    scan: ProjectionSet, tmp_path: Path
) -> None:
    import tifffile

    save_projections(scan, tmp_path / "stack.tiff")
    description = (tmp_path / "stack.geometry.json").read_text("utf-8")
    for folder, sidecar in (("a", "a.geometry.json"), ("b", "b/geometry.json")):
        (tmp_path / folder).mkdir()
        for number, image in enumerate(scan.projections):
            tifffile.imwrite(tmp_path / folder / f"{number:03}.tiff", image)
        (tmp_path / folder / ".hidden").write_bytes(b"x")
        (tmp_path / sidecar).write_text(description, "utf-8")
        message = pack_files("inspect", tmp_path / folder)
        assert len(message.fields["files"]) == 13
        assert same(load_sent_scan(message), scan)


def test_the_fields_and_images_that_a_sidecar_names_go_along(
    scan: ProjectionSet, tmp_path: Path
) -> None:
    save_projections(scan, tmp_path / "raw.tiff")
    sidecar = tmp_path / "raw.geometry.json"
    entries = json.loads(sidecar.read_text("utf-8"))
    entries |= {"images": "view_*.tiff", "values": "counts", "flat_field": "flat.tiff"}
    sidecar.write_text(json.dumps(entries), "utf-8")
    for name in ("view_1.tiff", "view_2.tiff", "flat.tiff", "elsewhere.tiff"):
        (tmp_path / name).write_bytes(b"image")
    names = {path.name for path in scan_files(sidecar)}
    assert names == {"raw.tiff", sidecar.name, "view_1.tiff", "view_2.tiff", "flat.tiff"}


def test_a_file_that_cannot_go_along_is_named(scan: ProjectionSet, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "flat.tiff").write_bytes(b"image")
    save_projections(scan, tmp_path / "sub" / "raw.tiff")
    sidecar = tmp_path / "sub" / "raw.geometry.json"
    entries = json.loads(sidecar.read_text("utf-8"))
    entries |= {"values": "counts", "flat_field": "../flat.tiff"}
    sidecar.write_text(json.dumps(entries), "utf-8")
    with pytest.raises(ValueError, match=r"flat.tiff does not lie beside the images"):
        pack_files("inspect", tmp_path / "sub" / "raw.tiff")


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b/c", "C:x", "a\\b", ""])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    fields = {"file_name": "scan.npz", "files": [[name, 1]]}
    request = Message("inspect", fields, {"files": np.zeros(1, np.uint8)})
    with pytest.raises(ValueError, match="must be called by its plain name"):
        load_sent_scan(request)


def test_sizes_that_do_not_add_up_are_refused() -> None:
    fields = {"file_name": "scan.npz", "files": [["scan.npz", 3]]}
    request = Message("inspect", fields, {"files": np.zeros(5, np.uint8)})
    with pytest.raises(ValueError, match="must add up to 5 bytes, got 3"):
        load_sent_scan(request)
