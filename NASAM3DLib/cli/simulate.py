"""``simulate``: a CT volume or a generated patient to projections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from NASAM3DLib.cli.options import Debug, Force, Seed, Verbose, help_of, prepare_output

if TYPE_CHECKING:
    from NASAM3DLib.reconstruct.volume import Volume

NAME = "simulate"
HELP = help_of(
    "Simulate the projections of a CT volume or of a generated patient.",
    "The rays run through a lattice at least twice as fine as the reconstruction, so that a "
    "reconstruction from the result is not flattered. Without --photons there is no noise.",
    "simulate ct.nii.gz -o scan.npz",
    "simulate ct.nii.gz -o noisy.npz --photons 1e5",
    "simulate --phantom 7 -o 7.npz --truth 7.nrrd",
)

PHANTOM_VOXELS = 128


def run(
    volume: Annotated[
        Path | None,
        typer.Argument(help="CT in HU: image file or DICOM folder.", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Projections to write: .npz, .mha or .nrrd.")
    ] = Path("scan.npz"),
    phantom: Annotated[
        int | None,
        typer.Option("--phantom", min=0, help="Generate the patient of this seed instead."),
    ] = None,
    region: Annotated[
        Literal["pelvis", "abdomen"], typer.Option("--region", help="Part of the generated body.")
    ] = "pelvis",
    truth: Annotated[
        Path | None,
        typer.Option("--truth", help="Also write here what was scanned, to compare with."),
    ] = None,
    views: Annotated[int, typer.Option("--views", min=1, help="Number of views.")] = 50,
    arc: Annotated[
        float, typer.Option("--arc", min=1, max=360, help="Angle that the views cover, degrees.")
    ] = 360.0,
    detector: Annotated[
        str, typer.Option("--detector", help="Pixels: one number, or rows,columns.")
    ] = "256",
    photons: Annotated[
        float | None, typer.Option("--photons", help="Photons per pixel and view; noise if given.")
    ] = None,
    electronic_noise: Annotated[
        float, typer.Option("--electronic-noise", min=0, help="Of the detector, in photons.")
    ] = 0.0,
    polychromatic: Annotated[
        bool, typer.Option("--polychromatic", help="A 120 kV spectrum instead of one energy.")
    ] = False,
    seed: Seed = 0,
    force: Force = False,
    debug: Debug = False,
    verbose: Verbose = False,
) -> None:
    """Read or generate, project, write."""
    import numpy as np

    from NASAM3DLib.cli.console import shown_progress, stdout
    from NASAM3DLib.reconstruct.simulate import SimulationSettings, scanned_means, simulate
    from NASAM3DLib.reconstruct.volume_io import save_volume
    from NASAM3DLib.scan.images import IMAGE_ENDINGS, TIFF_ENDINGS
    from NASAM3DLib.scan.io import save_projections
    from NASAM3DLib.scan.presets import default_scan

    if (volume is None) == (phantom is None):
        raise typer.BadParameter("give either a volume or --phantom SEED.")
    prepare_output(output, (".npz", *IMAGE_ENDINGS, *TIFF_ENDINGS), force=force)
    if truth is not None:
        prepare_output(truth, IMAGE_ENDINGS, force=force)
    settings = SimulationSettings(photons, electronic_noise, polychromatic)
    shape = _detector_shape(detector)
    body = _volume(volume, phantom, region)
    geometry = default_scan(
        body.grid, n_views=views, arc_rad=float(np.deg2rad(arc)), detector_shape=shape
    )
    rng = np.random.default_rng(seed)
    with shown_progress("Simulating") as progress:
        scan = simulate(body, geometry, settings=settings, rng=rng, progress=progress)
    save_projections(scan, output, force=force)
    stdout().print(f"{output}: {geometry}.", markup=False)
    if truth is not None:
        save_volume(scanned_means(body.to_hu()), truth, force=force)
        stdout().print(f"{truth}: {body.grid}, HU.", markup=False)


def _volume(path: Path | None, seed: int | None, region: Literal["pelvis", "abdomen"]) -> Volume:
    """Read the volume, or generate a patient."""
    if path is not None:
        from NASAM3DLib.reconstruct.volume_io import load_volume

        return load_volume(path)
    from NASAM3DLib.phantom.anatomy import make_phantom, phantom_grid

    return make_phantom(seed or 0, phantom_grid(PHANTOM_VOXELS), region=region).volume


def _detector_shape(text: str) -> tuple[int, int]:
    """Read one or two numbers of pixels."""
    parts = text.split(",")
    if len(parts) > 2 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"--detector wants pixels as 256 or 256,300, got {text!r}.")
    return int(parts[0]), int(parts[-1])
