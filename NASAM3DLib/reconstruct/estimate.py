"""How long a reconstruction will take and how much memory, told before it is started.

The laws were fitted to reconstructions that ``Testing/bench/estimate_law.py`` measures; a short
timing tells how fast this machine is beside the one of the measurement. An estimate is good to a
factor of about two: it does not know how much the projections will ask for, nor what else the
machine does.
"""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from NASAM3DLib.reconstruct.settings import (
    FIELD_STEPS,
    FULL_VIEWS,
    Method,
    Quality,
    ReconstructionSettings,
)

Law = tuple[float, float, float]
"""Seconds; nanoseconds per voxel that a ray passes; nanoseconds per voxel and view."""

CPU_LAWS: dict[tuple[Method, Quality], Law] = {
    ("fdk", "preview"): (0.116, 0.486, 6.44),
    ("fdk", "standard"): (0.116, 0.486, 6.44),
    ("fdk", "best"): (0.116, 0.486, 6.44),
    ("tv", "preview"): (0.133, 3.73, 10.6),
    ("tv", "standard"): (0.262, 15.2, 44.7),
    ("tv", "best"): (0.459, 62.4, 260.0),
}
"""CPU time of whole reconstructions with one thread on the machine of docs/scaling.md: fitted to
eight sizes from 48 to 128 voxels along each side, 20 to 100 views and 128 to 512 pixels along each
side, and within a tenth of each of them."""

FIELD_STEP_S, FIELD_STEP_S_PER_VOXEL = 0.23, 1.9e-7
"""CPU time of one step of the attenuation field, fitted to runs of 64 and 96 voxels."""

REPEATED_SHARE = 0.75
"""Part of the time that grows with the extra sweeps over few views; the rest is done once."""

UNCERTAINTY_SHARE = 0.7
"""Time of a map of standard deviations to that of the standard volume, from docs/uncertainty.md."""

BASE_BYTES = 200 * 2**20
BYTES_PER_VOXEL = 28
BYTES_PER_SAMPLE = 16
BYTES_OF_TORCH = 520 * 2**20

PROBE_VOXELS, PROBE_VIEWS, PROBE_PIXELS = 64, 20, 128
PROBE_CPU_S = 0.04
PROBE_REPEATS = 3


@dataclass(frozen=True)
class ScanSize:
    """What the cost of a reconstruction depends on.

    Parameters
    ----------
    n_views : int
        Number of views that are used.
    detector_shape : tuple of int
        Rows and columns of the detector.
    shape_kji : tuple of int
        Voxels along k, j and i.

    Raises
    ------
    ValueError
        If a number is not positive or one is missing.
    """

    n_views: int
    detector_shape: tuple[int, ...]
    shape_kji: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.n_views, *self.detector_shape, *self.shape_kji)
        if (len(self.detector_shape), len(self.shape_kji)) != (2, 3) or min(numbers) < 1:
            raise ValueError(
                "A scan has a positive number of views, rows, columns and voxels along three axes, "
                f"got {self.n_views}, {self.detector_shape} and {self.shape_kji}."
            )

    @property
    def n_samples(self) -> int:
        """Number of measured values."""
        return self.n_views * math.prod(self.detector_shape)

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape_kji)


@dataclass(frozen=True)
class Cost:
    """What a reconstruction takes.

    Parameters
    ----------
    seconds : float or None
        Time from start to end, s; None where nothing has been measured: on a GPU, and for the
        published attenuation field.
    peak_bytes : int
        Memory of the process at its peak, with Python and its libraries.
    device : str
        "cpu" or "cuda".
    """

    seconds: float | None
    peak_bytes: int
    device: str


def estimate_cost(
    size: ScanSize,
    settings: ReconstructionSettings | None = None,
    *,
    speed: float = 1.0,
    device: str = "cpu",
) -> Cost:
    """Estimate time and memory of a reconstruction.

    Parameters
    ----------
    size : ScanSize
        Views, pixels and voxels.
    settings : ReconstructionSettings, optional
        Method and quality.
    speed : float
        How many times faster this machine is than one thread of the measured one, as
        :func:`measure_speed` gives it.
    device : {"cpu", "cuda"}
        Where it will run.

    Returns
    -------
    Cost

    Raises
    ------
    ValueError
        If the speed is not positive.

    Notes
    -----
    With ``n`` views of ``p`` pixels and ``v`` voxels, ``t = t0 + a n p v^(1/3) + b n v``: rays pass
    ``v^(1/3)`` voxels each, and every voxel is visited for every view. An object larger than the
    field of view takes longer, because its surroundings are reconstructed as well.
    """
    settings = settings or ReconstructionSettings()
    if not 0 < speed < math.inf:
        raise ValueError(f"The speed of a machine must be positive, got {speed}.")
    cpu_s = _cpu_s(size, settings) if device == "cpu" else None
    seconds = None if cpu_s is None else cpu_s / speed
    return Cost(seconds, _peak_bytes(size, settings), device)


