"""A stopped reconstruction goes on where it was, or says why it cannot."""

from __future__ import annotations

import itertools
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
from NASAM3DLib.reconstruct.iterative import IterationState
from NASAM3DLib.reconstruct.operator_scale import OperatorScale
from NASAM3DLib.reconstruct.running import RunOptions, Watch
from NASAM3DLib.reconstruct.settings import PHASES, ReconstructionSettings
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

GRID = VolumeGrid.centred((20, 24, 24), 6.0)
SETTINGS = ReconstructionSettings()


def make_scan() -> ProjectionSet:
    geometry = circular_scan(20, detector=(32, 40), pixel_mm=8.0)
    return ProjectionSet(
        project([Ellipsoid(0.02, (50.0, 40.0, 45.0), (0.0, 0.0, 0.0))], geometry), geometry
    )


SCAN = make_scan()


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


@pytest.mark.parametrize("n_calls", [1, 14, 31, 77])
def test_a_resumed_run_ends_with_the_same_bits(n_calls: int, whole: bytes, tmp_path: Path) -> None:
    options = RunOptions(checkpoint=tmp_path / "run.npz")
    with pytest.raises(Cancelled):
        reconstruct(SCAN, GRID, SETTINGS, options=options, progress=Stop("iterating", n_calls))
    saved = load_checkpoint(tmp_path / "run.npz", fingerprint(SCAN, GRID, SETTINGS))
    assert saved.choice["strength"] > 0
    done = reconstruct(SCAN, GRID, SETTINGS, options=options)
    assert done.volume.array.tobytes() == whole
    n_steps = 0 if saved.state is None else saved.state.n_steps
    assert done.report["resumed_after_steps"] == n_steps
    assert (n_steps > 0) == (n_calls >= 14)
    assert list(tmp_path.iterdir()) == []


def test_a_run_stopped_again_and_again_ends_with_the_same_bits(
    whole: bytes, tmp_path: Path
) -> None:
    options = RunOptions(checkpoint=tmp_path / "run.npz")
    done = None
    for _ in range(20):
        stop = Stop("iterating", 25)
        try:
            done = reconstruct(SCAN, GRID, SETTINGS, options=options, progress=stop)
        except Cancelled:
            continue
        break
    assert done is not None
    assert done.report["resumed_after_steps"] > 8
    assert done.volume.array.tobytes() == whole


def test_a_run_killed_between_two_saves_resumes_from_the_last(whole: bytes, tmp_path: Path) -> None:
    class Killed(BaseException):
        """Nothing is saved on the way out of this."""

    left = itertools.count(60, -1)

    def kill(stage: str, fraction: float) -> None:
        if stage == "iterating" and next(left) == 0:
            raise Killed

    options = RunOptions(checkpoint=tmp_path / "run.npz", checkpoint_interval_s=0.0)
    with pytest.raises(Killed):
        reconstruct(SCAN, GRID, SETTINGS, options=options, progress=kill)
    done = reconstruct(SCAN, GRID, SETTINGS, options=options)
    assert done.report["resumed_after_steps"] > 0
    assert done.volume.array.tobytes() == whole


