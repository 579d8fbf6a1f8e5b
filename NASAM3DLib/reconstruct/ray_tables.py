"""What the GPU kernels need to know of a scan, as small tables made once in double precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.reconstruct.projector import Projector

Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]

STEEPEST = 1e-9
"""Change of the side index per plane below which a ray counts as running along its main axis."""


@dataclass(frozen=True)
class IndexPoses:
    """Poses of all views in voxel index space.

    Parameters
    ----------
    sources : ndarray, shape (n_views, 4), float64
        Homogeneous, as in :class:`~NASAM3DLib.scan.geometry.ConeBeamGeometry`.
    corners : ndarray, shape (n_views, 3), float64
        Pixel (0, 0).
    steps_u, steps_v : ndarray, shape (n_views, 3), float64
        From column to column and from row to row.
    matrix : ndarray, shape (3, 3), float64
        From index steps to mm.
    """

    sources: Float64Array
    corners: Float64Array
    steps_u: Float64Array
    steps_v: Float64Array
    matrix: Float64Array

    @classmethod
    def of(cls, projector: Projector) -> IndexPoses:
        """Take the poses of a projector.

        Parameters
        ----------
        projector : Projector
            Any projector.

        Returns
        -------
        IndexPoses
        """
        return cls(
            projector._sources,
            projector._corners,
            projector._steps_u,
            projector._steps_v,
            projector._matrix,
        )

    @property
    def is_cone(self) -> bool:
        """Whether the beam is a cone."""
        return bool(self.sources[0, 3] > 0.5)


@dataclass(frozen=True)
class ColumnTables:
    """The fan sheets of all detector columns, for detector rows along k.

    Parameters
    ----------
    sheets : ndarray, shape (n_views, n_columns, 6), float32
        With t the plane's index counted from the middle plane of the main axis and r the row
        counted from the middle row: the side index at t is ``s[0] + s[1] t``, the k index is
        ``s[2] + s[3] t + (s[4] + s[5] t) r``.
    spans : ndarray, shape (n_views, n_columns, 3), int32
        First plane that the ray may touch, one past the last, and whether it follows i.
    lengths : ndarray, shape (n_views, n_columns, 3), float32
        The ray is ``sqrt(w[0] + w[1] r + w[2] r^2)`` mm long per plane.
    inverse : ndarray, shape (n_views, 6), float32
        With x and y the i and j index counted from the grid's middle, the ray through (x, y) ends
        at the column ``(v[0] + v[1] x + v[2] y) / (v[3] + v[4] x + v[5] y)``, counted from the
        middle column.
    in_front : bool
        Whether the whole grid with a margin of one voxel lies before the source in every view, so
        that the inverse is continuous over it.

    Notes
    -----
    Everything is counted from the middle so that single precision suffices: no number is much
    larger than the grid.
    """

    sheets: npt.NDArray[np.float32]
    spans: Int32Array
    lengths: npt.NDArray[np.float32]
    inverse: npt.NDArray[np.float32]
    in_front: bool


def column_tables(
    poses: IndexPoses, shape_ijk: tuple[int, int, int], *, detector_shape: tuple[int, int]
) -> ColumnTables:
    """Make the tables of a scan.

    Parameters
    ----------
    poses : IndexPoses
        Detector rows along k, columns across it.
    shape_ijk : tuple of int
        Number of voxels.
    detector_shape : tuple of int
        Number of rows and columns.

    Returns
    -------
    ColumnTables
    """
    n_rows, n_columns = detector_shape
    origins, directions = _middle_rays(poses, n_rows, n_columns)
    rise = np.broadcast_to(poses.steps_v[:, None, 2], directions.shape[:2])
    along_i = np.abs(directions[..., 0]) >= np.abs(directions[..., 1])
    main, side = np.where(along_i, 0, 1)[..., None], np.where(along_i, 1, 0)[..., None]
    o_main, o_side = _take(origins, main), _take(origins, side)
    d_main, d_side = _take(directions, main), _take(directions, side)
    n_main = np.where(along_i, shape_ijk[0], shape_ijk[1])
    n_side = np.where(along_i, shape_ijk[1], shape_ijk[0])
    middle = (n_main - 1) / 2
    alpha, step = (middle - o_main) / d_main, 1.0 / d_main
    cone = poses.is_cone
    sheets = np.stack(
        [
            o_side + alpha * d_side,
            step * d_side,
            origins[..., 2] + alpha * directions[..., 2],
            step * directions[..., 2],
            alpha * rise if cone else rise,
            step * rise if cone else np.zeros_like(step),
        ],
        axis=-1,
    )
    lower, upper = np.zeros_like(n_main), n_main
    if cone:
        lower, upper = _between_source_and_pixel(o_main, d_main, n_main)
    first, stop = _within_the_grid(sheets, middle, n_side)
    spans = np.stack([np.maximum(lower, first), np.minimum(upper, stop), along_i], axis=-1)
    inverse, in_front = _inverse(poses, shape_ijk, n_columns)
    return ColumnTables(
        sheets.astype(np.float32),
        spans.astype(np.int32),
        _lengths(poses, directions, d_main).astype(np.float32),
        inverse.astype(np.float32),
        in_front,
    )


def _take(vectors: Float64Array, axis: npt.NDArray[np.intp]) -> Float64Array:
    """Pick one component of each vector."""
    return np.take_along_axis(vectors, axis, axis=-1)[..., 0]


def _middle_rays(
    poses: IndexPoses, n_rows: int, n_columns: int
) -> tuple[Float64Array, Float64Array]:
    """Give origin and direction of the ray to the middle row of each column."""
    columns = np.arange(n_columns)[None, :, None]
    pixels = (
        poses.corners[:, None]
        + columns * poses.steps_u[:, None]
        + (n_rows - 1) / 2 * poses.steps_v[:, None]
    )
    source = poses.sources[:, None, :3]
    if poses.is_cone:
        return np.broadcast_to(source, pixels.shape), pixels - source
    return pixels, np.broadcast_to(-source, pixels.shape)


def _between_source_and_pixel(
    o_main: Float64Array, d_main: Float64Array, n_main: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Give the planes with ``0 < (plane - o) / d <= 1``."""
    end = o_main + d_main
    first = np.where(d_main > 0, np.floor(o_main) + 1, np.ceil(end))
    stop = np.where(d_main > 0, np.floor(end) + 1, np.ceil(o_main))
    # Distances beyond an int are cut before the conversion.
    return (
        np.clip(first, 0, n_main).astype(np.intp),
        np.clip(stop, 0, n_main).astype(np.intp),
    )


