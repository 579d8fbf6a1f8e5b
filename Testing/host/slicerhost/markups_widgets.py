"""Stand-ins for the widgets that list and place control points."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk

from .mrml_widgets import qMRMLNodeComboBox, qSlicerWidget
from .qt_standin import Observers, stand_in, stored

_HEADERS = ("Label", "R", "A", "S")


@stand_in()
class qSlicerMarkupsPlaceWidget(qSlicerWidget):
    """The buttons that start and stop placing points, and delete them.

    The state is Slicer's own, in the scene's selection and interaction nodes and in the Markups
    logic; this class only shows and sets it.
    """

    ShowPlaceMultipleMarkupsOption, HidePlaceMultipleMarkupsOption = 0, 1
    ForcePlaceSingleMarkup, ForcePlaceMultipleMarkups = 2, 3

    activeMarkupsPlaceModeChanged = qt.Signal(bool)
    placeMultipleMarkups, setPlaceMultipleMarkups = stored(int, "placeMultipleMarkups", 0)
    buttonsVisible, setButtonsVisible = stored(bool, "buttonsVisible", True)
    deleteAllControlPointsOptionVisible, setDeleteAllControlPointsOptionVisible = stored(
        bool, "deleteAllControlPointsOptionVisible", True
    )

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._announced = False
        self._node_observers = Observers(self)
        self._scene_observers = Observers(self)
        self._place = qt.QToolButton()
        self._place.setText("Place")
        self._place.setCheckable(True)
        self._delete = qt.QToolButton()
        self._delete.setText("Delete")
        row = qt.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._place)
        row.addWidget(self._delete)
        self._place.toggled.connect(self.setPlaceModeEnabled)
        self._delete.clicked.connect(self.deleteLastPoint)
        self._update()

    def placeButton(self) -> Any:
        return self._place

    def deleteButton(self) -> Any:
        return self._delete

    def interactionNode(self) -> Any:
        scene = self.mrmlScene()
        return scene.GetNodeByID("vtkMRMLInteractionNodeSingleton") if scene else None

    def selectionNode(self) -> Any:
        scene = self.mrmlScene()
        return scene.GetNodeByID("vtkMRMLSelectionNodeSingleton") if scene else None

    def setMRMLScene(self, scene: Any) -> None:
        super().setMRMLScene(scene)
        self._scene_observers.clear()
        modified = (vtk.vtkCommand.ModifiedEvent,)
        self._scene_observers.add(self.interactionNode(), modified, self._update)
        self._scene_observers.add(self.selectionNode(), modified, self._update)
        self._update()

    def currentNode(self) -> Any:
        return self._node

    def currentMarkupsNode(self) -> Any:
        return self._node

    def setCurrentNode(self, node: Any) -> None:
        if node is self._node:
            return
        self._node = node
        self._node_observers.clear()
        if node is not None:
            events = (
                vtk.vtkCommand.ModifiedEvent,
                node.PointAddedEvent,
                node.PointRemovedEvent,
                node.PointPositionDefinedEvent,
            )
            self._node_observers.add(node, events, self._update)
        self._update()

    def _is_current_active(self) -> bool:
        if self._node is None or self.selectionNode() is None:
            return False
        return self.selectionNode().GetActivePlaceNodeID() == self._node.GetID()

    def setCurrentNodeActive(self, active: bool) -> None:
        if active == self._is_current_active():
            return
        slicer.modules.markups.logic().SetActiveList(self._node if active else None)
        if not active:
            interaction = self.interactionNode()
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)

    currentNodeActive = qt.Property(bool, _is_current_active, setCurrentNodeActive)

    def _is_placing(self) -> bool:
        interaction = self.interactionNode()
        return self._is_current_active() and (
            interaction.GetCurrentInteractionMode() == interaction.Place
        )

    def setPlaceModeEnabled(self, enable: bool) -> None:
        interaction = self.interactionNode()
        if interaction is None or self._node is None:
            return
        if not enable:
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)
            return
        self.setCurrentNodeActive(True)
        if self.placeMultipleMarkups == self.ForcePlaceSingleMarkup:
            self.setPlaceModePersistency(False)
        elif self.placeMultipleMarkups == self.ForcePlaceMultipleMarkups:
            self.setPlaceModePersistency(True)
        interaction.SetCurrentInteractionMode(interaction.Place)

    placeModeEnabled = qt.Property(bool, _is_placing, setPlaceModeEnabled)

    def _is_persistent(self) -> bool:
        interaction = self.interactionNode()
        return interaction is not None and bool(interaction.GetPlaceModePersistence())

    def setPlaceModePersistency(self, persistent: bool) -> None:
        self.interactionNode().SetPlaceModePersistence(int(persistent))

    placeModePersistency = qt.Property(bool, _is_persistent, setPlaceModePersistency)

    def deleteLastPoint(self, *_: Any) -> None:
        if self._node is not None and self._node.GetNumberOfControlPoints() > 0:
            self._node.RemoveNthControlPoint(self._node.GetNumberOfControlPoints() - 1)

    def deleteAllPoints(self) -> None:
        if self._node is not None:
            self._node.RemoveAllControlPoints()

    def _update(self, *_: Any) -> None:
        """Show the scene's state on the buttons, and announce a change of it once."""
        node = self._node
        placing = self._is_placing()
        self._place.enabled = node is not None and not node.GetControlPointPlacementComplete()
        self._delete.enabled = node is not None and node.GetNumberOfControlPoints() > 0
        self._place.blockSignals(True)
        self._place.checked = placing
        self._place.blockSignals(False)
        if placing != self._announced:
            self._announced = placing
            self.activeMarkupsPlaceModeChanged.emit(placing)


