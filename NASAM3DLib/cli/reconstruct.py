"""``reconstruct``: projections to a volume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from NASAM3DLib.cli.options import (
    Centre,
    Debug,
    Device,
    Force,
    Seed,
    Shape,
    Spacing,
    Verbose,
    grid_of,
    help_of,
    prepare_output,
)

if TYPE_CHECKING:
    from NASAM3DLib.reconstruct.volume import Volume
    from NASAM3DLib.scan.corrections import CorrectionReport
    from NASAM3DLib.scan.grid import VolumeGrid
    from NASAM3DLib.scan.projections import ProjectionSet

NAME = "reconstruct"
HELP = help_of(
    "Reconstruct a volume from projections.",
    "The volume is written in Hounsfield units, which every viewer expects; --unit "
    "attenuation gives 1/mm. What was done and why goes into a JSON file if --report names "
    "one.",
    "reconstruct scan.npz -o volume.nrrd",
    "reconstruct scan.npz -o fdk.nrrd --method fdk",
    "reconstruct scan.npz -o coarse.nii.gz --spacing 12",
    "reconstruct scan.npz -o even.nrrd --correct hardening",
)


def run(
    projections: Annotated[
        Path, typer.Argument(help="Projections: NPZ, or images with a geometry beside them.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Volume to write: .nrrd, .nii.gz or .mha.")
    ],
    method: Annotated[
        Literal["fdk", "tv", "field", "naf"],
        typer.Option(
            "--method", help="How: filtered back-projection, total variation, field, published NAF."
        ),
    ] = "tv",
    quality: Annotated[
        Literal["preview", "standard", "best"],
        typer.Option("--quality", help="How long to iterate."),
    ] = "standard",
    tv_strength: Annotated[
        float | None,
        typer.Option("--tv-strength", help="Smoothing; chosen from held-out views if not given."),
    ] = None,
    views: Annotated[
        int | None, typer.Option("--views", min=1, help="Use only so many views, spread evenly.")
    ] = None,
    spacing: Spacing = None,
    shape: Shape = None,
    centre: Centre = None,
    like: Annotated[
        Path | None, typer.Option("--like", help="Use the voxels of this volume.")
    ] = None,
    correct: Annotated[
        str,
        typer.Option(
            "--correct",
            metavar="WHAT",
            help="auto, none, or some of dead, drift, hardening with commas between them.",
        ),
    ] = "auto",
    air_level: Annotated[
        float,
        typer.Option("--air-level", help="Line integral that air shows; it is subtracted."),
    ] = 0.0,
    tube_kv: Annotated[
        float | None, typer.Option("--tube-kv", help="Voltage of the tube, for hardening.")
    ] = None,
    filter_mm: Annotated[
        float | None,
        typer.Option("--filter-mm", help="Filter of the tube, mm of aluminium, for hardening."),
    ] = None,
    unit: Annotated[
        Literal["HU", "attenuation"], typer.Option("--unit", help="What to write.")
    ] = "HU",
    hu_air: Annotated[
        str | None,
        typer.Option("--hu-air", metavar="1/MM", help="What air reads, for HU; auto finds it."),
    ] = None,
    hu_water: Annotated[
        str | None,
        typer.Option("--hu-water", metavar="1/MM", help="What water reads; auto estimates it."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="JSON file for what was done and why.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="File to save the run in now and then, and to resume."),
    ] = None,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty", help="Write the standard deviation of every voxel beside the volume."
        ),
    ] = False,
    device: Device = "auto",
    seed: Seed = 0,
    force: Force = False,
    debug: Debug = False,
    verbose: Verbose = False,
) -> None:
    """Read, reconstruct, write."""
    from NASAM3DLib.cli.console import shown_progress, stdout
    from NASAM3DLib.files import write_text
    from NASAM3DLib.pipeline import reconstruct
    from NASAM3DLib.reconstruct.running import RunOptions
    from NASAM3DLib.reconstruct.settings import ReconstructionSettings
    from NASAM3DLib.reconstruct.volume_io import save_volume, uncertainty_path
    from NASAM3DLib.scan.images import IMAGE_ENDINGS
    from NASAM3DLib.scan.io import load_projections

    prepare_output(output, IMAGE_ENDINGS, force=force)
    if uncertainty:
        prepare_output(uncertainty_path(output), IMAGE_ENDINGS, force=force)
    if report is not None:
        prepare_output(report, (".json",), force=force)
    settings = ReconstructionSettings(method, quality, tv_strength, device, seed, uncertainty)
    scan = load_projections(projections)
    # All views tell more about defects and drift than the chosen ones.
    scan, corrections = _corrected(scan, correct, air_level, tube_kv, filter_mm)
    scan = scan if views is None else scan.sparse(views)
    grid = _grid(scan, like, spacing, shape, centre)
    options = RunOptions(checkpoint=checkpoint)
    with shown_progress("Reconstructing") as progress:
        done = reconstruct(scan, grid, settings, options=options, progress=progress)
    volume = _in_hu(done.volume, hu_air, hu_water) if unit == "HU" else done.volume
    save_volume(volume, output, force=force)
    if report is not None:
        story = {**done.report, "corrections": corrections.to_dict()}
        write_text(report, json.dumps(story, indent=2) + "\n", force=force)
    for line in (*corrections.done, *corrections.remarks):
        stdout().print(line, markup=False)
    stdout().print(f"{output}: {volume.grid}, {volume.unit}; {done.report['why']}.", markup=False)


def _corrected(
    scan: ProjectionSet,
    names: str,
    air_level: float,
    tube_kv: float | None,
    filter_mm: float | None,
) -> tuple[ProjectionSet, CorrectionReport]:
    """Correct the scan as the options say."""
    from NASAM3DLib.scan.beam_hardening import water_linearisation
    from NASAM3DLib.scan.corrections import CorrectionSettings, correct
    from NASAM3DLib.scan.physics import ALUMINIUM_MM, TUBE_KV, tube_spectrum

    linearisation = None
    if tube_kv is not None or filter_mm is not None:
        if "hardening" not in names:
            raise typer.BadParameter("--tube-kv and --filter-mm belong to --correct hardening.")
        spectrum = tube_spectrum(
            tube_kv=TUBE_KV if tube_kv is None else tube_kv,
            aluminium_mm=ALUMINIUM_MM if filter_mm is None else filter_mm,
        )
        linearisation = water_linearisation(spectrum)
    wanted = CorrectionSettings.named(names, air_level=air_level, linearisation=linearisation)
    return correct(scan, wanted)


def _in_hu(volume: Volume, air: str | None, water: str | None) -> Volume:
    """Convert to HU by given, found or usual values."""
    if air is None and water is None:
        return volume.to_hu()
    from NASAM3DLib.reconstruct.calibration import calibrate
    from NASAM3DLib.reconstruct.volume import AIR_ATTENUATION, WATER_ATTENUATION

    def number(text: str | None, usual: float, option: str) -> float | None:
        """Read an option; None stands for auto."""
        if text is None or text == "auto":
            return usual if text is None else None
        try:
            return float(text)
        except ValueError as error:
            raise typer.BadParameter(
                f"{option} must be auto or a number in 1/mm, got {text!r}."
            ) from error

    calibration = calibrate(
        volume,
        air=number(air, AIR_ATTENUATION, "--hu-air"),
        water=number(water, WATER_ATTENUATION, "--hu-water"),
    )
    return calibration.to_hu(volume)


def _grid(
    scan: ProjectionSet,
    like: Path | None,
    spacing: str | None,
    shape: str | None,
    centre: str | None,
) -> VolumeGrid | None:
    """Choose the voxels; None leaves the choice to the reconstruction."""
    if like is not None:
        if spacing or shape or centre:
            raise typer.BadParameter("--like already says --spacing, --shape and --centre.")
        from NASAM3DLib.reconstruct.volume_io import load_volume

        return load_volume(like).grid
    if not (spacing or shape or centre):
        return None
    from NASAM3DLib.scan.field_of_view import default_grid

    return grid_of(default_grid(scan.geometry), spacing, shape, centre)
