"""The ways of reconstructing a sparse scan that a benchmark compares."""

from __future__ import annotations

from dataclasses import dataclass

from NASAM3DLib.reconstruct.settings import Method, Quality, ReconstructionSettings


@dataclass(frozen=True)
class Recipe:
    """One way of reconstructing.

    Parameters
    ----------
    method : {"fdk", "tv", "field", "naf"}
        Method of :class:`~NASAM3DLib.reconstruct.settings.ReconstructionSettings`.
    quality : {"preview", "standard", "best"}
        Its quality.
    note : str
        What it does, for readers.
    tv_strength : float, optional
        Strength of total variation; by default chosen from the data.
    """

    method: Method
    quality: Quality
    note: str
    tv_strength: float | None = None

    def settings(self, *, uncertainty: bool = False) -> ReconstructionSettings:
        """Give the settings of the reconstruction.

        Parameters
        ----------
        uncertainty : bool
            Whether a map of uncertainty is wanted.

        Returns
        -------
        ReconstructionSettings
            On the processor.

        Raises
        ------
        ValueError
            If this way has no map of uncertainty.
        """
        return ReconstructionSettings(
            method=self.method,
            quality=self.quality,
            tv_strength=self.tv_strength,
            device="cpu",
            uncertainty=uncertainty,
        )


RECIPES: dict[str, Recipe] = {
    "fdk": Recipe("fdk", "standard", "filtered back-projection (Feldkamp, Davis, Kress)"),
    "os": Recipe(
        "tv",
        "standard",
        "accelerated ordered subsets without any prior, the place of SART in the literature",
        tv_strength=0.0,
    ),
    "tv": Recipe(
        "tv", "standard", 'total variation of a strength chosen from held-out views, "standard"'
    ),
    "best": Recipe("tv", "best", 'total variation refined on voxels half as large, "best"'),
    "field": Recipe("field", "standard", "total variation and a neural attenuation field on it"),
    "naf": Recipe(
        "naf", "preview", "the neural attenuation field as published, but for 30 epochs of 3000"
    ),
}
"""Ways of reconstructing by name."""


@dataclass(frozen=True)
class Reconstructed:
    """What a recipe makes of a sparse scan.

    Parameters
    ----------
    recipe : str
        A key of :data:`RECIPES`.
    n_views : int
        Number of views.
    uncertainty : bool
        Whether the volume carries a map of uncertainty.

    Raises
    ------
    ValueError
        If there is no such recipe.
    """

    recipe: str
    n_views: int
    uncertainty: bool = False

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise ValueError(
                f"There is no reconstruction {self.recipe!r}: choose from {', '.join(RECIPES)}."
            )

    def __str__(self) -> str:
        return f"{self.recipe}, {self.n_views} views"

    @property
    def settings(self) -> ReconstructionSettings:
        """Settings of the reconstruction."""
        return RECIPES[self.recipe].settings(uncertainty=self.uncertainty)
