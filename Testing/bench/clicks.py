"""Organs of the reconstructed volume, clicked by a simulated user."""

from __future__ import annotations

from cases import Case

from NASAM3DLib.evaluate.clicks import click_session
from NASAM3DLib.evaluate.tables import Column, Table
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.segmenter import SegmentationSettings, make_segmenter

CLICKS = (1, 3, 5)


def click_table(case: Case, volume: Volume) -> Table:
    """Click each target one to five times, with and without density guidance."""
    rows = []
    for name, target in case.targets.items():
        for guided in (True, False):
            settings = SegmentationSettings(density_guidance=guided)
            segmenter = make_segmenter("density-guided", settings)
            session = click_session(segmenter, volume, target=target, n_clicks=max(CLICKS))
            records = session.records
            at = [records[min(n, len(records)) - 1] for n in CLICKS]
            seconds = sum(record.seconds for record in records) / len(records)
            rows.append(
                (
                    name,
                    "on" if guided else "off",
                    *(record.dice for record in at),
                    *(record.hd95_mm for record in at),
                    seconds,
                )
            )
    columns = (
        Column("target"),
        Column("density guidance"),
        *(Column(f"Dice, {n} clicks") for n in CLICKS),
        *(Column(f"HD95 [mm], {n} clicks", 1) for n in CLICKS),
        Column("seconds per click", 2),
    )
    return Table(columns, tuple(rows), f"Clicks on the reconstruction of {case.name}")
