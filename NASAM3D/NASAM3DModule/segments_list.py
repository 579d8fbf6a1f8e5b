"""The list of segments: which one is worked on, and which are finished."""

import slicer
from slicer import vtkSegmentation

from NASAM3DModule.segments import isLocked, segmentOf, setLocked


class SegmentsList:
    """Shows the segments of the chosen segmentation and lets the user pick one."""

    def __init__(self, widget) -> None:
        self.widget, self.ui = widget, widget.ui
        self._segmentation, self._isShowing = None, False
        self.ui.segmentsTable.connect(
            "selectionChanged(QItemSelection,QItemSelection)", self.onSelection
        )
        self.ui.lockButton.connect("clicked(bool)", self.onLock)

    def update(self, isRefining: bool) -> None:
        """Show the chosen segmentation, segment and lock; points rest while it is refined."""
        parameters = self.widget.parameters
        node = parameters.segmentation if parameters else None
        self._follow(node.GetSegmentation() if node else None)
        self._isShowing = True
        if self.ui.segmentsTable.segmentationNode() is not node:
            self.ui.segmentsTable.setSegmentationNode(node)
        segment = segmentOf(parameters)
        wanted = (parameters.segmentId,) if segment else ()
        if tuple(self.ui.segmentsTable.selectedSegmentIDs()) != wanted:
            self.ui.segmentsTable.setSelectedSegmentIDs(wanted)
        self._isShowing = False
        self.ui.lockButton.enabled = segment is not None
        self.ui.lockButton.checked = isLocked(segment)
        if parameters and parameters.points:
            parameters.points.SetLocked(isRefining or isLocked(segment))

    def onSelection(self, selected=None, deselected=None) -> None:
        """Go on with the segment that was picked."""
        parameters = self.widget.parameters
        ids = tuple(self.ui.segmentsTable.selectedSegmentIDs())
        if self._isShowing or not parameters or len(ids) != 1 or ids[0] == parameters.segmentId:
            return
        self.widget.logic.chooseSegment(parameters, ids[0])

    def onRemoved(self, caller=None, event=None) -> None:
        """Forget the chosen segment if it is the one that was removed."""
        parameters = self.widget.parameters
        isGone = parameters and parameters.segmentId and segmentOf(parameters) is None
        if isGone and not slicer.mrmlScene.IsBatchProcessing():
            self.widget.logic.forgetSegment(parameters)
        self.widget.updateGui()

    def onLock(self, locked: bool) -> None:
        """Protect the chosen segment, or give it free again."""
        segment = segmentOf(self.widget.parameters)
        if segment:
            setLocked(segment, locked)
        self.widget.updateGui()

    def _follow(self, segmentation) -> None:
        """Observe this segmentation instead of the one before."""
        if segmentation is self._segmentation:
            return
        widget = self.widget
        for each, change in (
            (self._segmentation, widget.removeObserver),
            (segmentation, widget.addObserver),
        ):
            if each:
                change(each, vtkSegmentation.SegmentAdded, widget.updateGui)
                change(each, vtkSegmentation.SegmentModified, widget.updateGui)
                change(each, vtkSegmentation.SegmentRemoved, self.onRemoved)
        self._segmentation = segmentation
