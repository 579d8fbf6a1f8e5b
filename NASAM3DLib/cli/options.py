"""Options that several verbs share, and how their text is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import typer

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.prompts import Prompts

PROGRAM = "python -m NASAM3DLib"


def _remember_debug(ctx: typer.Context, value: bool) -> bool:
    """Keep the choice where the error handling finds it."""
    settings = ctx.find_root().ensure_object(dict)
    settings["debug"] = settings.get("debug", False) or value
    return value


def _switch_verbose(value: bool) -> bool:
    """Set up logging as soon as the option is read."""
    from NASAM3DLib.cli.console import set_up_logging

    set_up_logging(verbose=value)
    return value


Debug = Annotated[
    bool,
    typer.Option(
        "--debug", help="Show the traceback of errors.", callback=_remember_debug, is_eager=True
    ),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Show remarks.", callback=_switch_verbose, is_eager=True),
]
Force = Annotated[bool, typer.Option("--force", help="Replace existing files.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all random numbers.")]
Spacing = Annotated[
    str | None,
    typer.Option("--spacing", help="Voxel size in mm: one number, or three as R,A,S."),
]
Shape = Annotated[
    str | None,
    typer.Option("--shape", help="Number of voxels: one number, or three as R,A,S."),
]
Centre = Annotated[
    str | None, typer.Option("--centre", metavar="R,A,S", help="Middle of the grid in RAS, mm.")
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where to compute.")
]
Unit = Annotated[
    Literal["HU", "attenuation"] | None,
    typer.Option("--unit", help="What the values of a volume are, if its file does not say."),
]


def help_of(summary: str, description: str, *examples: str) -> str:
    """Compose the help text of a verb.

    Parameters
    ----------
    summary : str
        One sentence.
    description : str
        One paragraph.
    *examples : str
        What follows ``python -m NASAM3DLib``; short enough for one line of a terminal.

    Returns
    -------
    str
        Text whose examples keep their lines.
    """
    lines = "\n".join(f"  {PROGRAM} {example}" for example in examples)
    return f"{summary}\n\n{description}\n\n\b\nExamples:\n{lines}"


def prepare_output(path: Path, endings: tuple[str, ...], *, force: bool) -> None:
    """Refuse what could not be written in the end, before the work begins; make its folder.

    Parameters
    ----------
    path : Path
        File to be written.
    endings : tuple of str
        Endings of the formats that can be written.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError
        If the file exists and must not be replaced.
    ValueError
        If its ending is none of these.
    """
    from NASAM3DLib.files import check_writable

    if not path.name.lower().endswith(endings):
        raise ValueError(
            f"This cannot be written as {path.name!r}: end the name with {', '.join(endings)}."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    check_writable(path, force=force)


def numbers(text: str, option: str, *, repeat: bool = False) -> tuple[float, float, float]:
    """Read three numbers separated by commas.

    Parameters
    ----------
    text : str
        As typed.
    option : str
        Name of the option, for the message.
    repeat : bool
        Whether a single number stands for three equal ones.

    Returns
    -------
    tuple of float
        Three numbers.

    Raises
    ------
    typer.BadParameter
        If these are not three numbers.
    """
    try:
        values = tuple(float(part) for part in text.replace(";", ",").split(","))
    except ValueError:
        values = ()
    if repeat and len(values) == 1:
        values *= 3
    if len(values) != 3:
        wanted = "one number or three" if repeat else "three numbers"
        raise typer.BadParameter(
            f"{option} wants {wanted} separated by commas without blanks, got {text!r}."
        )
    return values[0], values[1], values[2]


def grid_of(
    default: VolumeGrid, spacing: str | None, shape: str | None, centre: str | None
) -> VolumeGrid:
    """Make the grid that the options describe.

    Parameters
    ----------
    default : VolumeGrid
        Supplies what was not typed; with only the spacing or only the shape, its extent is kept.
    spacing, shape, centre : str or None
        As typed.

    Returns
    -------
    VolumeGrid

    Raises
    ------
    typer.BadParameter
        If a text cannot be read.
    """
    if spacing is None and shape is None and centre is None:
        return default
    extent_mm = default.spacing_mm * default.shape_kji[::-1]
    middle = default.centre_ras if centre is None else np.array(numbers(centre, "--centre"))
    if spacing is None:
        counts = default.shape_kji[::-1] if shape is None else _counts(shape)
        size_mm = extent_mm / counts
    else:
        size_mm = np.array(numbers(spacing, "--spacing", repeat=True))
        if size_mm.min() <= 0:
            raise typer.BadParameter(f"--spacing must be positive, in mm, got {spacing!r}.")
        i, j, k = (max(round(float(n)), 1) for n in extent_mm / size_mm)
        counts = (i, j, k) if shape is None else _counts(shape)
    i, j, k = counts
    return VolumeGrid.centred((k, j, i), _three(size_mm), centre_ras=_three(middle))


def prompts_of(positive: list[str], negative: list[str], file: Path | None) -> Prompts:
    """Collect the points of the options and the prompts of a markups file.

    Parameters
    ----------
    positive, negative : list of str
        Points as typed, R,A,S in mm.
    file : Path or None
        Markups file of 3D Slicer with points, curves (scribbles) and a region of interest (box);
        they come first.

    Returns
    -------
    Prompts

    Raises
    ------
    typer.BadParameter
        If nothing is on the object and there is no box, or a text cannot be read.
    """
    from NASAM3DLib.segment.prompts_io import load_prompts

    prompts = load_prompts(file) if file is not None else Prompts()
    for text in positive:
        prompts = prompts.with_point(numbers(text, "--point"))
    for text in negative:
        prompts = prompts.with_point(numbers(text, "--negative"), positive=False)
    if not prompts.shows_object:
        raise typer.BadParameter(
            "give at least one point on the object: --point R,A,S or --points FILE."
        )
    return prompts


def _counts(shape: str) -> tuple[int, int, int]:
    """Read numbers of voxels."""
    values = numbers(shape, "--shape", repeat=True)
    if min(values) < 1 or any(value != int(value) for value in values):
        raise typer.BadParameter(f"--shape wants whole positive numbers, got {shape!r}.")
    return int(values[0]), int(values[1]), int(values[2])


def _three(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Give an array of three numbers as a tuple."""
    return float(values[0]), float(values[1]), float(values[2])
