"""Stand-in for the table of a segmentation's segments."""

from __future__ import annotations

from typing import Any

import qt
import slicer

from .mrml_widgets import qMRMLWidget
from .qt_standin import Observers, stand_in, stored

_ID_ROLE = qt.Qt.UserRole
_VISIBILITY, _COLOUR, _NAME = range(3)


@stand_in()
class qMRMLSegmentsTableView(qMRMLWidget):
    """Visibility, colour and name of each segment."""

    selectionChanged = qt.Signal(qt.QItemSelection, qt.QItemSelection)
    segmentAboutToBeModified = qt.Signal(str)
    headerVisible, setHeaderVisible = stored(bool, "headerVisible", True)
    readOnly, setReadOnly = stored(bool, "readOnly", False)
    filterBarVisible, setFilterBarVisible = stored(bool, "filterBarVisible", False)
    colorColumnVisible, setColorColumnVisible = stored(bool, "colorColumnVisible", True)
    opacityColumnVisible, setOpacityColumnVisible = stored(bool, "opacityColumnVisible", True)
    statusColumnVisible, setStatusColumnVisible = stored(bool, "statusColumnVisible", False)
    layerColumnVisible, setLayerColumnVisible = stored(bool, "layerColumnVisible", False)
    visibilityColumnVisible, setVisibilityColumnVisible = stored(
        bool, "visibilityColumnVisible", True
    )
    jumpToSelectedSegmentEnabled, setJumpToSelectedSegmentEnabled = stored(
        bool, "jumpToSelectedSegmentEnabled", False
    )

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._observers = Observers(self)
        self._table = qt.QTableWidget(0, 3)
        self._table.setHorizontalHeaderLabels(["Visible", "Color", "Name"])
        self._table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        column = qt.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._table)
        self._table.selectionModel().selectionChanged.connect(self.selectionChanged)
        self._table.itemChanged.connect(self._item_changed)

    def tableWidget(self) -> Any:
        return self._table

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._observers.clear()
        self._node = node
        if node is not None:
            segmentation = node.GetSegmentation()
            events = (
                segmentation.SegmentAdded,
                segmentation.SegmentRemoved,
                segmentation.SegmentModified,
                segmentation.SegmentsOrderModified,
            )
            self._observers.add(segmentation, events, self._refresh)
            self._observers.add(node, (node.DisplayModifiedEvent,), self._refresh)
        self._refresh()

    def setMRMLScene(self, scene: Any) -> None:
        if self._node is not None and self._node.GetScene() is not scene:
            self.setSegmentationNode(None)
        super().setMRMLScene(scene)

    def displayedSegmentIDs(self) -> tuple[str, ...]:
        return () if self._node is None else self._node.GetSegmentation().GetSegmentIDs()

    segmentCount = qt.Property(int, lambda self: self._table.rowCount)

    def _refresh(self, *_: Any) -> None:
        """Rebuild the rows and keep the selection."""
        selected = self.selectedSegmentIDs()
        ids = self.displayedSegmentIDs()
        self._table.blockSignals(True)
        self._table.setRowCount(len(ids))
        for row, segment_id in enumerate(ids):
            self._fill_row(row, segment_id)
        self._table.blockSignals(False)
        self.setSelectedSegmentIDs(selected)

    def _fill_row(self, row: int, segment_id: str) -> None:
        segment = self._node.GetSegmentation().GetSegment(segment_id)
        display = self._node.GetDisplayNode()
        shown = display is None or display.GetSegmentVisibility(segment_id)
        visibility = qt.QTableWidgetItem("")
        visibility.setData(_ID_ROLE, segment_id)
        visibility.setCheckState(qt.Qt.Checked if shown else qt.Qt.Unchecked)
        colour = qt.QTableWidgetItem("")
        colour.setBackground(qt.QBrush(qt.QColor.fromRgbF(*segment.GetColor())))
        colour.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
        self._table.setItem(row, _VISIBILITY, visibility)
        self._table.setItem(row, _COLOUR, colour)
        self._table.setItem(row, _NAME, qt.QTableWidgetItem(segment.GetName()))

    def _item_changed(self, item: Any) -> None:
        """Take over what the user did to a row: its tick or its name."""
        segment_id = self.segmentIDForRow(item.row())
        display = self._node.GetDisplayNode()
        if item.column() == _VISIBILITY and display is not None:
            display.SetSegmentVisibility(segment_id, item.checkState() == qt.Qt.Checked)
        elif item.column() == _NAME:
            self.segmentAboutToBeModified.emit(segment_id)
            self._node.GetSegmentation().GetSegment(segment_id).SetName(item.text())

    def segmentIDForRow(self, row: int) -> str:
        return self._table.item(row, _VISIBILITY).data(_ID_ROLE)

    def rowForSegmentID(self, segment_id: str) -> int:
        rows = range(self._table.rowCount)
        return next((row for row in rows if self.segmentIDForRow(row) == segment_id), -1)

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        rows = sorted(index.row() for index in self._table.selectionModel().selectedRows())
        return tuple(self.segmentIDForRow(row) for row in rows)

    def setSelectedSegmentIDs(self, segment_ids: Any) -> None:
        self.clearSelection()
        model = self._table.selectionModel()
        flags = qt.QItemSelectionModel.Select | qt.QItemSelectionModel.Rows
        for row in map(self.rowForSegmentID, segment_ids):
            if row >= 0:
                model.select(self._table.model().index(row, 0), flags)

    def clearSelection(self) -> None:
        self._table.clearSelection()


def install() -> tuple[type, ...]:
    """Put the stand-in into ``slicer`` and return it."""
    slicer.qMRMLSegmentsTableView = qMRMLSegmentsTableView
    return (qMRMLSegmentsTableView,)
