"""Joint refinement: what is gained, what the referee may veto, cancelling and going on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, draw, project
from typer.testing import CliRunner

from NASAM3DLib.cli.app import app
from NASAM3DLib.joint.choice import joint_mask
from NASAM3DLib.joint.referee import Referee, Verdict, surface_band
from NASAM3DLib.joint.refinement import refine_jointly
from NASAM3DLib.joint.rounds import Clicks, Position, Rounds, guarded, mask_change
from NASAM3DLib.joint.settings import JointResult, JointSettings
from NASAM3DLib.pipeline import Reconstruction, reconstruct
from NASAM3DLib.progress import Cancelled
from NASAM3DLib.reconstruct.running import RunOptions
from NASAM3DLib.reconstruct.settings import ReconstructionSettings
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.reconstruct.volume_io import load_volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.io import save_projections
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.mask_io import load_mask
from NASAM3DLib.segment.prompts import Prompts

GRID = VolumeGrid.centred((24, 24, 24), 6.0)
GEOMETRY = circular_scan(9, detector=(36, 36), pixel_mm=7.0)
TARGET = Ellipsoid(0.006, (24.0, 20.0, 26.0), (14.0, 6.0, -4.0), 0.4)
BODIES = [
    Ellipsoid(0.02, (62.0, 54.0, 60.0), (0.0, 0.0, 0.0)),
    TARGET,
    Ellipsoid(0.03, (9.0, 9.0, 40.0), (-30.0, -12.0, 0.0)),
]
CLICKS = Clicks(Prompts().with_point(TARGET.centre_ras))


def noisy_scan() -> ProjectionSet:
    """Exact line integrals with a little noise."""
    exact = project(BODIES, GEOMETRY)
    noise = np.random.default_rng(0).normal(0, 0.01, exact.shape)
    return ProjectionSet(np.maximum(exact + noise, 0).astype(np.float32), GEOMETRY)


SCAN = noisy_scan()


@pytest.fixture(scope="module")
def base() -> Reconstruction:
    return reconstruct(SCAN, GRID, ReconstructionSettings(quality="standard", device="cpu"))


@pytest.fixture(scope="module")
def whole(base: Reconstruction) -> JointResult:
    """The uninterrupted result."""
    return refine_jointly(SCAN, base, CLICKS)


def band_error(volume: Volume, target: Mask) -> float:
    """Root mean square error within 10 mm of the target's surface."""
    band = surface_band(target.array, (6.0, 6.0, 6.0))
    return float(np.sqrt(np.mean((volume.array - draw(BODIES, GRID))[band] ** 2)))


def target_mask() -> Mask:
    k, j, i = np.meshgrid(*(np.arange(24.0),) * 3, indexing="ij")
    return Mask(TARGET.inside(GRID.to_ras(np.stack([i, j, k], axis=-1))), GRID)


def overlap(mask: Mask, other: Mask) -> float:
    return 1 - mask_change(mask.array, other.array)


def test_volume_and_mask_are_both_better(base: Reconstruction, whole: JointResult) -> None:
    target = target_mask()
    assert whole.is_joint
    assert whole.report["returned"] == whole.report["mask_returned"] == "joint"
    assert band_error(whole.volume, target) < 0.9 * band_error(base.volume, target)
    assert overlap(whole.mask, target) > overlap(whole.mask_before, target)
    assert whole.volume.grid.same_as(GRID)
    np.testing.assert_array_equal(whole.mask_before.array, CLICKS.segment(base.volume)[0].array)


def test_the_mask_is_made_on_the_guided_volume(base: Reconstruction, whole: JointResult) -> None:
    assert whole.guided is not None
    before, later = CLICKS.segment(base.volume), CLICKS.segment(whole.guided)
    expected = joint_mask(before, later, whole.guided, CLICKS.prompts)
    np.testing.assert_array_equal(whole.mask.array, expected.array)


def test_the_report_is_plain_and_tells_the_errors(whole: JointResult) -> None:
    report = json.loads(json.dumps(whole.report))
    assert (
        len(report["held_out_errors"]) == len(report["surface_errors"]) >= report["n_rounds"] >= 1
    )
    done = report["n_rounds"] - 1
    assert report["surface_gains"][done] > report["surface_gain_spreads"][done] > 0
    assert report["surface_errors"][done] < report["surface_error_before"]
    ratio = report["surface_errors"][done] / report["surface_error_before"]
    assert report["surface_gains"][done] == pytest.approx(1 - ratio**2, rel=1e-4)
    tolerated = 1 + CLICKS.settings.tolerance
    assert report["held_out_errors"][done] <= report["held_out_error_before"] * tolerated
    assert len(report["mask_changes"]) == report["n_rounds"]
    assert report["why"].startswith("held-out rays near the surface are predicted")


