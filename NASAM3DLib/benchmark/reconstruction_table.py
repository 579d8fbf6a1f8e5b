"""How good the reconstructions are that the methods were shown."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from NASAM3DLib.benchmark.click_tables import unique
from NASAM3DLib.benchmark.click_task import ClickSettings, View
from NASAM3DLib.benchmark.pool import FAILURES, mapped, reason_of
from NASAM3DLib.benchmark.sources import Source
from NASAM3DLib.benchmark.views import seen, true_volume, view_name
from NASAM3DLib.evaluate.metrics import CT_RANGE_HU, psnr, rmse, ssim
from NASAM3DLib.evaluate.tables import Cell, Column, Table

logger = logging.getLogger(__name__)


class VolumeFigures(NamedTuple):
    """How far one reconstruction is from the truth.

    Parameters
    ----------
    case, data_set, view : str
        Which.
    psnr_db, ssim, rmse_hu : float
        Figures of merit over all voxels, with a span of 3000 HU.
    cpu_s : float
        CPU seconds of the reconstruction; NaN if not known.
    error : str
        Why there are no figures; empty if there are.
    """

    case: str
    data_set: str
    view: str
    psnr_db: float = float("nan")
    ssim: float = float("nan")
    rmse_hu: float = float("nan")
    cpu_s: float = float("nan")
    error: str = ""


def volume_figures(settings: ClickSettings, view: View) -> VolumeFigures:
    """Compare a reconstruction with what was scanned.

    Parameters
    ----------
    settings : ClickSettings
        Where it is kept, and how scans are made.
    view : View
        Case and reconstruction.

    Returns
    -------
    VolumeFigures
        With an error instead of figures if it could not be made.
    """
    name, look = view_name(view.n_views), view.n_views
    try:
        case = settings.store.case(view.source)
        found = seen(settings.store, view.source, look, settings.scan)
        truth, array = true_volume(case).array, found.volume.array
        return VolumeFigures(
            case.name,
            case.data_set,
            name,
            psnr(array, truth, data_range=CT_RANGE_HU),
            ssim(array, truth, data_range=CT_RANGE_HU),
            rmse(array, truth),
            found.cpu_s,
        )
    except FAILURES as error:
        logger.warning("%s: %s", view, error)
        return VolumeFigures(view.source.name, "", name, error=reason_of(error))


def all_figures(
    sources: Sequence[Source], settings: ClickSettings, *, workers: int = 1
) -> list[VolumeFigures]:
    """Compare all reconstructions.

    Parameters
    ----------
    sources : sequence of Source
        The cases.
    settings : ClickSettings
        Their views.
    workers : int
        Processes at once.

    Returns
    -------
    list of VolumeFigures
        But for the volumes as they are.
    """
    looks = [look for look in settings.views if look is not None]
    tasks = [(settings, View(source, look)) for source in sources for look in looks]
    return [figures for figures, _ in mapped(volume_figures, tasks, workers=workers)]


def reconstruction_table(figures: Sequence[VolumeFigures]) -> Table:
    """Average the figures over the cases of each data set.

    Parameters
    ----------
    figures : sequence of VolumeFigures
        Of all reconstructions.

    Returns
    -------
    Table
    """
    lines: list[tuple[Cell, ...]] = []
    for data_set in unique([one.data_set for one in figures if not one.error]):
        for view in unique([one.view for one in figures]):
            mine = [
                one
                for one in figures
                if (one.data_set, one.view) == (data_set, view) and not one.error
            ]
            if mine:
                array = np.array([one[3:7] for one in mine])
                means = [float(x) for x in array.mean(axis=0)]
                lines.append((data_set, view, len(mine), *means, float(array[:, 0].min())))
    columns = (
        *(Column(name) for name in ("data set", "reconstruction", "cases")),
        *(Column("PSNR [dB]", 2), Column("SSIM", 4), Column("RMSE [HU]", 1)),
        *(Column("CPU s", 1), Column("worst PSNR [dB]", 2)),
    )
    caption = (
        "Means over cases against the mean of what was scanned over each voxel, all voxels of the "
        f"box. PSNR with a peak of {CT_RANGE_HU:g} HU; SSIM with windows of 7x7x7 voxels and that "
        "range. CPU seconds of one thread, compiling included where a process met a method first."
    )
    return Table(columns, tuple(lines), caption)


def case_table(figures: Sequence[VolumeFigures]) -> Table:
    """List every reconstruction, for the CSV file.

    Parameters
    ----------
    figures : sequence of VolumeFigures
        Of all reconstructions.

    Returns
    -------
    Table
    """
    names = (
        "case",
        "data set",
        "reconstruction",
        "PSNR [dB]",
        "SSIM",
        "RMSE [HU]",
        "CPU s",
        "error",
    )
    return Table(tuple(Column(name) for name in names), tuple(tuple(one) for one in figures))
