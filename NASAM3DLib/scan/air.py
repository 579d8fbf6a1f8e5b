"""Where a detector sees only air, found from the projections themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.projections import ProjectionSet

FloatArray = npt.NDArray[np.float64]

WIDEST_SHARE, FEWEST_COLUMNS = 0.2, 3
"""Largest block that is looked at on each side as a share of the columns, and the smallest."""

CELLS = (4, 3)
"""Parts along rows and columns whose means must agree for a block to count as flat."""

FLATNESS = 0.004
"""Difference of line integrals within a block that air may show beyond its noise."""

HIGHEST_LEVEL = 0.25
"""Mean line integral up to which a flat block may be air behind a drifting source (22 %)."""


@dataclass(frozen=True, eq=False)
class AirView:
    """What the detector reads in air.

    Parameters
    ----------
    columns : tuple of int
        Number of columns at the first and at the last side of the detector that see only air.
    level : ndarray, shape (n_views,), float64
        Mean line integral of these columns in each view: 0 for a steady source.
    standard_error : float
        Typical uncertainty of a level because of the pixels' noise.
    """

    columns: tuple[int, int]
    level: FloatArray
    standard_error: float


def find_air(projection_set: ProjectionSet) -> AirView | None:
    """Look for columns at the sides of the detector that see only air in every view.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals.

    Returns
    -------
    AirView or None
        None if no side sees air.

    Notes
    -----
    A block of columns counts as air if in every view the means of its twelve parts agree within
    their noise and its level stays below 0.25. Where both sides pass they must also tell the same
    story: a change of the source moves both alike, a container beyond the field of view does not.
    """
    sides = {}
    for name, images in (
        ("first", projection_set.projections),
        ("last", projection_set.projections[:, :, ::-1]),
    ):
        found = _widest_flat_block(images)
        if found:
            sides[name] = _AirSide(found, images[:, :, :found])
    if not sides or (len(sides) == 2 and not _agree(sides["first"], sides["last"])):
        return None
    widths = tuple(sides[name].width if name in sides else 0 for name in ("first", "last"))
    shares = np.array([side.width for side in sides.values()], dtype=np.float64)
    levels = np.stack([side.level for side in sides.values()])
    level = np.asarray(shares @ levels / shares.sum(), dtype=np.float64)
    errors = np.array([side.standard_error for side in sides.values()])
    error = float(np.sqrt(np.sum((shares * errors) ** 2)) / shares.sum())
    return AirView((widths[0], widths[1]), level, error)


class _AirSide:
    """One side's block: its width, its level in each view and the level's uncertainty."""

    def __init__(self, width: int, block: npt.NDArray[np.float32]) -> None:
        self.width = width
        self.level = block.mean(axis=(1, 2), dtype=np.float64)
        self.standard_error = _pixel_noise(block) / float(np.sqrt(block[0].size))


def _agree(first: _AirSide, last: _AirSide) -> bool:
    """Tell whether both sides show the same change of the source."""
    difference = first.level - last.level
    tolerance = FLATNESS + 4 * float(np.hypot(first.standard_error, last.standard_error))
    return bool(np.abs(difference).max() <= tolerance)


def _widest_flat_block(images: npt.NDArray[np.float32]) -> int:
    """Give the number of first columns that look like air; 0 if there are too few."""
    n_columns = images.shape[2]
    width = int(n_columns * WIDEST_SHARE)
    while width >= FEWEST_COLUMNS:
        if _is_flat(images[:, :, :width]):
            return width
        width = width * 2 // 3
    return 0


def _is_flat(block: npt.NDArray[np.float32]) -> bool:
    """Tell whether every view of a block is level within its noise, and low."""
    rows = np.array_split(np.arange(block.shape[1]), min(CELLS[0], block.shape[1]))
    columns = np.array_split(np.arange(block.shape[2]), CELLS[1])
    cells = np.stack(
        [
            block[:, r[0] : r[-1] + 1, c[0] : c[-1] + 1].mean(axis=(1, 2), dtype=np.float64)
            for r in rows
            for c in columns
        ]
    )
    noise = _pixel_noise(block) / np.sqrt(len(rows[-1]) * len(columns[-1]))
    spread = cells.max(axis=0) - cells.min(axis=0)
    level = np.abs(cells.mean(axis=0))
    return bool(spread.max() <= FLATNESS + 6 * noise and level.max() <= HIGHEST_LEVEL)


def _pixel_noise(block: npt.NDArray[np.float32]) -> float:
    """Estimate the standard deviation of one pixel from differences of neighbours."""
    differences = np.abs(np.diff(block, axis=2))
    return float(np.median(differences) / (0.6745 * np.sqrt(2.0)))
