"""The verbs of the command line, put together."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from NASAM3DLib import __version__
from NASAM3DLib.cli import (
    benchmark,
    demo,
    evaluate,
    info,
    joint,
    reconstruct,
    segment,
    simulate,
    train,
    weights,
)
from NASAM3DLib.cli.errors import EXIT_CODES_HELP, EXPECTED, explain, is_debug, show
from NASAM3DLib.cli.options import PROGRAM, Debug, Verbose


class _Commands(TyperGroup):
    """The group of all verbs, which turns errors into messages."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen verb; with ``--debug``, let errors pass with their traceback."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except EXPECTED as error:
            if is_debug(ctx):
                raise
            code, message = explain(error)
            show(message)
            raise typer.Exit(code) from None


app = typer.Typer(
    cls=_Commands,
    name=PROGRAM,
    help="Sparse X-ray projections to an attenuation volume, a click to a segment.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(value: bool) -> None:
    """Print the version and stop."""
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
    debug: Debug = False,
    verbose: Verbose = False,
) -> None:
    """Take the options that stand before the verb."""


for _module in (
    simulate,
    reconstruct,
    segment,
    joint,
    evaluate,
    demo,
    weights,
    train,
    info,
):
    app.command(_module.NAME, help=_module.HELP)(_module.run)
app.add_typer(benchmark.group, name=benchmark.NAME, help=benchmark.HELP)
