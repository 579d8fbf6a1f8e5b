"""What a scan does to a volume: blur, thick slices, few views, noise, wrong calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from NASAM3DLib.reconstruct.analytic import reconstruct_fdk
from NASAM3DLib.reconstruct.projector import forward_project
from NASAM3DLib.reconstruct.volume import WATER_ATTENUATION
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.physics import add_noise
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.labelfree.generator.draws import Draws, gaussian_blur

LOWEST_HU, WATER_HU = -1024.0, 1000.0

VIEWS = (15, 101)
"""Numbers of views of a sparse scan, the last excluded."""

SPACING_MM = (0.8, 3.5)
"""Voxel spacings at which attenuation along rays is computed, mm."""

PHOTONS = (5e3, 2e5)


@dataclass(frozen=True)
class AcquisitionChances:
    """How often each fault of a scan occurs.

    Parameters
    ----------
    comb : float
        Streaks of few views, made in frequency space: quick.
    scan : float
        A sparse scan simulated and reconstructed by the product's own projector: real, slower.
    thick_slices : float
        Averaging along the first axis.
    calibration : float
        A wrong scale and offset of HU.

    Raises
    ------
    ValueError
        If one is no probability, or comb and scan together exceed 1.
    """

    comb: float = 0.3
    scan: float = 0.15
    thick_slices: float = 0.2
    calibration: float = 0.3

    def __post_init__(self) -> None:
        values = (self.comb, self.scan, self.thick_slices, self.calibration)
        if any(not 0 <= value <= 1 for value in values) or self.comb + self.scan > 1:
            raise ValueError(
                "AcquisitionChances must be probabilities, comb and scan together at most 1, got "
                f"{values}."
            )


def acquired(draws: Draws, image: Tensor, chances: AcquisitionChances) -> Tensor:
    """Scan a volume.

    Parameters
    ----------
    draws : Draws
        Random numbers.
    image : Tensor, shape (k, j, i), float32
        True densities, HU.
    chances : AcquisitionChances
        How often what happens.

    Returns
    -------
    Tensor, same shape
        HU with the faults of a scan.
    """
    sigma = draws.uniform(0, 1.0)
    if sigma > 0.25:
        image = gaussian_blur(image, (sigma * draws.uniform(0.6, 1.4), sigma, sigma))
    if draws.chance(chances.thick_slices):
        image = thick_slices(image, int(draws.rng.integers(2, 4)))
    if draws.chance(0.4):
        image = image + draws.field(3)[0] * draws.uniform(0, 25)
    image = image.clamp_min(LOWEST_HU)
    fault = draws.rng.random()
    if fault < chances.comb:
        image = combed(
            image,
            n_views=int(draws.rng.integers(*VIEWS)),
            strength=draws.uniform(0.2, 1.0),
            phase_rad=draws.uniform(0, 2 * np.pi),
        )
    elif fault < chances.comb + chances.scan:
        image = rescanned(draws, image)
    image = image + _noise(draws) * float(np.exp(draws.uniform(np.log(3), np.log(50))))
    if draws.chance(chances.calibration):
        image = image * draws.uniform(0.88, 1.12) + 30 * float(draws.rng.standard_normal())
    return image


def thick_slices(image: Tensor, factor: int) -> Tensor:
    """Average several slices and interpolate between the averages.

    Parameters
    ----------
    image : Tensor, shape (k, j, i)
        Volume.
    factor : int
        Slices in one average.

    Returns
    -------
    Tensor, same shape
    """
    averages = functional.avg_pool3d(
        image[None, None], (factor, 1, 1), stride=(factor, 1, 1), ceil_mode=True
    )
    size = tuple(image.shape)
    return functional.interpolate(averages, size=size, mode="trilinear", align_corners=False)[0, 0]


def combed(image: Tensor, *, n_views: int, strength: float, phase_rad: float) -> Tensor:
    """Make streaks like those of few views, in the frequency space of each slice.

    Parameters
    ----------
    image : Tensor, shape (k, j, i)
        Volume, HU.
    n_views : int
        Views in half a turn.
    strength : float
        0 leaves the image as it is; at 1, frequencies between two views vanish.
    phase_rad : float
        Angle of the first view, times the number of views.

    Returns
    -------
    Tensor, same shape

    Notes
    -----
    A view measures one line through the origin of the slice's frequency space. Beyond the radius
    at which the lines lie a sample apart, ``n_views / (pi n)``, frequencies are multiplied by
    ``1 + s cos(2 n_views theta)``: the mean is kept, between the lines they fade.
    """
    rows, columns = image.shape[1:]
    ky = torch.fft.fftfreq(rows, device=image.device)[:, None]
    kx = torch.fft.rfftfreq(columns, device=image.device)[None]
    angle = torch.atan2(ky, kx)
    beyond = ((torch.hypot(ky, kx) - n_views / (np.pi * rows)) / 0.12).clamp(0, 1)
    comb = 1 + strength * beyond * torch.cos(2 * n_views * angle + phase_rad)
    result: Tensor = torch.fft.irfft2(torch.fft.rfft2(image) * comb, s=(rows, columns))
    return result


def rescanned(draws: Draws, image: Tensor) -> Tensor:
    """Simulate a noisy scan of few views and reconstruct it by filtered back-projection.

    Parameters
    ----------
    draws : Draws
        Random numbers; decide views, photons, spacing and the kind of beam.
    image : Tensor, shape (k, j, i)
        Volume, HU.

    Returns
    -------
    Tensor, same shape
        The volume within a cylinder is replaced by its reconstruction, with a soft edge; the
        scanned object is that cylinder in air.
    """
    spacing = draws.uniform(*SPACING_MM)
    k, j, i = image.shape
    grid = VolumeGrid.centred((k, j, i), spacing)
    _, rows, columns = draws.coordinates
    window = ((1.0 - torch.hypot(rows, columns)) / 0.15).clamp(0, 1)
    attenuation = ((image + WATER_HU) / WATER_HU * WATER_ATTENUATION).clamp_min(0) * window
    geometry = _sparse_orbit(draws, grid)
    integrals = forward_project(attenuation.cpu().numpy(), grid, geometry)
    photons = float(np.exp(draws.uniform(*np.log(PHOTONS))))
    # Rays through bone on coarse voxels would starve: at least a few photons get through.
    photons *= float(np.exp(max(0.0, float(integrals.max()) - 6.0)))
    noisy = add_noise(integrals, photons, rng=draws.rng)
    found = reconstruct_fdk(
        ProjectionSet(noisy, geometry), grid, hann_cutoff=draws.uniform(0.7, 1.0)
    )
    result = draws.tensor(np.ascontiguousarray(found)) / WATER_ATTENUATION * WATER_HU - WATER_HU
    scanned = attenuation / WATER_ATTENUATION * WATER_HU - WATER_HU
    # The faults alone are added, so that no seam shows where the cylinder ends.
    return image + window * (result.clamp(LOWEST_HU, 4000) - scanned)


def _sparse_orbit(draws: Draws, grid: VolumeGrid) -> ConeBeamGeometry:
    """Draw a parallel or cone beam with few views whose detector holds the grid."""
    edge = float(grid.spacing_mm[0]) * grid.shape_kji[0]
    is_cone = draws.chance(0.5)
    n_views = int(draws.rng.integers(*VIEWS))
    turn = 2 * np.pi if is_cone else np.pi
    angles = draws.uniform(0, np.pi) + np.arange(n_views) * turn / n_views
    distances = (3.0 * edge, 4.5 * edge) if is_cone else (None, None)
    magnification = 1.5 if is_cone else 1.0
    pixel = float(grid.spacing_mm[0]) * magnification
    n_pixels = int(grid.shape_kji[0] * (1.3 if is_cone else 1.1))
    orbit = CircularOrbit(angles, (pixel, pixel), *distances)
    return ConeBeamGeometry.circular(orbit, (n_pixels, n_pixels))


def _noise(draws: Draws) -> Tensor:
    """Draw white noise, or noise correlated like that of a smooth kernel, of unit variance."""
    noise = draws.noise()
    if draws.chance(0.6):
        sigma = draws.uniform(0.4, 1.2)
        noise = gaussian_blur(noise, (draws.uniform(0, 0.8), sigma, sigma))
        noise = noise / noise.std()
    return noise
