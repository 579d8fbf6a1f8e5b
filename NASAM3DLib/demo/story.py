"""What the demonstration does, step by step."""

from __future__ import annotations

import time

import numpy as np

from NASAM3DLib.demo.results import FULL_TURN_VIEWS, Demo, DemoSettings, Segmentation
from NASAM3DLib.evaluate.clicks import click_session
from NASAM3DLib.evaluate.resample import resample_mask, resample_volume
from NASAM3DLib.phantom.anatomy import Phantom, make_phantom
from NASAM3DLib.pipeline import Reconstruction, reconstruct
from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.settings import ReconstructionSettings
from NASAM3DLib.reconstruct.simulate import SimulationSettings, simulate
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.presets import default_scan
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.segmenter import SegmentationSettings, make_segmenter

FINER = 2
"""The patient is generated with voxels so many times smaller than those reconstructed."""

FDK = "FDK"


def run_demo(
    settings: DemoSettings | None = None, *, progress: ProgressCallback = no_progress
) -> Demo:
    """Generate, scan, reconstruct and segment a patient.

    Parameters
    ----------
    settings : DemoSettings, optional
        Who is scanned and how.
    progress : callable
        Receives stage and fraction; may raise to cancel.

    Returns
    -------
    Demo

    Raises
    ------
    ValueError
        If the settings contradict each other, for example in more views than a full turn has.
    """
    settings = settings or DemoSettings()
    if not 1 <= settings.n_views <= FULL_TURN_VIEWS:
        raise ValueError(
            f"The demonstration measures 1 to {FULL_TURN_VIEWS} views, got {settings.n_views}."
        )
    seconds: dict[str, float] = {}
    clock = _Clock(seconds)
    progress("generating the patient", 0.0)
    grid = VolumeGrid.centred((settings.n_voxels,) * 3, settings.field_mm / settings.n_voxels)
    phantom = make_phantom(settings.seed, grid.refined(FINER), region=settings.region)
    truth = resample_volume(phantom.volume, grid).to_hu()
    lesion_voxels = phantom.labels == phantom.lesion_label
    lesion = resample_mask(Mask(lesion_voxels, phantom.volume.grid), grid)
    clock.lap("generating the patient")
    scan = _scan(phantom, settings, sub_progress(progress, 0.3, 0.5, stage="measuring"))
    clock.lap("measuring")
    part = sub_progress(progress, 0.5, 0.9, stage="reconstructing")
    reconstructions = _reconstructions(scan, grid, settings, part)
    clock.lap("reconstructing")
    progress("segmenting", 0.9)
    segmentations = _segmentations(reconstructions, lesion, settings.n_clicks)
    clock.lap("segmenting")
    progress("done", 1.0)
    return Demo(settings, phantom, scan, truth, lesion, reconstructions, segmentations, seconds)


def _scan(phantom: Phantom, settings: DemoSettings, progress: ProgressCallback) -> ProjectionSet:
    """Measure the sparse views with photon noise."""
    geometry = default_scan(
        phantom.volume.grid, n_views=settings.n_views, detector_shape=settings.detector_shape
    )
    physics = SimulationSettings(
        photons=settings.photons,
        reconstruction_spacing_mm=settings.field_mm / settings.n_voxels,
    )
    rng = np.random.default_rng([settings.seed, settings.n_views])
    return simulate(phantom.volume, geometry, settings=physics, rng=rng, progress=progress)


def _reconstructions(
    scan: ProjectionSet, grid: VolumeGrid, settings: DemoSettings, progress: ProgressCallback
) -> dict[str, Reconstruction]:
    """Reconstruct by filtered back-projection and by the chosen method."""
    plain = reconstruct(scan, grid, ReconstructionSettings(method="fdk"))
    if settings.reconstruction.method == "fdk":
        return {FDK: plain}
    done = reconstruct(scan, grid, settings.reconstruction, progress=progress)
    return {FDK: plain, NAMES[done.report["returned"]]: done}


NAMES = {"tv": "total variation", "field": "attenuation field"}


def _segmentations(
    reconstructions: dict[str, Reconstruction], lesion: Mask, n_clicks: int
) -> tuple[Segmentation, ...]:
    """Segment the lesion in each volume with guidance, and in the last one without it too."""
    last = list(reconstructions)[-1]
    plan = [(name, True) for name in reconstructions if name != last]
    plan += [(last, False), (last, True)]
    done = []
    for name, guided in plan:
        segmenter = make_segmenter(settings=SegmentationSettings(density_guidance=guided))
        volume = reconstructions[name].volume
        session = click_session(segmenter, volume, target=lesion, n_clicks=n_clicks)
        done.append(Segmentation(name, guided, session, segmenter.last_attention()))
    return tuple(done)


class _Clock:
    """Notes how long each step took."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """End a step."""
        now = time.perf_counter()
        self._seconds[step] = now - self._last
        self._last = now
