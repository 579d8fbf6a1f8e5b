"""Choosing the device for what torch computes, and saying what will run where."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from ctypes.util import find_library
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from NASAM3DLib.reconstruct.settings import Device

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

GIB = 2**30

DRIVER_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg")
"""Any of these exists where an NVIDIA driver is loaded; the last one under WSL."""


def choose_device(device: Device) -> str:
    """Turn a wish into a torch device.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        What the user asked for.

    Returns
    -------
    str
        "cpu" or "cuda".

    Raises
    ------
    ModuleNotFoundError
        If torch is not installed.
    RuntimeError
        If a GPU was asked for and there is none that torch can use.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "The attenuation field needs PyTorch, which is not installed: install it with "
            '"pip install NASAM3DLib[field]" or choose the method tv, which does without.',
            name="torch",
        ) from error
    if device == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise RuntimeError(
            "A GPU was asked for, but torch finds no CUDA device: choose the device auto or cpu, "
            "or install a CUDA build of PyTorch and the NVIDIA driver."
        )
    logger.info("No CUDA device: everything is computed on the CPU.")
    return "cpu"


def choose_solver_device(device: Device) -> str:
    """Choose where projector and total variation run; without torch that is the CPU.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        What the user asked for.

    Returns
    -------
    str
        "cpu", which stands for the compiled CPU kernels, or "cuda".

    Raises
    ------
    ModuleNotFoundError
        If a GPU was asked for and torch is not installed.
    RuntimeError
        If a GPU was asked for and there is none that torch can use.
    """
    if device == "cpu" or (device == "auto" and not may_have_gpu()):
        return "cpu"
    return choose_device(device)


def may_have_gpu() -> bool:
    """Tell cheaply whether it is worth the seconds of importing torch to look for a GPU.

    Returns
    -------
    bool
        False if torch is missing or built for the CPU only, or no NVIDIA driver is loaded.
    """
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return False
    if version.endswith("+cpu"):
        return False
    if sys.platform == "win32":
        return find_library("nvcuda") is not None
    return any(Path(name).exists() for name in DRIVER_FILES)


def describe_device(device: str) -> str:
    """Say in a sentence what will run where.

    Parameters
    ----------
    device : str
        Torch device, "cpu" or "cuda".

    Returns
    -------
    str
        One sentence, for logs and reports.
    """
    if not device.startswith("cuda"):
        return "Everything runs on the CPU."
    import torch

    index = torch.device(device).index or 0
    free, total = torch.cuda.mem_get_info(index)
    kernels = "Triton kernels" if has_triton(device) else "PyTorch operations (Triton is missing)"
    return (
        f"Projector, total variation and attenuation field run as {kernels} on the "
        f"{torch.cuda.get_device_name(index)}, with {free / GIB:.1f} of {total / GIB:.1f} GiB of "
        "its memory free."
    )


def has_triton(device: str | torch.device) -> bool:
    """Tell whether the Triton kernels can run on a device.

    Parameters
    ----------
    device : str or torch.device
        A CUDA device; or the CPU, where they run in Triton's interpreter if the environment says
        ``TRITON_INTERPRET=1``.

    Returns
    -------
    bool
    """
    if find_spec("triton") is None:
        return False
    kind = str(device).partition(":")[0]
    return kind == ("cpu" if is_interpreted() else "cuda")


def is_interpreted() -> bool:
    """Tell whether the environment asks for Triton's interpreter.

    Returns
    -------
    bool
    """
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes")


class RepeatedStep:
    """A function without arguments that is called many times, recorded as a CUDA graph if possible.

    Parameters
    ----------
    step : callable
        Reads and writes the same tensors in every call, waits for nothing and depends on no number
        that changes on the host. It must have the same effect however often it is called.
    device : str
        Torch device. Anything but CUDA calls the function plainly.

    Attributes
    ----------
    recorded : bool
        Whether calls replay a graph.

    Notes
    -----
    The first call runs plainly on a side stream, which compiles kernels and allocates what is kept.
    The second one records the graph. Where that fails the reason is logged once and the function
    is called plainly from then on: a recording executes nothing, so no work is done twice.
    """

    def __init__(self, step: Callable[[], None], device: str) -> None:
        self._step = step
        self._on_gpu = device.startswith("cuda")
        self._n_calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def recorded(self) -> bool:
        """Whether calls replay a graph."""
        return self._graph is not None

    def __call__(self) -> None:
        """Do the step once."""
        if self._on_gpu and self._n_calls == 1:
            self._record()
        self._n_calls += 1
        if self._graph is not None:
            self._graph.replay()
        elif self._on_gpu and self._n_calls == 1:
            self._warm_up()
        else:
            self._step()

    def _warm_up(self) -> None:
        """Run once beside the default stream, as recording wants it."""
        import torch

        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._step()
        torch.cuda.current_stream().wait_stream(stream)

    def _record(self) -> None:
        """Record the graph, or say why not."""
        import torch

        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._step()
        except RuntimeError as error:
            logger.warning("No CUDA graph, steps are launched one by one: %s", error)
            return
        self._graph = graph