@stand_in()
class qSlicerSimpleMarkupsWidget(qSlicerWidget):
    """A point list with its selector, its place button and its table."""

    markupsNodeChanged = qt.Signal()
    activeMarkupsPlaceModeChanged = qt.Signal(bool)
    currentMarkupsControlPointSelectionChanged = qt.Signal(int)
    updateFinished = qt.Signal()
    enterPlaceModeOnNodeChange, setEnterPlaceModeOnNodeChange = stored(
        bool, "enterPlaceModeOnNodeChange", True
    )
    jumpToSliceEnabled, setJumpToSliceEnabled = stored(bool, "jumpToSliceEnabled", False)
    viewGroup, setViewGroup = stored(int, "viewGroup", -1)
    defaultNodeColor, setDefaultNodeColor = stored(
        qt.QColor, "defaultNodeColor", qt.QColor(255, 128, 128)
    )

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._observers = Observers(self)
        self._selector = qMRMLNodeComboBox()
        self._selector.nodeTypes = ("vtkMRMLMarkupsFiducialNode",)
        self._selector.noneEnabled = True
        self._place_widget = qSlicerMarkupsPlaceWidget()
        self._table = qt.QTableWidget(0, len(_HEADERS))
        self._table.setHorizontalHeaderLabels(_HEADERS)
        self._table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        row = qt.QHBoxLayout()
        row.addWidget(self._selector, 1)
        row.addWidget(self._place_widget)
        column = qt.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self._table)
        self._selector.currentNodeChanged.connect(self._user_changed_node)
        self._selector.nodeAddedByUser.connect(self._user_added_node)
        self._place_widget.activeMarkupsPlaceModeChanged.connect(self.activeMarkupsPlaceModeChanged)
        self._table.cellClicked.connect(self._cell_clicked)

    def setMRMLScene(self, scene: Any) -> None:
        super().setMRMLScene(scene)
        self._selector.setMRMLScene(scene)
        self._place_widget.setMRMLScene(scene)

    def markupsPlaceWidget(self) -> Any:
        return self._place_widget

    def markupsSelectorComboBox(self) -> Any:
        return self._selector

    def tableWidget(self) -> Any:
        return self._table

    def interactionNode(self) -> Any:
        return self._place_widget.interactionNode()

    def currentNode(self) -> Any:
        return self._selector.currentNode()

    def setCurrentNode(self, node: Any) -> None:
        """Show a node; unlike the user's own choice this does not start placing."""
        if node is self._node:
            return
        self._node = node
        self._selector.blockSignals(True)
        self._selector.setCurrentNode(node)
        self._selector.blockSignals(False)
        self._place_widget.setCurrentNode(node)
        self._observers.clear()
        if node is not None:
            events = (
                vtk.vtkCommand.ModifiedEvent,
                node.PointAddedEvent,
                node.PointRemovedEvent,
                node.PointModifiedEvent,
            )
            self._observers.add(node, events, self._refresh)
        self._refresh()
        self.markupsNodeChanged.emit()

    def _user_changed_node(self, node: Any) -> None:
        self.setCurrentNode(node)
        if self.enterPlaceModeOnNodeChange:
            self._place_widget.setPlaceModeEnabled(node is not None)

    def _user_added_node(self, node: Any) -> None:
        node.CreateDefaultDisplayNodes()
        self._user_changed_node(node)

    def setNodeBaseName(self, name: str) -> None:
        self._selector.setBaseName(name)

    def setNodeSelectorVisible(self, visible: bool) -> None:
        self._selector.setVisible(visible)

    nodeSelectorVisible = qt.Property(
        bool, lambda self: not self._selector.isHidden(), setNodeSelectorVisible
    )

    def setOptionsVisible(self, visible: bool) -> None:
        self._place_widget.setVisible(visible)

    optionsVisible = qt.Property(
        bool, lambda self: not self._place_widget.isHidden(), setOptionsVisible
    )

    def setNodeColor(self, colour: Any) -> None:
        if self._node is not None and self._node.GetDisplayNode() is not None:
            rgb = (colour.redF(), colour.greenF(), colour.blueF())
            self._node.GetDisplayNode().SetSelectedColor(*rgb)

    def highlightNthControlPoint(self, index: int) -> None:
        self._table.selectRow(index)

    def placeActive(self, place: bool) -> None:
        self._place_widget.setPlaceModeEnabled(place)

    def _cell_clicked(self, row: int, _column: int) -> None:
        if self.jumpToSliceEnabled:
            logic = slicer.modules.markups.logic()
            logic.JumpSlicesToNthPointInMarkup(self._node.GetID(), row, True, self.viewGroup)
        self.currentMarkupsControlPointSelectionChanged.emit(row)

    def _refresh(self, *_: Any) -> None:
        """Write the node's control points into the table."""
        node = self._node
        count = 0 if node is None else node.GetNumberOfControlPoints()
        self._table.setRowCount(count)
        for row in range(count):
            position = [0.0, 0.0, 0.0]
            node.GetNthControlPointPosition(row, position)
            texts = (node.GetNthControlPointLabel(row), *(f"{value:.3f}" for value in position))
            for column, text in enumerate(texts):
                self._table.setItem(row, column, qt.QTableWidgetItem(text))
        self.updateFinished.emit()


def install() -> tuple[type, ...]:
    """Put the stand-ins into ``slicer`` and return them."""
    classes = (qSlicerMarkupsPlaceWidget, qSlicerSimpleMarkupsWidget)
    for kind in classes:
        setattr(slicer, kind.__name__, kind)
    return classes
