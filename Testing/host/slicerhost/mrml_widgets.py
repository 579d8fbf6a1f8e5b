"""Stand-ins for the widgets that show the nodes of a MRML scene."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk

from .qt_standin import Observers, stand_in, stored


@stand_in({"mrmlSceneChanged(vtkMRMLScene*)": None})
class qMRMLWidget(qt.QWidget):
    """A widget that has a scene."""

    mrmlSceneChanged = qt.Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@stand_in()
class qSlicerWidget(qMRMLWidget):
    """The same, under the name that Slicer's application library gives it."""


@stand_in(
    {
        "currentNodeChanged(vtkMRMLNode*)": object,
        "currentNodeChanged(bool)": bool,
        "nodeActivated(vtkMRMLNode*)": None,
        "nodeAdded(vtkMRMLNode*)": None,
        "nodeAddedByUser(vtkMRMLNode*)": None,
        "nodeAboutToBeEdited(vtkMRMLNode*)": None,
    }
)
class qMRMLNodeComboBox(qt.QWidget):
    """A choice among the nodes of some classes, which follows the scene."""

    currentNodeChanged = qt.Signal((object,), (bool,))
    currentNodeIDChanged = qt.Signal(str)
    currentNodeRenamed = qt.Signal(str)
    nodeActivated = qt.Signal(object)
    nodeAdded = qt.Signal(object)
    nodeAddedByUser = qt.Signal(object)
    nodeAboutToBeEdited = qt.Signal(object)
    nodeTypes, setNodeTypes = stored("QStringList", "nodeTypes", (), changed="_refresh")
    hideChildNodeTypes, setHideChildNodeTypes = stored(
        "QStringList", "hideChildNodeTypes", (), changed="_refresh"
    )
    noneEnabled, setNoneEnabled = stored(bool, "noneEnabled", False, changed="_refresh")
    noneDisplay, setNoneDisplay = stored(str, "noneDisplay", "None", changed="_refresh")
    showHidden, setShowHidden = stored(bool, "showHidden", False, changed="_refresh")
    showChildNodeTypes, setShowChildNodeTypes = stored(
        bool, "showChildNodeTypes", True, changed="_refresh"
    )
    addEnabled, setAddEnabled = stored(bool, "addEnabled", True)
    removeEnabled, setRemoveEnabled = stored(bool, "removeEnabled", True)
    editEnabled, setEditEnabled = stored(bool, "editEnabled", False)
    renameEnabled, setRenameEnabled = stored(bool, "renameEnabled", False)
    selectNodeUponCreation, setSelectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    baseName, setBaseName = stored(str, "baseName", "")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._attributes: dict[tuple[str, str], str | None] = {}
        self._current_id = ""
        self._refreshing = False
        self._scene_observers = Observers(self)
        self._name_observers = Observers(self)
        self._combo = qt.QComboBox()
        row = qt.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._combo)
        self._combo.currentIndexChanged.connect(self._index_changed)
        self._combo.activated.connect(lambda _: self.nodeActivated.emit(self.currentNode()))

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        self._scene_observers.clear()
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent)
            self._scene_observers.add(scene, events, self._scene_changed)
        self._refresh()

    def _scene_changed(self, scene: Any, _event: str) -> None:
        """Follow the scene, but not each step of a batch."""
        if not scene.IsBatchProcessing():
            self._refresh()

    def _shown_nodes(self) -> list[Any]:
        """Collect the scene's nodes that pass the filters, in the scene's order."""
        if self._scene is None:
            return []
        nodes = map(self._scene.GetNthNode, range(self._scene.GetNumberOfNodes()))
        return [node for node in nodes if self._passes(node)]

    def _passes(self, node: Any) -> bool:
        """Apply the filters to one node."""
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if self.showChildNodeTypes:
            if not any(node.IsA(kind) for kind in self.nodeTypes):
                return False
        elif node.GetClassName() not in self.nodeTypes:
            return False
        if any(node.IsA(kind) for kind in self.hideChildNodeTypes):
            return False
        for (kind, name), wanted in self._attributes.items():
            value = node.GetAttribute(name)
            if node.IsA(kind) and (value is None or (wanted is not None and value != wanted)):
                return False
        return True

    def _refresh(self) -> None:
        """Rebuild the list and keep the current node, or take its neighbour as Qt does."""
        previous_row = self._combo.currentIndex
        nodes = self._shown_nodes()
        self._refreshing = True
        self._combo.clear()
        self._name_observers.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, "")
        for node in nodes:
            self._combo.addItem(node.GetName(), node.GetID())
            self._name_observers.add(node, (vtk.vtkCommand.ModifiedEvent,), self._node_modified)
        row = self._combo.findData(self._current_id) if self._current_id else -1
        if row < 0:
            row = max(0, min(previous_row, self._combo.count - 1)) if self._current_id else 0
        self._combo.setCurrentIndex(row if self._combo.count else -1)
        self._refreshing = False
        self._index_changed()

    def _node_modified(self, node: Any, _event: str) -> None:
        row = self._combo.findData(node.GetID())
        if row >= 0 and self._combo.itemText(row) != node.GetName():
            self._combo.setItemText(row, node.GetName())
            if node.GetID() == self._current_id:
                self.currentNodeRenamed.emit(node.GetName())

    def _index_changed(self, *_: Any) -> None:
        node_id = self._combo.currentData or ""
        if self._refreshing or node_id == self._current_id:
            return
        self._current_id = node_id
        node = self.currentNode()
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(node_id)

    def currentNode(self) -> Any:
        node_id = self._combo.currentData
        return self._scene.GetNodeByID(node_id) if node_id and self._scene else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node else "")

    def setCurrentNodeID(self, node_id: str | None) -> None:
        self._combo.setCurrentIndex(self._combo.findData(node_id or ""))

    currentNodeID = qt.Property(str, lambda self: self._combo.currentData or "", setCurrentNodeID)

    def setCurrentNodeIndex(self, index: int) -> None:
        self._combo.setCurrentIndex(index + int(self.noneEnabled))

    def nodeCount(self) -> int:
        return self._combo.count - int(self.noneEnabled)

    def nodeFromIndex(self, index: int) -> Any:
        nodes = self._shown_nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        self._attributes[(node_type, name)] = None if value is None else str(value)
        self._refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes.pop((node_type, name), None)
        self._refresh()

    def addNode(self, node_type: str | None = None) -> Any:
        """Do what the entry "Create new" of the real widget does."""
        kind = node_type or next(iter(self.nodeTypes), None)
        if kind not in self.nodeTypes:
            return None
        node = self._scene.AddNewNodeByClass(kind, self.baseName)
        for (owner, name), value in self._attributes.items():
            if node.IsA(owner):
                node.SetAttribute(name, value or "")
        self._refresh()
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        if self.currentNode():
            self._scene.RemoveNode(self.currentNode())


def install() -> tuple[type, ...]:
    """Put the stand-ins into ``slicer`` and return them."""
    classes = (qMRMLWidget, qSlicerWidget, qMRMLNodeComboBox)
    for kind in classes:
        setattr(slicer, kind.__name__, kind)
    return classes
