"""How the threads of the compiled kernels behave between two parallel loops."""

from __future__ import annotations

import os


def sleep_when_idle() -> None:
    """Let idle threads sleep instead of spin; called before the first kernel runs.

    Notes
    -----
    GNU OpenMP lets a thread that has finished its part of a loop spin for milliseconds. Where other
    programs want the cores as well that burns up to three times the time of the computation itself.
    The variable is read when the OpenMP library loads; a value that is set already is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
