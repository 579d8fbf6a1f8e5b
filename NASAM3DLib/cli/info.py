"""``info``: what is installed here, and what is in a file."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from NASAM3DLib import __version__
from NASAM3DLib.cli.options import Debug, Verbose, help_of

if TYPE_CHECKING:
    from NASAM3DLib.scan.grid import VolumeGrid

NAME = "info"
HELP = help_of(
    "Show versions and devices, or what is in a file.",
    "Files may be projections, volumes, masks or points.",
    "info",
    "info scan.npz",
    "info volume.nrrd a.seg.nrrd p.mrk.json",
)

REQUIRED = ("numpy", "scipy", "numba", "SimpleITK", "scikit-image", "matplotlib", "pydicom")
OPTIONAL = {
    "torch": "the neural attenuation field and learned engines",
    "monai": "surface distances by MONAI's definition",
    "itk-rtk": "projections as Varian, Elekta and others write them",
}


def run(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Projections, volumes or masks.", show_default=False)
    ] = None,
    debug: Debug = False,
    verbose: Verbose = False,
) -> None:
    """Print facts line by line."""
    from NASAM3DLib.cli.console import stdout

    console = stdout()
    facts = [fact for path in files or [] for fact in facts_of_file(path)]
    for name, value in facts or facts_of_machine():
        console.print(f"{name + ':':<14} {value}", markup=False)


def facts_of_machine() -> list[tuple[str, str]]:
    """List versions and devices.

    Returns
    -------
    list of tuple of str
        Names and values.
    """
    facts = [
        ("NASAM3DLib", __version__),
        ("Python", platform.python_version()),
        ("system", f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"),
    ]
    facts += [(name, _version(name) or "missing") for name in REQUIRED]
    for name, purpose in OPTIONAL.items():
        facts.append((name, _version(name) or f"not installed (optional: {purpose})"))
    return [*facts, ("devices", ", ".join(devices()))]


def devices() -> list[str]:
    """List what can compute: the processor and CUDA devices with their memory.

    Returns
    -------
    list of str
    """
    found = ["cpu"]
    if _version("torch"):
        import torch

        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory_gib = properties.total_memory / 2**30
            found.append(f"cuda:{index} {properties.name} ({memory_gib:.0f} GiB)")
    return found


def facts_of_file(path: Path) -> list[tuple[str, str]]:
    """List what is in a file.

    Parameters
    ----------
    path : Path
        Projections, a volume, a mask or points.

    Returns
    -------
    list of tuple of str
        Names and values.

    Raises
    ------
    ValueError
        If the file cannot be read.
    FileNotFoundError
        If there is no such file.
    """
    from NASAM3DLib.scan.images import IMAGE_ENDINGS, ending_of
    from NASAM3DLib.scan.io import sidecar_of

    if path.name.endswith(".mrk.json"):
        facts = _facts_of_points(path)
    elif ending_of(path) == ".seg.nrrd":
        facts = _facts_of_mask(path)
    elif ending_of(path) in IMAGE_ENDINGS and not sidecar_of(path).is_file():
        facts = _facts_of_volume(path)
    else:
        facts = _facts_of_projections(path)
    return [("file", str(path)), *facts]


def _facts_of_projections(path: Path) -> list[tuple[str, str]]:
    """Describe a scan."""
    from NASAM3DLib.scan.field_of_view import default_grid
    from NASAM3DLib.scan.io import load_projections

    scan = load_projections(path)
    values = scan.projections
    facts = [
        ("projections", str(scan.geometry)),
        ("line integrals", f"{values.min():.4g} to {values.max():.4g}, mean {values.mean():.4g}"),
    ]
    orbit = scan.geometry.orbit
    if orbit is not None and not orbit.is_parallel:
        facts += [
            ("to isocentre", f"{orbit.source_to_isocenter_mm:g} mm from the source"),
            ("to detector", f"{orbit.source_to_detector_mm:g} mm from the source"),
        ]
    return [*facts, ("default grid", str(default_grid(scan.geometry)))]


def _facts_of_volume(path: Path) -> list[tuple[str, str]]:
    """Describe a volume."""
    from NASAM3DLib.reconstruct.volume_io import load_volume

    volume = load_volume(path)
    array = volume.array
    values = f"{array.min():.4g} to {array.max():.4g} {volume.unit}, mean {array.mean():.4g}"
    return [
        ("volume", str(volume.grid)),
        ("extent", _extent(volume.grid)),
        ("values", values),
    ]


def _facts_of_mask(path: Path) -> list[tuple[str, str]]:
    """Describe a mask."""
    from NASAM3DLib.segment.mask_io import load_mask

    mask = load_mask(path)
    return [
        ("mask", str(mask.grid)),
        ("extent", _extent(mask.grid)),
        ("inside", f"{mask.volume_ml:.1f} ml in {mask.n_voxels} voxels"),
    ]


def _facts_of_points(path: Path) -> list[tuple[str, str]]:
    """List points."""
    from NASAM3DLib.segment.prompts import POSITIVE
    from NASAM3DLib.segment.prompts_io import load_prompts

    prompts = load_prompts(path)
    return [
        ("positive" if label == POSITIVE else "negative", ", ".join(f"{x:.1f}" for x in point))
        for point, label in zip(prompts.points_ras, prompts.labels, strict=True)
    ]


def _extent(grid: VolumeGrid) -> str:
    """Write where a grid lies."""
    low, high = grid.corners_ras.min(axis=0), grid.corners_ras.max(axis=0)
    spans = [f"{name} {a:.0f} to {b:.0f}" for name, a, b in zip("RAS", low, high, strict=True)]
    return ", ".join(spans) + " mm"


def _version(package: str) -> str:
    """Give the version of an installed package, or nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
