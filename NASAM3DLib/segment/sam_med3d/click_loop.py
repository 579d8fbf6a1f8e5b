"""The loop of clicks on one region, by a user or by a benchmark in place of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from NASAM3DLib.segment.sam_med3d.embedding import Embedding
from NASAM3DLib.segment.sam_med3d.inference import ClickedVoxels, Predictor

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
ClickMemory = Literal["all", "latest"]


class ClickLoop:
    """Clicks on one region, one after another; each step starts from the logits before it.

    Parameters
    ----------
    predictor : Predictor
        The network.
    embedding : Embedding
        Of the region.
    memory : {"all", "latest"}
        What a step is shown besides the logits before it: all clicks so far, or the latest alone.

    Notes
    -----
    The first click is given a mask of zeros, not the embedding for "no mask": so the public weights
    were trained. Steps are kept: asking again with clicks added at the end costs these only, and
    taking the last one back costs nothing.
    """

    def __init__(
        self, predictor: Predictor, embedding: Embedding, *, memory: ClickMemory = "all"
    ) -> None:
        if memory not in ("all", "latest"):
            raise ValueError(f'The memory of clicks must be "all" or "latest", got {memory!r}.')
        self.predictor = predictor
        self.embedding = embedding
        self.memory = memory
        self._steps: list[tuple[bytes, FloatArray]] = []

    def logits(self, clicks: ClickedVoxels) -> FloatArray:
        """Run the clicks through the network.

        Parameters
        ----------
        clicks : ClickedVoxels
            All clicks so far, at least one.

        Returns
        -------
        ndarray, shape (m, m, m), float32
            Logits of low resolution after the last click, axes i, j, k.

        Raises
        ------
        ValueError
            If there is no click.
        """
        if not len(clicks):
            raise ValueError("There is no click to predict from.")
        keys = [
            voxel.tobytes() + label.tobytes()
            for voxel, label in zip(clicks.voxels_ijk, clicks.labels, strict=True)
        ]
        kept = 0
        while kept < min(len(keys), len(self._steps)) and self._steps[kept][0] == keys[kept]:
            kept += 1
        if kept < len(keys):
            del self._steps[kept:]
        for n_clicks in range(kept + 1, len(keys) + 1):
            shown = clicks.first(n_clicks)
            low = self._steps[-1][1] if self._steps else None
            step = self.predictor.decode(
                self.embedding, shown if self.memory == "all" else shown.last(), low=low
            )
            self._steps.append((keys[n_clicks - 1], step))
        return self._steps[len(keys) - 1][1]


def error_click(
    prediction: BoolArray, truth: BoolArray, draw: Callable[[int], int]
) -> tuple[tuple[int, int, int], int]:
    """Click a random voxel where a prediction is wrong, or on the object where nothing is.

    Parameters
    ----------
    prediction, truth : ndarray, shape (i, j, k), bool
        What was found, and what should have been.
    draw : callable
        Gives a whole number from 0 to n - 1 for n, such as ``rng.integers``.

    Returns
    -------
    voxel_ijk : tuple of int
        The clicked voxel; voxels are counted with k running fastest.
    label : int
        1 if it belongs to the object, else 0.

    Raises
    ------
    ValueError
        If there is neither an error nor an object.
    """
    places = np.flatnonzero(prediction ^ truth)
    if not places.size:
        places = np.flatnonzero(truth)
    if not places.size:
        raise ValueError("There is no object and no error to click on.")
    i, j, k = (int(n) for n in np.unravel_index(places[draw(len(places))], truth.shape))
    return (i, j, k), int(truth[i, j, k])


def simulated_clicks(
    loop: ClickLoop, truth: BoolArray, draw: Callable[[int], int], *, n_clicks: int
) -> list[BoolArray]:
    """Click on the errors of each mask, as a benchmark does in place of a user.

    Parameters
    ----------
    loop : ClickLoop
        A region's loop.
    truth : ndarray, shape (i, j, k), bool
        The object on the region's voxels, in the network's order of axes.
    draw : callable
        See :func:`error_click`.
    n_clicks : int
        Number of clicks.

    Returns
    -------
    list of ndarray, shape (i, j, k), bool
        Mask after each click; empty masks for an empty object.
    """
    masks = []
    clicks = ClickedVoxels(np.zeros((0, 3)), np.zeros(0, dtype=np.int8))
    current = np.zeros(truth.shape, dtype=np.bool_)
    for _ in range(n_clicks):
        if truth.any():
            voxel, label = error_click(current, truth, draw)
            clicks = ClickedVoxels(
                np.concatenate([clicks.voxels_ijk, [voxel]]),
                np.append(clicks.labels, np.int8(label)),
            )
            full = loop.predictor.upsampled(loop.logits(clicks))
            current = full.transpose(2, 1, 0) > 0
        masks.append(current)
    return masks
