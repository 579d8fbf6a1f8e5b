"""The figures of the paper on NA-SAM3D as printed, to stand beside measured ones.

References
----------
NA-SAM3D, Journal of Electronics & Information Technology, doi 10.11999/JEIT250841, Tables 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from NASAM3DLib.evaluate.tables import Cell, Column, Table

Printed = tuple[float, float, float, float]
"""Dice, mIoU, HD95 [mm], ASD [mm]."""

DATA_SETS = ("LCTSC", "LiTS", "own colorectal set")

TABLE_1: dict[str, tuple[Printed, Printed, Printed]] = {
    "SwinUNETR-v2": (
        (0.7812, 0.6285, 18.54, 3.66),
        (0.8865, 0.8033, 10.36, 3.27),
        (0.7598, 0.6721, 17.28, 3.71),
    ),
    "UNETR++": (
        (0.8171, 0.7003, 11.20, 3.04),
        (0.9126, 0.8312, 10.08, 3.23),
        (0.7835, 0.6894, 9.70, 2.75),
    ),
    "SAM-Med2D": (
        (0.5805, 0.4090, 24.89, 5.13),
        (0.8623, 0.7577, 12.94, 3.86),
        (0.7196, 0.6361, 26.88, 5.40),
    ),
    "SA3D": (
        (0.6931, 0.5389, 23.48, 4.91),
        (0.8027, 0.7123, 26.81, 5.92),
        (0.7235, 0.6108, 25.14, 5.73),
    ),
    "SAM-Med3D": (
        (0.7623, 0.6257, 21.21, 4.69),
        (0.8511, 0.7741, 17.00, 4.22),
        (0.7448, 0.6426, 18.25, 4.05),
    ),
    "NA-SAM3D": (
        (0.7946, 0.6296, 15.92, 3.37),
        (0.8629, 0.7924, 12.79, 3.31),
        (0.7610, 0.6733, 13.61, 3.05),
    ),
}
"""Table 1 as printed, by method and data set."""

NOT_COMPARABLE = "not comparable: other data"
SAME_COLLECTION = "same collection, but split, targets, views and clicks are not published"

CAPTION = (
    "Cited from Table 1 of doi 10.11999/JEIT250841, not measured here. The paper's mIoU is below "
    "what its Dice implies for the IoU of single cases, so that it must be another figure than the "
    "IoU above. Number and place of the clicks, views, noise, targets and split are not published. "
    "SAM-Med3D's public weights have seen LiTS in training."
)


def cited_table(data_sets: Sequence[str]) -> Table:
    """List the printed figures, each marked with whether it can be compared.

    Parameters
    ----------
    data_sets : sequence of str
        Data sets that were measured.

    Returns
    -------
    Table
    """
    measured = {name.casefold() for name in data_sets}
    lines: list[tuple[Cell, ...]] = []
    for place, data_set in enumerate(DATA_SETS):
        same = any(data_set.casefold() in name for name in measured)
        mark = SAME_COLLECTION if same else NOT_COMPARABLE
        lines += [(data_set, name, *figures[place], mark) for name, figures in TABLE_1.items()]
    columns = (
        *(Column("data set"), Column("method"), Column("Dice", 4), Column("mIoU", 4)),
        *(Column("HD95 [mm]", 2), Column("ASD [mm]", 2), Column("beside the figures here")),
    )
    return Table(columns, tuple(lines), CAPTION)


def cited_means_table() -> Table:
    """List mean and variance of the printed figures over the three data sets.

    Returns
    -------
    Table
        Computed from Table 1; the paper's Table 2 differs in one mean (ASD of UNETR++: 2.94).
    """
    lines: list[tuple[Cell, ...]] = []
    for name, figures in TABLE_1.items():
        printed = np.array(figures)[:, [0, 2, 3]]
        cells = [
            float(x) for pair in zip(printed.mean(0), printed.var(0), strict=True) for x in pair
        ]
        lines.append((name, *cells, NOT_COMPARABLE))
    columns = (
        *(Column("method"), Column("Dice, mean", 4), Column("variance", 4)),
        *(Column("HD95, mean [mm]", 2), Column("variance [mm²]", 2)),
        *(
            Column("ASD, mean [mm]", 2),
            Column("variance [mm²]", 2),
            Column("beside the figures here"),
        ),
    )
    caption = (
        "Mean and population variance over the paper's three data sets, computed from its Table 1. "
        "Its Table 2 prints the same but for the mean ASD of UNETR++ (2.94)."
    )
    return Table(columns, tuple(lines), caption)
