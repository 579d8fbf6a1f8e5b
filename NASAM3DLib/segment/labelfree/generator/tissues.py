"""Densities of generated tissue: a broad prior in which neighbours are often nearly equal."""

from __future__ import annotations

from NASAM3DLib.segment.labelfree.generator.draws import Draws

AIR_HU, FAT_HU, BLOOD_HU = -1000.0, -100.0, 45.0

LUNG_HU = (-950.0, -650.0)
"""Mean densities that count as lung and are given its vessels."""

_PRIOR = (
    (-1000.0, 15.0, 0.04),
    (-830.0, 60.0, 0.08),
    (-100.0, 18.0, 0.16),
    (10.0, 12.0, 0.12),
    (45.0, 18.0, 0.30),
    (110.0, 35.0, 0.14),
    (190.0, 60.0, 0.07),
    (420.0, 180.0, 0.06),
    (900.0, 300.0, 0.03),
)

NEAR_EQUAL, NEAR_EQUAL_SPREAD_HU = 0.35, 22.0
"""Share of organs whose density is that of the volume's soft tissue, and its spread, HU."""


def tissue_hu(draws: Draws) -> float:
    """Draw the density of a tissue: gas, lung, fat, fluid, soft tissue, contrast, bone.

    Parameters
    ----------
    draws : Draws
        Random numbers.

    Returns
    -------
    float
        HU, at least that of air.
    """
    weights = [weight for _, _, weight in _PRIOR]
    chosen = draws.rng.choice(len(_PRIOR), p=[w / sum(weights) for w in weights])
    mean, spread, _ = _PRIOR[int(chosen)]
    return max(AIR_HU, mean + spread * float(draws.rng.standard_normal()))


def organ_hu(draws: Draws, common_hu: float) -> float:
    """Draw the density of an organ, often close to that of the others.

    Parameters
    ----------
    draws : Draws
        Random numbers.
    common_hu : float
        Density that neighbours share, HU.

    Returns
    -------
    float
        HU.
    """
    if draws.chance(NEAR_EQUAL):
        return max(AIR_HU, common_hu + NEAR_EQUAL_SPREAD_HU * float(draws.rng.standard_normal()))
    return tissue_hu(draws)


def lesion_hu(draws: Draws, host_hu: float) -> float:
    """Draw the density of a lesion: of low contrast in soft tissue, of soft tissue in lung.

    Parameters
    ----------
    draws : Draws
        Random numbers.
    host_hu : float
        Density around it, HU.

    Returns
    -------
    float
        HU.
    """
    if host_hu < -300:
        return draws.uniform(-60, 90)
    return host_hu + draws.sign() * draws.uniform(15, 90)
