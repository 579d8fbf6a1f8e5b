"""The whole road in two functions: projections to volume, volume and clicks to mask."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.progress import Cancelled, ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.settings import FIELD_STEPS, PHASES, ReconstructionSettings
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.field_of_view import default_grid
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.segmenter import SegmentationSettings, make_segmenter

if TYPE_CHECKING:
    from NASAM3DLib.reconstruct.running import RunOptions, Watch
    from NASAM3DLib.reconstruct.tuning import StrengthChoice

FIRST_LOOK_PART = 0.02


@dataclass(frozen=True)
class Reconstruction:
    """A volume and how it came about.

    Parameters
    ----------
    volume : Volume
        Attenuation, 1/mm.
    report : dict
        Plain JSON values: settings, strength of total variation and its held-out errors, seconds of
        each stage, what was returned and why.
    """

    volume: Volume
    report: dict[str, Any] = field(default_factory=dict)


def reconstruct(
    projection_set: ProjectionSet,
    grid: VolumeGrid | None = None,
    settings: ReconstructionSettings | None = None,
    *,
    options: RunOptions | None = None,
    progress: ProgressCallback = no_progress,
) -> Reconstruction:
    """Reconstruct a volume from projections.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals and geometry.
    grid : VolumeGrid, optional
        Voxels to fill; by default what the detector sees, see
        :func:`~NASAM3DLib.scan.field_of_view.default_grid`.
    settings : ReconstructionSettings, optional
        Method and quality.
    options : RunOptions, optional
        Previews and a checkpoint of the run. With a checkpoint an interrupted run goes on where it
        was and ends with the same volume, bit for bit; the attenuation field starts anew from the
        finished total variation.
    progress : callable
        Receives stage and fraction; raises Cancelled to end the job.

    Returns
    -------
    Reconstruction

    Raises
    ------
    ValueError
        If the projections do not fit the grid or the method, or the checkpoint is damaged or
        belongs to another reconstruction.
    OSError
        If the checkpoint cannot be written.
    ModuleNotFoundError
        If the method needs a package that is not installed.
    """
    from NASAM3DLib.reconstruct.margin import find_surroundings
    from NASAM3DLib.reconstruct.running import RunOptions, Watch

    settings = settings or ReconstructionSettings()
    grid = grid or default_grid(projection_set.geometry)
    report: dict[str, Any] = {"settings": asdict(settings), "grid": str(grid), "seconds": {}}
    report["scan"] = str(projection_set.geometry)
    # Filtered back-projection continues cut-off rows itself; the others need the surroundings.
    surroundings = None
    if settings.method != "fdk":
        part = sub_progress(progress, 0.0, FIRST_LOOK_PART / 2)
        surroundings = find_surroundings(projection_set, grid, progress=part)
    if surroundings is not None:
        projection_set, grid = surroundings.subtracted_from(projection_set), surroundings.grid
    report["surroundings"] = "" if surroundings is None else str(surroundings.coarse_grid)
    watch = Watch(options or RunOptions(), projection_set, grid, settings)
    part = sub_progress(progress, FIRST_LOOK_PART / 2, FIRST_LOOK_PART)
    watch.show_first_look(projection_set, part)
    if settings.method == "fdk":
        part = sub_progress(progress, FIRST_LOOK_PART, 1.0)
        volume = _filtered_back_projection(projection_set, grid, report, part)
    else:
        share = 0.5 if settings.method == "field" else 1.0
        part = sub_progress(progress, FIRST_LOOK_PART, share)
        task = _Task(projection_set, grid, settings, report, watch)
        volume = _total_variation(task, part)
    if settings.method == "field":
        watch.save()
        part = sub_progress(progress, share, 1.0)
        volume = _refined_by_field(projection_set, volume, settings, report, part)
    watch.finish()
    progress("done", 1.0)
    return Reconstruction(volume if surroundings is None else surroundings.cropped(volume), report)


@dataclass(frozen=True)
class _Task:
    """What is to be reconstructed, and who is told about it."""

    projection_set: ProjectionSet
    grid: VolumeGrid
    settings: ReconstructionSettings
    report: dict[str, Any]
    watch: Watch


def _filtered_back_projection(
    projection_set: ProjectionSet,
    grid: VolumeGrid,
    report: dict[str, Any],
    progress: ProgressCallback,
) -> Volume:
    """Run filtered back-projection; attenuation is not negative, so streaks below zero are cut."""
    from NASAM3DLib.reconstruct.analytic import reconstruct_fdk

    begin = time.perf_counter()
    array = np.maximum(reconstruct_fdk(projection_set, grid, progress=progress), 0)
    report["seconds"]["filtered back-projection"] = time.perf_counter() - begin
    report["returned"] = "fdk"
    report["why"] = "filtered back-projection was asked for"
    return Volume(np.ascontiguousarray(array), grid)


def _total_variation(task: _Task, progress: ProgressCallback) -> Volume:
    """Choose the strength where it is not given, then iterate on all views."""
    report = task.report
    begin = time.perf_counter()
    choice, reason = _strength(task, sub_progress(progress, 0.0, 0.3))
    report["tv_strength"] = choice.strength
    report["tv_strength_reason"] = reason
    report["tv_candidates"] = list(choice.candidates)
    report["tv_held_out_errors"] = list(choice.held_out_errors)
    report["held_out_views"] = list(choice.held_out_views)
    middle = time.perf_counter()
    array = _iterated(task, choice.strength, sub_progress(progress, 0.3, 1.0))
    report["seconds"]["strength of total variation"] = middle - begin
    report["seconds"]["total variation"] = time.perf_counter() - middle
    report["returned"] = "tv"
    report["why"] = f"total variation with its strength {reason}"
    return Volume(np.ascontiguousarray(array), task.grid)


def _strength(task: _Task, progress: ProgressCallback) -> tuple[StrengthChoice, str]:
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
        choice = choose_strength(task.projection_set, task.grid, progress=progress)
        task.watch.keep(choice=asdict(choice))
        task.watch.save()
    reason = "chosen by held-out views" if choice.held_out_views else "default: too few views"
    return choice, reason


def _iterated(task: _Task, strength: float, progress: ProgressCallback) -> npt.NDArray[np.float32]:
    """Iterate from zero or from where the checkpoint was saved."""
    from NASAM3DLib.reconstruct.iterative import (
        IterationState,
        TotalVariationProblem,
        operator_scale,
    )

    watch, phases = task.watch, PHASES[task.settings.quality]
    part = sub_progress(progress, 0.0, 0.05, stage="iterating")
    scale = watch.checkpoint.scale or operator_scale(task.projection_set, task.grid, progress=part)
    state = watch.checkpoint.state or IterationState.starting(task.grid)
    task.report["resumed_after_steps"] = state.n_steps
    watch.keep(scale=scale, state=state)
    problem = TotalVariationProblem(task.projection_set, task.grid, scale)
    part = sub_progress(progress, 0.05, 1.0)
    try:
        return problem.solve(strength, phases, state=state, on_step=watch, progress=part)
    except (Cancelled, KeyboardInterrupt):
        watch.save()
        raise


def _refined_by_field(
    projection_set: ProjectionSet,
    base: Volume,
    settings: ReconstructionSettings,
    report: dict[str, Any],
    progress: ProgressCallback,
) -> Volume:
    """Fit the attenuation field on the base and let held-out views referee."""
    from NASAM3DLib.reconstruct.device import choose_device
    from NASAM3DLib.reconstruct.fit import FitSettings, fit_field

    begin = time.perf_counter()
    device = choose_device(settings.device)
    fit_settings = FitSettings(FIELD_STEPS[settings.quality], settings.seed, device)
    fit = fit_field(projection_set, base, fit_settings, progress=progress)
    report["seconds"]["attenuation field"] = time.perf_counter() - begin
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


def _number_or_none(value: float) -> float | None:
    """Replace NaN, which JSON does not know."""
    return None if np.isnan(value) else float(value)


def segment(
    volume: Volume,
    prompts: Prompts,
    settings: SegmentationSettings | None = None,
    *,
    engine: str = "density-guided",
    progress: ProgressCallback = no_progress,
) -> Mask:
    """Segment what the prompts point at.

    Parameters
    ----------
    volume : Volume
        Attenuation or HU.
    prompts : Prompts
        At least one positive point inside the volume.
    settings : SegmentationSettings, optional
        Density guidance and its strength.
    engine : str
        Name of the engine.
    progress : callable
        Receives stage and fraction.

    Returns
    -------
    Mask
        On the volume's grid, agreeing with every point.

    Raises
    ------
    ValueError
        If a point lies outside the volume, points contradict each other, or none is positive.
    """
    segmenter = make_segmenter(engine, settings or SegmentationSettings())
    segmenter.set_volume(volume)
    return segmenter.predict(prompts, progress=progress)
