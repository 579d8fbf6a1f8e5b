"""``benchmark``: methods compared over many cases, in tables and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from NASAM3DLib.cli import benchmark_density, benchmark_tables
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

NAME = "benchmark"
HELP = help_of(
    "Compare reconstructions and click methods over many cases, in tables and pictures.",
    "Without a further word: tables, which reconstruct sparse scans of the images in a folder, "
    "click on every object with every method and write figures like those of the literature. "
    "Interrupted runs go on where they were.",
    "benchmark --data patients",
    "benchmark clicks --data patients",
    "benchmark density --data patients",
)
CLICKS_HELP = help_of(
    "Compare click methods over many objects, in tables and pictures.",
    "A simulated user clicks on every object of the given folders, on the full data and on "
    "reconstructions from few noisy views. An interrupted run goes on where it was. Folders hold "
    "a benchmark.json, or images and masks whose names belong together.",
    "benchmark clicks --data patients",
    "benchmark clicks --generated 40 --method density-guided",
    "benchmark clicks --data patients --views full --write",
)
DEFAULT = benchmark_tables.NAME
"""What runs where options follow without a further word."""


def run(
    data: Data = None,
    generated: Generated = 40,
    inserted: Annotated[
        int, typer.Option("--inserted", min=0, help="Lesions to insert into each suitable organ.")
    ] = 2,
    views: Annotated[
        str, typer.Option("--views", help="What is shown: full and numbers of views, with commas.")
    ] = "full,50,25",
    method: Chosen = None,
    methods: Further = None,
    again: Again = None,
    clicks: Clicks = 10,
    spacing: Spacing = 3.0,
    workers: Workers = 1,
    output: Output = Path("bench-output/clicks"),
    write: Write = False,
    report: Report = False,
    debug: Debug = False,
    verbose: Verbose = False,
) -> None:
    """Find the cases, click, write."""
    from NASAM3DLib.benchmark.click_document import make_report
    from NASAM3DLib.benchmark.click_run import run_clicks
    from NASAM3DLib.benchmark.click_task import ClickSettings
    from NASAM3DLib.cli.console import shown_progress

    settings = ClickSettings(
        output,
        views=views_of(views),
        methods=tuple(method or ()),
        method_files=tuple(path.resolve() for path in methods or ()),
        n_clicks=clicks,
        spacing_mm=spacing,
    )
    sources = sources_of(data or [], generated=generated, inserted=inserted)
    settings.journal.forget(again or ())
    with shown_progress("Clicking") as progress:
        outcome = run_clicks(
            sources, settings, workers=workers, measuring=not report, progress=progress
        )
    document = make_report(outcome, sources, settings)
    written = document.save(output, document=DOCUMENTS if write else None)
    tell(outcome, written)


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


class _Benchmarks(TyperGroup):
    """The group of all benchmarks, one of which runs without being named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the default benchmark where the first word is an option."""
        if args and args[0].startswith("-") and args[0] != "--help":
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


group = typer.Typer(cls=_Benchmarks, no_args_is_help=True)
group.command("clicks", help=CLICKS_HELP)(run)
for _module in (benchmark_tables, benchmark_density):
    group.command(_module.NAME, help=_module.HELP)(_module.run)
