"""What SwinUNETR is trained with: its settings, its cases, and which network sees which of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from NASAM3DLib.benchmark.case import Case
from NASAM3DLib.reconstruct.volume import Volume

BoolArray = npt.NDArray[np.bool_]

PLAN_FILE, METHOD_FILE = "folds.json", "method.py"
"""Names of the plan, and of the file for ``benchmark --methods``, in the networks' folder."""


@dataclass(frozen=True)
class SwinSettings:
    """How the network is made and trained.

    Parameters
    ----------
    n_steps : int
        Steps of one patch for each fold.
    patch : int
        Voxels along the edges of a patch, a multiple of 32.
    feature_size : int
        Width of the network, a multiple of 12.
    learning_rate : float
        Highest rate of AdamW, which falls to zero like a cosine.
    n_folds : int
        Folds; with fewer cases, each is a fold.
    seed : int
        Decides weights and patches.

    Raises
    ------
    ValueError
        If a size does not fit the network, or there are fewer than two folds.
    """

    n_steps: int = 4000
    patch: int = 96
    feature_size: int = 24
    learning_rate: float = 4e-4
    n_folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.patch < 32 or self.patch % 32 or self.feature_size < 12 or self.feature_size % 12:
            raise ValueError(
                "SwinUNETR needs patches whose edge is a multiple of 32 and a width that is a "
                f"multiple of 12, got {self.patch} and {self.feature_size}."
            )
        if self.n_folds < 2 or self.n_steps < 1:
            raise ValueError(
                f"Training needs at least one step and two folds, got {self.n_steps} and "
                f"{self.n_folds}."
            )


@dataclass(frozen=True, eq=False)
class Example:
    """A case to learn from.

    Parameters
    ----------
    name : str
        Name of the case.
    volumes : tuple of Volume
        The same body as it is and reconstructed, HU, on one grid.
    masks : dict of str to ndarray, shape (k, j, i), bool
        Objects by name.
    """

    name: str
    volumes: tuple[Volume, ...]
    masks: dict[str, BoolArray]

    @classmethod
    def of(cls, case: Case, volumes: Sequence[Volume]) -> Example:
        """Take the objects of a case.

        Parameters
        ----------
        case : Case
            Truth.
        volumes : sequence of Volume
            What is learnt from.

        Returns
        -------
        Example
        """
        masks = {target.name: target.mask.array for target in case.targets}
        return cls(case.name, tuple(volumes), masks)


@dataclass(frozen=True)
class Plan:
    """Which network has seen whom, and what it tells apart.

    Parameters
    ----------
    classes : tuple of str
        Names of objects, one for each output of the networks.
    folds : dict of str to int
        For each case the fold whose network has not seen it.
    learnt : tuple of tuple of str
        For each fold the classes that its training cases have labels of.
    settings : SwinSettings
        How the networks were made.
    """

    classes: tuple[str, ...]
    folds: dict[str, int]
    learnt: tuple[tuple[str, ...], ...]
    settings: SwinSettings

    @classmethod
    def of(cls, examples: Sequence[Example], settings: SwinSettings) -> Plan:
        """Deal cases into folds.

        Parameters
        ----------
        examples : sequence of Example
            All cases.
        settings : SwinSettings
            Number of folds.

        Returns
        -------
        Plan

        Raises
        ------
        ValueError
            If no object has a name in two cases.
        """
        counts = Counter(name for example in examples for name in example.masks)
        classes = tuple(sorted(name for name, n in counts.items() if n > 1))
        used = [one for one in examples if any(name in classes for name in one.masks)]
        if not classes:
            raise ValueError(
                "SwinUNETR needs at least two cases with an object of the same name to learn from: "
                "name the labels alike, or leave its training out."
            )
        n_folds = min(settings.n_folds, len(used))
        folds = {example.name: n % n_folds for n, example in enumerate(used)}
        learnt = tuple(
            tuple(c for c in classes if any(c in e.masks and folds[e.name] != n for e in used))
            for n in range(n_folds)
        )
        return cls(classes, folds, learnt, settings)

    def told(self) -> str:
        """Say in words how the networks were trained.

        Returns
        -------
        str
        """
        n, made = len(self.folds), self.settings
        held_out = Counter(self.folds.values())
        seen = sorted({n - held_out[fold] for fold in held_out})
        cases = " or ".join(map(str, seen)) + (" case" if seen == [1] else " cases")
        return (
            f"here {len(held_out)} networks of width {made.feature_size}, each trained on {cases} "
            f"in {made.n_steps} steps of one patch of {made.patch} voxels along each edge"
        )

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read what training wrote.

        Parameters
        ----------
        folder : Path
            Folder of the networks.

        Returns
        -------
        Plan
        """
        entry = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
        learnt = tuple(tuple(names) for names in entry["learnt"])
        settings = SwinSettings(**entry["settings"])
        return cls(tuple(entry["classes"]), entry["folds"], learnt, settings)