def referee_says(monkeypatch: pytest.MonkeyPatch, *surface_errors: float, error: float = 1) -> None:
    """Let the referee give these errors, surely, first that from before."""
    first = surface_errors[0]
    verdicts = iter(
        Verdict(error if n else 1, e, 1 - (e / first) ** 2, 1e-4)
        for n, e in enumerate(surface_errors)
    )
    monkeypatch.setattr(Referee, "judge", lambda *_: next(verdicts))


def check_un_joined(done: JointResult, base: Reconstruction) -> None:
    """Check that volume and mask are those from before."""
    assert not done.is_joint
    assert done.volume is base.volume
    assert done.mask is done.mask_before
    assert done.guided is None
    assert done.report["returned"] == "un-joined"


@pytest.mark.parametrize(("noise_share", "weight"), [(0.0, 0.85), (1.0, 0.45)])
def test_the_noisier_the_scan_the_more_of_the_volume_from_before_stays(
    base: Reconstruction, monkeypatch: pytest.MonkeyPatch, noise_share: float, weight: float
) -> None:
    referee_says(monkeypatch, 1.0, 0.95, 0.9)
    clicks = replace(CLICKS, settings=JointSettings(most_rounds=2))
    noisy = replace(base, report={**base.report, "noise_share": noise_share})
    done = refine_jointly(SCAN, noisy, clicks)
    assert done.guided is not None
    step = done.guided.array - base.volume.array
    assert np.abs(step).max() > 1e-3
    expected = base.volume.array + weight / 0.85 * step
    np.testing.assert_allclose(done.volume.array, expected, rtol=0, atol=1e-7)


