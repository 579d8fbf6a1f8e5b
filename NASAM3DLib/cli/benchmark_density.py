"""``benchmark density``: the density-guided module taken apart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from NASAM3DLib.cli.benchmark_options import (
    DOCUMENTS,
    Again,
    Clicks,
    Data,
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

NAME = "density"
HELP = help_of(
    "Tell what density guidance gains, formulation by formulation, and where it hurts.",
    "Variants of both engines click on objects of the given folders and on generated volumes, in "
    "a filtered back-projection, total variation, the best quality and the full data. An "
    "interrupted run goes on where it was.",
    "benchmark density --data patients",
    'benchmark density --generated 8 --variant "walker: off" --variant "walker: default"',
)


def run(
    data: Data = None,
    generated: Generated = 8,
    targets: Annotated[int, typer.Option("--targets", min=1, help="Most targets of one case.")] = 4,
    views: Annotated[int, typer.Option("--views", min=2, help="Views of the scans.")] = 50,
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", help="A variant to run; by default all. Repeatable."),
    ] = None,
    again: Again = None,
    clicks: Clicks = 10,
    spacing: Spacing = 3.0,
    workers: Workers = 1,
    output: Output = Path("bench-output/density"),
    write: Write = False,
    report: Report = False,
    debug: Debug = False,
    verbose: Verbose = False,
) -> None:
    """Find the cases, click with every variant, write."""
    from NASAM3DLib.benchmark.density_document import make_document
    from NASAM3DLib.benchmark.density_run import DensitySettings, run_density
    from NASAM3DLib.cli.console import shown_progress

    settings = DensitySettings(output, views, tuple(variant or ()), clicks, spacing)
    sources = sources_of(data or [], generated=generated, inserted=0, targets=targets)
    settings.clicks(uncertain=False).journal.forget(again or ())
    with shown_progress("Clicking") as progress:
        outcome = run_density(
            sources, settings, workers=workers, measuring=not report, progress=progress
        )
    document = make_document(outcome, spacing_mm=spacing)
    written = document.save(output, document=DOCUMENTS if write else None)
    tell(outcome, written)
