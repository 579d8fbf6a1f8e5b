"""Objects that are larger than what the detector shows.

References
----------
.. [1] B. Ohnesorge, T. Flohr, K. Schwarz, J. P. Heiken, K. T. Bae, "Efficient correction for CT
   image artifacts caused by objects extending outside the scan field of view", Med. Phys. 27(1),
   2000.
.. [2] J. Hsieh, E. Chao, J. Thibault, B. Grekowicz, A. Horst, S. McOlash, T. J. Myers, "A novel
   reconstruction algorithm to extend the CT scan field-of-view", Med. Phys. 31(9), 2004.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.field_of_view import closes_circle, lateral_reach
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.projections import ProjectionSet

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

TRUNCATED_SHARE = 0.05
"""Attenuation at an edge of the detector, relative to the strongest, that counts as cut off."""

PEAK_PERCENTILE = 99.5
EDGE_PIXELS = 3
SHORTEST_TAIL, LONGEST_TAIL = 0.05, 0.75
"""Least and greatest length of an extrapolated tail, as a share of the columns."""

COSINE_TAIL = 0.5
"""Length of the tail of rows that are not like an ellipse."""


@dataclass(frozen=True)
class Truncation:
    """How strongly the object runs into the edges of the detector.

    Parameters
    ----------
    first_column, last_column, first_row, last_row : float
        Largest mean attenuation of that edge over all views, relative to the strongest attenuation.
    """

    first_column: float
    last_column: float
    first_row: float
    last_row: float

    @property
    def is_lateral(self) -> bool:
        """Whether the object is wider than the field of view."""
        return max(self.first_column, self.last_column) > TRUNCATED_SHARE

    @property
    def is_axial(self) -> bool:
        """Whether the object is longer than the field of view."""
        return max(self.first_row, self.last_row) > TRUNCATED_SHARE


def find_truncation(projection_set: ProjectionSet) -> Truncation:
    """Measure how much attenuation the edges of the detector show.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals.

    Returns
    -------
    Truncation
        The nearer edge of a shifted detector on a full turn counts as 0: what it cuts off is seen
        from the other side.
    """
    p = projection_set.projections
    peak = max(float(np.percentile(p[:: max(1, len(p) // 16)], PEAK_PERCENTILE)), 1e-12)
    n = EDGE_PIXELS
    edges = {
        "first_column": p[:, :, :n],
        "last_column": p[:, :, -n:],
        "first_row": p[:, :n],
        "last_row": p[:, -n:],
    }
    shares = {
        name: max(float(edge.mean(axis=(1, 2)).max()) / peak, 0.0) for name, edge in edges.items()
    }
    orbit = projection_set.geometry.orbit
    if orbit is not None and closes_circle(orbit):
        reach = lateral_reach(projection_set.geometry)
        if reach.is_shifted:
            first_is_nearer = reach.towards_minus_u_mm < reach.towards_plus_u_mm
            shares["first_column" if first_is_nearer else "last_column"] = 0.0
    return Truncation(**shares)


@dataclass(frozen=True, eq=False)
class RowTails:
    """How detector rows continue beyond both edges.

    Parameters
    ----------
    first, last : ndarray, shape (n_views, n), float32
        Attenuation beyond the first and the last column relative to that at the edge, in the order
        of the columns. 0 where nothing is added but air; n is 0 where nothing is added.
    """

    first: Float32Array
    last: Float32Array

    def extend(self, projections: Float32Array, *, views: slice) -> Float32Array:
        """Add the tails to some views.

        Parameters
        ----------
        projections : ndarray, shape (n, n_rows, n_cols), float32
            Line integrals of these views.
        views : slice
            Which views of the scan they are.

        Returns
        -------
        ndarray, shape (n, n_rows, n_first + n_cols + n_last), float32
            Wider rows, continuous at the old edges.
        """
        before, after = self.first[views, None], self.last[views, None]
        first_edge, last_edge = edge_values(projections), edge_values(projections[..., ::-1])
        return np.concatenate(
            [first_edge[..., None] * before, projections, last_edge[..., None] * after], axis=2
        )


def widened(projection_set: ProjectionSet) -> ProjectionSet:
    """Continue the rows of cut-off views as if the detector had been wide enough.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals.

    Returns
    -------
    ProjectionSet
        On a wider detector, with the estimates of :func:`row_tails` beyond the measured columns and
        poses per view only; the same object if nothing is cut off.
    """
    tails = row_tails(projection_set)
    n_first, n_last = tails.first.shape[1], tails.last.shape[1]
    if n_first == n_last == 0:
        return projection_set
    geometry = projection_set.geometry
    rows, columns = geometry.detector_shape
    wider = ConeBeamGeometry(
        geometry.sources_ras,
        geometry.detector_centres_ras + geometry.detector_u_ras * (n_last - n_first) / 2,
        geometry.detector_u_ras,
        geometry.detector_v_ras,
        (rows, n_first + columns + n_last),
    )
    extended = tails.extend(projection_set.projections, views=slice(None))
    return ProjectionSet(extended, wider)


def edge_values(projections: Float32Array) -> Float32Array:
    """Estimate the attenuation at the outer edge of the first column.

    Parameters
    ----------
    projections : ndarray, shape (n, n_rows, n_cols), float32
        Line integrals.

    Returns
    -------
    ndarray, shape (n, n_rows), float32
        Mean of the first three columns, extended to the edge by the slope of the first six.
    """
    n = EDGE_PIXELS
    near, next_to_it = projections[..., :n].mean(axis=2), projections[..., n : 2 * n].mean(axis=2)
    if projections.shape[2] < 2 * n:
        return np.asarray(np.maximum(near, 0), dtype=np.float32)
    # From the middle of the block to the middle of the first column beyond the edge.
    at_edge = near + (near - next_to_it) * np.float32((n + 1) / 2 / n)
    return np.asarray(np.maximum(at_edge, 0), dtype=np.float32)


def row_tails(projection_set: ProjectionSet) -> RowTails:
    """Find how the rows of cut-off views may continue smoothly to zero.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals.

    Returns
    -------
    RowTails
        Empty for each side where nothing is cut off.

    Notes
    -----
    Rows that end abruptly give a bright rim, because the ramp filter takes the step for structure.
    They are continued as the shadow of an ellipse, as [2]_ does with a cylinder of water: the
    squared line integral of an ellipse is a quadratic of the column, so one fit to the mean row of
    a view gives where the shadow ends, whatever the material and the unit. Each row then falls
    off as ``p(edge) sqrt(q(column) / q(edge))``. Where the fit is not an ellipse, a quarter of a
    cosine ends after half a detector, in the spirit of [1]_, and right behind the edge where the
    ellipse ends there.
    """
    truncation = find_truncation(projection_set)
    mean_rows = projection_set.projections.mean(axis=1, dtype=np.float64)
    first, last = (
        _tails(rows) if share > TRUNCATED_SHARE else np.zeros((len(rows), 0), np.float32)
        for rows, share in (
            (mean_rows, truncation.first_column),
            (mean_rows[:, ::-1], truncation.last_column),
        )
    )
    return RowTails(np.ascontiguousarray(first[:, ::-1]), last)


def _tails(mean_rows: FloatArray) -> Float32Array:
    """Give the tail of each view beyond column 0, nearest first, relative to the edge."""
    n_views, n_columns = mean_rows.shape
    place = np.arange(1, max(1, int(n_columns * LONGEST_TAIL)) + 1) / n_columns
    tails = np.zeros((n_views, place.size), dtype=np.float32)
    for view, row in enumerate(mean_rows):
        quadratic, end = _ellipse(row)
        if quadratic is None:
            tails[view] = np.cos(np.pi / 2 * np.minimum(place / end, 1.0))
        else:
            inside = np.where(place < end, np.maximum(quadratic(-place), 0.0), 0.0)
            tails[view] = np.sqrt(inside / quadratic(0.0))
    used = int(np.flatnonzero(tails.any(axis=0)).max(initial=0)) + 1
    return tails[:, :used]


def _ellipse(row: FloatArray) -> tuple[np.polynomial.Polynomial | None, float]:
    """Fit the squared row by a quadratic, and give where it ends beyond column 0.

    Places are shares of the row's length. None where the row is not like an ellipse.
    """
    place = np.arange(row.size) / row.size
    kept = row > 0.02 * row.max()
    if np.count_nonzero(kept) < row.size // 4:
        return None, SHORTEST_TAIL
    fit = np.polynomial.Polynomial.fit(place[kept], row[kept] ** 2, 2).convert()
    if fit.degree() < 2 or fit.coef[2] >= 0:
        return None, COSINE_TAIL
    end = -float(np.min(fit.roots().real)) if fit(0.0) > 0 else 0.0
    if end < SHORTEST_TAIL:
        return None, SHORTEST_TAIL
    return (fit, end) if end <= LONGEST_TAIL else (None, COSINE_TAIL)
