"""Taking back and doing again what was done to a list of points."""

from NASAM3DModule import points as pointsOf


class PointHistory:
    """The states that a list of points went through, and which of them holds now.

    Points that were there before, as in a scene that was opened again, can be taken back one by one
    in the order in which they lie in the list.
    """

    def __init__(self, points) -> None:
        placed = stateOf(points)
        self._states = [(), *(placed[:n] for n in ends(placed, 0))]
        self._now = len(self._states) - 1

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
        # Points that came together are still taken back one by one, and strokes as a whole.
        isLonger = state[: len(before)] == before
        steps = ends(state, len(before)) if isLonger else (len(state),)
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
    """Give position, kind and stroke of every placed point."""
    return tuple(
        (
            tuple(points.GetNthControlPointPosition(n)),
            pointsOf.isPositive(points, n),
            pointsOf.strokeOf(points, n),
        )
        for n in pointsOf.placedIndices(points)
    )


def ends(state: tuple, begin: int) -> list:
    """List where the clicks and strokes of a state end, from an index on."""
    strokes = [stroke for *_, stroke in state]
    return [
        n
        for n in range(begin + 1, len(state) + 1)
        if n == len(state) or not strokes[n] or strokes[n] != strokes[n - 1]
    ]


def setState(points, state: tuple) -> None:
    """Give the list these points; one that follows the mouse stays."""
    indices = pointsOf.placedIndices(points)
    for index in reversed(indices[len(state) :]):
        points.RemoveNthControlPoint(index)
    for order, (position, positive, stroke) in enumerate(state):
        if order < len(indices):
            index = indices[order]
            points.SetNthControlPointPosition(index, *position)
        else:
            index = points.AddControlPoint(*position)
        pointsOf.markPoint(points, index, positive, stroke)
