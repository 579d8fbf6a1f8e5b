"""What a detector makes of the line integrals: photon noise and the hardening of a real spectrum.

Mass attenuation coefficients (total, with coherent scattering) of water, cortical bone (ICRU-44)
and aluminium are those of J. H. Hubbell and S. M. Seltzer, NISTIR 5632 (1995), tables 3 and 4;
densities are 1.00, 1.92 and 2.699 g/cm3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

TABLE_KEV = np.array([10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0])

MASS_ATTENUATION_CM2_G = {
    "water": np.array(
        [5.329, 1.673, 0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505]
    ),
    "bone": np.array([28.51, 9.032, 4.001, 1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480]),
    "aluminium": np.array(
        [26.23, 7.955, 3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378]
    ),
}
DENSITY_G_CM3 = {"water": 1.0, "bone": 1.92, "aluminium": 2.699}

REFERENCE_KEV = 60.0
"""Energy at which a volume's attenuation is meant."""

TUBE_KV = 120.0
ALUMINIUM_MM = 8.0
"""Inherent and added filtration of a cone-beam scanner, as aluminium."""

LEAST_COUNT = 0.5
"""Counts below half a photon are set to it, so that the logarithm stays finite."""

SOFT_LIMIT, BONE_LIMIT = 1.15, 1.6
"""Attenuation relative to water: up to the first all water, from the second on all bone."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """An X-ray spectrum as a detector weights it.

    Parameters
    ----------
    energies_kev : ndarray, shape (n,), float64
        Middle of each bin, keV.
    weights : ndarray, shape (n,), float64
        Share of each bin in the signal without an object; they sum to 1.
    """

    energies_kev: FloatArray
    weights: FloatArray


def tube_spectrum(
    *, tube_kv: float = TUBE_KV, aluminium_mm: float = ALUMINIUM_MM, step_kev: float = 2.5
) -> Spectrum:
    """Make the spectrum of a tungsten-like tube behind aluminium.

    Parameters
    ----------
    tube_kv : float
        Peak voltage, kV.
    aluminium_mm : float
        Filtration, mm of aluminium.
    step_kev : float
        Width of a bin, keV.

    Returns
    -------
    Spectrum

    Raises
    ------
    ValueError
        If the voltage is outside 20 to 150 kV.

    Notes
    -----
    Kramers' law gives the number of photons ``N(E) ~ (E0 - E) / E``; characteristic lines are left
    out. The filter passes ``exp(-mu_Al(E) t)``, and a flat panel weights each photon by its energy:
    ``w(E) ~ (E0 - E) exp(-mu_Al(E) t)``.
    """
    if not 20 <= tube_kv <= TABLE_KEV[-1]:
        raise ValueError(f"tube_kv must be between 20 and {TABLE_KEV[-1]:g} kV, got {tube_kv:g}.")
    n_bins = int(np.ceil((tube_kv - TABLE_KEV[0]) / step_kev))
    edges = np.linspace(TABLE_KEV[0], tube_kv, n_bins + 1)
    energies = (edges[:-1] + edges[1:]) / 2
    weights = (tube_kv - energies) * np.exp(-attenuation("aluminium", energies) * aluminium_mm)
    return Spectrum(energies, weights / weights.sum())


def attenuation(material: str, energies_kev: npt.ArrayLike) -> FloatArray:
    """Look up the linear attenuation coefficient of a material.

    Parameters
    ----------
    material : {"water", "bone", "aluminium"}
        Name.
    energies_kev : array_like
        Photon energies, 10 to 150 keV.

    Returns
    -------
    ndarray
        1/mm; straight lines between the tabulated points in double logarithmic scale.
    """
    table = np.log(MASS_ATTENUATION_CM2_G[material] * DENSITY_G_CM3[material] / 10.0)
    return np.asarray(np.exp(np.interp(np.log(energies_kev), np.log(TABLE_KEV), table)))


def split_materials(
    array: npt.NDArray[np.floating], *, water: float
) -> tuple[Float32Array, Float32Array]:
    """Split attenuation into what behaves like water and what behaves like bone.

    Parameters
    ----------
    array : ndarray
        Attenuation at the reference energy, 1/mm.
    water : float
        Attenuation of water in the same scale, 1/mm.

    Returns
    -------
    water_part, bone_part : ndarray, float32
        Attenuation at the reference energy, 1/mm; they add up to the array. The share of bone rises
        linearly between 1.15 and 1.6 times water (150 to 600 HU).
    """
    share = (array / water - SOFT_LIMIT) / (BONE_LIMIT - SOFT_LIMIT)
    bone = np.clip(share, 0, 1).astype(np.float32) * array
    return (array - bone).astype(np.float32), bone.astype(np.float32)


def harden(
    water_integrals: npt.NDArray[np.floating],
    bone_integrals: npt.NDArray[np.floating],
    spectrum: Spectrum,
) -> Float32Array:
    """Compute what a detector measures behind water and bone with a real spectrum.

    Parameters
    ----------
    water_integrals, bone_integrals : ndarray
        Line integrals of the two parts at the reference energy, dimensionless.
    spectrum : Spectrum
        Weights of the energies.

    Returns
    -------
    ndarray, float32
        Logarithmic attenuation.

    Notes
    -----
    ``p = -ln sum_E w(E) exp(-p_water m_water(E) - p_bone m_bone(E))`` with
    ``m(E) = mu(E) / mu(60 keV)``.
    """
    signal = np.zeros(np.broadcast_shapes(water_integrals.shape, bone_integrals.shape), np.float64)
    relative = [
        attenuation(name, spectrum.energies_kev) / attenuation(name, REFERENCE_KEV)
        for name in ("water", "bone")
    ]
    for weight, water, bone in zip(spectrum.weights, *relative, strict=True):
        signal += weight * np.exp(-(water_integrals * water + bone_integrals * bone))
    return np.asarray(-np.log(signal), dtype=np.float32)


def correct_for_water(measured: npt.NDArray[np.floating], spectrum: Spectrum) -> Float32Array:
    """Undo the hardening of water, as scanners do; that of bone remains.

    Parameters
    ----------
    measured : ndarray
        Logarithmic attenuation with a real spectrum.
    spectrum : Spectrum
        The spectrum.

    Returns
    -------
    ndarray, float32
        Line integrals at the reference energy, exact if the object is water.
    """
    path = np.linspace(0.0, 40.0, 2001)
    curve = harden(path, np.zeros_like(path), spectrum).astype(np.float64)
    slope = float((path[1] - path[0]) / (curve[1] - curve[0]))
    corrected = np.interp(measured, curve, path)
    # Noise may take a value below zero, where the curve is continued by its first slope.
    return np.where(measured < 0, measured * slope, corrected).astype(np.float32)


def add_noise(
    line_integrals: npt.NDArray[np.floating],
    photons: float,
    *,
    electronic_noise: float = 0.0,
    rng: np.random.Generator,
) -> Float32Array:
    """Add the noise of counted photons and of the electronics.

    Parameters
    ----------
    line_integrals : ndarray
        Noise-free line integrals.
    photons : float
        Photons per pixel and view without an object.
    electronic_noise : float
        Standard deviation of the electronics, in photons.
    rng : numpy.random.Generator
        Source of the random numbers.

    Returns
    -------
    ndarray, float32
        Noisy line integrals, finite.

    Raises
    ------
    ValueError
        If there are no photons or the electronic noise is negative.

    Notes
    -----
    ``I = Poisson(I0 exp(-p)) + Normal(0, sigma_e)`` and ``p' = -ln(max(I, 1/2) / I0)``. The counts
    are not rescaled: a ray through 40 cm of water keeps exp(-8.2) of the photons. For many counts
    N the standard deviation of p' is ``sqrt(N + sigma_e^2) / N``.
    """
    if not photons > 0 or not np.isfinite(photons):
        raise ValueError(f"photons must be positive, got {photons}: leave noise out instead.")
    if not electronic_noise >= 0:
        raise ValueError(f"electronic_noise must not be negative, got {electronic_noise}.")
    expected = photons * np.exp(-np.asarray(line_integrals, dtype=np.float64))
    counts = rng.poisson(expected).astype(np.float64)
    if electronic_noise > 0:
        counts += rng.normal(0.0, electronic_noise, counts.shape)
    return np.asarray(-np.log(np.maximum(counts, LEAST_COUNT) / photons), dtype=np.float32)
