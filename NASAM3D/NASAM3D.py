"""NASAM3D: reconstruct a volume from sparse X-ray projections and segment what is clicked.

Only Qt and MRML live here; the work is done by the background process of ``NASAM3DLib.worker``.
"""

import enum
import importlib.util
import sys
from pathlib import Path
from typing import Annotated

import qt
import slicer
import vtk
from slicer import vtkMRMLMarkupsFiducialNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

try:
    from slicer import packaging
except ImportError:
    packaging = None  # Slicer 5.10 installs packages through slicer.util only

if importlib.util.find_spec("NASAM3DLib") is None:
    # Slicer puts only this file's folder on sys.path; in a source tree the library lies beside it.
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.worker.clicks import ClickedSegmentation, ClickState
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.payloads import unpack_mask, unpack_volume
from NASAM3DLib.worker.protocol import Message
from NASAM3DLib.worker.requirements import missing_requirements

QUANTITY_ATTRIBUTE = "NASAM3D.Quantity"
VOLUME_REFERENCE = "NASAM3D.Volume"
POSITIVE, NEGATIVE = "positive", "negative"
POSITIVE_COLOR, NEGATIVE_COLOR = (0.2, 0.8, 0.3), (0.95, 0.25, 0.2)
SEGMENT_COLORS = ((0.9, 0.65, 0.1), (0.2, 0.65, 0.95), (0.85, 0.35, 0.75), (0.45, 0.8, 0.35))


def resourceFile(name: str) -> str:
    """Find a resource: beside this file once installed, one folder higher in a source tree."""
    folder = Path(__file__).resolve().parent
    places = [folder / "Resources" / name, folder.parent / "Resources" / name]
    return str(next((place for place in places if place.exists()), places[0]))


