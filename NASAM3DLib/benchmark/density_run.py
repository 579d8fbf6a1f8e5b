"""The ablation of density guidance: which variant is measured on which volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from NASAM3DLib.benchmark import density_variants
from NASAM3DLib.benchmark.click_run import NOT_ASKED, Outcome, run_clicks
from NASAM3DLib.benchmark.click_task import ClickSettings
from NASAM3DLib.benchmark.recipes import Reconstructed
from NASAM3DLib.benchmark.sources import Source
from NASAM3DLib.benchmark.views import Look
from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress

WITHOUT, WITH = ("fdk",), ("tv", "best")
"""Recipes without and with a map of uncertainty."""

UNCERTAIN = "uncertainty"
"""Variants whose name holds this word need a map of uncertainty."""


@dataclass(frozen=True)
class DensitySettings:
    """What is measured.

    Parameters
    ----------
    folder : Path
        Where cases, reconstructions and the journal are kept.
    n_views : int
        Views of the sparse scans.
    variants : tuple of str
        Names of variants; none means all.
    n_clicks : int
        Clicks of each session.
    spacing_mm : float
        Spacing of the benchmark's grid, mm.
    """

    folder: Path
    n_views: int = 50
    variants: tuple[str, ...] = ()
    n_clicks: int = 10
    spacing_mm: float = 3.0

    @property
    def looks(self) -> tuple[Look, ...]:
        """All volumes: filtered back-projection, total variation, the best quality, full data."""
        plain = (Reconstructed(recipe, self.n_views) for recipe in WITHOUT)
        return (*plain, *self.uncertain_looks, None)

    @property
    def uncertain_looks(self) -> tuple[Look, ...]:
        """Volumes with a map of uncertainty."""
        return tuple(Reconstructed(recipe, self.n_views, uncertainty=True) for recipe in WITH)

    def names(self, *, uncertain: bool) -> tuple[str, ...]:
        """Give the variants that are measured.

        Parameters
        ----------
        uncertain : bool
            Whether those that need a map of uncertainty, or the others.

        Returns
        -------
        tuple of str

        Raises
        ------
        ValueError
            If a variant is unknown.
        """
        known = [method.name for method in density_variants.METHODS]
        unknown = [name for name in self.variants if name not in known]
        if unknown:
            raise ValueError(f"There is no variant {unknown[0]!r}: choose from {', '.join(known)}.")
        wanted = [name for name in known if name in (self.variants or known)]
        return tuple(name for name in wanted if (UNCERTAIN in name) == uncertain)

    def clicks(self, *, uncertain: bool) -> ClickSettings:
        """Give the settings of the sessions.

        Parameters
        ----------
        uncertain : bool
            As in :meth:`names`.

        Returns
        -------
        ClickSettings
        """
        return ClickSettings(
            self.folder,
            views=self.uncertain_looks if uncertain else self.looks,
            methods=self.names(uncertain=uncertain),
            method_files=(Path(density_variants.__file__),),
            n_clicks=self.n_clicks,
            spacing_mm=self.spacing_mm,
        )


def run_density(
    sources: Sequence[Source],
    settings: DensitySettings,
    *,
    workers: int = 1,
    measuring: bool = True,
    progress: ProgressCallback = no_progress,
) -> Outcome:
    """Measure what is not in the journal yet.

    Parameters
    ----------
    sources : sequence of Source
        The cases.
    settings : DensitySettings
        Volumes, variants, clicks.
    workers : int
        Processes at once; 1 works in this one.
    measuring : bool
        Whether to measure; otherwise what is missing is only listed.
    progress : callable
        Told how far the work is; may raise to cancel, which loses nothing that was measured.

    Returns
    -------
    Outcome
        Of all that was asked for, measured now or before. Only variants of the ablation are listed
        as not run.
    """
    outcomes = []
    for number, uncertain in enumerate((False, True)):
        chosen = settings.clicks(uncertain=uncertain)
        if chosen.methods:
            part = sub_progress(progress, number / 2, (number + 1) / 2)
            outcomes.append(
                run_clicks(sources, chosen, workers=workers, measuring=measuring, progress=part)
            )
    return _joined(outcomes)


def _joined(outcomes: Sequence[Outcome]) -> Outcome:
    """Put outcomes together, in the order of the variants."""
    order = [method.name for method in density_variants.METHODS]
    rows = sorted((r for one in outcomes for r in one.rows), key=lambda r: order.index(r.method))
    asked = {row.method for row in rows}
    reasons = {
        name: reason
        for one in outcomes
        for name, reason in one.not_run
        if name in order and (reason != NOT_ASKED or name not in asked)
    }
    # What one part was not asked for may be missing a package in the other.
    for one in outcomes:
        reasons |= {n: why for n, why in one.not_run if n in reasons and why != NOT_ASKED}
    return replace(
        outcomes[0],
        rows=tuple(rows),
        not_run=tuple((name, reasons[name]) for name in order if name in reasons),
        left_out=tuple(dict.fromkeys(line for one in outcomes for line in one.left_out)),
        failed_views=tuple(dict.fromkeys(line for one in outcomes for line in one.failed_views)),
        unmeasured=tuple(line for one in outcomes for line in one.unmeasured),
    )
