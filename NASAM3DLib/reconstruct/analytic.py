"""Filtered back-projection: Feldkamp, Davis and Kress for a cone beam, exact for a parallel beam.

References
----------
.. [1] L. A. Feldkamp, L. C. Davis, J. W. Kress, "Practical cone-beam algorithm", J. Opt. Soc.
   Am. A 1(6), 1984.
.. [2] A. C. Kak, M. Slaney, "Principles of Computerized Tomographic Imaging", IEEE Press 1988,
   eq. 61 (band-limited ramp) and section 3.6 (cone beam).
"""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
from scipy import fft

from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.reconstruct.redundancy import redundancy_weights, view_steps
from NASAM3DLib.scan.field_of_view import closes_circle, lateral_reach
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.scan.truncation import RowTails, find_truncation, row_tails

logger = logging.getLogger(__name__)

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

VIEWS_PER_CHUNK = 32
"""Views filtered at a time, so that padded spectra of long scans stay small."""

VOXELS_PER_CHUNK = 70_000_000
"""Voxels times views that are back-projected at a time, so that cancelling is heard soon."""


def reconstruct_fdk(
    projection_set: ProjectionSet,
    grid: VolumeGrid,
    *,
    hann_cutoff: float = 1.0,
    progress: ProgressCallback = no_progress,
) -> Float32Array:
    """Reconstruct a circular scan by filtered back-projection.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals of a circular orbit, cone or parallel beam.
    grid : VolumeGrid
        Voxels to fill.
    hann_cutoff : float
        Frequency at which the Hann window reaches zero, as a fraction of the Nyquist frequency; 0
        switches the window off.
    progress : callable
        Receives stage and fraction.

    Returns
    -------
    ndarray, shape (k, j, i), float32
        Attenuation, 1/mm. Not clipped: streaks may be negative.

    Raises
    ------
    ValueError
        If the geometry is not a circular orbit, its detector is tilted, or its arc is below 90
        degrees.

    Notes
    -----
    With the virtual detector at the isocenter, cosine weight c, redundancy weight m, ramp filter h
    and the distance weight U (1 at the isocenter), ::

        mu(x) = sum_views dbeta / U(x)^2 * ((c m p) * h)(pixel of x).

    Rays measured once have m = 1, rays measured twice have two weights that add up to 1, whatever
    the arc and the shift of the detector; see
    :func:`~NASAM3DLib.reconstruct.redundancy.redundancy_weights`. Where a shifted detector ends,
    rows are continued with zeros, where it cuts the object off, smoothly; see
    :func:`~NASAM3DLib.scan.truncation.row_tails`. Beyond its first and last row the detector
    repeats them if the object goes on there.
    """
    geometry = projection_set.geometry
    orbit = _circular_orbit(geometry)
    tails = _with_air(row_tails(projection_set), geometry)
    n_columns, n_before = geometry.detector_shape[1], tails.first.shape[1]
    columns = np.arange(-n_before, n_columns + tails.last.shape[1])
    cosine = _cosine_weights(geometry, columns)
    redundancy = redundancy_weights(geometry, columns=columns)
    spacing_u = orbit.pixel_spacing_mm[1] / orbit.magnification
    response = ramp_response(columns.size, spacing_u, hann_cutoff=hann_cutoff)
    steps = view_steps(orbit)
    matrices = _index_matrices(geometry, grid)
    matrices[:, 1] += n_before * matrices[:, 2]
    repeat_rows = find_truncation(projection_set).is_axial
    out = np.zeros(grid.shape_kji[::-1], dtype=np.float32)

    from NASAM3DLib.reconstruct.kernels_fdk import backproject_weighted

    size = max(1, min(VIEWS_PER_CHUNK, VOXELS_PER_CHUNK // out.size))
    for begin in range(0, geometry.n_views, size):
        progress("filtered back-projection", begin / geometry.n_views)
        chunk = slice(begin, begin + size)
        rows = tails.extend(projection_set.projections[chunk], views=chunk)
        filtered = _filter_rows(rows * cosine * redundancy[chunk], response)
        filtered *= steps[chunk, None, None].astype(np.float32)
        columns_first = np.ascontiguousarray(filtered.transpose(0, 2, 1))
        backproject_weighted(columns_first, matrices[chunk], repeat_rows, out)
    progress("filtered back-projection", 1.0)
    return out.transpose(2, 1, 0)


def _with_air(tails: RowTails, geometry: ConeBeamGeometry) -> RowTails:
    """Add columns of air beyond the nearer edge of a shifted detector on a full turn.

    The weighted rows end smoothly there, but what the ramp filter spreads beyond the edge belongs
    to the voxels there.
    """
    orbit = _circular_orbit(geometry)
    if not closes_circle(orbit):
        return tails
    reach = lateral_reach(geometry)
    if not reach.is_shifted:
        return tails
    missing = int(np.ceil((reach.longer_mm - reach.shorter_mm) / reach.pixel_mm))
    air = np.zeros((geometry.n_views, missing), dtype=np.float32)
    if reach.towards_minus_u_mm < reach.towards_plus_u_mm:
        return RowTails(air, tails.last)
    return RowTails(tails.first, air)


def _circular_orbit(geometry: ConeBeamGeometry) -> CircularOrbit:
    """Give the orbit, refusing what filtered back-projection cannot do."""
    orbit = geometry.orbit
    if orbit is None:
        raise ValueError(
            "Filtered back-projection needs a circular orbit, but the geometry only has poses per "
            "view: use the method tv instead."
        )
    if any(abs(angle) > np.deg2rad(2.0) for angle in orbit.detector_tilt_rad):
        raise ValueError(
            "Filtered back-projection assumes an upright detector, but it is tilted by more than 2 "
            "degrees: use the method tv instead."
        )
    if orbit.arc_rad < np.pi / 2:
        raise ValueError(
            f"The views cover only {np.degrees(orbit.arc_rad):.0f} degrees; filtered "
            "back-projection needs at least 90. Use the method tv instead."
        )
    return orbit


def ramp_response(n_columns: int, spacing_mm: float, *, hann_cutoff: float = 1.0) -> FloatArray:
    """Compute the frequency response of the band-limited ramp filter.

    Parameters
    ----------
    n_columns : int
        Number of samples that will be filtered.
    spacing_mm : float
        Their distance, mm.
    hann_cutoff : float
        See :func:`reconstruct_fdk`.

    Returns
    -------
    ndarray, shape (n // 2 + 1,), float64
        Response for ``scipy.fft.rfft`` of even length n >= 2 n_columns, 1/mm.

    Notes
    -----
    The response is the transform of the ramp sampled in space, h(0) = 1/(4 t^2), h(n odd) =
    -1/(pi n t)^2, else 0 ([2]_ eq. 61): unlike |f| itself it keeps the mean right.
    """
    n_padded = 2 * int(fft.next_fast_len(n_columns, real=True))
    distance = np.minimum(np.arange(n_padded), n_padded - np.arange(n_padded)).astype(np.float64)
    kernel = np.zeros(n_padded)
    kernel[0] = 0.25
    odd = distance % 2 == 1
    kernel[odd] = -1.0 / (np.pi * distance[odd]) ** 2
    response = np.real(fft.rfft(kernel)) / spacing_mm
    if hann_cutoff > 0:
        frequency = np.arange(response.size) / n_padded / (0.5 * hann_cutoff)
        window = 0.5 + 0.5 * np.cos(np.pi * np.minimum(frequency, 1.0))
        response = response * window
    return np.asarray(response, dtype=np.float64)


def _filter_rows(rows: Float32Array, response: FloatArray) -> Float32Array:
    """Convolve each detector row with the ramp."""
    n_columns, n_padded = rows.shape[-1], 2 * (response.size - 1)
    spectrum = fft.rfft(rows, n=n_padded, axis=-1, workers=-1)
    spectrum *= response.astype(np.float32)
    filtered = fft.irfft(spectrum, n=n_padded, axis=-1, workers=-1)[..., :n_columns]
    return np.ascontiguousarray(filtered, dtype=np.float32)


def _cosine_weights(geometry: ConeBeamGeometry, columns: npt.NDArray[np.intp]) -> Float32Array:
    """Give the cosine between each ray and the central ray, shape (n_rows, n_columns) or 1."""
    if geometry.is_parallel:
        return np.ones((1, 1), dtype=np.float32)
    rows = np.arange(geometry.detector_shape[0])[:, None]
    _, directions = geometry.rays(0, rows, columns)
    orbit = _circular_orbit(geometry)
    angle = orbit.angles_rad[0]
    central = -np.array([np.cos(angle), np.sin(angle), 0.0])
    return np.asarray(directions @ central, dtype=np.float32)


def _index_matrices(geometry: ConeBeamGeometry, grid: VolumeGrid) -> FloatArray:
    """Give each view's 3x4 matrix from voxel index to homogeneous pixel, w = 1 at isocenter."""
    orbit = _circular_orbit(geometry)
    normals = np.cross(geometry.detector_u_ras, geometry.detector_v_ras)
    matrices = np.empty((geometry.n_views, 3, 4))
    isocenter = np.append(np.asarray(orbit.isocenter_ras, dtype=np.float64), 1.0)
    half = (np.array(geometry.detector_shape) - 1) / 2
    for view in range(geometry.n_views):
        source, centre = geometry.sources_ras[view], geometry.detector_centres_ras[view]
        dual = np.linalg.pinv(
            np.stack([geometry.detector_v_ras[view], geometry.detector_u_ras[view]], axis=1)
        )
        matrix = _pinhole(source, centre, normals[view], dual)
        matrix[:2] += half[:, None] * matrix[2]
        matrix /= matrix[2] @ isocenter
        matrices[view] = matrix @ grid.ijk_to_ras
    return matrices


def _pinhole(
    source: FloatArray, centre: FloatArray, normal: FloatArray, dual: FloatArray
) -> FloatArray:
    """Give the 3x4 matrix from RAS to homogeneous (row, column) relative to the detector centre.

    With b the ray's direction through x, the pixel is ``dual (x - c + b (c - x).n / b.n)``. For a
    cone beam b = x - s, and multiplying by b.n makes it linear in x; for a parallel beam b is
    constant.
    """
    towards_source = source[:3]
    if source[3]:
        from_source = np.concatenate([np.eye(3), -towards_source[:, None]], axis=1)
        depth = normal @ from_source
        height = normal @ (centre - towards_source)
        numerator = dual @ (height * from_source + np.outer(towards_source - centre, depth))
        return np.concatenate([numerator, depth[None]], axis=0)
    from_centre = np.concatenate([np.eye(3), -centre[:, None]], axis=1)
    slide = np.outer(towards_source, normal @ from_centre) / (towards_source @ normal)
    return np.concatenate([dual @ (from_centre - slide), [[0.0, 0.0, 0.0, 1.0]]], axis=0)
