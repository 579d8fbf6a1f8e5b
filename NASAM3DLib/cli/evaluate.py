"""``evaluate``: volumes and masks against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from NASAM3DLib.cli.options import Debug, Force, Unit, Verbose, help_of

if TYPE_CHECKING:
    from NASAM3DLib.evaluate.evaluate import Evaluation

NAME = "evaluate"
HELP = help_of(
    "Compare volumes and masks with the truth, in tables and pictures.",
    "Files on different grids are brought together: a reference volume onto the grid of each "
    "volume, masks onto the grid of the reference mask. Without --output only the tables are "
    "printed.",
    "evaluate volume.nrrd fdk.nrrd --reference ct.nii.gz",
    "evaluate --mask a.seg.nrrd --reference-mask b.nii.gz",
    "evaluate volume.nrrd --reference ct.nii.gz -o figures",
)


def run(
    volumes: Annotated[
        list[Path] | None, typer.Argument(help="Volumes to judge.", show_default=False)
    ] = None,
    reference: Annotated[Path | None, typer.Option("--reference", help="The true volume.")] = None,
    mask: Annotated[
        list[Path] | None, typer.Option("--mask", help="A mask to judge. Repeatable.")
    ] = None,
    reference_mask: Annotated[
        Path | None, typer.Option("--reference-mask", help="The true mask.")
    ] = None,
    points: Annotated[
        Path | None, typer.Option("--points", help="Markups file with the clicks, to show them.")
    ] = None,
    segment: Annotated[
        str | None, typer.Option("--segment", help="Which segment of masks that have several.")
    ] = None,
    reference_segment: Annotated[
        str | None, typer.Option("--reference-segment", help="Which segment of the true mask.")
    ] = None,
    unit: Unit = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for tables, pictures and report.html."),
    ] = None,
    force: Force = False,
    debug: Debug = False,
    verbose: Verbose = False,
) -> None:
    """Read, compare, print."""
    from NASAM3DLib.cli.console import stdout, to_rich
    from NASAM3DLib.evaluate.evaluate import evaluate
    from NASAM3DLib.reconstruct.volume_io import load_volume
    from NASAM3DLib.segment.mask_io import load_mask
    from NASAM3DLib.segment.prompts_io import load_prompts

    case = evaluate(
        {_label(path): load_volume(path, quantity=unit) for path in volumes or []},
        None if reference is None else load_volume(reference, quantity=unit),
        masks={_label(path): load_mask(path, segment=segment) for path in mask or []},
        reference_mask=None
        if reference_mask is None
        else load_mask(reference_mask, segment=reference_segment),
        prompts=None if points is None else load_prompts(points),
    )
    for table in case.tables.values():
        stdout().print(to_rich(table))
    if output is not None:
        _save(case, output, force=force)
        stdout().print(f"Tables, pictures and report.html are in {output}.", markup=False)


def _label(path: Path) -> str:
    """Give the name of a file without its endings."""
    return path.name.split(".")[0]


def _save(case: Evaluation, folder: Path, *, force: bool) -> None:
    """Write tables as CSV and Markdown, pictures as PNG, and all of them as a report."""
    from NASAM3DLib import __version__
    from NASAM3DLib.evaluate.report import Report, Section
    from NASAM3DLib.files import write_bytes, write_text

    folder.mkdir(parents=True, exist_ok=True)
    for name, table in case.tables.items():
        write_text(folder / f"{name}.csv", table.to_csv(), force=force)
        write_text(folder / f"{name}.md", table.to_markdown(), force=force)
    for picture in case.pictures:
        write_bytes(folder / f"{picture.name}.png", picture.png, force=force)
    section = Section("", tables=tuple(case.tables.values()), pictures=case.pictures)
    report = Report(
        "Comparison with the truth",
        f"Figures and pictures of {', '.join(case.tables)} against the given reference.",
        (section,),
        f"NASAM3DLib {__version__}",
    )
    write_text(folder / "report.html", report.to_html(), force=force)
