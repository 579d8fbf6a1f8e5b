"""Refine a volume and the mask of an object together, with held-out views as referee."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from NASAM3DLib.files import check_writable
from NASAM3DLib.joint import checkpoint as checkpoints
from NASAM3DLib.joint.checkpoint import FINAL, JointCheckpoint
from NASAM3DLib.joint.choice import joint_mask
from NASAM3DLib.joint.referee import (
    SURE,
    Referee,
    Verdict,
    approved_rounds,
    judging_views,
)
from NASAM3DLib.joint.rounds import Clicks, Rounds, guarded, mask_change
from NASAM3DLib.joint.settings import JointResult
from NASAM3DLib.pipeline import Reconstruction
from NASAM3DLib.progress import Cancelled, ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.iterative import TotalVariationProblem
from NASAM3DLib.reconstruct.margin import Surroundings, find_surroundings
from NASAM3DLib.reconstruct.previews import thinned
from NASAM3DLib.reconstruct.refine import Base, RefinementPlan, can_be_refined, plan_refinement
from NASAM3DLib.reconstruct.running import RunOptions, Watch
from NASAM3DLib.reconstruct.settings import ReconstructionSettings
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.noise import noise_weights
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.mask import Mask

logger = logging.getLogger(__name__)

PREPARED, REFEREED = 0.05, 0.55
"""Finished fractions after the preparation and after the referee."""

SETTLED_MASK, SETTLED_ERROR = 0.005, 0.002
"""Changes of mask and held-out error in a guided round after which another one is not worth it."""


@dataclass(frozen=True, eq=False)
class _Scene:
    """What both parts of a run work on: the scan without its surroundings, the volume, the plan."""

    projection_set: ProjectionSet
    volume: Volume
    plan: RefinementPlan
    strength: float
    clicks: Clicks
    surroundings: Surroundings | None

    def rounds(self, views: np.ndarray[Any, Any], start: Volume) -> Rounds:
        """Set up the rounds on some of the views."""
        scan = self.projection_set.select(views)
        return Rounds(scan, start, self.plan, clicks=self.clicks, strength=self.strength)

    def cropped(self, volume: Volume) -> Volume:
        """Cut out the wanted voxels."""
        return volume if self.surroundings is None else self.surroundings.cropped(volume)


def refine_jointly(
    projection_set: ProjectionSet,
    base: Reconstruction,
    clicks: Clicks,
    *,
    options: RunOptions | None = None,
    progress: ProgressCallback = no_progress,
) -> JointResult:
    """Refine a reconstruction and the mask of the object that the clicks show.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals and geometry that the volume was made from.
    base : Reconstruction
        Volume from total variation, 1/mm, with its report.
    clicks : Clicks
        Points, at least one of them on the object, and settings.
    options : RunOptions, optional
        Previews and a checkpoint. With a checkpoint an interrupted run goes on where it was and
        ends with the same volume and mask, bit for bit.
    progress : callable
        Receives stage and fraction; raises Cancelled to end the job.

    Returns
    -------
    JointResult
        The volume and mask from before where held-out views speak against the refined ones, where
        there are too few views to hold any out, or where the volume is too large.

    Raises
    ------
    ValueError
        If the base is in HU or not from total variation, the clicks do not fit it, or the
        checkpoint is damaged or belongs to another run.
    OSError
        If the checkpoint cannot be written.

    Notes
    -----
    The referee does everything without one view in eight, beginning with a reconstruction of the
    base's settings, and compares how well these views are predicted before and after each round,
    above all by the rays past the object's surface (``referee``). The last round that is as good as
    any is where the refinement with all views ends; the volume from before is returned unless a
    round is surely better. The mask from before is changed where the later one is surer and the
    refined volume agrees with it (``choice``). So a run costs about twice the reconstruction and
    the rounds. It computes on the CPU.
    """
    options = options or RunOptions()
    strength = _checked_strength(base)
    volume = base.volume
    begin = time.perf_counter()
    progress("segmenting", 0.0)
    before, soft = clicks.segment(volume)
    report: dict[str, Any] = {"settings": asdict(clicks.settings), "grid": str(volume.grid)}
    held_out = judging_views(projection_set.n_views)
    why = ""
    if not held_out.size:
        why = "too few views to hold any out: joint refinement could not be refereed"
    elif not can_be_refined(volume.grid):
        why = "the volume is too large for voxels half as large"
    if why:
        return JointResult(volume, before, before, False, {**report, **_told("un-joined", why)})
    run = _Run(projection_set, base, clicks, options)
    try:
        scene = run.prepared(strength, sub_progress(progress, 0.0, PREPARED))
        run.referee(scene, before, held_out, sub_progress(progress, PREPARED, REFEREED))
        result = run.final(scene, (before, soft), sub_progress(progress, REFEREED, 1.0))
    except (Cancelled, KeyboardInterrupt):
        run.save()
        raise
    run.finish()
    report["seconds"] = time.perf_counter() - begin
    progress("done", 1.0)
    return replace(result, report={**report, **result.report})


class _Run:
    """One joint refinement with its checkpoint and previews."""

    def __init__(
        self,
        projection_set: ProjectionSet,
        base: Reconstruction,
        clicks: Clicks,
        options: RunOptions,
    ) -> None:
        self._scan, self._base, self._clicks, self._options = projection_set, base, clicks, options
        self._saved_at = time.monotonic()
        self.checkpoint = JointCheckpoint({})
        path = options.checkpoint
        if path is not None:
            check_writable(path, force=True)
            mark = checkpoints.mark_of(projection_set, base, clicks.prompts, clicks.settings)
            self.checkpoint = (
                checkpoints.load(path, mark) if path.exists() else JointCheckpoint(mark)
            )

    def save(self) -> None:
        """Save where the run is, if that is wanted."""
        if self._options.checkpoint is not None:
            checkpoints.save(self.checkpoint, self._options.checkpoint)
            self._saved_at = time.monotonic()

    def finish(self) -> None:
        """Remove the checkpoint of a complete run."""
        if self._options.checkpoint is not None:
            self._options.checkpoint.unlink(missing_ok=True)

    def prepared(self, strength: float, progress: ProgressCallback) -> _Scene:
        """Weigh the rays and take the surroundings out of the scan, as the base did, and plan."""
        scan, volume, surroundings = self._scan, self._base.volume, None
        if self._base.report.get("weighted") and scan.weights is None:
            scan = replace(scan, weights=noise_weights(scan))
        if self._base.report.get("surroundings"):
            surroundings = find_surroundings(scan, volume.grid, progress=progress)
        if surroundings is not None:
            scan = surroundings.subtracted_from(scan)
            volume = guarded(volume, surroundings.grid)
        share = self._base.report.get("noise_share")
        if share is None:
            problem = TotalVariationProblem(scan, volume.grid)
            plan = plan_refinement(Base(problem, strength, volume.array))
        else:
            plan = RefinementPlan(float(share))
        progress("preparing", 1.0)
        return _Scene(scan, volume, plan, strength, self._clicks, surroundings)

    def referee(
        self,
        scene: _Scene,
        before: Mask,
        held_out: np.ndarray[Any, Any],
        progress: ProgressCallback,
    ) -> None:
        """Do the rounds without some views; find the last one that these views approve of."""
        known = self.checkpoint
        if known.part == FINAL:
            return
        views = np.setdiff1d(np.arange(scene.projection_set.n_views), held_out)
        if known.start is None:
            part = sub_progress(progress, 0.0, 0.3, stage="refereeing")
            known.start = self._again(scene, scene.projection_set.select(views), part)
        start = replace(scene.volume, array=known.start)
        shown = guarded(Volume(before.array.astype(np.float32), before.grid), start.grid)
        referee = Referee(scene.projection_set.select(held_out), start, shown.array > 0)
        if not known.verdicts:
            known.verdicts.append(referee.judge(start.array))
            self.save()
        rounds = scene.rounds(views, start)

        def judge(volume: Volume) -> bool:
            """Note how well the views are predicted; tell whether another round is worth it."""
            verdict, last = referee.judge(volume.array), known.verdicts[-1]
            known.verdicts.append(verdict)
            settled = verdict.surface_error >= last.surface_error * (1 - SETTLED_ERROR)
            changes = known.changes
            return not (settled and len(changes) > 1 and changes[-1] < SETTLED_MASK)

        most = self._clicks.settings.most_rounds
        self._do(rounds, scene, most, judge=judge, progress=sub_progress(progress, 0.3, 1.0))
        known.n_rounds = approved_rounds(known.verdicts, self._clicks.settings.tolerance)
        known.part, known.position, known.start = FINAL, None, None
        known.changes = []
        self.save()

    def final(
        self,
        scene: _Scene,
        before: tuple[Mask, np.ndarray[Any, np.dtype[np.float32]]],
        progress: ProgressCallback,
    ) -> JointResult:
        """Do the approved rounds with all views; before is the mask with its probability."""
        known = self.checkpoint
        old = before[0]
        figures = {"noise_share": scene.plan.noise_share, **_judgement(known.verdicts)}
        if not known.n_rounds:
            why = _objection(known.verdicts)
            logger.info("Un-joined result: %s.", why)
            told = _told("un-joined", why)
            return JointResult(self._base.volume, old, old, False, {**told, **figures})
        rounds = scene.rounds(np.arange(scene.projection_set.n_views), scene.volume)
        self._do(rounds, scene, known.n_rounds, judge=lambda _: True, progress=progress)
        position = known.position
        if position is None:
            raise RuntimeError("The rounds ended without a position.")
        guided, volume = (
            replace(scene.cropped(one), uncertainty=None)
            for one in (rounds.volume(position), rounds.result(position))
        )
        mask = joint_mask(before, self._clicks.segment(guided), guided, self._clicks.prompts)
        figures["mask_returned"] = "un-joined" if mask is old else "joint"
        figures["mask_changes"] = list(known.changes)
        figures["n_rounds"] = known.n_rounds
        figures["mask_change"] = mask_change(mask.array, old.array)
        gain = known.verdicts[known.n_rounds].gain
        told = _told("joint", f"held-out rays near the surface are predicted {gain:.1%} better")
        return JointResult(volume, mask, old, True, {**told, **figures}, guided)

    def _do(
        self,
        rounds: Rounds,
        scene: _Scene,
        n_rounds: int,
        *,
        judge: Callable[[Volume], bool],
        progress: ProgressCallback,
    ) -> None:
        """Do rounds until there are enough or the judge says so."""
        known = self.checkpoint
        if known.position is None:
            before, _ = self._clicks.segment(rounds.start)
            known.position = rounds.begin(before.array)
        position = known.position
        while position.n_rounds < n_rounds:
            done = position.n_rounds
            part = sub_progress(progress, done / n_rounds, (done + 1) / n_rounds)
            before_round = position.mask
            volume, mask = rounds.run(position, on_step=self._save_if_time, progress=part)
            known.changes.append(mask_change(mask.array, before_round))
            if self._options.on_preview is not None and known.part == FINAL:
                shown = scene.cropped(rounds.result(position))
                self._options.on_preview(thinned(shown.array, shown.grid), "refining jointly")
            if not judge(volume):
                break
            self.save()

    def _save_if_time(self) -> None:
        """Save now and then."""
        if time.monotonic() - self._saved_at >= self._options.checkpoint_interval_s:
            self.save()

    def _again(
        self, scene: _Scene, scan: ProjectionSet, progress: ProgressCallback
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Reconstruct from fewer views as the base was."""
        from NASAM3DLib.reconstruct import stages

        saved = self._base.report.get("settings", {})
        quality = saved.get("quality", "standard")
        settings = ReconstructionSettings(
            quality="standard" if quality == "preview" else quality,
            tv_strength=scene.strength,
            device="cpu",
        )
        grid = scene.volume.grid
        report: dict[str, Any] = {"seconds": {}}
        watch = Watch(RunOptions(), scan, grid, settings)
        task = stages.Task(scan, grid, settings, report, watch)
        volume = stages.total_variation(task, progress)
        if not report["refined"]:
            volume = stages.smoothed(volume)
        return volume.array


