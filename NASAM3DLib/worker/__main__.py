"""Start a worker on standard input and output: ``python -m NASAM3DLib.worker``."""

from __future__ import annotations

import logging
import os
import sys

from NASAM3DLib.worker.jobs import Session
from NASAM3DLib.worker.server import serve


def main() -> int:
    """Serve until the input ends; logging goes to standard error.

    Returns
    -------
    int
        Exit status.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("NASAM3D_LOG_LEVEL", "INFO").upper(),
        format="%(levelname)s %(name)s: %(message)s",
    )
    return serve(Session().jobs())


if __name__ == "__main__":
    sys.exit(main())
