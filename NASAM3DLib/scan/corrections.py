"""All corrections of measured projections in one step, with a report in plain words."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from NASAM3DLib.scan.beam_hardening import Linearisation, water_correction
from NASAM3DLib.scan.defects import find_defects, repaired
from NASAM3DLib.scan.drift import Drift, drift_from_air, drift_from_mass
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.scan.truncation import find_truncation

logger = logging.getLogger(__name__)

When = Literal["auto", "always", "never"]
NAMES = ("dead", "drift", "hardening")

STEADY_LEVEL = 0.02
"""Lowest line integral of all views from which on it is worth a remark, and its allowed scatter."""

LOWEST_PERCENTILE = 1.0


@dataclass(frozen=True)
class CorrectionSettings:
    """What to correct.

    Parameters
    ----------
    dead : bool
        Repair pixels, rows and columns that do not measure, where there are any.
    drift : {"auto", "always", "never"}
        Correct a change of the source's intensity: where air is seen and shows one; always, where
        need be from the total attenuation of a parallel beam; or never.
    hardening : bool
        Undo the beam hardening of water.
    linearisation : Linearisation, optional
        Polynomial for it; by default that of 120 kV behind 8 mm of aluminium.
    air_level : float
        What air reads in all views because flat field and scan differ; it is subtracted.

    Raises
    ------
    ValueError
        If a choice is unknown or the level not finite.
    """

    dead: bool = True
    drift: When = "auto"
    hardening: bool = False
    linearisation: Linearisation | None = None
    air_level: float = 0.0

    def __post_init__(self) -> None:
        if self.drift not in get_args(When):
            raise ValueError(
                f"CorrectionSettings.drift must be one of {', '.join(get_args(When))}, got "
                f"{self.drift!r}."
            )
        if not np.isfinite(self.air_level):
            raise ValueError(
                f"CorrectionSettings.air_level must be a finite number, got {self.air_level}."
            )

    @classmethod
    def named(
        cls, names: str, *, air_level: float = 0.0, linearisation: Linearisation | None = None
    ) -> CorrectionSettings:
        """Make settings from a word or a list of names.

        Parameters
        ----------
        names : str
            "auto", "none", or some of dead, drift and hardening with commas between them.
        air_level : float
            See the class.
        linearisation : Linearisation, optional
            See the class.

        Returns
        -------
        CorrectionSettings

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        if names.strip() == "auto":
            return cls(linearisation=linearisation, air_level=air_level)
        wanted = {name.strip() for name in names.split(",")} - {"none", ""}
        unknown = wanted - set(NAMES)
        if unknown:
            raise ValueError(
                f"Unknown correction {', '.join(sorted(unknown))}: choose auto, none, or some of "
                f"{', '.join(NAMES)} with commas between them."
            )
        return cls(
            "dead" in wanted,
            "always" if "drift" in wanted else "never",
            "hardening" in wanted,
            linearisation,
            air_level,
        )


