"""One thread for everything, so that CPU seconds of methods can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from NASAM3DLib.scan.images import simple_itk


@contextmanager
def one_thread() -> Iterator[None]:
    """Let numba, torch and SimpleITK compute in one thread for a while.

    Yields
    ------
    None
        Afterwards they use as many as before.
    """
    import numba

    process = simple_itk().ProcessObject
    before_itk = process.GetGlobalDefaultNumberOfThreads()
    before_numba = numba.get_num_threads()
    before_torch = 0
    if find_spec("torch") is not None:
        import torch

        before_torch = torch.get_num_threads()
    one_thread_for_good()
    try:
        yield
    finally:
        process.SetGlobalDefaultNumberOfThreads(before_itk)
        numba.set_num_threads(before_numba)
        if before_torch:
            torch.set_num_threads(before_torch)


def one_thread_for_good() -> None:
    """Let numba, torch and SimpleITK compute in one thread."""
    import numba

    simple_itk().ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    numba.set_num_threads(1)
    if find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
