"""Settings of a reconstruction and what the quality presets stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Method = Literal["fdk", "tv", "field", "naf"]
Quality = Literal["preview", "standard", "best"]
Device = Literal["auto", "cpu", "cuda"]


FULL_VIEWS = 50
"""Views from which on a phase takes the sweeps that it names."""


@dataclass(frozen=True)
class Phase:
    """A stretch of iterations with one subset size.

    Parameters
    ----------
    views_per_subset : int
        Views that one gradient step uses. Few give fast progress, many a steady end.
    n_sweeps : int
        Number of passes over all views, if these are 50 or more.
    """

    views_per_subset: int
    n_sweeps: int

    def sweeps(self, n_views: int) -> int:
        """Give the number of passes over fewer views.

        Parameters
        ----------
        n_views : int
            Number of views.

        Returns
        -------
        int
            So many that there are as many steps as with 50 views: each takes the same time, and a
            volume that had fewer would be far from converged (15 views of a limb: 3.4 dB).
        """
        return max(self.n_sweeps, round(self.n_sweeps * FULL_VIEWS / n_views))


PHASES: dict[Quality, tuple[Phase, ...]] = {
    "preview": (Phase(5, 2),),
    "standard": (Phase(5, 7),),
    "best": (Phase(5, 10), Phase(10, 4), Phase(25, 4)),
}
"""Iterations of each preset; figures in docs/benchmarks.md."""

FIELD_STEPS: dict[Quality, int] = {"preview": 10, "standard": 30, "best": 60}
"""Gradient steps of the attenuation field for each preset."""

NAF_EPOCHS: dict[Quality, int] = {"preview": 30, "standard": 300, "best": 3000}
"""Epochs of the published neural attenuation field; the last is the published number."""


@dataclass(frozen=True)
class ReconstructionSettings:
    """How to reconstruct.

    Parameters
    ----------
    method : {"fdk", "tv", "field", "naf"}
        Filtered back-projection; total variation; total variation refined by a neural attenuation
        field, which is returned only where held-out views do not speak against it; or the neural
        attenuation field as published, for comparison, which takes days without a GPU.
    quality : {"preview", "standard", "best"}
        How long to iterate; the best quality goes on with voxels half as large.
    tv_strength : float, optional
        Strength of total variation as :func:`~NASAM3DLib.reconstruct.tuning.choose_strength` gives
        it. By default it is chosen from the data by means of held-out views.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    seed : int
        Seed of every random choice.
    uncertainty : bool
        Whether the volume gets a map of standard deviations, see
        :func:`~NASAM3DLib.reconstruct.uncertainty.estimate_uncertainty`.

    Raises
    ------
    ValueError
        If a choice is unknown, the strength is negative, or an uncertainty is wanted of a preview
        or of another method than total variation and the field on it.
    """

    method: Method = "tv"
    quality: Quality = "standard"
    tv_strength: float | None = None
    device: Device = "auto"
    seed: int = 0
    uncertainty: bool = False

    def __post_init__(self) -> None:
        for name, choices in (
            ("method", get_args(Method)),
            ("quality", get_args(Quality)),
            ("device", get_args(Device)),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(
                    f"ReconstructionSettings.{name} must be one of {', '.join(choices)}, got "
                    f"{value!r}."
                )
        if self.tv_strength is not None and not 0 <= self.tv_strength < float("inf"):
            raise ValueError(
                "ReconstructionSettings.tv_strength must be zero or positive (0 switches total "
                f"variation off), got {self.tv_strength}."
            )
        if self.uncertainty and (self.method in ("fdk", "naf") or self.quality == "preview"):
            raise ValueError(
                "ReconstructionSettings.uncertainty is estimated for total variation (with or "
                f"without a field) at the qualities standard and best, got {self.method} at "
                f"{self.quality}: choose one of them or leave it out."
            )