def test_the_field_starts_anew_from_the_saved_base(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    settings = ReconstructionSettings("field", "preview")
    once = reconstruct(SCAN, GRID, settings)
    options = RunOptions(checkpoint=tmp_path / "run.npz")
    stop = Stop("fitting the attenuation field", 3)
    with pytest.raises(Cancelled):
        reconstruct(SCAN, GRID, settings, options=options, progress=stop)
    again = reconstruct(SCAN, GRID, settings, options=options)
    n = SCAN.n_views
    n_steps = sum(round(n / p.views_per_subset) * p.sweeps(n) for p in PHASES["preview"])
    assert again.report["resumed_after_steps"] == n_steps
    assert again.volume.array.tobytes() == once.volume.array.tobytes()


def test_saves_come_at_the_interval() -> None:
    now = [0.0]
    options = RunOptions(checkpoint=None, checkpoint_interval_s=30.0)
    watch = Watch(options, SCAN, GRID, SETTINGS, clock=lambda: now[0])
    saved: list[float] = []

    def save() -> None:
        saved.append(now[0])
        watch._saved_at = now[0]

    watch.save = save  # type: ignore[method-assign]
    state = IterationState.starting(GRID)
    for second in range(0, 100, 10):
        now[0] = float(second)
        watch(state)
    assert saved == [30.0, 60.0, 90.0]


def stored(path: Path) -> dict[str, str]:
    """Save a state and give its fingerprint."""
    mark = fingerprint(SCAN, GRID, SETTINGS)
    state = IterationState.starting(GRID, np.ones(GRID.shape_kji))
    state.n_steps, state.momentum = 7, 3.1415926535897931
    save_checkpoint(Checkpoint(mark, {"strength": 0.1}, OperatorScale(0.1, 1 / 3), state), path)
    return mark


def test_the_round_trip_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "a name without an ending"
    loaded = load_checkpoint(path, stored(path))
    assert loaded.state is not None
    assert (loaded.state.n_steps, loaded.state.momentum) == (7, 3.1415926535897931)
    assert loaded.scale == OperatorScale(0.1, 1 / 3)
    assert loaded.choice == {"strength": 0.1}
    np.testing.assert_array_equal(loaded.state.ahead, np.ones(GRID.shape_kji[::-1]))


def turned(scan: ProjectionSet) -> ProjectionSet:
    """The same projections with the first source moved a little."""
    g = scan.geometry
    sources = np.array(g.sources_ras)
    sources[0, 0] += 1e-9
    steps = (g.detector_u_ras, g.detector_v_ras)
    moved = ConeBeamGeometry(sources, g.detector_centres_ras, *steps, g.detector_shape)
    return ProjectionSet(scan.projections, moved)


def brighter(scan: ProjectionSet) -> ProjectionSet:
    """The same scan with one pixel a little brighter."""
    projections = np.array(scan.projections)
    projections[3, 2, 1] += 1e-6
    return ProjectionSet(projections, scan.geometry)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ((brighter(SCAN), GRID, SETTINGS), "differs in the projections. Name"),
        ((turned(SCAN), GRID, SETTINGS), "differs in the scanner geometry. Name"),
        ((SCAN, VolumeGrid.centred((20, 24, 24), 6.1), SETTINGS), "differs in the voxels. Name"),
        ((SCAN, GRID, replace(SETTINGS, quality="best")), "differs in the settings. Name"),
    ],
)
def test_another_reconstruction_is_refused(other: tuple, named: str, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    stored(path)
    with pytest.raises(ValueError, match=named):
        reconstruct(*other, options=RunOptions(checkpoint=path))
    assert path.exists()


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_a_file_cut_short_is_refused(kept: float, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    mark = stored(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"run\.npz is no checkpoint .* remove it to start"):
        load_checkpoint(path, mark)


def test_a_damaged_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    mark = stored(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is no checkpoint"):
        load_checkpoint(path, mark)


def test_a_state_torn_out_of_a_step_is_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    state = IterationState.starting(GRID)
    state.is_whole = False
    with pytest.raises(ValueError, match="torn out of a step"):
        save_checkpoint(Checkpoint({}, state=state), path)
    watch = Watch(RunOptions(checkpoint=path), SCAN, GRID, SETTINGS)
    watch.keep(state=state)
    watch.save()
    assert not path.exists()


def test_a_folder_that_does_not_exist_is_named_before_the_work(tmp_path: Path) -> None:
    options = RunOptions(checkpoint=tmp_path / "nowhere" / "run.npz")
    with pytest.raises(FileNotFoundError, match="make it first"):
        reconstruct(SCAN, GRID, SETTINGS, options=options)
    with pytest.raises(ValueError, match="checkpoint_interval_s must not be negative"):
        RunOptions(checkpoint_interval_s=-1.0)


def test_the_command_line_resumes(whole: bytes, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from NASAM3DLib.cli.app import app
    from NASAM3DLib.reconstruct.volume_io import load_volume, save_volume
    from NASAM3DLib.scan.io import load_projections, save_projections

    save_projections(SCAN, tmp_path / "scan.npz")
    save_volume(
        reconstruct(SCAN, GRID, ReconstructionSettings(quality="preview")).volume,
        tmp_path / "like.nrrd",
    )
    scan, grid = load_projections(tmp_path / "scan.npz"), load_volume(tmp_path / "like.nrrd").grid
    options = RunOptions(checkpoint=tmp_path / "run.npz")
    with pytest.raises(Cancelled):
        reconstruct(scan, grid, SETTINGS, options=options, progress=Stop("iterating", 40))
    words = [
        "reconstruct",
        "scan.npz",
        "-o",
        "out.nrrd",
        "--like",
        "like.nrrd",
        "--correct",
        "none",
    ]
    words += ["--unit", "attenuation", "--checkpoint", "run.npz", "--report", "report.json"]
    done = CliRunner().invoke(app, [str(tmp_path / w) if "." in w else w for w in words])
    assert done.exit_code == 0, done.stderr
    assert json.loads((tmp_path / "report.json").read_text())["resumed_after_steps"] > 5
    assert load_volume(tmp_path / "out.nrrd").array.tobytes() == whole
    assert not (tmp_path / "run.npz").exists()