def test_the_referee_sends_the_result_from_before(
    base: Reconstruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    referee_says(monkeypatch, 1.0, 1.03, 1.02, 1.04)
    done = refine_jointly(SCAN, base, CLICKS)
    check_un_joined(done, base)
    assert "not surely predicted better: squared error lower by -4.04%" in done.report["why"]


def test_a_better_surface_at_the_cost_of_the_rest_is_not_taken(
    base: Reconstruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    referee_says(monkeypatch, 1.0, 0.9, 0.9, 0.9, error=1.02)
    done = refine_jointly(SCAN, base, CLICKS)
    check_un_joined(done, base)
    assert done.report["why"] == "held-out views got worse, 1.02 instead of 1"


def test_what_harms_the_surface_is_not_taken_though_the_rest_gains(
    base: Reconstruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, truth = target_mask(), draw(BODIES, GRID).astype(np.float32)
    band = surface_band(target.array, (6.0, 6.0, 6.0))
    usual = Rounds.volume

    def harmed(rounds: Rounds, position: Position) -> Volume:
        volume = usual(rounds, position)
        return replace(volume, array=np.where(band, np.float32(1.09) * truth, truth))

    monkeypatch.setattr(Rounds, "volume", harmed)
    done = refine_jointly(SCAN, base, CLICKS)
    check_un_joined(done, base)
    errors = done.report["held_out_errors"]
    assert min(errors) < done.report["held_out_error_before"]
    assert max(done.report["surface_gains"]) < 0
    assert "near the surface are not surely predicted better" in done.report["why"]


def test_rounds_that_make_it_worse_are_not_done(
    base: Reconstruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    referee_says(monkeypatch, 1.0, 0.95, 0.9, 0.97)
    done = refine_jointly(SCAN, base, CLICKS)
    assert done.is_joint
    assert done.report["n_rounds"] == 2
    assert done.report["surface_errors"] == [0.95, 0.9, 0.97]


def test_what_only_the_round_without_guidance_gains_is_not_taken(
    base: Reconstruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    clicks = replace(CLICKS, settings=JointSettings(most_rounds=1))
    referee_says(monkeypatch, 1.0, 0.8)
    done = refine_jointly(SCAN, base, clicks)
    check_un_joined(done, base)
    assert done.report["why"] == "a single round is without guidance"


def test_a_bad_round_before_a_good_one_does_not_end_it(
    base: Reconstruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    referee_says(monkeypatch, 1.0, 1.03, 0.95, 0.955)
    done = refine_jointly(SCAN, base, CLICKS)
    assert done.is_joint
    assert done.report["n_rounds"] == 3


def test_too_few_views_cannot_be_refereed(base: Reconstruction) -> None:
    done = refine_jointly(SCAN.select(np.arange(0, 9, 2)), base, CLICKS)
    assert not done.is_joint
    assert done.volume is base.volume
    assert "too few views" in done.report["why"]


class Stop:
    """A progress callback that cancels after a number of calls."""

    def __init__(self, n_calls: int) -> None:
        self.left, self.last = n_calls, 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        assert 0 <= self.last <= fraction + 1e-9
        self.last = fraction
        self.left -= 1
        if self.left < 0:
            raise Cancelled


@pytest.mark.parametrize("n_calls", [3, 250, 500, 900])
def test_a_stopped_run_ends_with_the_same_bits(
    n_calls: int, base: Reconstruction, whole: JointResult, tmp_path: Path
) -> None:
    options = RunOptions(checkpoint=tmp_path / "run.npz")
    with pytest.raises(Cancelled):
        refine_jointly(SCAN, base, CLICKS, options=options, progress=Stop(n_calls))
    assert (tmp_path / "run.npz").exists()
    done = refine_jointly(SCAN, base, CLICKS, options=options)
    assert done.volume.array.tobytes() == whole.volume.array.tobytes()
    assert done.mask.array.tobytes() == whole.mask.array.tobytes()
    assert done.report["held_out_errors"] == whole.report["held_out_errors"]
    assert done.report["mask_changes"] == whole.report["mask_changes"]
    assert not list(tmp_path.iterdir())


def test_cancelling_without_a_checkpoint_leaves_nothing(
    base: Reconstruction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = base.volume.array.tobytes()
    with pytest.raises(Cancelled):
        refine_jointly(SCAN, base, CLICKS, progress=Stop(300))
    assert not list(tmp_path.iterdir())
    assert base.volume.array.tobytes() == before


def test_a_checkpoint_of_something_else_is_refused(base: Reconstruction, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    options = RunOptions(checkpoint=path)
    with pytest.raises(Cancelled):
        refine_jointly(SCAN, base, CLICKS, options=options, progress=Stop(3))
    other = Clicks(CLICKS.prompts.with_point((-30.0, -12.0, 0.0), positive=False))
    with pytest.raises(ValueError, match=r"differs in volume and clicks\. Name another file"):
        refine_jointly(SCAN, base, other, options=options)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="is no checkpoint of a joint refinement"):
        refine_jointly(SCAN, base, CLICKS, options=options)


def test_previews_show_the_rounds(base: Reconstruction, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Volume] = []
    options = RunOptions(on_preview=lambda volume, _: shown.append(volume))
    referee_says(monkeypatch, 1.0, 0.95, 0.9)
    clicks = replace(CLICKS, settings=JointSettings(most_rounds=2))
    done = refine_jointly(SCAN, base, clicks, options=options)
    assert len(shown) == done.report["n_rounds"] == 2
    np.testing.assert_array_equal(shown[-1].array, done.volume.array)


def test_what_is_no_total_variation_is_refused(base: Reconstruction) -> None:
    with pytest.raises(ValueError, match=r"has no tv_strength: reconstruct with the method tv\."):
        refine_jointly(SCAN, replace(base, report={}), CLICKS)
    with pytest.raises(ValueError, match="in 1/mm, got HU"):
        refine_jointly(SCAN, replace(base, volume=base.volume.to_hu()), CLICKS)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"most_rounds": 0}, "must be 1 or more, got 0"), ({"tolerance": -0.1}, "zero or positive")],
)
def test_settings_check_themselves(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JointSettings(**change)


def test_a_guard_continues_the_outermost_values() -> None:
    inner = VolumeGrid.centred((3, 4, 5), 2.0)
    affine = np.array(inner.ijk_to_ras)
    affine[:3, 3] = inner.to_ras((-2, -1, 0))
    outer = VolumeGrid((4, 6, 9), affine)
    array = np.random.default_rng(0).random(inner.shape_kji).astype(np.float32)
    wider = guarded(Volume(array, inner), outer)
    np.testing.assert_array_equal(wider.array[:3, 1:5, 2:7], array)
    np.testing.assert_array_equal(wider.array[3, 1:5, 2:7], array[-1])
    np.testing.assert_array_equal(wider.array[0, 0, 2:7], array[0, 0])


def test_the_verb_writes_volume_mask_and_report(tmp_path: Path) -> None:
    save_projections(SCAN, tmp_path / "scan.npz")
    arguments = f"joint {tmp_path}/scan.npz -o {tmp_path}/v.nrrd --mask {tmp_path}/m.seg.nrrd"
    arguments += " --point 14,6,-4 --spacing 12 --quality standard"
    arguments += f" --report {tmp_path}/r.json"
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 0, result.stderr
    volume, mask = load_volume(tmp_path / "v.nrrd"), load_mask(tmp_path / "m.seg.nrrd")
    assert volume.quantity == "HU"
    assert mask.grid.same_as(volume.grid)
    assert mask.n_voxels > 0
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["joint"]["returned"] in ("joint", "un-joined")
    assert told["reconstruction"]["tv_strength"] > 0
    assert told["joint"]["why"] in " ".join(result.stdout.split())
