"""Every reconstruction of a case, with CPU seconds, memory and quality."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from bodies import PEAK
from cases import Case
from one import METHODS, write_case
from rtk_peer import RtkPeer

from NASAM3DLib.evaluate.metrics import NAF_DATA_RANGE, psnr, relative_held_out_error, ssim
from NASAM3DLib.evaluate.tables import Column, Table
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.volume import Volume

ONE = Path(__file__).with_name("one.py")
REFERENCE = "rtk-sart"


@dataclass(frozen=True)
class Result:
    """What one method gave on one case: PSNR in dB, held-out error in percent of the signal."""

    method: str
    cpu_s: float
    peak_mib: float
    loaded_mib: float
    psnr: float
    ssim: float
    ssim_naf: float
    held_out: float

    @property
    def label(self) -> str:
        """Name of the method for readers."""
        return METHODS[self.method][0]


def cpu_seconds(
    work: Callable[[], npt.NDArray[np.float32]],
) -> tuple[npt.NDArray[np.float32], float]:
    """Run and measure the CPU time of all threads."""
    begin = time.process_time()
    result = work()
    return result, time.process_time() - begin


def run_methods(case: Case, methods: Sequence[str]) -> tuple[list[Result], dict[str, Volume]]:
    """Run methods on one case, each in a process of its own."""
    results, volumes = [], {}
    truth, grid = case.truth.array, case.truth.grid
    held_out = case.held_out
    if held_out is None:
        raise ValueError(f"The case {case.name} has no views held out: simulate some.")
    projector = Projector(grid, held_out.geometry)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_case(case.projection_set, grid, folder)
        for method in methods:
            command = [sys.executable, str(ONE), name, method]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            # RTK may print before the figures, which are the last line.
            figures = json.loads(done.stdout.splitlines()[-1])
            array = np.load(folder / f"{method}.npy")
            error = relative_held_out_error(projector.forward(array), held_out.projections)
            result = Result(
                method,
                **figures,
                psnr=psnr(array, truth, data_range=PEAK),
                ssim=ssim(array, truth, data_range=PEAK),
                ssim_naf=ssim(array, truth, data_range=NAF_DATA_RANGE * PEAK),
                held_out=100 * error,
            )
            print(f"{case.name}: {result}", file=sys.stderr, flush=True)
            results.append(result)
            volumes[method] = Volume(array, grid)
    return results, volumes


def result_table(case: Case, results: Sequence[Result]) -> Table:
    """Show what the methods gave."""
    reference = next((r.cpu_s for r in results if r.method == REFERENCE), None)
    rows = tuple(
        (
            result.label,
            result.cpu_s,
            result.cpu_s / reference if reference else None,
            f"{result.peak_mib:.0f}",
            f"{result.peak_mib - result.loaded_mib:.0f}",
            result.psnr,
            result.ssim,
            result.ssim_naf,
            result.held_out,
        )
        for result in results
    )
    columns = (
        Column("method"),
        Column("CPU s", 1),
        Column("CPU / SART", 2),
        Column("peak memory [MiB]"),
        Column("of it the method [MiB]"),
        Column("PSNR [dB]", 2),
        Column("SSIM", 4),
        Column("SSIM, range 2", 4),
        Column("held-out error [%]", 2),
    )
    n_voxels = case.truth.grid.shape_kji[0]
    caption = f"{case.name}, {n_voxels}³ voxels: {case.projection_set.geometry}"
    return Table(columns, rows, caption)


def projector_table(case: Case) -> Table:
    """Time the projector pair beside RTK's, and compare the numbers."""
    grid, scan = case.truth.grid, case.projection_set.geometry
    projector, peer = Projector(grid, scan), RtkPeer(case.projection_set, grid)
    general = Projector(grid, scan, separable=False)
    measured = case.projection_set.projections
    rows = []
    for name, forward, adjoint in (
        ("itk-rtk Joseph", peer.forward, peer.adjoint),
        ("ours, separable", projector.forward, projector.adjoint),
        ("ours, any pose", general.forward, general.adjoint),
    ):
        projections, ahead = cpu_seconds(lambda run=forward: run(case.truth.array))
        _, back = cpu_seconds(lambda run=adjoint: run(measured))
        error = np.sqrt(np.mean((projections - measured) ** 2)) / measured.max()
        rows.append((name, ahead, back, ahead + back, float(100 * error)))
    first = rows[0][3]
    table = tuple((*row[:4], first / row[3], row[4]) for row in rows)
    columns = (
        Column("projector"),
        Column("forward [CPU s]", 2),
        Column("back [CPU s]", 2),
        Column("pair [CPU s]", 2),
        Column("times faster", 1),
        Column("rms to finer truth [% of max]", 3),
    )
    return Table(columns, table, f"Projector pair, {case.name}")