def measure_speed() -> float:
    """Time a small projector pair on this machine with all its threads.

    Returns
    -------
    float
        How many times faster it is than one thread of the machine of the laws. The first call of a
        process takes seconds, for the kernels are loaded.
    """
    from NASAM3DLib.reconstruct.projector import Projector
    from NASAM3DLib.scan.geometry import ConeBeamGeometry
    from NASAM3DLib.scan.grid import VolumeGrid
    from NASAM3DLib.scan.orbit import CircularOrbit

    angles = np.arange(PROBE_VIEWS) * 2 * np.pi / PROBE_VIEWS
    pixel_mm = 512.0 / PROBE_PIXELS
    orbit = CircularOrbit(angles, (pixel_mm, pixel_mm), 1000.0, 1500.0)
    geometry = ConeBeamGeometry.circular(orbit, (PROBE_PIXELS, PROBE_PIXELS))
    grid = VolumeGrid.centred((PROBE_VOXELS,) * 3, 246.0 / PROBE_VOXELS)
    projector = Projector(grid, geometry)
    volume = np.full(grid.shape_kji, 0.02, dtype=np.float32)
    times = []
    for _ in range(PROBE_REPEATS + 1):
        begin = time.perf_counter()
        projector.adjoint(projector.forward(volume))
        times.append(time.perf_counter() - begin)
    # The first one may compile.
    return PROBE_CPU_S / min(times[1:])


def memory_of_machine() -> tuple[int | None, int | None]:
    """Tell how much memory this machine has.

    Returns
    -------
    total, free : int or None
        Bytes in all and those that can be had without swapping; None where the system does not
        tell.
    """
    if sys.platform.startswith("linux"):
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        table = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        return table.get("MemTotal"), table.get("MemAvailable")
    if sys.platform == "win32":
        return _windows_memory()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return pages, None


def _windows_memory() -> tuple[int | None, int | None]:
    """Ask Windows for total and free memory."""
    if sys.platform != "win32":
        return None, None
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((f"n{index}", ctypes.c_ulonglong) for index in range(7)),
        ]

    status = Status()
    status.length = ctypes.sizeof(status)
    if not ctypes.WinDLL("kernel32").GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return int(status.n0), int(status.n1)


def _cpu_s(size: ScanSize, settings: ReconstructionSettings) -> float | None:
    """Evaluate the laws, s; None where there is none."""
    method: Method = "tv" if settings.method == "field" else settings.method
    law = CPU_LAWS.get((method, settings.quality))
    if law is None:
        return None
    seconds = _law_s(law, size, repeats=method == "tv")
    if settings.method == "field":
        step_s = FIELD_STEP_S + FIELD_STEP_S_PER_VOXEL * size.n_voxels
        seconds += FIELD_STEPS[settings.quality] * step_s
    if settings.uncertainty:
        seconds += UNCERTAINTY_SHARE * _law_s(CPU_LAWS["tv", "standard"], size, repeats=True)
    return seconds


def _law_s(law: Law, size: ScanSize, *, repeats: bool) -> float:
    """Evaluate a law, s; few views are passed more often by methods that repeat."""
    start_s, per_passage_ns, per_visit_ns = law
    passages = size.n_samples * math.cbrt(size.n_voxels)
    visits = size.n_views * size.n_voxels
    once = (per_passage_ns * passages + per_visit_ns * visits) * 1e-9
    extra = max(FULL_VIEWS / size.n_views - 1.0, 0.0) if repeats else 0.0
    return start_s + once * (1.0 + REPEATED_SHARE * extra)


def _peak_bytes(size: ScanSize, settings: ReconstructionSettings) -> int:
    """Estimate the peak memory of the process."""
    from NASAM3DLib.reconstruct.refine import FACTOR, MOST_FINE_VOXELS

    n_voxels, n_fine = size.n_voxels, size.n_voxels * FACTOR**3
    if settings.method in ("tv", "field") and settings.quality == "best":
        n_voxels = n_fine if n_fine <= MOST_FINE_VOXELS else n_voxels
    peak = BASE_BYTES + BYTES_PER_VOXEL * n_voxels + BYTES_PER_SAMPLE * size.n_samples
    return peak + (BYTES_OF_TORCH if settings.method in ("field", "naf") else 0)
