"""``benchmark tables``: from a folder of CTs with masks to the tables of the literature."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from NASAM3DLib.cli.benchmark_options import (
    DOCUMENTS,
    Again,
    Chosen,
    Clicks,
    Data,
    Further,
    Generated,
    Output,
    Report,
    Spacing,
    Workers,
    Write,
    sources_of,
    tell,
)
from NASAM3DLib.cli.options import Debug, Verbose, help_of

NAME = "tables"
HELP = help_of(
    "Reconstruct, click and segment every case of a folder; write the tables of the literature.",
    "Simulates sparse scans of the images, reconstructs them by each method, lets a simulated user "
    "click with each engine and comparator, and writes Markdown, CSV and HTML. An interrupted run "
    "goes on where it was. Runs as well where benchmark is followed by options at once.",
    "benchmark tables --data patients",
    "benchmark tables --data patients --views 50,25 --recipes fdk,tv,best --workers 4",
    "benchmark tables --data patients --methods mine.py --train-swin-unetr",
)


def run(
    data: Data = None,
    generated: Generated = 0,
    targets: Annotated[
        int | None, typer.Option("--targets", min=1, help="Most targets of one case.")
    ] = None,
    views: Annotated[
        str, typer.Option("--views", help="Views of the sparse scans, with commas.")
    ] = "50",
    recipes: Annotated[
        str, typer.Option("--recipes", help="Reconstructions: fdk, os, tv, best, field, naf.")
    ] = "fdk,os,tv,best",
    method: Chosen = None,
    methods: Further = None,
    train_swin_unetr: Annotated[
        bool, typer.Option("--train-swin-unetr", help="Train SwinUNETR-v2 on the labels first.")
    ] = False,
    swin_steps: Annotated[
        int, typer.Option("--swin-steps", min=1, help="Steps of its training for each fold.")
    ] = 4000,
    swin_patch: Annotated[
        int, typer.Option("--swin-patch", min=32, help="Edge of its patches, a multiple of 32.")
    ] = 96,
    swin_width: Annotated[
        int, typer.Option("--swin-width", min=12, help="Its width, a multiple of 12.")
    ] = 24,
    again: Again = None,
    clicks: Clicks = 5,
    spacing: Spacing = 3.0,
    workers: Workers = 1,
    output: Output = Path("bench-output/tables"),
    write: Write = False,
    report: Report = False,
    debug: Debug = False,
    verbose: Verbose = False,
) -> None:
    """Find the cases, reconstruct, click, write."""
    from NASAM3DLib.benchmark.click_run import run_clicks
    from NASAM3DLib.benchmark.click_task import ClickSettings
    from NASAM3DLib.benchmark.reconstruction_table import all_figures
    from NASAM3DLib.benchmark.swin_plan import SwinSettings
    from NASAM3DLib.benchmark.tables_document import make_document
    from NASAM3DLib.benchmark.tables_run import comparator_files, looks_of, train_swin, with_asd
    from NASAM3DLib.cli.console import shown_progress

    sources = sources_of(data or [], generated=generated, inserted=0, targets=targets)
    looks = looks_of(recipes_of(recipes), numbers_of(views))
    settings = ClickSettings(
        output, views=looks, methods=tuple(method or ()), n_clicks=clicks, spacing_mm=spacing
    )
    settings = replace(settings, asd_at=with_asd(settings))
    if train_swin_unetr:
        swin = SwinSettings(swin_steps, swin_patch, swin_width)
        with shown_progress("Training SwinUNETR") as progress:
            train_swin(sources, settings, swin, progress=progress)
    own = tuple(path.resolve() for path in methods or ())
    settings = replace(settings, method_files=(*comparator_files(output), *own))
    settings.journal.forget(again or ())
    with shown_progress("Clicking") as progress:
        outcome = run_clicks(
            sources, settings, workers=workers, measuring=not report, progress=progress
        )
    figures = all_figures(sources, settings, workers=workers)
    document = make_document(outcome, figures, sources, settings)
    tell(outcome, document.save(output, document=DOCUMENTS if write else None))


def recipes_of(text: str) -> tuple[str, ...]:
    """Read which reconstructions are wanted.

    Parameters
    ----------
    text : str
        Names with commas.

    Returns
    -------
    tuple of str
        Without repetitions.

    Raises
    ------
    typer.BadParameter
        If a name is unknown.
    """
    from NASAM3DLib.benchmark.recipes import RECIPES

    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        raise typer.BadParameter(
            f"--recipes knows {', '.join(RECIPES)}, got {unknown[0]!r} in {text!r}."
        )
    return names


def numbers_of(text: str) -> tuple[int, ...]:
    """Read numbers of views.

    Parameters
    ----------
    text : str
        Whole numbers from 2 on, with commas.

    Returns
    -------
    tuple of int
        Without repetitions.

    Raises
    ------
    typer.BadParameter
        If a part is no such number.
    """
    words = [part.strip() for part in text.split(",")]
    if any(not word.isdigit() or int(word) < 2 for word in words):
        raise typer.BadParameter(f"--views wants numbers from 2 on, with commas, got {text!r}.")
    return tuple(dict.fromkeys(int(word) for word in words))
