"""Work spread over processes, and what may go wrong in a piece of it without ending the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from NASAM3DLib.benchmark.threads import one_thread, one_thread_for_good

FAILURES = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a method may raise without ending the benchmark; it is listed instead."""

T = TypeVar("T", bound=tuple[object, ...])
R = TypeVar("R")


def mapped(
    function: Callable[..., R], tasks: Sequence[T], *, workers: int = 1
) -> Iterator[tuple[R, T]]:
    """Call a function with each task, here or in several processes of one thread each.

    Parameters
    ----------
    function : callable
        Found by its name in a module, so that other processes can call it.
    tasks : sequence of tuple
        Arguments of each call.
    workers : int
        Processes at once; 1 works in this one.

    Yields
    ------
    tuple
        Result and task, in the order of the tasks.
    """
    if workers == 1 or len(tasks) < 2:
        with one_thread():
            for task in tasks:
                yield function(*task), task
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=one_thread_for_good) as pool:
        futures = [pool.submit(function, *task) for task in tasks]
        try:
            for future, task in zip(futures, tasks, strict=True):
                yield future.result(), task
        finally:
            pool.shutdown(cancel_futures=True)


def reason_of(error: BaseException) -> str:
    """Put an error into one line.

    Parameters
    ----------
    error : BaseException
        What was raised.

    Returns
    -------
    str
        Its class and its words.
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
