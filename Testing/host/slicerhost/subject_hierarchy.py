"""Subject hierarchy: the real node, kept up to date by a stand-in for Slicer's plugins."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from vtk.util.misc import calldata_type

from .ctk_widgets import ctkComboBox
from .qt_standin import Observers, stand_in, stored


class SubjectHierarchyKeeper:
    """Gives each displayable node of a scene an item, as Slicer's default plugin does.

    Parameters
    ----------
    scene : vtkMRMLScene
        The scene to watch, for as long as it lives.
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        scene.AddObserver(scene.NodeAddedEvent, self._add)
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._remove)
        scene.AddObserver(scene.EndImportEvent, self._complete, 10.0)
        scene.AddObserver(scene.EndCloseEvent, self._complete, 10.0)
        self._complete()

    def _hierarchy(self) -> Any:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    @calldata_type(vtk.VTK_OBJECT)
    def _add(self, scene: Any, _event: str, node: Any) -> None:
        if not scene.IsImporting():
            self._ensure_item(node)

    def _ensure_item(self, node: Any) -> None:
        if not node.IsA("vtkMRMLDisplayableNode") or node.GetHideFromEditors():
            return
        hierarchy = self._hierarchy()
        if hierarchy.GetItemByDataNode(node) == hierarchy.GetInvalidItemID():
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    @calldata_type(vtk.VTK_OBJECT)
    def _remove(self, scene: Any, _event: str, node: Any) -> None:
        if scene.IsClosing() or not node.IsA("vtkMRMLDisplayableNode"):
            return
        hierarchy = self._hierarchy()
        item = hierarchy.GetItemByDataNode(node)
        if item != hierarchy.GetInvalidItemID():
            hierarchy.RemoveItem(item, False, False)

    def _complete(self, *_: Any) -> None:
        """Merge what an import brought, and add what it left out."""
        slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(self._scene)
        for index in range(self._scene.GetNumberOfNodes()):
            self._ensure_item(self._scene.GetNthNode(index))


@stand_in({"currentItemChanged(vtkIdType)": None, "currentItemModified(vtkIdType)": None})
class qMRMLSubjectHierarchyComboBox(ctkComboBox):
    """A choice among the items of the subject hierarchy that have a node."""

    currentItemChanged = qt.Signal(object)
    currentItemModified = qt.Signal(object)
    nodeTypes, setNodeTypes = stored("QStringList", "nodeTypes", (), changed="_refresh")
    noneEnabled, setNoneEnabled = stored(bool, "noneEnabled", False, changed="_refresh")
    noneDisplay, setNoneDisplay = stored(str, "noneDisplay", "None", changed="_refresh")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._shown_item = 0
        self._observers = Observers(self)
        self.currentIndexChanged.connect(self._index_changed)

    def mrmlScene(self) -> Any:
        return self._scene

    def subjectHierarchyNode(self) -> Any:
        if self._scene is None:
            return None
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self._observers.clear()
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent)
            # After the keeper of the items has done its part.
            self._observers.add(scene, events, self._scene_changed)
        self._refresh()

    def _scene_changed(self, scene: Any, _event: str) -> None:
        if not scene.IsBatchProcessing():
            self._refresh()

    def _refresh(self) -> None:
        hierarchy = self.subjectHierarchyNode()
        self.blockSignals(True)
        self.clear()
        if self.noneEnabled:
            self.addItem(self.noneDisplay, 0)
        ids = vtk.vtkIdList()
        if hierarchy is not None:
            hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), ids, True)
        for item in map(ids.GetId, range(ids.GetNumberOfIds())):
            node = hierarchy.GetItemDataNode(item)
            if node is not None and self._passes(node):
                self.addItem(hierarchy.GetItemName(item), item)
        self.setCurrentIndex(max(0, self.findData(self._shown_item)) if self.count else -1)
        self.blockSignals(False)
        self._index_changed()

    def _passes(self, node: Any) -> bool:
        return not self.nodeTypes or any(node.IsA(kind) for kind in self.nodeTypes)

    def _index_changed(self, *_: Any) -> None:
        item = self.currentItem()
        if item != self._shown_item:
            self._shown_item = item
            self.currentItemChanged.emit(item)

    def currentItem(self) -> int:
        return int(self.currentData or 0)

    def setCurrentItem(self, item: int) -> None:
        self.setCurrentIndex(self.findData(item))

    def currentNode(self) -> Any:
        item = self.currentItem()
        return self.subjectHierarchyNode().GetItemDataNode(item) if item else None

    def setCurrentNode(self, node: Any) -> None:
        hierarchy = self.subjectHierarchyNode()
        self.setCurrentItem(0 if node is None else hierarchy.GetItemByDataNode(node))

    def clearSelection(self) -> None:
        self.setCurrentItem(0)


def install() -> tuple[type, ...]:
    """Put the stand-in into ``slicer`` and return it."""
    slicer.qMRMLSubjectHierarchyComboBox = qMRMLSubjectHierarchyComboBox
    return (qMRMLSubjectHierarchyComboBox,)
