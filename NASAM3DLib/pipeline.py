"""The whole road in two functions: projections to volume, volume and clicks to mask."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.settings import ReconstructionSettings
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.field_of_view import default_grid
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.noise import noise_weights
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.segmenter import (
    DEFAULT_ENGINE,
    SegmentationSettings,
    ambiguity_hint,
    make_segmenter,
)

if TYPE_CHECKING:
    from NASAM3DLib.reconstruct.running import RunOptions

logger = logging.getLogger(__name__)

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
    from NASAM3DLib.reconstruct import stages
    from NASAM3DLib.reconstruct.margin import find_surroundings
    from NASAM3DLib.reconstruct.running import RunOptions, Watch

    settings = settings or ReconstructionSettings()
    grid = grid or default_grid(projection_set.geometry)
    report: dict[str, Any] = {"settings": asdict(settings), "grid": str(grid), "seconds": {}}
    report["scan"] = str(projection_set.geometry)
    # Filtered back-projection continues cut-off rows itself, and the published field fills a cube
    # of its own; the others need the surroundings.
    surroundings = None
    if settings.method not in ("fdk", "naf"):
        if projection_set.weights is None:
            part = sub_progress(progress, 0.0, FIRST_LOOK_PART / 4)
            weights = noise_weights(projection_set, progress=part)
            projection_set = replace(projection_set, weights=weights)
        report["weighted"] = projection_set.weights is not None
        part = sub_progress(progress, FIRST_LOOK_PART / 4, FIRST_LOOK_PART / 2)
        surroundings = find_surroundings(projection_set, grid, progress=part)
    if surroundings is not None:
        projection_set, grid = surroundings.subtracted_from(projection_set), surroundings.grid
    report["surroundings"] = "" if surroundings is None else str(surroundings.coarse_grid)
    watch = Watch(options or RunOptions(), projection_set, grid, settings)
    part = sub_progress(progress, FIRST_LOOK_PART / 2, FIRST_LOOK_PART)
    watch.show_first_look(projection_set, part)
    task = stages.Task(projection_set, grid, settings, report, watch)
    end = 0.65 if settings.uncertainty else 1.0
    share = end / 2 if settings.method == "field" else end
    part = sub_progress(progress, FIRST_LOOK_PART, share)
    if settings.method == "fdk":
        volume = stages.filtered_back_projection(task, part)
    elif settings.method == "naf":
        volume = stages.published_field(task, part)
    else:
        volume = stages.total_variation(task, part)
    if settings.method == "field":
        watch.save()
        volume = stages.attenuation_field(task, volume, sub_progress(progress, share, end))
    if settings.uncertainty:
        watch.save()
        volume = stages.with_uncertainty(task, volume, sub_progress(progress, end, 1.0))
    if report.get("refined") is False:
        volume = stages.smoothed(volume)
    watch.finish()
    progress("done", 1.0)
    return Reconstruction(volume if surroundings is None else surroundings.cropped(volume), report)


def segment(
    volume: Volume,
    prompts: Prompts,
    settings: SegmentationSettings | None = None,
    *,
    engine: str = DEFAULT_ENGINE,
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
        On the volume's grid, agreeing with every point. A warning is logged where structures of one
        density touch.

    Raises
    ------
    ValueError
        If a point lies outside the volume, points contradict each other, or none is positive.
    """
    segmenter = make_segmenter(engine, settings or SegmentationSettings())
    segmenter.set_volume(volume)
    mask = segmenter.predict(prompts, progress=progress)
    hint = ambiguity_hint(segmenter.last_ambiguity())
    if hint is not None:
        logger.warning(hint)
    return mask
