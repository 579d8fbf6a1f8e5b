"""What the panel does, for scripts as well."""

from pathlib import Path

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from NASAM3DLib.worker.clicks import ClickedSegmentation, ClickState
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.protocol import Message
from NASAM3DModule import points as pointsOf
from NASAM3DModule.parameters import NASAM3DParameterNode
from NASAM3DModule.segments import placeMask, referenceVolume
from NASAM3DModule.volumes import gridOf, placeVolume, volumeKey, volumeOf


class NASAM3DLogic(ScriptedLoadableModuleLogic):
    """What the panel does, for scripts as well; callbacks come from ``client.poll()``."""

    def __init__(self, client=None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.client = client or WorkerClient()  # its process starts with the first job
        self.clicks = ClickedSegmentation(self.client)

    def getParameterNode(self):
        """Give the typed parameter node."""
        return NASAM3DParameterNode(super().getParameterNode())

    def inspect(self, path: str, onResult, onError):
        """Describe the scan in a file; ``onResult`` gets the worker's message."""
        request = Message("inspect", {"path": path})
        return self.client.submit(request, on_result=onResult, on_error=onError)

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
            on_result=lambda message: onEnd(placeVolume(message, outputVolume, path.stem)),
            on_error=onEnd,
        )

    def leaveOtherVolume(self, parameters) -> None:
        """Put points and segmentation aside that belong to another volume than the chosen one."""
        volumeNode, points = parameters.inputVolume, parameters.points
        if points and points.GetNodeReference(pointsOf.VOLUME_REFERENCE) is not volumeNode:
            parameters.points, parameters.segmentId = None, ""
        reference = parameters.segmentation and referenceVolume(parameters.segmentation)
        if reference and volumeNode and reference is not volumeNode:
            parameters.segmentation, parameters.segmentId = None, ""

    def startPlacing(self, parameters, positive: bool = True) -> None:
        """Let clicks in the views place points, in a new list if there is none."""
        if not parameters.points:
            parameters.points = pointsOf.makePoints(parameters.inputVolume)
        pointsOf.startPlacing(parameters.points, positive)

    def removeLastPoint(self, points) -> None:
        """Take back the newest point."""
        points.RemoveNthControlPoint(pointsOf.placedIndices(points)[-1])

    def startNextSegment(self, parameters) -> None:
        """Keep the segment and begin another one with new points."""
        parameters.segmentId = ""
        parameters.points.RemoveAllControlPoints()

    def segment(self, parameters, onResult, onError) -> bool:
        """Segment what the points show; ``onResult`` gets name, volume_ml, mean and quantity.

        Returns whether a result will come; without a positive point the segment is removed
        instead. Raises ValueError if a point lies outside the volume or contradicts another.
        """
        volumeNode = parameters.inputVolume
        prompts = pointsOf.promptsOf(parameters.points, volumeNode)
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
                onResult(placeMask(parameters, volumeNode, message))

        settings = {"density_guidance": parameters.densityGuidance}
        state = ClickState(key, lambda: volumeOf(volumeNode), prompts, settings)
        return self.clicks.update(state, on_result=onMask, on_error=onError)
