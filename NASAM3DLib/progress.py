"""How long-running functions report progress and are cancelled.

A function that takes long accepts ``progress``, a callable that it calls with the name of the
current stage and the finished fraction of the whole job. To cancel, the callable raises
:class:`Cancelled`; the function lets the exception pass and leaves nothing half-written.
"""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[str, float], None]
"""Called as ``progress(stage, fraction)`` with ``fraction`` in [0, 1] and never decreasing."""


class Cancelled(RuntimeError):
    """Raised by a progress callback to end the job that called it."""


def no_progress(stage: str, fraction: float) -> None:
    """Ignore progress: the default of every function that reports it.

    Parameters
    ----------
    stage : str
        Ignored.
    fraction : float
        Ignored.
    """


def sub_progress(
    progress: ProgressCallback, start: float, stop: float, *, stage: str | None = None
) -> ProgressCallback:
    """Map a part's progress from [0, 1] to [start, stop] of the whole.

    Parameters
    ----------
    progress : callable
        The whole job's callback.
    start, stop : float
        Fractions of the whole at which the part begins and ends.
    stage : str, optional
        Name to report instead of the part's own stage names.

    Returns
    -------
    callable
        The callback to hand to the part.
    """

    def report(part_stage: str, fraction: float) -> None:
        clipped = min(max(fraction, 0.0), 1.0)
        progress(stage or part_stage, start + (stop - start) * clipped)

    return report
