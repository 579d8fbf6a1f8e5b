"""The command line: ``python -m NASAM3DLib <verb>``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line with the arguments of the process, and end it with an exit code."""
    import typer.main

    from NASAM3DLib.cli.app import app
    from NASAM3DLib.cli.errors import report_defect

    # Not app(): that would replace the hook by typer's own.
    sys.excepthook = report_defect
    typer.main.get_command(app)(prog_name="python -m NASAM3DLib")


if __name__ == "__main__":
    main()
