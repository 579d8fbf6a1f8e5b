"""``demo``: the whole road once, on a generated patient."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from NASAM3DLib.cli.options import Debug, Device, Force, Verbose, help_of

NAME = "demo"
HELP = help_of(
    "Show the whole road on a generated patient, with a report.",
    "Generates a patient, scans, reconstructs, clicks on a lesion and measures. Takes about a "
    "minute. The folder then holds report.html, the volume, the segmentation, the clicks, and "
    "a README.txt on how to open them in 3D Slicer.",
    "demo -o demo-output",
    "demo -o quick --size 48 --quality preview",
)


def run(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path(
        "demo-output"
    ),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which patient.")] = 1,
    region: Annotated[
        Literal["pelvis", "abdomen"], typer.Option("--region", help="Rectal or liver lesion.")
    ] = "pelvis",
    views: Annotated[int, typer.Option("--views", min=1, max=360, help="Number of views.")] = 50,
    size: Annotated[
        int, typer.Option("--size", min=32, max=256, help="Voxels along each edge.")
    ] = 128,
    method: Annotated[
        Literal["fdk", "tv", "field"],
        typer.Option("--method", help="Reconstruction shown beside FDK."),
    ] = "tv",
    quality: Annotated[
        Literal["preview", "standard", "best"],
        typer.Option("--quality", help="How long to iterate."),
    ] = "standard",
    device: Device = "auto",
    force: Force = False,
    debug: Debug = False,
    verbose: Verbose = False,
) -> None:
    """Run the demonstration and print its figures."""
    from NASAM3DLib.cli.console import shown_progress, stdout, to_rich
    from NASAM3DLib.demo.output import check_folder, save_demo
    from NASAM3DLib.demo.results import DemoSettings
    from NASAM3DLib.demo.story import run_demo
    from NASAM3DLib.reconstruct.settings import ReconstructionSettings

    check_folder(output, force=force)
    settings = DemoSettings(
        seed=seed,
        region=region,
        n_voxels=size,
        n_views=views,
        detector_shape=(2 * size, 2 * size),
        reconstruction=ReconstructionSettings(method, quality, None, device, seed),
    )
    with shown_progress("Demonstration") as progress:
        demo = run_demo(settings, progress=progress)
        progress("writing the report", 1.0)
        save_demo(demo, output, force=force)
    console = stdout()
    for table in (demo.volume_table, demo.mask_table, demo.click_table):
        console.print(to_rich(table))
    console.print(
        f"Open {output / 'report.html'}; {output / 'README.txt'} tells the rest.", markup=False
    )
