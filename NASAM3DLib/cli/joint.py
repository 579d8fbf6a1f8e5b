"""``joint``: projections and points to a volume and a mask that improve each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from NASAM3DLib.cli.options import (
    Centre,
    Debug,
    Force,
    Shape,
    Spacing,
    Verbose,
    grid_of,
    help_of,
    prepare_output,
    prompts_of,
)

NAME = "joint"
HELP = help_of(
    "Reconstruct and segment together.",
    "The volume is reconstructed, the points segment it, and both are refined in turns. Views that "
    "are held out judge, above all by the rays past the object's surface; unless they find it "
    "better, volume and mask are those of reconstruct and segment. The volume is written in "
    "Hounsfield units.",
    "joint scan.npz -o v.nrrd --mask m.seg.nrrd --point 0,-20,0 --spacing 8",
)


def run(
    projections: Annotated[
        Path, typer.Argument(help="Projections: NPZ, or images with a geometry beside them.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Volume to write: .nrrd, .nii.gz or .mha.")
    ],
    mask: Annotated[
        Path, typer.Option("--mask", help="Mask to write: .seg.nrrd (3D Slicer) or .nii.gz.")
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
        Path | None, typer.Option("--points", help="Markups file (.mrk.json) with points.")
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="Name of the segmentation engine.")
    ] = "density-guided",
    quality: Annotated[
        Literal["standard", "best"],
        typer.Option("--quality", help="How long to iterate before the two go together."),
    ] = "best",
    spacing: Spacing = None,
    shape: Shape = None,
    centre: Centre = None,
    name: Annotated[str, typer.Option("--name", help="Name of the segment.")] = "lesion",
    report: Annotated[
        Path | None, typer.Option("--report", help="JSON file for what was done and why.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", help="File to save the rounds in now and then, and to resume."
        ),
    ] = None,
    force: Force = False,
    debug: Debug = False,
    verbose: Verbose = False,
) -> None:
    """Read, reconstruct, refine, write."""
    from NASAM3DLib.cli.console import shown_progress, stdout
    from NASAM3DLib.files import write_text
    from NASAM3DLib.joint.refinement import refine_jointly
    from NASAM3DLib.joint.rounds import Clicks
    from NASAM3DLib.joint.settings import JointSettings
    from NASAM3DLib.pipeline import reconstruct
    from NASAM3DLib.progress import sub_progress
    from NASAM3DLib.reconstruct.running import RunOptions
    from NASAM3DLib.reconstruct.settings import ReconstructionSettings
    from NASAM3DLib.reconstruct.volume_io import save_volume
    from NASAM3DLib.scan.field_of_view import default_grid
    from NASAM3DLib.scan.images import IMAGE_ENDINGS
    from NASAM3DLib.scan.io import load_projections
    from NASAM3DLib.segment.mask_io import save_mask

    for path in (output, mask):
        prepare_output(path, IMAGE_ENDINGS, force=force)
    if report is not None:
        prepare_output(report, (".json",), force=force)
    clicks = Clicks(prompts_of(point or [], negative or [], points), JointSettings(engine=engine))
    scan = load_projections(projections)
    grid = grid_of(default_grid(scan.geometry), spacing, shape, centre)
    clicks.prompts.checked_voxels(grid)
    settings = ReconstructionSettings(quality=quality, device="cpu")
    with shown_progress("Reconstructing and segmenting") as progress:
        base = reconstruct(scan, grid, settings, progress=sub_progress(progress, 0.0, 0.3))
        done = refine_jointly(
            scan,
            base,
            clicks,
            options=RunOptions(checkpoint=checkpoint),
            progress=sub_progress(progress, 0.3, 1.0),
        )
    save_volume(done.volume.to_hu(), output, force=force)
    save_mask(done.mask, mask, name=name, force=force)
    if report is not None:
        story = {"reconstruction": base.report, "joint": done.report}
        write_text(report, json.dumps(story, indent=2) + "\n", force=force)
    told = f"{done.report['returned']} result: {done.report['why']}"
    stdout().print(f"{output}: {done.volume.grid}; {told}.", markup=False)
    stdout().print(f"{mask}: {name}, {done.mask.volume_ml:.1f} ml.", markup=False)