def _within_the_grid(
    sheets: Float64Array, middle: Float64Array, n_side: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Give a span of planes outside which the side index is not in (-1, n_side)."""
    offset, slope = sheets[..., 0], sheets[..., 1]
    straight = np.abs(slope) < STEEPEST
    slope = np.where(straight, 1.0, slope)
    one, two = (-1.0 - offset) / slope + middle, (n_side - offset) / slope + middle
    top = 2 * middle + 1
    first = np.clip(np.floor(np.minimum(one, two)), 0, top)
    stop = np.clip(np.ceil(np.maximum(one, two)) + 1, 0, top)
    return (
        np.where(straight, 0, first).astype(np.intp),
        np.where(straight, top, stop).astype(np.intp),
    )


def _lengths(poses: IndexPoses, directions: Float64Array, d_main: Float64Array) -> Float64Array:
    """Give the coefficients of the square of ``|A d| / |d_main|``, a parabola over the rows."""
    base = directions @ poses.matrix.T
    rise = (poses.steps_v @ poses.matrix.T)[:, None] * (1.0 if poses.is_cone else 0.0)
    square = np.broadcast_to((rise * rise).sum(-1), d_main.shape)
    coefficients = np.stack([(base * base).sum(-1), 2 * (base * rise).sum(-1), square], axis=-1)
    return np.asarray(coefficients / (d_main * d_main)[..., None])


def _inverse(
    poses: IndexPoses, shape_ijk: tuple[int, int, int], n_columns: int
) -> tuple[Float64Array, bool]:
    """Give numerator and denominator of the column that sees a point over (i, j).

    With c0 the middle column's pixel, the point X lies on the ray of column c where ``(X - o) x (c0
    + c u - o) = 0``, the cross product over (i, j); for a parallel beam d takes the place of X - o
    and X that of o.
    """
    half = (n_columns - 1) / 2
    middle = (np.array(shape_ijk[:2]) - 1) / 2
    pixel = (poses.corners + half * poses.steps_u)[:, :2] - middle
    u = poses.steps_u[:, :2]
    if poses.is_cone:
        o = poses.sources[:, :2] - middle
        towards = pixel - o
        numerator = np.stack([_cross(o, towards), -towards[:, 1], towards[:, 0]], axis=1)
        denominator = np.stack([-_cross(o, u), u[:, 1], -u[:, 0]], axis=1)
    else:
        d = -poses.sources[:, :2]
        numerator = np.stack([-_cross(pixel, d), d[:, 1], -d[:, 0]], axis=1)
        zero = np.zeros(len(d))
        denominator = np.stack([_cross(u, d), zero, zero], axis=1)
    x, y = ((np.array(shape_ijk[n]) + 1) / 2 * np.array([-1.0, 1.0]) for n in (0, 1))
    corners = np.array([[1.0, a, b] for a in x for b in y])
    depth = denominator @ corners.T
    depth = depth * np.sign(depth[:, :1])
    in_front = bool((depth > 1e-6 * depth.max(axis=1, keepdims=True)).all())
    if poses.is_cone:
        # The same sign all over may also mean that all lies behind the source.
        ahead = -poses.sources[:, :2] + middle
        normal = np.stack([u[:, 1], -u[:, 0]], axis=1)
        facing = (ahead * normal).sum(1) * ((pixel - o) * normal).sum(1)
        in_front = in_front and bool((facing > 0).all())
    return np.concatenate([numerator, denominator], axis=1), in_front


def _cross(a: Float64Array, b: Float64Array) -> Float64Array:
    """Give the cross product over two components."""
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
