"""What the user pointed at: points and scribbles, on the object and beside it, and a box."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.grid import VolumeGrid

POSITIVE, NEGATIVE = 1, 0

CLICK = -1
"""Scribble number of a point that is a click of its own."""


def _no_points() -> npt.NDArray[np.float64]:
    return np.zeros((0, 3))


def _no_labels() -> npt.NDArray[np.int8]:
    return np.zeros(0, dtype=np.int8)


def _no_scribbles() -> npt.NDArray[np.int32]:
    return np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Prompts:
    """Clicks, scribbles and an optional box, in the order in which they were given.

    Parameters
    ----------
    points_ras : ndarray, shape (n, 3), float64
        Clicked points and vertices of scribbles, mm.
    labels : ndarray, shape (n,), int8
        1 for a point on the object, 0 for a point beside it (the coding of Segment Anything).
    box_ras : ndarray, shape (2, 3), float64, optional
        Minimum and maximum corner of a box around the object, mm, along the axes of RAS. Alone it
        is enough to segment: a click is then derived from it.
    scribbles : ndarray, shape (n,), int32, optional
        Number of the scribble that a point is a vertex of, or -1 for a click of its own; by default
        all points are clicks. A scribble is the polyline through its vertices, which follow each
        other and have one label.

    Raises
    ------
    ValueError
        If shapes disagree, a coordinate is not finite, a label is neither 0 nor 1, the box is
        empty, or a scribble is interrupted or has two labels.

    See Also
    --------
    NASAM3DLib.segment.prompt_voxels.resolve : What an engine makes of them.

    Examples
    --------
    >>> prompts = Prompts().with_point([0, 0, 0])
    >>> prompts = prompts.with_scribble([[9, 0, 0], [9, 8, 0]], positive=False)
    >>> len(prompts), len(prompts.parts)
    (3, 2)
    """

    points_ras: npt.NDArray[np.float64] = field(default_factory=_no_points)
    labels: npt.NDArray[np.int8] = field(default_factory=_no_labels)
    box_ras: npt.NDArray[np.float64] | None = None
    scribbles: npt.NDArray[np.int32] = field(default_factory=_no_scribbles)

    def __post_init__(self) -> None:
        points = np.array(self.points_ras, dtype=np.float64)
        labels = np.array(self.labels)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(
                f"Prompts.points_ras must have shape (n, 3) in mm, got {points.shape}."
            )
        if labels.shape != (len(points),):
            raise ValueError(
                f"Prompts.labels must have one entry for each of the {len(points)} points, got "
                f"shape {labels.shape}."
            )
        if not np.isfinite(points).all():
            raise ValueError("Prompts.points_ras must be finite, got NaN or infinity.")
        if not np.isin(labels, (NEGATIVE, POSITIVE)).all():
            raise ValueError(
                "Prompts.labels must be 1 (positive) or 0 (negative), got "
                f"{sorted(set(labels.tolist()))}."
            )
        object.__setattr__(self, "points_ras", points)
        object.__setattr__(self, "labels", labels.astype(np.int8))
        object.__setattr__(self, "scribbles", _checked_scribbles(self.scribbles, labels))
        if self.box_ras is not None:
            object.__setattr__(self, "box_ras", _checked_box(self.box_ras))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def positive_ras(self) -> npt.NDArray[np.float64]:
        """Positive points, shape (n, 3), mm."""
        return np.asarray(self.points_ras[self.labels == POSITIVE])

    @property
    def negative_ras(self) -> npt.NDArray[np.float64]:
        """Negative points, shape (n, 3), mm."""
        return np.asarray(self.points_ras[self.labels == NEGATIVE])

    @property
    def parts(self) -> tuple[slice, ...]:
        """Points of each click and each scribble, in order."""
        new = (np.diff(self.scribbles) != 0) | (self.scribbles[1:] == CLICK)
        edges = [0, *(np.flatnonzero(new) + 1).tolist(), len(self)]
        return tuple(slice(a, b) for a, b in itertools.pairwise(edges) if a < b)

    @property
    def shows_object(self) -> bool:
        """Whether there is anything on the object: a positive point or scribble, or a box."""
        return self.box_ras is not None or bool((self.labels == POSITIVE).any())

    def with_point(self, point_ras: npt.ArrayLike, *, positive: bool = True) -> Prompts:
        """Give the prompts with one more click at the end.

        Parameters
        ----------
        point_ras : array_like, shape (3,)
            The point, mm.
        positive : bool
            Whether it lies on the object.

        Returns
        -------
        Prompts
        """
        return self._extended(np.asarray(point_ras, dtype=np.float64).reshape(1, -1), positive)

    def with_scribble(self, points_ras: npt.ArrayLike, *, positive: bool = True) -> Prompts:
        """Give the prompts with one more scribble at the end.

        Parameters
        ----------
        points_ras : array_like, shape (n, 3)
            Vertices of the polyline, mm; every voxel that it passes is marked.
        positive : bool
            Whether it lies on the object.

        Returns
        -------
        Prompts

        Raises
        ------
        ValueError
            If there is no vertex.
        """
        points = np.asarray(points_ras, dtype=np.float64)
        if not points.size:
            raise ValueError("A scribble needs at least one point, got none.")
        number = max(int(self.scribbles.max(initial=CLICK)), CLICK) + 1
        return self._extended(points, positive, number=number)

    def with_box(self, box_ras: npt.ArrayLike | None) -> Prompts:
        """Give the prompts with another box, or without one.

        Parameters
        ----------
        box_ras : array_like, shape (2, 3), or None
            Minimum and maximum corner, mm.

        Returns
        -------
        Prompts
        """
        box = None if box_ras is None else np.array(box_ras, dtype=np.float64)
        return replace(self, box_ras=box)

    def without_last(self) -> Prompts:
        """Give the prompts without the newest click or scribble.

        Returns
        -------
        Prompts

        Raises
        ------
        RuntimeError
            If there is no point.
        """
        if not len(self):
            raise RuntimeError("There is no point to take back.")
        n = self.parts[-1].start
        return Prompts(self.points_ras[:n], self.labels[:n], self.box_ras, self.scribbles[:n])

    def _extended(
        self, points_ras: npt.NDArray[np.float64], positive: bool, *, number: int = CLICK
    ) -> Prompts:
        """Give the prompts with more points at the end."""
        n_points = len(points_ras)
        labels = np.full(n_points, POSITIVE if positive else NEGATIVE, dtype=np.int8)
        return Prompts(
            np.concatenate([self.points_ras, points_ras]),
            np.concatenate([self.labels, labels]),
            self.box_ras,
            np.concatenate([self.scribbles, np.full(n_points, number, dtype=np.int32)]),
        )

    def voxels(self, grid: VolumeGrid) -> npt.NDArray[np.intp]:
        """Find the voxel of each point, refusing what cannot be served.

        Parameters
        ----------
        grid : VolumeGrid
            Grid of the volume that was clicked on.

        Returns
        -------
        ndarray, shape (n, 3), intp
            Voxel index (k, j, i) of each point; of a scribble, those of its vertices alone.

        Raises
        ------
        ValueError
            If a point lies outside the volume, or a positive and a negative point fall into one
            voxel.
        """
        outside = np.flatnonzero(~grid.contains(self.points_ras))
        if outside.size:
            index = int(outside[0])
            point = ", ".join(f"{x:.1f}" for x in self.points_ras[index])
            low, high = grid.corners_ras.min(axis=0), grid.corners_ras.max(axis=0)
            extent = ", ".join(f"{a:.1f} to {b:.1f}" for a, b in zip(low, high, strict=True))
            raise ValueError(
                f"Point {index + 1} at RAS ({point}) mm lies outside the volume, which spans "
                f"({extent}) mm: move the point into the volume or choose the volume it belongs to."
            )
        voxels = np.rint(grid.to_ijk(self.points_ras)).astype(np.intp)[:, ::-1]
        positive = {tuple(v) for v in voxels[self.labels == POSITIVE]}
        for index in np.flatnonzero(self.labels == NEGATIVE).tolist():
            if tuple(voxels[index]) in positive:
                point = ", ".join(f"{x:.1f}" for x in self.points_ras[index])
                raise ValueError(
                    f"Negative point {index + 1} at RAS ({point}) mm falls into the same voxel as "
                    "a positive point: remove one of the two."
                )
        return voxels

    def inside_box(self, grid: VolumeGrid) -> npt.NDArray[np.bool_]:
        """Mark the voxels whose centres lie in the box.

        Parameters
        ----------
        grid : VolumeGrid
            Any grid, also oblique to the box.

        Returns
        -------
        ndarray, shape (k, j, i), bool
            True everywhere if there is no box.
        """
        inside = np.ones(grid.shape_kji, dtype=np.bool_)
        if self.box_ras is None:
            return inside
        k, j, i = (np.arange(n, dtype=np.float64) for n in grid.shape_kji)
        for axis, (low, high) in enumerate(self.box_ras.T):
            a, b, c, origin = grid.ijk_to_ras[axis]
            position = origin + a * i + (b * j)[:, None] + (c * k)[:, None, None]
            inside &= (position >= low) & (position <= high)
        return inside

    def checked_voxels(self, grid: VolumeGrid) -> npt.NDArray[np.intp]:
        """Find the points' voxels after checking that an object can be segmented from the prompts.

        Parameters
        ----------
        grid : VolumeGrid
            Voxels of the volume.

        Returns
        -------
        ndarray, shape (n, 3), intp
            As :meth:`voxels` gives them.

        Raises
        ------
        ValueError
            If there is neither a positive point nor a box, a point is outside the volume, or a
            positive one outside the box.
        """
        voxels = self.voxels(grid)
        if not self.shows_object:
            raise ValueError(
                "There is no positive point: put at least one point on the object to be segmented, "
                "or a box around it."
            )
        self.check_box()
        return voxels

    def check_box(self) -> None:
        """Refuse a box that contradicts a positive point.

        Raises
        ------
        ValueError
            If a positive point lies outside the box.
        """
        if self.box_ras is None:
            return
        low, high = self.box_ras
        outside = ((self.points_ras < low) | (self.points_ras > high)).any(axis=1)
        for index in np.flatnonzero(outside & (self.labels == POSITIVE)).tolist():
            point = ", ".join(f"{x:.1f}" for x in self.points_ras[index])
            raise ValueError(
                f"Positive point {index + 1} at RAS ({point}) mm lies outside the box: enlarge the "
                "box or remove the point."
            )


def _checked_box(box_ras: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Give the box as float64 after checking that it has a size."""
    box = np.array(box_ras, dtype=np.float64)
    if box.shape != (2, 3) or not np.isfinite(box).all():
        raise ValueError(
            f"Prompts.box_ras must hold two finite corners, shape (2, 3) in mm, got {box.shape}."
        )
    if (box[1] <= box[0]).any():
        raise ValueError(
            f"Prompts.box_ras must hold the minimum corner first and have a size along each axis, "
            f"got {box.tolist()}."
        )
    return box


def _checked_scribbles(
    scribbles: npt.ArrayLike, labels: npt.NDArray[np.int8]
) -> npt.NDArray[np.int32]:
    """Give the scribbles' numbers after checking that each is one line of one label."""
    numbers = np.array(scribbles, dtype=np.int32)
    if not numbers.size:
        numbers = np.full(len(labels), CLICK, dtype=np.int32)
    if numbers.shape != labels.shape:
        raise ValueError(
            f"Prompts.scribbles must have one number for each of the {len(labels)} points, got "
            f"shape {numbers.shape}."
        )
    for number in set(numbers[numbers != CLICK].tolist()):
        places = np.flatnonzero(numbers == number)
        if number < 0:
            raise ValueError(f"Prompts.scribbles must be -1 (a click) or 0 and more, got {number}.")
        if (np.diff(places) != 1).any():
            raise ValueError(f"The points of scribble {number} must follow each other.")
        if np.ptp(labels[places]):
            raise ValueError(f"The points of scribble {number} must have one label.")
    return numbers
