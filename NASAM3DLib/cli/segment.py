"""``segment``: a volume and points to a mask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from NASAM3DLib.cli.options import (
    Debug,
    Force,
    Unit,
    Verbose,
    help_of,
    numbers,
    prepare_output,
    prompts_of,
)
from NASAM3DLib.segment.segmenter import DEFAULT_ENGINE

NAME = "segment"
HELP = help_of(
    "Segment what points in a volume show.",
    "Points are in RAS millimetres, as 3D Slicer shows them, or in a markups file saved by 3D "
    'Slicer, where points whose name begins with "negative" lie beside the object. Curves in that '
    "file are scribbles, a region of interest (ROI) is a box around the object.",
    "segment volume.nrrd -o a.seg.nrrd --point 0,-20,0",
    "segment volume.nrrd -o b.nii.gz --points p.mrk.json",
)


def run(
    volume: Annotated[Path, typer.Argument(help="Volume: .nrrd, .nii.gz or .mha.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Mask to write: .seg.nrrd (3D Slicer) or .nii.gz."),
    ],
    point: Annotated[
        list[str] | None,
        typer.Option("--point", metavar="R,A,S", help="A point on the object. Repeatable."),
    ] = None,
    negative: Annotated[
        list[str] | None,
        typer.Option("--negative", metavar="R,A,S", help="A point beside it. Repeatable."),
    ] = None,
    points: Annotated[
        Path | None, typer.Option("--points", help="Markups file (.mrk.json): points, curves, ROI.")
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="Name of the segmentation engine.")
    ] = DEFAULT_ENGINE,
    guidance: Annotated[
        bool, typer.Option("--guidance/--no-guidance", help="Density guidance on or off.")
    ] = True,
    guidance_strength: Annotated[
        float,
        typer.Option("--guidance-strength", min=0, help="Weight of the density guidance."),
    ] = 1.0,
    name: Annotated[str, typer.Option("--name", help="Name of the segment.")] = "lesion",
    colour: Annotated[
        str, typer.Option("--colour", metavar="R,G,B", help="Colour of the segment, 0 to 1.")
    ] = "0.9,0.3,0.2",
    unit: Unit = None,
    force: Force = False,
    debug: Debug = False,
    verbose: Verbose = False,
) -> None:
    """Read, segment, write."""
    from NASAM3DLib.cli.console import shown_progress, stdout
    from NASAM3DLib.pipeline import segment
    from NASAM3DLib.reconstruct.volume_io import load_volume
    from NASAM3DLib.scan.images import IMAGE_ENDINGS
    from NASAM3DLib.segment.mask_io import save_mask
    from NASAM3DLib.segment.segmenter import SegmentationSettings

    prepare_output(output, IMAGE_ENDINGS, force=force)
    prompts = prompts_of(point or [], negative or [], points)
    shade = numbers(colour, "--colour")
    settings = SegmentationSettings(guidance, guidance_strength)
    image = load_volume(volume, quantity=unit)
    with shown_progress("Segmenting") as progress:
        mask = segment(image, prompts, settings, engine=engine, progress=progress)
    save_mask(mask, output, name=name, colour=shade, force=force)
    stdout().print(
        f"{output}: {name}, {mask.volume_ml:.1f} ml in {mask.n_voxels} voxels.", markup=False
    )
