"""The picture of a training: loss, and Dice after each click, over the interactions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from NASAM3DLib.files import replacing

SHOWN_CLICKS = (1, 3, 5, 10)
BINS = 60


def save_curve(
    losses: Sequence[float],
    dices: Sequence[Sequence[float]],
    path: Path,
    *,
    force: bool = False,
) -> None:
    """Draw the curve of a training.

    Parameters
    ----------
    losses : sequence of float
        Loss of each interaction.
    dices : sequence of sequence of float
        For each interaction, Dice after each of its clicks.
    path : Path
        Picture to write.
    force : bool
        Whether an existing file may be replaced.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*binned(np.arange(len(losses)), np.asarray(losses)), color="black")
    left.set(xlabel="interactions", ylabel="loss (1 - Dice + cross-entropy)")
    for n_clicks in SHOWN_CLICKS:
        numbers = [n for n, values in enumerate(dices) if len(values) >= n_clicks]
        if numbers:
            values = np.array([dices[n][n_clicks - 1] for n in numbers])
            plural = "" if n_clicks == 1 else "s"
            right.plot(*binned(np.array(numbers), values), label=f"{n_clicks} click{plural}")
    right.set(xlabel="interactions", ylabel="Dice while training", ylim=(0, 1))
    right.legend(loc="lower right")
    with replacing(path, force=force) as passing:
        figure.savefig(passing, dpi=110)


def binned(
    places: npt.NDArray[np.int_], values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Average values over at most 60 stretches of equal numbers.

    Parameters
    ----------
    places, values : ndarray, shape (n,)
        Where, and what.

    Returns
    -------
    places, values : ndarray, shape (m,), float64
        Means of each stretch.
    """
    n_bins = max(1, min(BINS, len(values)))
    means = [
        [float(part.mean()) for part in np.array_split(array, n_bins)] for array in (places, values)
    ]
    return np.array(means[0]), np.array(means[1])
