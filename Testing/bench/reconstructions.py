"""Every reconstruction of a case, with CPU seconds and quality."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from cases import Case
from rtk_peer import RtkPeer

from NASAM3DLib.evaluate.metrics import psnr, ssim
from NASAM3DLib.evaluate.tables import Column, Table
from NASAM3DLib.pipeline import reconstruct
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.settings import ReconstructionSettings
from NASAM3DLib.reconstruct.volume import AIR_ATTENUATION, WATER_ATTENUATION, Volume

PEAK = 3.0 * (WATER_ATTENUATION - AIR_ATTENUATION)
"""3000 HU in 1/mm: the range [-1000, 2000] HU that the field scales to [0, 1]."""


def cpu_seconds(
    work: Callable[[], npt.NDArray[np.float32]],
) -> tuple[npt.NDArray[np.float32], float]:
    """Run and measure the CPU time of all threads."""
    begin = time.process_time()
    result = work()
    return result, time.process_time() - begin


def ours(case: Case, **settings: object) -> Callable[[], npt.NDArray[np.float32]]:
    """Give a run of the pipeline."""

    def work() -> npt.NDArray[np.float32]:
        made = ReconstructionSettings(**settings)  # type: ignore[arg-type]
        return reconstruct(case.projection_set, case.truth.grid, made).volume.array

    return work


def runs(case: Case, *, full: bool) -> Iterator[tuple[str, Callable[[], npt.NDArray[np.float32]]]]:
    """List what is run, the peer first."""
    peer = RtkPeer(case.projection_set, case.truth.grid)
    yield "itk-rtk FDK, Hann", lambda: np.maximum(peer.fdk(), 0)
    yield "itk-rtk SART, 3 iterations", peer.sart
    yield "ours, FDK, Hann", ours(case, method="fdk")
    yield "ours, total variation, preview", ours(case, quality="preview")
    yield "ours, total variation, standard", ours(case, quality="standard")
    yield "ours, total variation, best", ours(case, quality="best")
    yield "ours, attenuation field on standard", ours(case, method="field", quality="standard")
    if full:
        yield "ours, attenuation field on best", ours(case, method="field", quality="best")


def reconstruction_table(case: Case, *, full: bool = False) -> tuple[Table, dict[str, Volume]]:
    """Run everything on one case."""
    rows, volumes, reference = [], {}, None
    for name, work in runs(case, full=full):
        array, seconds = cpu_seconds(work)
        if name.startswith("itk-rtk SART"):
            reference = seconds
        volumes[name] = Volume(array, case.truth.grid)
        rows.append(
            (
                name,
                seconds,
                seconds / reference if reference else None,
                psnr(array, case.truth.array, data_range=PEAK),
                ssim(array, case.truth.array, data_range=PEAK),
                ssim(array, case.truth.array, data_range=2 * PEAK),
            )
        )
    columns = (
        Column("method"),
        Column("CPU s", 1),
        Column("CPU / SART", 2),
        Column("PSNR [dB]", 2),
        Column("SSIM", 4),
        Column("SSIM, range 2", 4),
    )
    return Table(columns, tuple(rows), f"{case.name}: {case.projection_set.geometry}"), volumes


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
