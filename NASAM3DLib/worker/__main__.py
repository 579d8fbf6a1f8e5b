"""Start a worker on standard input and output: ``python -m NASAM3DLib.worker``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from NASAM3DLib.worker.jobs import Session
from NASAM3DLib.worker.server import Upkeep, serve


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Serve until the input ends; logging goes to standard error.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line; that of the process if not given.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("NASAM3D_LOG_LEVEL", "INFO").upper(),
        format="%(levelname)s %(name)s: %(message)s",
    )
    session = Session()
    serve(session.jobs(), Upkeep(session.release, options.idle_s, options.alone_s))


def _parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m NASAM3DLib.worker",
        description="Do the heavy work for a program that speaks to it on standard input and "
        "output. It ends with its input.",
    )
    parser.add_argument(
        "--idle-s",
        type=float,
        default=Upkeep.idle_s,
        metavar="S",
        help="let go of volumes after so many seconds without a job (%(default)g)",
    )
    parser.add_argument(
        "--alone-s",
        type=float,
        default=Upkeep.alone_s,
        metavar="S",
        help="end after so many seconds without a sign of life from the program; twelve times as "
        "many during a job (%(default)g)",
    )
    return parser


if __name__ == "__main__":
    main()
