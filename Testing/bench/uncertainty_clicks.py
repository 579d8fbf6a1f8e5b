"""Clicks on reconstructions whose uncertainty widens the density models, and without."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from cases import Case, abdomen_case, data_folder, phantom_case

from NASAM3DLib.evaluate.clicks import click_session
from NASAM3DLib.evaluate.tables import Cell, Column, Table
from NASAM3DLib.pipeline import reconstruct
from NASAM3DLib.reconstruct.settings import ReconstructionSettings
from NASAM3DLib.reconstruct.uncertainty import estimate_uncertainty
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.density_guided import DensityGuidedSegmenter
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.segmenter import SegmentationSettings

CLICKS = (1, 3, 5)
STRENGTH = 5e-4
SEEDS = (0, 1, 2, 3, 4, 5)


def clicked_cases() -> Iterator[Case]:
    """Scan the abdomen without and with noise, and generated pelves with noise."""
    folder = data_folder()
    if folder is not None:
        yield abdomen_case(folder)
        yield abdomen_case(folder, photons=1e5)
    for seed in SEEDS:
        yield phantom_case(seed, photons=1e5)


def widening_table() -> Table:
    """Click each target with and without widening by the uncertainty."""
    rows: list[tuple[Cell, ...]] = []
    for number, case in enumerate(clicked_cases()):
        settings = ReconstructionSettings(tv_strength=STRENGTH)
        volume = reconstruct(case.projection_set, case.truth.grid, settings).volume
        spread = estimate_uncertainty(case.projection_set, volume, STRENGTH)
        sure = Volume(volume.array, volume.grid, uncertainty=spread)
        for name, target in case.targets.items():
            dices = [dice_at(sure, target, widen=widen) for widen in (False, True)]
            rows.append((f"{name} ({number + 1}: {case.name})", *np.ravel(dices).tolist()))
            print(rows[-1], flush=True)
    figures = np.array([row[1:] for row in rows], dtype=np.float64)
    error = figures.std(axis=0, ddof=1) / np.sqrt(len(rows))
    gain = figures[:, 3:] - figures[:, :3]
    gain_error = gain.std(axis=0, ddof=1) / np.sqrt(len(rows))
    rows.append(("mean", *figures.mean(axis=0).tolist()))
    rows.append(("standard error of the mean", *error.tolist()))
    rows.append(("mean change by widening", None, None, None, *gain.mean(axis=0).tolist()))
    rows.append(("its standard error", None, None, None, *gain_error.tolist()))
    columns = [Column("target")]
    for kind in ("plain", "widened"):
        columns += [Column(f"{kind}, Dice at {n}", 2) for n in CLICKS]
    caption = "Dice at 1, 3 and 5 clicks, density models plain and widened by the uncertainty"
    return Table(tuple(columns), tuple(rows), caption)


def dice_at(volume: Volume, target: Mask, *, widen: bool) -> list[float]:
    """Give the Dice coefficients after some clicks of a simulated user."""
    segmenter = DensityGuidedSegmenter(SegmentationSettings(), widen_by_uncertainty=widen)
    session = click_session(segmenter, volume, target=target, n_clicks=max(CLICKS))
    records = session.records
    return [records[min(n, len(records)) - 1].dice for n in CLICKS]
