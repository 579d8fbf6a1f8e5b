"""What the benchmarks of the command line have in common: options, cases, last words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from NASAM3DLib.benchmark.click_run import Outcome
    from NASAM3DLib.benchmark.sources import Source

DATA_VARIABLE = "NASAM3D_DATA"
DOCUMENTS = Path("docs")

Data = Annotated[
    list[Path] | None,
    typer.Option(
        "--data",
        help="Folder with cases. Repeatable.",
        envvar=DATA_VARIABLE,
        show_default=False,
    ),
]
Generated = Annotated[
    int, typer.Option("--generated", min=0, help="Number of held-out generated volumes.")
]
Chosen = Annotated[
    list[str] | None,
    typer.Option("--method", help="A method to run; by default all. Repeatable."),
]
Further = Annotated[
    list[Path] | None,
    typer.Option("--methods", help="Python file with further METHODS. Repeatable."),
]
Clicks = Annotated[int, typer.Option("--clicks", min=1, help="Clicks on each object.")]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", help="Folder for figures, tables and what is kept."),
]
Again = Annotated[
    list[str] | None,
    typer.Option("--again", help="A method whose figures are to be made anew. Repeatable."),
]
Spacing = Annotated[float, typer.Option("--spacing", min=0.1, help="Voxels along finer axes, mm.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes at once.")]
Write = Annotated[
    bool, typer.Option("--write", help="Write the document and its pictures to docs as well.")
]
Report = Annotated[bool, typer.Option("--report", help="Measure nothing, write what is there.")]


def sources_of(
    folders: Sequence[Path], *, generated: int, inserted: int, targets: int | None = None
) -> list[Source]:
    """Put the cases together.

    Parameters
    ----------
    folders : sequence of Path
        Folders with cases.
    generated : int
        Number of generated volumes.
    inserted : int
        Lesions to insert into each suitable organ.
    targets : int, optional
        Most targets of one case; by default all.

    Returns
    -------
    list of Source

    Raises
    ------
    typer.BadParameter
        If there is no case.
    """
    from NASAM3DLib.benchmark.discovery import find_cases
    from NASAM3DLib.benchmark.insertion import insertions
    from NASAM3DLib.benchmark.sources import FileSource, GeneratedSource, ThinnedSource

    files = [case for folder in folders for case in find_cases(folder)]
    sources: list[Source] = [FileSource(case) for case in files]
    sources += insertions(files, inserted)
    sources += [GeneratedSource(number) for number in range(generated)]
    if not sources:
        raise typer.BadParameter(
            f"there is nothing to click on: give --data, set {DATA_VARIABLE}, or --generated."
        )
    return sources if targets is None else [ThinnedSource(one, targets) for one in sources]


def tell(outcome: Outcome, written: Sequence[Path]) -> None:
    """Say what was measured and where it is written.

    Parameters
    ----------
    outcome : Outcome
        What was measured.
    written : sequence of Path
        Documents.
    """
    from NASAM3DLib.cli.console import stdout

    console = stdout()
    for name, reason in outcome.not_run:
        console.print(f"{name}: not run, {reason}.", markup=False)
    n_failed = sum(bool(row.error) for row in outcome.rows)
    console.print(
        f"{len(outcome.rows)} sessions, {n_failed} of them failed. Tables and pictures: "
        f"{', '.join(str(path) for path in written)}",
        markup=False,
    )
