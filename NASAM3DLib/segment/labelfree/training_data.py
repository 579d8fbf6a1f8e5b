"""How the network is trained: settings, learning rate, and the objects it learns from."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from NASAM3DLib.segment.fronts import DensityFronts
from NASAM3DLib.segment.labelfree.generator.sample import (
    GeneratedVolume,
    GeneratorSettings,
    generate,
)
from NASAM3DLib.segment.labelfree.interaction import Interaction, region_of
from NASAM3DLib.segment.labelfree.rescan import rescanned_hu

LAST_RATE = 0.01
"""Learning rate at the end, in the highest."""


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained.

    Parameters
    ----------
    n_updates : int
        Interactions; each is one batch and one step of the optimiser for every click round.
    batch_size : int
        Objects at once, from different volumes.
    edge : int
        Voxels along each edge of a volume.
    learning_rate, weight_decay : float
        Of AdamW; the rate rises over the warm-up and falls as a cosine to a hundredth.
    warm_up : int
        Interactions over which the rate rises.
    ema : float
        Decay of the averaged weights per interaction, less at first.
    density_dropout : float
        Share of objects for which the network is shown no density guidance.
    precision : {"float32", "bfloat16"}
        bfloat16 means autocast.
    n_targets : int
        Objects of one volume.
    rescans : float
        Share of volumes that are scanned with few noisy views and reconstructed by total variation,
        instead of the faults that the generator gives.
    seed : int
        Decides volumes, objects and clicks.
    save_every : int
        Interactions from one checkpoint to the next.

    Raises
    ------
    ValueError
        If a number is out of range or the precision unknown.
    """

    n_updates: int = 20_000
    batch_size: int = 4
    edge: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warm_up: int = 50
    ema: float = 0.999
    density_dropout: float = 0.15
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    n_targets: int = 4
    rescans: float = 0.4
    seed: int = 2026
    save_every: int = 50

    def __post_init__(self) -> None:
        names = ("n_updates", "batch_size", "edge", "learning_rate", "n_targets", "save_every")
        for name in names:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        shares = (self.density_dropout, self.rescans)
        if not (0 <= self.ema < 1 and all(0 <= s <= 1 for s in shares) and self.warm_up >= 0):
            raise ValueError(
                "ema must lie in [0, 1), density_dropout and rescans in [0, 1] and warm_up be 0 or "
                f"more, got {self.ema}, {shares} and {self.warm_up}."
            )
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"Unknown precision {self.precision!r}: choose float32 or bfloat16.")


class GeneratedSource:
    """Objects by number, from generated volumes of which the last few are kept.

    Parameters
    ----------
    settings : TrainingSettings
        Size, objects per volume, seed.
    device : str
        Torch device on which volumes are generated.

    Notes
    -----
    Objects that follow each other come from ``batch_size`` volumes in turn, until each of these
    has shown ``n_targets``: a batch holds different volumes, and generating one is paid once.
    """

    def __init__(self, settings: TrainingSettings, *, device: str = "cpu") -> None:
        self.settings = settings
        self.generator = GeneratorSettings(settings.edge, settings.n_targets, device=device)
        self._kept: OrderedDict[int, GeneratedVolume] = OrderedDict()

    def interaction(self, index: int, rng: np.random.Generator) -> Interaction:
        """Begin the interaction with one object.

        Parameters
        ----------
        index : int
            Number of the object.
        rng : numpy.random.Generator
            Decides whether there is density guidance.

        Returns
        -------
        Interaction
            Without a click yet.
        """
        settings = self.settings
        block, within = divmod(index, settings.batch_size * settings.n_targets)
        turn, place = divmod(within, settings.batch_size)
        volume = self._volume(block * settings.batch_size + place)
        truth = volume.targets[turn % len(volume.targets)]
        fronts = DensityFronts(region_of(volume.array_hu))
        return Interaction(fronts, truth, bool(rng.random() >= settings.density_dropout))

    def _volume(self, number: int) -> GeneratedVolume:
        """Generate a volume, or give the one that is kept."""
        if number not in self._kept:
            self._kept[number] = self._made(number)
            while len(self._kept) > self.settings.batch_size:
                self._kept.popitem(last=False)
        return self._kept[number]

    def _made(self, number: int) -> GeneratedVolume:
        """Generate a volume, and scan some with few views."""
        volume = generate([self.settings.seed, number], self.generator)
        rng = np.random.default_rng([self.settings.seed, number, 1])
        if rng.random() >= self.settings.rescans:
            return volume
        return replace(volume, array_hu=rescanned_hu(volume.true_hu, rng))


def rate_at(number: int, settings: TrainingSettings) -> float:
    """Give the learning rate of an interaction, in the highest.

    Parameters
    ----------
    number : int
        Interactions before it.
    settings : TrainingSettings
        Warm-up and number of interactions.

    Returns
    -------
    float
        Rises linearly over the warm-up, then ``0.01 + 0.99 (1 + cos(pi t)) / 2``.
    """
    warm = min(1.0, (number + 1) / (settings.warm_up + 1))
    part = min(1.0, number / settings.n_updates)
    return float(warm * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + np.cos(np.pi * part))))