class NASAM3D(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("NASAM3D")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.contributors, parent.acknowledgementText = ["NASAM3D contributors"], ""
        parent.helpText = _(
            "Reconstructs a volume from sparse X-ray projections and segments the structure that "
            "you click on. For research, not for clinical use."
        )
        parent.icon = qt.QIcon(resourceFile("Icons/NASAM3D.png"))


class Choice(enum.Enum):
    """Something to choose: the value is the library's word, the label the user's."""

    def label(self):
        return {
            "tv": _("Total variation"),
            "fdk": _("Filtered back-projection"),
            "field": _("Total variation + neural field"),
            "preview": _("Preview"),
            "standard": _("Standard"),
            "best": _("Best"),
            "HU": _("Hounsfield units"),
            "attenuation": _("Attenuation (1/mm)"),
        }[self.value]


Method = Choice("Method", {"TV": "tv", "FDK": "fdk", "FIELD": "field"})
Quality = Choice("Quality", {"PREVIEW": "preview", "STANDARD": "standard", "BEST": "best"})
Quantity = Choice("Quantity", {"HU": "HU", "ATTENUATION": "attenuation"})


@parameterNodeWrapper
class NASAM3DParameterNode:
    """Everything that the user has chosen; saved with the scene."""

    projectionsPath: str = ""
    viewCount: Annotated[int, WithinRange(0, 100000)] = 0
    method: Method = Method.TV
    quality: Quality = Quality.STANDARD
    quantity: Quantity = Quantity.HU
    outputVolume: vtkMRMLScalarVolumeNode
    inputVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    segmentId: str = ""
    points: vtkMRMLMarkupsFiducialNode
    densityGuidance: bool = True


class NASAM3DWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self._timer = self._parameterNode = self._guiTag = self._points = None
        self._inspectJob = self._reconstructJob = None
        self._positive = True

    def resourcePath(self, filename) -> str:
        return resourceFile(filename)

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/NASAM3D.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = NASAM3DLogic()
        self._timer = qt.QTimer()
        self._timer.setInterval(50)
        self._timer.connect("timeout()", self.onTimer)
        self.ui.pathLineEdit.connect("currentPathChanged(QString)", self.onPathChanged)
        self.ui.densityCheckBox.connect("toggled(bool)", self.onPointsEvent)
        for button, onClicked in (
            (self.ui.applyButton, self.onApply),
            (self.ui.cancelButton, self.onCancel),
            (self.ui.positiveButton, lambda on: self.onPlace(True, on)),
            (self.ui.negativeButton, lambda on: self.onPlace(False, on)),
            (self.ui.undoButton, lambda: self.logic.removeLastPoint(self._points)),
            (self.ui.newSegmentButton, lambda: self.logic.startNextSegment(self._parameterNode)),
        ):
            button.connect("clicked(bool)", onClicked)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.NodeRemovedEvent, self.updateGui)
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        self.addObserver(interaction, interaction.InteractionModeChangedEvent, self.updateGui)
        self._showProgress(None)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        if self.logic:
            self._timer.stop()
            self.setParameterNode(None)
            self.logic.client.close()
        self.removeObservers()

    def enter(self) -> None:
        self.initializeParameterNode()

    def exit(self) -> None:
        self.logic.stopPlacing()
        self.setParameterNode(None)

    def onReload(self) -> None:
        # Reloading runs this file only; the library must be forgotten to be read again as well.
        for name in [name for name in sys.modules if name.partition(".")[0] == "NASAM3DLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event) -> None:
        self.logic.clicks.forget()
        self.logic.client.cancel_all()
        self.setParameterNode(None)
        self._showResult(None)

    def onSceneEndClose(self, caller, event) -> None:
        self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if volume:
                self._parameterNode.inputVolume = volume

    def setParameterNode(self, parameterNode) -> None:
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.updateGui)
        self._parameterNode = parameterNode
        if parameterNode:
            self._guiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.updateGui)
        self.updateGui()

    def updateGui(self, caller=None, event=None) -> None:
        parameters = self._parameterNode
        if parameters:
            self.logic.leaveOtherVolume(parameters)
            if self.ui.pathLineEdit.currentPath != parameters.projectionsPath:
                self.ui.pathLineEdit.currentPath = parameters.projectionsPath
        self._followPoints(parameters.points if parameters else None)
        hasPath = bool(parameters and parameters.projectionsPath)
        running = self._reconstructJob is not None
        self.ui.applyButton.enabled = hasPath and not running
        self.ui.cancelButton.enabled = running and not self._reconstructJob.cancel_asked_at
        hasVolume = bool(parameters and parameters.inputVolume)
        placing = hasVolume and self.logic.isPlacing(parameters)
        for button, positive in ((self.ui.positiveButton, True), (self.ui.negativeButton, False)):
            button.enabled = hasVolume
            button.checked = placing and self._positive == positive
        hasPoints = bool(self._points and self.logic.pointIndices(self._points))
        self.ui.undoButton.enabled = self.ui.newSegmentButton.enabled = hasPoints

    def onTimer(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("The result cannot be shown.")):
            self.logic.client.poll()
        if not self.logic.client.is_busy:
            self._timer.stop()

    def onPathChanged(self, path: str) -> None:
        if self._parameterNode is None:
            return
        if path != self._parameterNode.projectionsPath:
            self._parameterNode.projectionsPath = path
        if self._inspectJob:
            self._inspectJob.cancel()
        self._inspectJob = None
        if not path or not Path(path).exists():
            self.ui.summaryLabel.text = _("There is no such file.") if path else _("Choose a file.")
            return
        self.ui.summaryLabel.text = _("Reading…")
        self._inspectJob = self.logic.client.submit(
            Message("inspect", {"path": path}),
            on_result=self.onInspected,
            on_error=self.onInspectError,
        )
        self._timer.start()

    def onInspected(self, message) -> None:
        self._inspectJob = None
        # CTK announces every step of adding to the history as a new path.
        self.ui.pathLineEdit.blockSignals(True)
        self.ui.pathLineEdit.addCurrentPathToHistory()
        self.ui.pathLineEdit.blockSignals(False)
        self.ui.summaryLabel.text = message.fields["summary"].replace(", ", "\n")
        self.ui.viewsSpinBox.maximum = message.fields["n_views"]

    def onInspectError(self, error) -> None:
        if error.kind != "cancelled":
            self._inspectJob = None
            self.ui.summaryLabel.text = _("The file cannot be used.")
            self._showError(error)

    def onApply(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("The reconstruction cannot start.")):
            ensurePackages(self._parameterNode.method == Method.FIELD)
            self._reconstructJob = self.logic.reconstruct(
                self._parameterNode, self._showProgress, self.onReconstructed
            )
        self.ui.statusLabel.text = ""
        self._timer.start()
        self.updateGui()

    def onCancel(self) -> None:
        self._reconstructJob.cancel()
        self.ui.progressBar.format = _("Cancelling…")
        self.updateGui()

    def onReconstructed(self, outcome) -> None:
        """Show the volume and make it the one to click on, or tell why there is none."""
        self._reconstructJob = None
        self._showProgress(None)
        self.updateGui()
        if isinstance(outcome, Exception):
            self._showError(outcome, _("The reconstruction was cancelled."))
            return
        if self._parameterNode:
            self._parameterNode.outputVolume = self._parameterNode.inputVolume = outcome
        slicer.util.setSliceViewerLayers(background=outcome, fit=True)
        self.ui.statusLabel.text = _("{name} is ready.").format(name=outcome.GetName())

    def onPlace(self, positive: bool, start: bool) -> None:
        self._positive = positive
        if start:
            with slicer.util.tryWithErrorDisplay(_("Points cannot be placed.")):
                ensurePackages()
                self.logic.startPlacing(self._parameterNode, positive)
        else:
            self.logic.stopPlacing()
        self.updateGui()

    def onPointsEvent(self, caller=None, event=None) -> None:
        # A view is still busy with the point, which may have to be removed: wait until it is done.
        qt.QTimer.singleShot(0, self.onPointsChanged)

    def onPointsChanged(self, *unused) -> None:
        """Mark new points, refuse the last one if it cannot be served, and segment again."""
        if not (self._parameterNode and self._points):
            return
        hasNew = self.logic.markNewPoints(self._points, self._positive)
        try:
            willCome = self.logic.segment(self._parameterNode, self._showResult, self._showError)
        except ValueError as error:
            if hasNew:
                self.logic.removeLastPoint(self._points)
            self.ui.statusLabel.text = str(error)
            slicer.util.errorDisplay(str(error))
        else:
            if willCome:
                self.ui.statusLabel.text = _("Segmenting…")
                self._timer.start()
            elif not self.logic.pointIndices(self._points):
                self._showResult(None)
        self.updateGui()

    def _followPoints(self, points) -> None:
        if points is self._points:
            return
        for node, change in ((self._points, self.removeObserver), (points, self.addObserver)):
            if node:
                change(node, node.PointPositionDefinedEvent, self.onPointsEvent)
                change(node, node.PointRemovedEvent, self.onPointsEvent)
                change(node, node.PointEndInteractionEvent, self.onPointsEvent)
        self._points = points

    def _showProgress(self, progress) -> None:
        """Show how far the reconstruction is; None hides the bar."""
        self.ui.progressBar.visible = progress is not None
        self.ui.progressBar.value = round(100 * progress.fraction) if progress else 0
        self.ui.progressBar.format = progressText(progress) if progress else ""

    def _showResult(self, result) -> None:
        """Show the figures of the newest segment; None where there is none."""
        self.ui.statusLabel.text = ""
        self.ui.resultLabel.text = resultText(result) if result else _("No segment yet.")

    def _showError(self, error, cancelledText: str = "") -> None:
        """Tell what went wrong, in full; a cancelled job is no error."""
        self.ui.statusLabel.text = cancelledText if error.kind == "cancelled" else str(error)
        if error.kind != "cancelled":
            slicer.util.errorDisplay(str(error), detailedText=error.details)


