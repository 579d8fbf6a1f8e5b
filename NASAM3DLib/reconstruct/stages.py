"""The stages of a reconstruction, each of which tells the report what it did."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.progress import Cancelled, ProgressCallback, sub_progress
from NASAM3DLib.reconstruct.device import choose_device, choose_solver_device, describe_device
from NASAM3DLib.reconstruct.settings import (
    FIELD_STEPS,
    NAF_EPOCHS,
    PHASES,
    ReconstructionSettings,
)
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

if TYPE_CHECKING:
    from NASAM3DLib.reconstruct.refine import Base
    from NASAM3DLib.reconstruct.running import Watch
    from NASAM3DLib.reconstruct.tuning import StrengthChoice

Float32Array = npt.NDArray[np.float32]

SMOOTHING_VOXELS = 0.35
"""Standard deviation of the final smoothing where nothing was refined.

The projector reads the volume as linear between voxel centres, so that the mean over a voxel is a
little smoother than the value at its centre.
"""


@dataclass(frozen=True)
class Task:
    """What is to be reconstructed, and who is told about it.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals and geometry.
    grid : VolumeGrid
        Voxels.
    settings : ReconstructionSettings
        Method and quality.
    report : dict
        Plain JSON values, which the stages add to.
    watch : Watch
        Previews and the checkpoint.
    """

    projection_set: ProjectionSet
    grid: VolumeGrid
    settings: ReconstructionSettings
    report: dict[str, Any]
    watch: Watch

    def took(self, stage: str, begin: float) -> None:
        """Note the seconds of a stage.

        Parameters
        ----------
        stage : str
            Its name.
        begin : float
            Value of ``time.perf_counter`` when it began, s.
        """
        self.report["seconds"][stage] = time.perf_counter() - begin


def filtered_back_projection(task: Task, progress: ProgressCallback) -> Volume:
    """Run filtered back-projection; attenuation is not negative, so streaks below zero are cut.

    Parameters
    ----------
    task : Task
        What to reconstruct.
    progress : callable
        Receives stage and fraction.

    Returns
    -------
    Volume
    """
    from NASAM3DLib.reconstruct.analytic import reconstruct_fdk

    begin = time.perf_counter()
    array = np.maximum(reconstruct_fdk(task.projection_set, task.grid, progress=progress), 0)
    task.took("filtered back-projection", begin)
    task.report["returned"] = "fdk"
    task.report["why"] = "filtered back-projection was asked for"
    return Volume(np.ascontiguousarray(array), task.grid)


def total_variation(task: Task, progress: ProgressCallback) -> Volume:
    """Choose the strength where it is not given, iterate on all views, refine the best quality.

    Parameters
    ----------
    task : Task
        What to reconstruct.
    progress : callable
        Receives stage and fraction.

    Returns
    -------
    Volume
        Not smoothed, see :func:`smoothed`.
    """
    from NASAM3DLib.reconstruct.refine import can_be_refined

    report = task.report
    device = choose_solver_device(task.settings.device)
    report["device"] = describe_device(device)
    wants_refinement = task.settings.quality == "best"
    refines = wants_refinement and can_be_refined(task.grid)
    tuned, solved = (0.1, 0.3) if refines else (0.3, 1.0)
    begin = time.perf_counter()
    choice, reason = _strength(task, device, sub_progress(progress, 0.0, tuned))
    report["tv_strength"] = choice.strength
    report["tv_strength_reason"] = reason
    report["tv_candidates"] = list(choice.candidates)
    report["tv_held_out_errors"] = list(choice.held_out_errors)
    report["held_out_views"] = list(choice.held_out_views)
    task.took("strength of total variation", begin)
    begin = time.perf_counter()
    base = _solved(task, choice.strength, device, sub_progress(progress, tuned, solved))
    task.took("total variation", begin)
    report["returned"] = "tv"
    report["why"] = f"total variation with its strength {reason}"
    report["refined"] = refines
    array = base.array
    if refines:
        begin = time.perf_counter()
        array = _refined(task, base, device, sub_progress(progress, solved, 1.0))
        task.took("refinement", begin)
        report["why"] += ", refined on voxels half as large"
    elif wants_refinement:
        report["why"] += "; the volume is too large to be refined"
    return Volume(np.ascontiguousarray(array), task.grid)


def _strength(task: Task, device: str, progress: ProgressCallback) -> tuple[StrengthChoice, str]:
    """Give the strength of total variation and where it comes from."""
    from NASAM3DLib.reconstruct.tuning import DEFAULT_STRENGTH, StrengthChoice, choose_strength

    settings, saved = task.settings, task.watch.checkpoint.choice
    if settings.tv_strength is not None:
        return StrengthChoice(settings.tv_strength), "as given"
    if settings.quality == "preview":
        return StrengthChoice(DEFAULT_STRENGTH), "default of the preview"
    if saved:
        # JSON turned tuples into lists.
        fields: dict[str, Any] = {
            n: tuple(v) if isinstance(v, list) else v for n, v in saved.items()
        }
        choice = StrengthChoice(**fields)
    else:
        choice = choose_strength(task.projection_set, task.grid, device=device, progress=progress)
        task.watch.keep(choice=asdict(choice))
        task.watch.save()
    reason = "chosen by held-out views" if choice.held_out_views else "default: too few views"
    return choice, reason


def _solved(task: Task, strength: float, device: str, progress: ProgressCallback) -> Base:
    """Iterate from zero or from where the checkpoint was saved."""
    from NASAM3DLib.reconstruct.iterative import IterationState
    from NASAM3DLib.reconstruct.operator_scale import OperatorScale
    from NASAM3DLib.reconstruct.refine import Base
    from NASAM3DLib.reconstruct.solvers import Solver, make_problem

    watch = task.watch
    saved = watch.checkpoint
    part = sub_progress(progress, 0.0, 0.05, stage="iterating")
    problem = make_problem(
        task.projection_set, task.grid, Solver(device), scale=saved.scale, progress=part
    )
    task.report["resumed_after_steps"] = 0 if saved.state is None else saved.state.n_steps
    if saved.base is not None:
        return Base(problem, strength, saved.base, device)
    scale = OperatorScale(problem.lipschitz, problem.mean_attenuation)
    state = saved.state or IterationState.starting(task.grid)
    watch.keep(scale=scale, state=state)
    phases = PHASES[task.settings.quality]
    part = sub_progress(progress, 0.05, 1.0)
    try:
        array = problem.solve(strength, phases, state=state, on_step=watch, progress=part)
    except (Cancelled, KeyboardInterrupt):
        watch.save()
        raise
    return Base(problem, strength, array, device)


def _refined(task: Task, base: Base, device: str, progress: ProgressCallback) -> Float32Array:
    """Go on with voxels half as large, from the base or from where the checkpoint was saved."""
    from NASAM3DLib.reconstruct.refine import plan_refinement, refine, starting_state

    watch = task.watch
    try:
        plan = plan_refinement(base, progress=sub_progress(progress, 0.0, 0.02))
        task.report["noise_share"] = plan.noise_share
        state = starting_state(base) if watch.checkpoint.base is None else watch.checkpoint.state
        watch.keep(base=base.array, state=state)
        part = sub_progress(progress, 0.02, 1.0)
        return refine(base, plan, state=state, on_step=watch, progress=part)
    except (Cancelled, KeyboardInterrupt):
        watch.save()
        raise


def smoothed(volume: Volume) -> Volume:
    """Smooth a volume of total variation by a third of a voxel.

    Parameters
    ----------
    volume : Volume
        Values at voxel centres.

    Returns
    -------
    Volume
        Values closer to the means over voxels; the uncertainty stays.
    """
    from scipy.ndimage import gaussian_filter

    return replace(volume, array=gaussian_filter(volume.array, SMOOTHING_VOXELS, mode="nearest"))


def attenuation_field(task: Task, base: Volume, progress: ProgressCallback) -> Volume:
    """Fit the attenuation field on the base and let held-out views referee.

    Parameters
    ----------
    task : Task
        What to reconstruct.
    base : Volume
        Attenuation, 1/mm.
    progress : callable
        Receives stage and fraction.

    Returns
    -------
    Volume
        The field's volume, or the base where held-out views speak against the field.
    """
    from NASAM3DLib.reconstruct.fit import FitSettings, fit_field

    begin = time.perf_counter()
    settings, report = task.settings, task.report
    device = choose_device(settings.device)
    fit_settings = FitSettings(FIELD_STEPS[settings.quality], settings.seed, device)
    fit = fit_field(task.projection_set, base, fit_settings, progress=progress)
    task.took("attenuation field", begin)
    report["field_held_out_error"] = _number_or_none(fit.field_error)
    report["base_held_out_error"] = _number_or_none(fit.base_error)
    report["returned"] = "field" if fit.accepted else "tv"
    if fit.accepted:
        report["why"] = "held-out views do not speak against the attenuation field"
    elif np.isnan(fit.base_error):
        report["why"] = "too few views to hold any out: the field could not be refereed"
    else:
        report["why"] = "held-out views got clearly worse with the attenuation field"
    return fit.volume


def published_field(task: Task, progress: ProgressCallback) -> Volume:
    """Train the neural attenuation field as published; nothing referees it.

    Parameters
    ----------
    task : Task
        What to reconstruct.
    progress : callable
        Receives stage and fraction.

    Returns
    -------
    Volume
    """
    from NASAM3DLib.reconstruct.naf import NafSettings
    from NASAM3DLib.reconstruct.naf_fit import fit_naf

    begin = time.perf_counter()
    device = choose_device(task.settings.device)
    task.report["device"] = describe_device(device)
    published = NafSettings.published(device=device, seed=task.settings.seed)
    naf_settings = published.shortened(NAF_EPOCHS[task.settings.quality])
    fit = fit_naf(task.projection_set, task.grid, naf_settings, progress=progress)
    task.took("neural attenuation field", begin)
    task.report["naf"] = asdict(naf_settings)
    task.report["naf_losses"] = [fit.losses[0], fit.losses[-1]]
    task.report["returned"] = "naf"
    task.report["why"] = "the published neural attenuation field was asked for"
    return fit.volume


def with_uncertainty(task: Task, volume: Volume, progress: ProgressCallback) -> Volume:
    """Add a map of standard deviations to a volume.

    Parameters
    ----------
    task : Task
        What was reconstructed.
    volume : Volume
        The result, 1/mm.
    progress : callable
        Receives stage and fraction.

    Returns
    -------
    Volume
    """
    from NASAM3DLib.reconstruct.uncertainty import estimate_uncertainty

    begin = time.perf_counter()
    strength = float(task.report["tv_strength"])
    spread = estimate_uncertainty(
        task.projection_set, volume, strength, seed=task.settings.seed, progress=progress
    )
    task.took("uncertainty", begin)
    task.report["uncertainty_median"] = float(np.median(spread))
    return replace(volume, uncertainty=spread)


def _number_or_none(value: float) -> float | None:
    """Replace NaN, which JSON does not know."""
    return None if np.isnan(value) else float(value)
