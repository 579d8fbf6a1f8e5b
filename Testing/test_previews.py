"""Previews: coarse first, throttled, in the right place, and through the worker."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, draw, project

from NASAM3DLib.pipeline import reconstruct
from NASAM3DLib.reconstruct.iterative import IterationState, TotalVariationProblem
from NASAM3DLib.reconstruct.previews import first_look, thinned
from NASAM3DLib.reconstruct.running import RunOptions, Watch
from NASAM3DLib.reconstruct.settings import Phase, ReconstructionSettings
from NASAM3DLib.reconstruct.stages import smoothed
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.payloads import pack_projections, unpack_volume
from NASAM3DLib.worker.protocol import Message

BODIES = [
    Ellipsoid(0.02, (50.0, 40.0, 45.0), (0.0, 0.0, 0.0)),
    Ellipsoid(0.02, (14.0, 14.0, 14.0), (20.0, 10.0, -8.0)),
]
FINE = VolumeGrid.centred((99, 130, 130), 1.0)
GRID = VolumeGrid.centred((20, 24, 24), 6.0)
GRID_VALUES = 20 * 24 * 24


@pytest.fixture(scope="module")
def scan() -> ProjectionSet:
    geometry = circular_scan(20, detector=(67, 83), pixel_mm=4.0)
    return ProjectionSet(project(BODIES, geometry), geometry)


def test_a_coarse_scan_sees_the_same_lines(scan: ProjectionSet) -> None:
    coarse = scan.binned(3)
    assert coarse.geometry.detector_shape == (22, 27)
    exact = project(BODIES, coarse.geometry)
    # The mean over nine pixels is close to the line through the middle one.
    assert np.sqrt(np.mean((coarse.projections - exact) ** 2)) < 0.01 * exact.max()
    middle = scan.geometry.pixel_centres_ras(5, np.array([4]), np.array([7]))
    same = coarse.geometry.pixel_centres_ras(5, np.array([1]), np.array([2]))
    np.testing.assert_allclose(same, middle, atol=1e-9)
    with pytest.raises(ValueError, match="not by 100"):
        scan.binned(100)


def test_the_first_look_shows_the_object(scan: ProjectionSet) -> None:
    volume = first_look(scan, FINE)
    assert volume.grid.shape_kji == (33, 44, 44)
    np.testing.assert_allclose(volume.grid.corners_ras, FINE.corners_ras)
    truth = draw(BODIES, volume.grid, 3)
    error = np.sqrt(np.mean((volume.array - truth) ** 2))
    assert error < 0.1 * truth.max()


def test_thinning_keeps_means_and_places() -> None:
    grid = VolumeGrid.centred((130, 257, 131), 1.0, centre_ras=(5.0, -3.0, 2.0))
    ramp = np.arange(131, dtype=np.float32) * np.ones(grid.shape_kji, dtype=np.float32)
    thin = thinned(ramp, grid)
    assert thin.grid.shape_kji == (43, 85, 43)
    # A ramp along i has the same value at the same place, whatever the voxels.
    for index in (0, 20, 42):
        place = thin.grid.to_ras((index, 3, 4))
        assert thin.array[4, 3, index] == pytest.approx(grid.to_ijk(place)[0])
    small = np.ones(GRID.shape_kji, dtype=np.float32)
    kept = thinned(small, GRID)
    assert kept.grid is GRID
    assert not np.shares_memory(kept.array, small)


def test_previews_come_coarse_first_and_throttled(scan: ProjectionSet) -> None:
    now, seen = [0.0], []
    options = RunOptions(lambda volume, stage: seen.append((now[0], stage)), 2.0)
    watch = Watch(options, scan, GRID, ReconstructionSettings(), clock=lambda: now[0])
    watch.show_first_look(scan, lambda stage, fraction: None)
    state = IterationState.starting(GRID)
    for tenth in range(70):
        now[0] = tenth / 10
        watch(state)
    first, *others = seen
    assert first == (0.0, "first look")
    assert others == [(2.0, "iterating"), (4.0, "iterating"), (6.0, "iterating")]


def test_previews_do_not_change_the_result_and_approach_it(scan: ProjectionSet) -> None:
    shown: list[Volume] = []
    settings = ReconstructionSettings(tv_strength=5e-4)
    plain = reconstruct(scan, GRID, settings).volume
    options = RunOptions(lambda volume, stage: shown.append(volume), 0.0)
    watched = reconstruct(scan, GRID, settings, options=options).volume
    assert watched.array.tobytes() == plain.array.tobytes()
    assert len(shown) > 10
    np.testing.assert_array_equal(smoothed(shown[-1]).array, plain.array)
    errors = [np.abs(volume.array - plain.array).max() for volume in (shown[1], shown[10])]
    assert errors[1] < errors[0]


def test_every_long_call_yields_several_times(
    scan: ProjectionSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("NASAM3DLib.reconstruct.projector.MOST_SAMPLES", 1)
    calls: list[float] = []
    problem = TotalVariationProblem(scan, GRID)
    problem.solve(1e-3, (Phase(5, 2),), progress=lambda stage, fraction: calls.append(fraction))
    n_sweeps = Phase(5, 2).sweeps(20)
    # Once for each view going forward, twice going back, after each step, and at the end.
    assert len(calls) == n_sweeps * (20 * 3 + 4) + 1
    assert calls == sorted(calls)


def test_large_memory_is_touched_in_pieces_without_changing_the_result(
    scan: ProjectionSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = TotalVariationProblem(scan, GRID)
    plain = problem.solve(1e-3, (Phase(5, 2),))
    before: list[float] = []

    def count(stage: str, fraction: float) -> None:
        """Count the calls before the first step."""
        if fraction == 0:
            before.append(fraction)

    problem.solve(1e-3, (Phase(5, 1),), progress=count)
    n_calls = len(before)
    monkeypatch.setattr("NASAM3DLib.reconstruct.iterative.PIECE_VALUES", GRID_VALUES // 4)
    before.clear()
    state = IterationState.starting(GRID)
    again = problem.solve(1e-3, (Phase(5, 1),), state=state, progress=count)
    # Four pieces of the volume and of the gradient, twelve of either dual.
    assert len(before) == n_calls + 32
    again = problem.solve(1e-3, (Phase(5, 2),), state=state)
    assert again.tobytes() == plain.tobytes()


def test_the_worker_sends_previews_only_if_asked(scan: ProjectionSet) -> None:
    request = pack_projections(scan)
    fields = {**request.fields, "grid": GRID.to_dict(), "settings": {"tv_strength": 5e-4}}
    client = WorkerClient()
    try:
        seen: list[Message] = []
        asked = Message("reconstruct", {**fields, "previews": True}, request.arrays)
        result = client.wait(client.submit(asked, on_preview=seen.append), 120.0)
        assert seen[0].fields["stage"] == "first look"
        preview = unpack_volume(seen[0])
        assert preview.quantity == "HU"
        low, high = seen[0].fields["window"]
        assert low < high
        assert unpack_volume(result).grid.same_as(GRID)
        seen.clear()
        plain = Message("reconstruct", fields, request.arrays)
        client.wait(client.submit(plain, on_preview=seen.append), 120.0)
        assert seen == []
    finally:
        client.close()