def progressText(progress) -> str:
    stage = progress.stage[:1].upper() + progress.stage[1:]
    if progress.remaining_s is None:
        return stage
    minutes, seconds = divmod(round(progress.remaining_s), 60)
    left = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    return _("{stage}, about {left} left").format(stage=stage, left=left)


def resultText(result: dict) -> str:
    if result["quantity"] == Quantity.HU.value:
        return _("{name}: {volume_ml:.2f} ml, mean {mean:.0f} HU").format(**result)
    return _("{name}: {volume_ml:.2f} ml, mean {mean:.4f} /mm").format(**result)


def ensurePackages(needsTorch: bool = False) -> None:
    missing = missing_requirements(resourceFile("requirements.txt"))
    if missing and packaging:
        packaging.pip_ensure(missing, requester="NASAM3D")
    elif missing:
        question = _("Install the Python packages {names}?").format(names=", ".join(missing))
        if slicer.util.confirmOkCancelDisplay(question):
            slicer.util.pip_install(missing)
    if needsTorch and importlib.util.find_spec("torch") is None:
        try:
            import PyTorchUtils
        except ModuleNotFoundError as error:
            raise RuntimeError(_("Install the extension PyTorch and restart Slicer.")) from error
        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True)


class NASAM3DLogic(ScriptedLoadableModuleLogic):
    """What the panel does, for scripts as well; callbacks come from ``client.poll()``."""

    def __init__(self, client=None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.client = client or WorkerClient()  # its process starts with the first job
        self.clicks = ClickedSegmentation(self.client)

    def getParameterNode(self):
        return NASAM3DParameterNode(super().getParameterNode())

    def reconstruct(self, parameters, onProgress, onEnd):
        """Reconstruct the chosen file; ``onEnd`` gets the volume node or an exception."""
        path, outputVolume = Path(parameters.projectionsPath), parameters.outputVolume
        fields = {
            "path": str(path),
            "n_views": parameters.viewCount,
            "quantity": parameters.quantity.value,
            "settings": {"method": parameters.method.value, "quality": parameters.quality.value},
        }
        return self.client.submit(
            Message("reconstruct", fields),
            on_progress=onProgress,
            on_result=lambda message: onEnd(self.placeVolume(message, outputVolume, path.stem)),
            on_error=onEnd,
        )

    def placeVolume(self, message, volumeNode, name: str):
        """Put a reconstructed volume into a node, a new one unless the given one is there."""
        volume = unpack_volume(message)
        if volumeNode is None or not slicer.mrmlScene.IsNodePresent(volumeNode):
            name = slicer.mrmlScene.GenerateUniqueName(name)
            volumeNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(volumeNode, volume.array)
        volumeNode.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.grid.ijk_to_ras))
        volumeNode.SetAttribute(QUANTITY_ATTRIBUTE, volume.quantity)
        volumeNode.SetDescription(message.fields["report"].get("why"))
        volumeNode.CreateDefaultDisplayNodes()
        volumeNode.GetDisplayNode().SetAutoWindowLevel(False)
        volumeNode.GetDisplayNode().SetWindowLevelMinMax(*message.fields["window"])
        return volumeNode

    def leaveOtherVolume(self, parameters) -> None:
        """Put points and segmentation aside that belong to another volume than the chosen one."""
        volumeNode, points = parameters.inputVolume, parameters.points
        if points and points.GetNodeReference(VOLUME_REFERENCE) is not volumeNode:
            parameters.points, parameters.segmentId = None, ""
        segmentation = parameters.segmentation
        role = segmentation and segmentation.GetReferenceImageGeometryReferenceRole()
        reference = role and segmentation.GetNodeReference(role)
        if reference and volumeNode and reference is not volumeNode:
            parameters.segmentation, parameters.segmentId = None, ""

    def startPlacing(self, parameters, positive: bool = True) -> None:
        """Let clicks in the views place points, in a new list if there is none."""
        if not parameters.points:
            name = slicer.mrmlScene.GenerateUniqueName(_("NASAM3D points"))
            points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
            points.CreateDefaultDisplayNodes()
            points.GetDisplayNode().SetSelectedColor(*POSITIVE_COLOR)
            points.GetDisplayNode().SetColor(*NEGATIVE_COLOR)
            points.SetNodeReferenceID(VOLUME_REFERENCE, parameters.inputVolume.GetID())
            parameters.points = points
        # The point that follows the mouse shows already what it will become.
        color = POSITIVE_COLOR if positive else NEGATIVE_COLOR
        parameters.points.GetDisplayNode().SetActiveColor(*color)
        parameters.points.SetControlPointLabelFormat("+" if positive else "−")
        slicer.modules.markups.logic().SetActiveList(parameters.points)
        slicer.modules.markups.logic().StartPlaceMode(True)

    def stopPlacing(self) -> None:
        slicer.app.applicationLogic().GetInteractionNode().SwitchToViewTransformMode()

    def isPlacing(self, parameters) -> bool:
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        activeId = slicer.app.applicationLogic().GetSelectionNode().GetActivePlaceNodeID()
        isActive = bool(parameters.points) and activeId == parameters.points.GetID()
        return isActive and interaction.GetCurrentInteractionMode() == interaction.Place

    def pointIndices(self, points) -> list[int]:
        """List the points that were placed; the one that follows the mouse is not among them."""
        defined, indices = points.PositionDefined, range(points.GetNumberOfControlPoints())
        return [n for n in indices if points.GetNthControlPointPositionStatus(n) == defined]

    def markNewPoints(self, points, positive: bool) -> bool:
        """Write on points without a mark what they are; tell if there were any."""
        indices = self.pointIndices(points)
        new = [n for n in indices if not points.GetNthControlPointDescription(n)]
        for index in new:
            points.SetNthControlPointDescription(index, POSITIVE if positive else NEGATIVE)
            points.SetNthControlPointLabel(index, "+" if positive else "−")
            points.SetNthControlPointSelected(index, positive)
            slicer.modules.markups.logic().JumpSlicesToNthPointInMarkup(points.GetID(), index)
        return bool(new)

    def removeLastPoint(self, points) -> None:
        points.RemoveNthControlPoint(self.pointIndices(points)[-1])

    def startNextSegment(self, parameters) -> None:
        parameters.segmentId = ""
        parameters.points.RemoveAllControlPoints()

    def prompts(self, parameters) -> Prompts:
        """Give the points in the coordinates of the volume, below its transforms."""
        points, toVolume = parameters.points, vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
            None, parameters.inputVolume.GetParentTransformNode(), toVolume
        )
        prompts = Prompts()
        for index in self.pointIndices(points):
            world = [0.0, 0.0, 0.0]
            points.GetNthControlPointPositionWorld(index, world)
            positive = points.GetNthControlPointDescription(index) != NEGATIVE
            prompts = prompts.with_point(toVolume.TransformPoint(world), positive=positive)
        return prompts

    def segment(self, parameters, onResult, onError) -> bool:
        """Segment what the points show; ``onResult`` gets name, volume_ml, mean and quantity.

        Returns whether a result will come; without a positive point the segment is removed
        instead. Raises ValueError if a point lies outside the volume or contradicts another.
        """
        prompts, volumeNode = self.prompts(parameters), parameters.inputVolume
        prompts.voxels(gridOf(volumeNode))
        if not len(prompts.positive_ras):
            self.clicks.forget()
            if parameters.segmentation and parameters.segmentId:
                parameters.segmentation.GetSegmentation().RemoveSegment(parameters.segmentId)
            parameters.segmentId = ""
            return False
        key = volumeKey(volumeNode)

        def onMask(message) -> None:
            # A volume that was changed or exchanged meanwhile must not get the mask of the old one.
            if parameters.inputVolume is volumeNode and volumeKey(volumeNode) == key:
                onResult(self.placeMask(parameters, volumeNode, message))

        settings = {"density_guidance": parameters.densityGuidance}
        state = ClickState(key, lambda: volumeOf(volumeNode), prompts, settings)
        return self.clicks.update(state, on_result=onMask, on_error=onError)

    def placeMask(self, parameters, volumeNode, message) -> dict:
        """Put a mask into the chosen segment, made if there is none; returns its figures."""
        segmentationNode = parameters.segmentation or self.addSegmentation(parameters)
        segmentation = segmentationNode.GetSegmentation()
        isNew = not (parameters.segmentId and segmentation.GetSegment(parameters.segmentId))
        if isNew:
            count = segmentation.GetNumberOfSegments()
            name, color = _("Segment {n}").format(n=count + 1), SEGMENT_COLORS[count % 4]
            parameters.segmentId = segmentation.AddEmptySegment("", name, color)
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            unpack_mask(message), segmentationNode, parameters.segmentId, volumeNode
        )
        segmentationNode.CreateClosedSurfaceRepresentation()
        if isNew and slicer.app.layoutManager():
            slicer.app.layoutManager().resetThreeDViews()
        name = segmentation.GetSegment(parameters.segmentId).GetName()
        return {"name": name, "quantity": quantityOf(volumeNode), **message.fields}

    def addSegmentation(self, parameters):
        """Make a segmentation with the volume's geometry, transform and study."""
        volumeNode = parameters.inputVolume
        name = _("{volume} segmentation").format(volume=volumeNode.GetName())
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(volumeNode))
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
        parameters.segmentation = node
        return node