def _checked_strength(base: Reconstruction) -> float:
    """Give the strength of total variation of the base, refusing what is no base."""
    if base.volume.quantity != "attenuation":
        raise ValueError(
            "Joint refinement needs the reconstruction in 1/mm, got HU: give it before conversion."
        )
    strength = base.report.get("tv_strength")
    if strength is None:
        raise ValueError(
            "Joint refinement goes on from total variation, but the report of this reconstruction "
            "has no tv_strength: reconstruct with the method tv."
        )
    return float(strength)


def _judgement(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Give the referee's figures as plain values."""
    before, *later = verdicts
    return {
        "held_out_error_before": before.error,
        "held_out_errors": [verdict.error for verdict in later],
        "surface_error_before": before.surface_error,
        "surface_errors": [verdict.surface_error for verdict in later],
        "surface_gains": [verdict.gain for verdict in later],
        "surface_gain_spreads": [verdict.spread for verdict in later],
    }


def _objection(verdicts: Sequence[Verdict]) -> str:
    """Say why no round was approved."""
    before, _, *later = verdicts
    if not later:
        return "a single round is without guidance"
    best = max(later, key=lambda verdict: verdict.gain - SURE * verdict.spread)
    if best.is_better:
        return f"held-out views got worse, {best.error:.4g} instead of {before.error:.4g}"
    return (
        "held-out rays near the surface are not surely predicted better: squared error lower by "
        f"{best.gain:.2%} with a standard error of {best.spread:.2%}"
    )


def _told(returned: str, why: str) -> dict[str, Any]:
    """Say what is returned and why."""
    return {"returned": returned, "why": why}