@dataclass(frozen=True)
class CorrectionReport:
    """What was corrected, and what else was noticed.

    Parameters
    ----------
    done : tuple of str
        One sentence for each correction that changed something.
    remarks : tuple of str
        One sentence for each thing that the user should know.
    figures : dict
        The same as plain JSON values.
    """

    done: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON values.

        Returns
        -------
        dict
        """
        return {"done": list(self.done), "remarks": list(self.remarks), **self.figures}


def correct(
    projection_set: ProjectionSet, settings: CorrectionSettings | None = None
) -> tuple[ProjectionSet, CorrectionReport]:
    """Correct a scan.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals, views in the order in which they were taken.
    settings : CorrectionSettings, optional
        By default dead pixels are repaired, and drift is corrected where air shows one.

    Returns
    -------
    projection_set : ProjectionSet
        The same object if nothing had to be corrected.
    report : CorrectionReport
        What was done.

    Raises
    ------
    ValueError
        If drift must be corrected but nothing shows it.

    Notes
    -----
    In this order: dead pixels, which would spoil the search for air; drift and the level of air,
    which add to the logarithm; hardening, which bends it.
    """
    settings = settings or CorrectionSettings()
    done: list[str] = []
    figures: dict[str, Any] = {}
    scan = projection_set
    if settings.dead:
        scan = _without_defects(scan, done, figures)
    if settings.air_level:
        level = np.float32(settings.air_level)
        scan = ProjectionSet(scan.projections - level, scan.geometry)
        done.append(f"Subtracted the given level of air, {settings.air_level:g}.")
        figures["air_level"] = settings.air_level
    if settings.drift != "never":
        scan = _without_drift(scan, settings.drift, done, figures)
    if settings.hardening:
        scan = _without_hardening(scan, settings.linearisation, done, figures)
    report = CorrectionReport(tuple(done), _remarks(scan), figures)
    for line in report.done:
        logger.info(line)
    for line in report.remarks:
        logger.info(line)
    return scan, report


def _without_defects(
    scan: ProjectionSet, done: list[str], figures: dict[str, Any]
) -> ProjectionSet:
    """Repair what does not measure."""
    defects = find_defects(scan)
    if not defects.mask.any():
        return scan
    figures["dead_rows"], figures["dead_columns"] = list(defects.rows), list(defects.columns)
    figures["dead_pixels"] = defects.n_single
    done.append(
        f"Repaired {len(defects.rows)} rows, {len(defects.columns)} columns and "
        f"{defects.n_single} single pixels that do not measure "
        f"({100 * defects.mask.mean():.2g} % of the detector)."
    )
    return ProjectionSet(repaired(scan.projections, defects.mask), scan.geometry)


def _without_drift(
    scan: ProjectionSet, when: When, done: list[str], figures: dict[str, Any]
) -> ProjectionSet:
    """Correct a change of the source's intensity that the scan shows."""
    drift = drift_from_air(scan)
    if drift is None and when == "always":
        drift = _drift_without_air(scan)
    if drift is None or not drift.is_significant:
        return scan
    low, high = (100 * (float(np.exp(-o)) - 1) for o in (drift.offsets.max(), drift.offsets.min()))
    figures["drift_offsets"] = [float(offset) for offset in drift.offsets]
    figures["drift_source"] = drift.source
    done.append(
        f"Corrected the source's intensity, which was {low:+.2g} to {high:+.2g} % of the flat "
        f"field's, from {drift.source}."
    )
    return drift.remove(scan)


def _drift_without_air(scan: ProjectionSet) -> Drift:
    """Estimate drift from the total attenuation, where that law holds."""
    truncation = find_truncation(scan)
    if scan.geometry.is_parallel and not (truncation.is_lateral or truncation.is_axial):
        return drift_from_mass(scan)
    raise ValueError(
        "No side of the detector sees only air in all views, so a drift of the source cannot be "
        "measured: leave drift out, or give the level of air if flat field and scan differ."
    )


def _without_hardening(
    scan: ProjectionSet,
    linearisation: Linearisation | None,
    done: list[str],
    figures: dict[str, Any],
) -> ProjectionSet:
    """Undo the hardening of water."""
    corrected = water_correction(scan, linearisation=linearisation)
    largest = float(scan.projections.max())
    gained = float(corrected.projections.max()) / largest if largest > 0 else 1.0
    figures["hardening_gain"] = gained
    lost = 100 * (1 - 1 / gained)
    done.append(
        f"Undid the beam hardening of water: the strongest attenuation was {lost:.2g} % too low."
    )
    return corrected


def _remarks(scan: ProjectionSet) -> tuple[str, ...]:
    """Tell what the reconstruction has to cope with."""
    remarks = []
    truncation = find_truncation(scan)
    if truncation.is_lateral:
        remarks.append("The object is wider than the field of view.")
    if truncation.is_axial:
        remarks.append("The object goes on above or below the field of view.")
    lowest = np.percentile(scan.projections, LOWEST_PERCENTILE, axis=(1, 2))
    level = float(np.median(lowest))
    if level > STEADY_LEVEL and float(np.ptp(lowest)) < STEADY_LEVEL:
        remarks.append(
            f"No view falls below a line integral of {level:.3g}, the same in all. If that is air, "
            "flat field and scan differ: give it as the level of air."
        )
    return tuple(remarks)
