"""A run stopped while it refines goes on with the same bits; previews stay in place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, project

from NASAM3DLib.pipeline import reconstruct
from NASAM3DLib.progress import Cancelled
from NASAM3DLib.reconstruct.checkpoint import (
    Checkpoint,
    fingerprint,
    load_checkpoint,
    save_checkpoint,
)
from NASAM3DLib.reconstruct.iterative import IterationState, TotalVariationProblem
from NASAM3DLib.reconstruct.refine import RefinementPlan, cell_means
from NASAM3DLib.reconstruct.running import RunOptions
from NASAM3DLib.reconstruct.settings import ReconstructionSettings
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

GRID = VolumeGrid.centred((15, 18, 18), 7.0, centre_ras=(3.0, -2.0, 1.0))
SETTINGS = ReconstructionSettings(quality="best", tv_strength=1e-3)
GEOMETRY = circular_scan(20, detector=(32, 40), pixel_mm=8.0)
BODIES = [
    Ellipsoid(0.02, (50.0, 40.0, 45.0), (0.0, 0.0, 0.0)),
    Ellipsoid(0.02, (12.0, 12.0, 12.0), (20.0, 12.0, -10.0)),
]
SCAN = ProjectionSet(project(BODIES, GEOMETRY), GEOMETRY)


class Stop:
    """A progress callback that cancels after a number of calls in a stage."""

    def __init__(self, stage: str, n_calls: int) -> None:
        self.stage, self.left = stage, n_calls

    def __call__(self, stage: str, fraction: float) -> None:
        if stage == self.stage:
            self.left -= 1
            if self.left < 0:
                raise Cancelled


@pytest.fixture(scope="module")
def whole() -> bytes:
    """The uninterrupted result."""
    return reconstruct(SCAN, GRID, SETTINGS).volume.array.tobytes()


def saved_at(path: Path) -> Checkpoint:
    return load_checkpoint(path, fingerprint(SCAN, GRID, SETTINGS))


@pytest.mark.parametrize("n_calls", [1, 20, 100])
def test_a_stopped_refinement_ends_with_the_same_bits(
    n_calls: int, whole: bytes, tmp_path: Path
) -> None:
    options = RunOptions(checkpoint=tmp_path / "run.npz")
    with pytest.raises(Cancelled):
        reconstruct(SCAN, GRID, SETTINGS, options=options, progress=Stop("refining", n_calls))
    saved = saved_at(tmp_path / "run.npz")
    assert saved.base is not None
    assert saved.base.shape == GRID.shape_kji
    assert saved.state is not None
    assert saved.state.volume.shape == (36, 36, 30)
    assert (saved.state.n_steps > 0) == (n_calls >= 20)
    stages: set[str] = set()
    done = reconstruct(
        SCAN, GRID, SETTINGS, options=options, progress=lambda stage, _: stages.add(stage)
    )
    assert done.volume.array.tobytes() == whole
    assert done.report["resumed_after_steps"] == saved.state.n_steps
    assert done.report["refined"] is True
    assert "refining" in stages
    assert list(tmp_path.iterdir()) == []


def test_the_base_is_not_solved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = RunOptions(checkpoint=tmp_path / "run.npz")
    with pytest.raises(Cancelled):
        reconstruct(SCAN, GRID, SETTINGS, options=options, progress=Stop("refining", 30))
    grids: list[tuple[int, ...]] = []
    solve = TotalVariationProblem.solve

    def watched(problem: TotalVariationProblem, *args: object, **options: object) -> object:
        """Note which grid is iterated on."""
        grids.append(problem.grid.shape_kji)
        return solve(problem, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(TotalVariationProblem, "solve", watched)
    reconstruct(SCAN, GRID, SETTINGS, options=options)
    assert grids == [(30, 36, 36)]


def test_a_run_stopped_again_and_again_ends_with_the_same_bits(
    whole: bytes, tmp_path: Path
) -> None:
    options = RunOptions(checkpoint=tmp_path / "run.npz")
    done = None
    for stage in ("iterating", "iterating", "refining", "refining", "refining", "none"):
        try:
            stop = Stop(stage, 60)
            done = reconstruct(SCAN, GRID, SETTINGS, options=options, progress=stop)
        except Cancelled:
            continue
        break
    assert done is not None
    assert done.volume.array.tobytes() == whole


def test_a_run_stopped_before_the_refinement_begins_keeps_the_base(
    whole: bytes, tmp_path: Path
) -> None:
    options = RunOptions(checkpoint=tmp_path / "run.npz")
    # The first calls come while it is found out what the base leaves unexplained.
    with pytest.raises(Cancelled):
        reconstruct(SCAN, GRID, SETTINGS, options=options, progress=Stop("refining", 0))
    saved = saved_at(tmp_path / "run.npz")
    assert saved.base is None
    assert saved.state is not None
    assert saved.state.volume.shape == GRID.shape_kji[::-1]
    done = reconstruct(SCAN, GRID, SETTINGS, options=options)
    assert done.report["resumed_after_steps"] == saved.state.n_steps > 0
    assert done.volume.array.tobytes() == whole


def test_the_uncertainty_starts_anew_from_the_refined_volume(tmp_path: Path) -> None:
    settings = replace(SETTINGS, uncertainty=True)
    once = reconstruct(SCAN, GRID, settings).volume
    options = RunOptions(checkpoint=tmp_path / "run.npz")
    stop = Stop("estimating the uncertainty", 5)
    with pytest.raises(Cancelled):
        reconstruct(SCAN, GRID, settings, options=options, progress=stop)
    saved = load_checkpoint(tmp_path / "run.npz", fingerprint(SCAN, GRID, settings))
    assert saved.state is not None
    again = reconstruct(SCAN, GRID, settings, options=options)
    assert again.report["resumed_after_steps"] == saved.state.n_steps
    assert again.volume.array.tobytes() == once.array.tobytes()
    assert again.volume.uncertainty is not None
    assert once.uncertainty is not None
    assert again.volume.uncertainty.tobytes() == once.uncertainty.tobytes()


def test_previews_of_the_refinement_fill_the_same_box(whole: bytes) -> None:
    shown: list[Volume] = []
    options = RunOptions(lambda volume, stage: shown.append(volume), 0.0)
    done = reconstruct(SCAN, GRID, SETTINGS, options=options)
    assert done.volume.array.tobytes() == whole
    fine = [volume for volume in shown if volume.grid.shape_kji == (30, 36, 36)]
    coarse = [volume for volume in shown if volume.grid.shape_kji == GRID.shape_kji]
    assert len(fine) > 10
    assert len(coarse) > 10
    for volume in (fine[0], fine[-1], coarse[-1]):
        np.testing.assert_allclose(volume.grid.corners_ras, GRID.corners_ras)
    # The last of each make up the result, voxel by voxel.
    weight = RefinementPlan(done.report["noise_share"]).weight
    mean = weight * cell_means(fine[-1].array) + (1 - weight) * coarse[-1].array
    np.testing.assert_allclose(done.volume.array, mean, rtol=1e-4, atol=1e-8)


def test_the_base_makes_the_round_trip(tmp_path: Path) -> None:
    mark = fingerprint(SCAN, GRID, SETTINGS)
    base = np.random.default_rng(0).random(GRID.shape_kji, dtype=np.float32)
    # The solver gives the base in Fortran order.
    state = IterationState.starting(GRID.refined(2))
    save_checkpoint(Checkpoint(mark, base=np.asfortranarray(base), state=state), tmp_path / "a")
    loaded = load_checkpoint(tmp_path / "a", mark)
    assert loaded.base is not None
    np.testing.assert_array_equal(loaded.base, base)
    save_checkpoint(Checkpoint(mark, state=state), tmp_path / "b")
    assert load_checkpoint(tmp_path / "b", mark).base is None


def test_the_format_before_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    mark = fingerprint(SCAN, GRID, SETTINGS)
    header = {
        "format": "NASAM3D checkpoint 1",
        "fingerprint": mark,
        "choice": {},
        "scale": None,
        "position": None,
    }
    encoded = np.frombuffer(json.dumps(header).encode("utf-8"), dtype=np.uint8)
    np.savez(path, header=encoded)
    with pytest.raises(ValueError, match=r"'NASAM3D checkpoint 2'.* remove it to start"):
        reconstruct(SCAN, GRID, SETTINGS, options=RunOptions(checkpoint=path))
    assert path.exists()
