"""A small scripted module that the tests of the host load."""

from __future__ import annotations

import enum
from typing import Annotated

import slicer
import vtk
from slicer import vtkMRMLMarkupsFiducialNode, vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Tiny(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Tiny")
        self.parent.categories = ["Testing"]
        slicer.app.connect("startupCompleted()", self.onStartup)
        self.started = False

    def onStartup(self):
        self.started = True


class Quality(enum.Enum):
    FAST = "fast"
    BEST = "best"


@parameterNodeWrapper
class TinyParameterNode:
    inputVolume: vtkMRMLScalarVolumeNode
    points: vtkMRMLMarkupsFiducialNode | None
    threshold: Annotated[float, WithinRange(0, 1000)] = 500.0
    rounds: Annotated[int, WithinRange(1, 9)] = 3
    quality: Quality = Quality.BEST
    device: Annotated[str, Choice(["cpu", "cuda"])] = "cpu"
    smooth: bool = True


class TinyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.parameterNode = None
        self.guiTag = None
        self.cleaned = False
        self.changes = 0

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/Tiny.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = TinyLogic()
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.setParameterNode(TinyParameterNode(self.logic.getParameterNode()))

    def cleanup(self):
        self.setParameterNode(None)
        self.removeObservers()
        self.cleaned = True

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)

    def setParameterNode(self, node):
        if self.parameterNode:
            self.parameterNode.disconnectGui(self.guiTag)
            self.removeObserver(self.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onChanged)
        self.parameterNode = node
        if node:
            self.guiTag = node.connectGui(self.ui)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onChanged)
            self.onChanged()

    def onChanged(self, caller=None, event=None):
        self.changes += 1
        self.ui.applyButton.enabled = self.parameterNode.inputVolume is not None

    def onApply(self, checked=False):
        with slicer.util.tryWithErrorDisplay("Failed to segment.", waitCursor=True):
            node = self.logic.segment(self.parameterNode.inputVolume, self.parameterNode.threshold)
            self.ui.segments.setSegmentationNode(node)


class TinyLogic(ScriptedLoadableModuleLogic):
    def segment(self, volume, threshold):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Lesion")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segment = node.GetSegmentation().AddEmptySegment("lesion", "Lesion", [1.0, 0.1, 0.1])
        mask = (slicer.util.arrayFromVolume(volume) > threshold).astype("uint8")
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)
        node.CreateClosedSurfaceRepresentation()
        return node


class TinyTest(ScriptedLoadableModuleTest):
    pass
