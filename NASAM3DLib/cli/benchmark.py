"""``benchmark``: methods compared over many cases, in tables and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from NASAM3DLib.cli.options import Debug, Verbose, help_of

if TYPE_CHECKING:
    from NASAM3DLib.benchmark.sources import Source

NAME = "benchmark"
HELP = help_of(
    "Compare click methods over many objects, in tables and pictures.",
    "A simulated user clicks on every object of the given folders, on the full data and on "
    "reconstructions from few noisy views. An interrupted run goes on where it was. Folders hold "
    "a benchmark.json, or images and masks whose names belong together.",
    "benchmark clicks --data patients",
    "benchmark clicks --generated 40 --method density-guided",
    "benchmark clicks --data patients --views full --write",
)
DATA_VARIABLE = "NASAM3D_DATA"
DOCUMENTS = Path("docs")


def run(
    what: Annotated[Literal["clicks"], typer.Argument(help="What is compared.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            help="Folder with cases. Repeatable.",
            envvar=DATA_VARIABLE,
            show_default=False,
        ),
    ] = None,
    generated: Annotated[
        int, typer.Option("--generated", min=0, help="Number of held-out generated volumes.")
    ] = 40,
    inserted: Annotated[
        int, typer.Option("--inserted", min=0, help="Lesions to insert into each suitable organ.")
    ] = 2,
    views: Annotated[
        str, typer.Option("--views", help="What is shown: full and numbers of views, with commas.")
    ] = "full,50,25",
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="A method to run; by default all. Repeatable."),
    ] = None,
    methods: Annotated[
        list[Path] | None,
        typer.Option("--methods", help="Python file with further METHODS. Repeatable."),
    ] = None,
    again: Annotated[
        list[str] | None,
        typer.Option("--again", help="A method whose figures are to be made anew. Repeatable."),
    ] = None,
    clicks: Annotated[int, typer.Option("--clicks", min=1, help="Clicks on each object.")] = 10,
    spacing: Annotated[
        float, typer.Option("--spacing", min=0.1, help="Voxels along finer axes, mm.")
    ] = 3.0,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes at once.")] = 1,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for figures, tables and what is kept."),
    ] = Path("bench-output/clicks"),
    write: Annotated[
        bool, typer.Option("--write", help="Write docs/clicks.md and its pictures as well.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Measure nothing, write what is there.")
    ] = False,
    debug: Debug = False,
    verbose: Verbose = False,
) -> None:
    """Find the cases, click, write."""
    from NASAM3DLib.benchmark.click_document import make_report
    from NASAM3DLib.benchmark.click_run import run_clicks
    from NASAM3DLib.benchmark.click_task import ClickSettings
    from NASAM3DLib.cli.console import shown_progress, stdout

    settings = ClickSettings(
        output,
        views=views_of(views),
        methods=tuple(method or ()),
        method_files=tuple(path.resolve() for path in methods or ()),
        n_clicks=clicks,
        spacing_mm=spacing,
    )
    sources = _sources(data or [], generated=generated, inserted=inserted)
    settings.journal.forget(again or ())
    with shown_progress("Clicking") as progress:
        outcome = run_clicks(
            sources, settings, workers=workers, measuring=not report, progress=progress
        )
    document = make_report(outcome, sources, settings)
    written = document.save(output, document=DOCUMENTS if write else None)
    console = stdout()
    for name, reason in outcome.not_run:
        console.print(f"{name}: not run, {reason}.", markup=False)
    n_failed = sum(bool(row.error) for row in outcome.rows)
    console.print(
        f"{len(outcome.rows)} sessions, {n_failed} of them failed. Tables and pictures: "
        f"{', '.join(str(path) for path in written)}",
        markup=False,
    )


def views_of(text: str) -> tuple[int | None, ...]:
    """Read what is to be shown.

    Parameters
    ----------
    text : str
        "full" and numbers of views, with commas.

    Returns
    -------
    tuple of int or None
        None for the full data; without repetitions.

    Raises
    ------
    typer.BadParameter
        If a part is neither.
    """
    found: list[int | None] = []
    for part in text.split(","):
        word = part.strip()
        if word != "full" and not (word.isdigit() and int(word) >= 2):
            raise typer.BadParameter(
                f"--views wants full and numbers of views from 2 on, with commas, got {text!r}."
            )
        found.append(None if word == "full" else int(word))
    return tuple(dict.fromkeys(found))


def _sources(folders: list[Path], *, generated: int, inserted: int) -> list[Source]:
    """Put the cases together."""
    from NASAM3DLib.benchmark.discovery import find_cases
    from NASAM3DLib.benchmark.insertion import insertions
    from NASAM3DLib.benchmark.sources import FileSource, GeneratedSource

    files = [case for folder in folders for case in find_cases(folder)]
    sources: list[Source] = [FileSource(case) for case in files]
    sources += insertions(files, inserted)
    sources += [GeneratedSource(number) for number in range(generated)]
    if not sources:
        raise typer.BadParameter(
            f"there is nothing to click on: give --data, set {DATA_VARIABLE}, or --generated."
        )
    return sources
