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
)


def run(
    projections: Annotated[
        Path, typer.Argument(help="Projections: NPZ, or images with a geometry beside them.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Volume to write: .nrrd, .nii.gz or .mha.")
    ],
    method: Annotated[
        Literal["fdk", "tv", "field"],
        typer.Option("--method", help="How: filtered back-projection, total variation, field."),
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
    unit: Annotated[
        Literal["HU", "attenuation"], typer.Option("--unit", help="What to write.")
    ] = "HU",
    report: Annotated[
        Path | None, typer.Option("--report", help="JSON file for what was done and why.")
    ] = None,
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
    from NASAM3DLib.reconstruct.settings import ReconstructionSettings
    from NASAM3DLib.reconstruct.volume_io import save_volume
    from NASAM3DLib.scan.images import IMAGE_ENDINGS
    from NASAM3DLib.scan.io import load_projections

    prepare_output(output, IMAGE_ENDINGS, force=force)
    if report is not None:
        prepare_output(report, (".json",), force=force)
    settings = ReconstructionSettings(method, quality, tv_strength, device, seed)
    scan = load_projections(projections)
    scan = scan if views is None else scan.sparse(views)
    grid = _grid(scan, like, spacing, shape, centre)
    with shown_progress("Reconstructing") as progress:
        done = reconstruct(scan, grid, settings, progress=progress)
    volume = done.volume.to_hu() if unit == "HU" else done.volume.to_attenuation()
    save_volume(volume, output, force=force)
    if report is not None:
        write_text(report, json.dumps(done.report, indent=2) + "\n", force=force)
    stdout().print(f"{output}: {volume.grid}, {volume.unit}; {done.report['why']}.", markup=False)


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
