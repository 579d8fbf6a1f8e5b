"""Taking back and doing again what was done to a list of points."""

from NASAM3DModule import points as pointsOf


class PointHistory:
    """The states that a list of points went through, and which of them holds now.

    Points that were there before, as in a scene that was opened again, can be taken back one by one
    in the order in which they lie in the list.
    """

    def __init__(self, points) -> None:
        placed = stateOf(points)
        self._states = [placed[:n] for n in range(len(placed) + 1)]
        self._now = len(placed)

    @property
    def canUndo(self) -> bool:
        """Whether something can be taken back."""
        return self._now > 0

    @property
    def canRedo(self) -> bool:
        """Whether something that was taken back can be done again."""
        return self._now < len(self._states) - 1

    def record(self, points) -> bool:
        """Remember the state of the points if it is a new one; what was taken back is forgotten.

        Tells whether it is a new one.
        """
        state, before = stateOf(points), self._states[self._now]
        if state == before:
            return False
        # Points that came together are still taken back one by one.
        isLonger = state[: len(before)] == before
        steps = range(len(before) + 1, len(state) + 1) if isLonger else (len(state),)
        self._states[self._now + 1 :] = [state[:n] for n in steps]
        self._now = len(self._states) - 1
        return True

    def restore(self, points) -> bool:
        """Bring back the state that was remembered last; tell whether the points were another."""
        differs = stateOf(points) != self._states[self._now]
        if differs:
            setState(points, self._states[self._now])
        return differs

    def undo(self, points) -> None:
        """Go one state back, if there is one."""
        if self.canUndo:
            self._now -= 1
            self.restore(points)

    def redo(self, points) -> None:
        """Go one state forward again, if there is one."""
        if self.canRedo:
            self._now += 1
            self.restore(points)


def stateOf(points) -> tuple:
    """Give position and kind of every placed point."""
    return tuple(
        (tuple(points.GetNthControlPointPosition(n)), pointsOf.isPositive(points, n))
        for n in pointsOf.placedIndices(points)
    )


def setState(points, state: tuple) -> None:
    """Give the list these points; one that follows the mouse stays."""
    indices = pointsOf.placedIndices(points)
    for index in reversed(indices[len(state) :]):
        points.RemoveNthControlPoint(index)
    for order, (position, positive) in enumerate(state):
        if order < len(indices):
            index = indices[order]
            points.SetNthControlPointPosition(index, *position)
        else:
            index = points.AddControlPoint(*position)
        pointsOf.markPoint(points, index, positive)
