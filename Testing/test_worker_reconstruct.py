"""The worker's reconstruct job: its corrections, its report, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, project

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.job import WorkerError
from NASAM3DLib.worker.payloads import pack_projections, unpack_volume
from NASAM3DLib.worker.protocol import Message

GRID = VolumeGrid.centred((14, 20, 20), 8.0)
GEOMETRY = circular_scan(40, detector=(48, 64), pixel_mm=5.0)
CLEAN = project([Ellipsoid(0.0206, (60.0, 50.0, 55.0), (0.0, 0.0, 0.0))], GEOMETRY)
DEAD_COLUMN, DEAD_ROW = 30, 20
TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def client() -> Iterator[WorkerClient]:
    """A worker with the real jobs."""
    running = WorkerClient()
    yield running
    running.close()


def measured(*, dead: bool) -> ProjectionSet:
    """Photon noise, and if wanted a dead column and row and a source that fades by a tenth."""
    counts = 1e5 * np.exp(-CLEAN)
    if dead:
        counts = counts * np.linspace(1, 0.9, GEOMETRY.n_views)[:, None, None]
    counts = np.random.default_rng(0).poisson(counts)
    projections = -np.log(np.maximum(counts, 0.5) / 1e5)
    if dead:
        projections[:, :, DEAD_COLUMN] = 5.0
        projections[:, DEAD_ROW, :] = 0.0
    return ProjectionSet(projections, GEOMETRY)


def asked(client: WorkerClient, scan: ProjectionSet, **fields: object) -> Message:
    """Have a scan reconstructed."""
    request = pack_projections(scan)
    wanted = {"grid": GRID.to_dict(), "quantity": "attenuation", **fields}
    message = Message("reconstruct", {**request.fields, **wanted}, request.arrays)
    return client.wait(client.submit(message), TIMEOUT_S)


def water(message: Message) -> float:
    """Mean attenuation in the middle, 1/mm."""
    k, j, i = (n // 2 for n in GRID.shape_kji)
    middle = unpack_volume(message).array[k - 2 : k + 2, j - 3 : j + 3, i - 3 : i + 3]
    return float(middle.mean())


def test_corrections_are_made_and_reported(client: WorkerClient) -> None:
    done = asked(client, measured(dead=True), settings={"method": "fdk"})
    corrections = done.fields["report"]["corrections"]
    assert corrections["dead_columns"] == [DEAD_COLUMN]
    assert corrections["dead_rows"] == [DEAD_ROW]
    assert any("source's intensity" in line for line in corrections["done"])
    good = asked(client, measured(dead=False), settings={"method": "fdk"})
    assert good.fields["report"]["corrections"] == {"done": [], "remarks": []}
    assert water(done) == pytest.approx(water(good), rel=0.02)
    assert water(good) == pytest.approx(0.0206, rel=0.03)


def test_defects_are_found_in_all_views_though_few_are_used(client: WorkerClient) -> None:
    done = asked(client, measured(dead=True), settings={"method": "fdk"}, n_views=10)
    report = done.fields["report"]
    assert report["corrections"]["dead_columns"] == [DEAD_COLUMN]
    assert report["scan"].startswith("10 cone-beam views")


def test_the_best_quality_comes_refined_with_its_map(client: WorkerClient) -> None:
    settings = {"quality": "best", "tv_strength": 1e-3, "uncertainty": True}
    done = asked(client, measured(dead=False), settings=settings)
    report = done.fields["report"]
    assert report["refined"] is True
    assert 0 <= report["noise_share"] <= 1
    assert report["settings"]["uncertainty"] is True
    volume = unpack_volume(done)
    assert volume.grid.same_as(GRID)
    assert volume.uncertainty is not None
    assert float(np.median(volume.uncertainty)) == pytest.approx(report["uncertainty_median"])


def test_a_map_of_a_preview_is_refused(client: WorkerClient) -> None:
    settings = {"quality": "preview", "uncertainty": True}
    with pytest.raises(WorkerError, match="choose one of them or leave it out"):
        asked(client, measured(dead=False), settings=settings)