def gridOf(volumeNode) -> VolumeGrid:
    """Give a volume's own grid, without the transforms above it."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    i, j, k = volumeNode.GetImageData().GetDimensions()
    return VolumeGrid((k, j, i), slicer.util.arrayFromVTKMatrix(matrix))


def quantityOf(volumeNode) -> str:
    """Tell what a volume's values mean; volumes from elsewhere are taken for CT."""
    return volumeNode.GetAttribute(QUANTITY_ATTRIBUTE) or Quantity.HU.value


def volumeKey(volumeNode) -> tuple:
    """Give a value that changes with the volume's voxels and place."""
    changed = volumeNode.GetImageData().GetMTime()
    place = gridOf(volumeNode).ijk_to_ras.tobytes()
    return volumeNode.GetID(), changed, place, quantityOf(volumeNode)


def volumeOf(volumeNode) -> Volume:
    """Copy a volume node for the background process."""
    array = slicer.util.arrayFromVolume(volumeNode).astype("float32")
    return Volume(array, gridOf(volumeNode), quantityOf(volumeNode))


class NASAM3DTest(ScriptedLoadableModuleTest):
    """The road from projections to a segment, with the real background process."""

    def test_road(self):
        import numpy as np

        from NASAM3DLib.reconstruct.simulate import simulate
        from NASAM3DLib.scan.io import save_projections
        from NASAM3DLib.scan.presets import default_scan

        slicer.mrmlScene.Clear(0)
        grid = VolumeGrid.centred((24, 32, 32), 4.0)
        body = np.full(grid.shape_kji, -1000.0)
        body[:, 4:-4, 4:-4], body[9:15, 13:19, 13:19] = 0.0, 150.0
        scan = default_scan(grid, n_views=30, detector_shape=(32, 48))
        path = Path(slicer.app.temporaryPath) / "NASAM3DTest.npz"
        save_projections(simulate(Volume(body, grid, "HU"), scan), path, force=True)
        logic, results = NASAM3DLogic(), []
        parameters = logic.getParameterNode()
        parameters.projectionsPath, parameters.quality = str(path), Quality.PREVIEW
        logic.client.wait(logic.reconstruct(parameters, print, results.append))
        parameters.inputVolume = results.pop()
        logic.startPlacing(parameters)
        parameters.points.AddControlPoint(0.0, 0.0, 0.0)
        assert logic.segment(parameters, results.append, self.fail)
        while logic.client.is_busy:
            logic.client.poll()
        logic.client.close()
        assert 9 < results[0]["volume_ml"] < 20, "the inserted cube has 13.8 ml"
