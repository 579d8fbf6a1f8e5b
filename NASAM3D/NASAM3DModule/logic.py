"""What the panel does, for scripts as well."""

from functools import partial
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from NASAM3DLib.worker.clicks import ClickedSegmentation, ClickState
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.job import ignore
from NASAM3DLib.worker.joint import joint_request
from NASAM3DLib.worker.launch import worker_command
from NASAM3DLib.worker.payloads import pack_volume
from NASAM3DLib.worker.protocol import Deferred, Message
from NASAM3DModule import points as pointsOf
from NASAM3DModule.base import baseOf, keepBase
from NASAM3DModule.box import startDrawing
from NASAM3DModule.dicom import dicomRequest
from NASAM3DModule.joint import keepBasis
from NASAM3DModule.parameters import NASAM3DParameterNode, canBeUncertain
from NASAM3DModule.segments import (
    figuresOf,
    forgetFigures,
    hasFigures,
    isLocked,
    placeMask,
    referenceVolume,
    segmentOf,
)
from NASAM3DModule.volumes import (
    gridOf,
    noteSimulation,
    placeBesideSource,
    placeVolume,
    volumeKey,
    volumeReader,
)

SIMULATED_VIEWS = 50


class NASAM3DLogic(ScriptedLoadableModuleLogic):
    """What the panel does, for scripts as well; callbacks come from ``client.poll()``."""

    def __init__(self, client=None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.client = client or WorkerClient()  # its process starts with the first job
        self.clicks = ClickedSegmentation(self.client)
        self._localClient = None

    @property
    def localClient(self):
        """A process on this computer, for files of patients go nowhere else."""
        if self.client.shares_files:
            return self.client
        if self._localClient is None:
            self._localClient = WorkerClient(worker_command())
            self._localClient.shares_files = True
        return self._localClient

    @property
    def isBusy(self) -> bool:
        """Whether something runs or waits."""
        return self.client.is_busy or bool(self._localClient and self._localClient.is_busy)

    def poll(self) -> None:
        """Handle what has come from the background."""
        self.client.poll()
        if self._localClient:
            self._localClient.poll()

    def close(self) -> None:
        """End what runs in the background."""
        self.client.close()
        if self._localClient:
            self._localClient.close()

    def getParameterNode(self):
        """Give the typed parameter node."""
        return NASAM3DParameterNode(super().getParameterNode())

    def inspect(self, path: str, onResult, onError):
        """Describe the scan in a file; ``onResult`` gets the worker's message."""
        request = Message("inspect", {"path": path})
        return self.client.submit(request, on_result=onResult, on_error=onError)

    def makeSample(self, folder: str, onProgress, onResult, onError):
        """Make or find the sample scan; ``onResult`` gets a message with its path and lesion."""
        return self.client.submit(
            Message("sample", {"folder": folder}),
            on_progress=onProgress,
            on_result=onResult,
            on_error=onError,
        )

    def simulate(self, parameters, path: str, onProgress, onResult, onError):
        """Simulate noisy views of the chosen volume into a file, for research."""
        volumeNode, n_views = parameters.inputVolume, parameters.viewCount or SIMULATED_VIEWS
        read = volumeReader(volumeNode)

        def onViews(message) -> None:
            if slicer.mrmlScene.IsNodePresent(volumeNode):
                noteSimulation(volumeNode, message.fields["path"])
            onResult(message)

        request = Deferred(
            "simulate", lambda: pack_volume("simulate", read(), path=path, n_views=n_views)
        )
        return self.client.submit(
            request, on_progress=onProgress, on_result=onViews, on_error=onError
        )

    def describeMachine(self, onResult, onError):
        """Ask what the background process has to compute with; ``onResult`` gets the message."""
        return self.client.submit(Message("machine"), on_result=onResult, on_error=onError)

    def settings(self, parameters) -> dict:
        """Give the settings of the reconstruction as the background process takes them."""
        return {
            "method": parameters.method.value,
            "quality": parameters.quality.value,
            "device": parameters.device.value,
            "uncertainty": parameters.uncertainty and canBeUncertain(parameters),
        }

    def estimate(self, parameters, scan: dict, onResult, onError):
        """Ask for time and memory of a reconstruction; ``scan`` holds the fields of ``inspect``."""
        fields = {
            "n_views": min(parameters.viewCount or scan["n_views"], scan["n_views"]),
            "detector_shape": scan["detector_shape"],
            "shape_kji": scan["shape_kji"],
            "settings": self.settings(parameters),
        }
        request = Message("estimate", fields)
        return self.client.submit(request, on_result=onResult, on_error=onError)

    def reconstruct(self, parameters, onProgress, onEnd, onPreview=None):
        """Reconstruct the chosen file; ``onEnd`` gets the volume node or an exception.

        ``onPreview`` gets messages with volumes that come before the end.
        """
        path, outputVolume = Path(parameters.projectionsPath), parameters.outputVolume
        viewCount = parameters.viewCount

        def onVolume(message) -> None:
            volumeNode = placeVolume(message, outputVolume, path.stem)
            placeBesideSource(volumeNode, str(path))
            keepBasis(volumeNode, str(path), viewCount, message.fields.get("basis"))
            onEnd(volumeNode)

        fields = {
            "path": str(path),
            "n_views": viewCount,
            "quantity": parameters.quantity.value,
            "settings": self.settings(parameters),
            "previews": onPreview is not None,
        }
        return self.client.submit(
            Message("reconstruct", fields),
            on_progress=onProgress,
            on_preview=onPreview or ignore,
            on_result=onVolume,
            on_error=onEnd,
        )

    def refineJointly(self, parameters, path: str, known: dict, listener):
        """Refine the chosen volume and segment together; ``listener`` hears what comes.

        ``known`` is what the volume was made from, ``path`` where its projections are. The listener
        has the methods ``onProgress``, ``onPreview``, ``onResult`` and ``onError``.
        """
        volumeNode = parameters.inputVolume
        request = joint_request(
            path,
            volumeReader(volumeNode),
            pointsOf.promptsOf(parameters.points, volumeNode),
            shares_files=self.client.shares_files,
            n_views=known["n_views"],
            basis=known["basis"],
            engine=parameters.engine.value,
            settings=self.guidance(parameters),
            previews=parameters.livePreview,
        )
        return self.client.submit(
            request,
            on_progress=listener.onProgress,
            on_preview=listener.onPreview,
            on_result=listener.onResult,
            on_error=listener.onError,
        )

    def guidance(self, parameters) -> dict:
        """Give the settings of the engine as the background process takes them."""
        return {
            "density_guidance": parameters.densityGuidance,
            "guidance_strength": parameters.guidanceStrength,
        }

    def leaveWhatIsGone(self, parameters) -> None:
        """Put aside what belongs to another volume, or to a segmentation that is gone."""
        volumeNode, points = parameters.inputVolume, parameters.points
        if points and points.GetNodeReference(pointsOf.VOLUME_REFERENCE) is not volumeNode:
            parameters.points, parameters.segmentId = None, ""
            # Where the volume is deleted, nothing else tells that its segments were made on it.
            parameters.segmentation = None
        reference = parameters.segmentation and referenceVolume(parameters.segmentation)
        if reference and volumeNode and reference is not volumeNode:
            parameters.segmentation, parameters.segmentId, parameters.points = None, "", None
        if parameters.segmentId and not parameters.segmentation:
            parameters.segmentId, parameters.points = "", None

    def forgetSegment(self, parameters) -> None:
        """Drop the points of a segment that somebody has removed: they would renew it."""
        self.clicks.forget()
        points, parameters.points, parameters.segmentId = parameters.points, None, ""
        if points:
            pointsOf.removePoints(points)

    def chooseSegment(self, parameters, segmentId: str) -> None:
        """Go on with another segment and its points."""
        isPlacing = pointsOf.isPlacing(parameters.points)
        self.clicks.forget()
        parameters.segmentId = segmentId
        parameters.points = pointsOf.pointsOfSegment(parameters.segmentation, segmentId)
        if isPlacing:
            pointsOf.stopPlacing()

    def startPlacing(self, parameters, positive: bool = True) -> None:
        """Let clicks in the views place points, in a new list if there is none."""
        self.ensurePoints(parameters)
        pointsOf.startPlacing(parameters.points, positive)
        self.sendAhead(parameters.inputVolume)

    def sendAhead(self, volumeNode) -> None:
        """Send the volume before the first click, which has less to wait for then."""
        self.clicks.prepare(volumeKey(volumeNode), partial(volumeReader, volumeNode))

    def ensurePoints(self, parameters) -> None:
        """Give the chosen segment a list of points.

        A segment that was made or changed otherwise is kept as it is, for the points to correct.
        """
        segmentation, segmentId = parameters.segmentation, parameters.segmentId
        isForeign = segmentOf(parameters) and not figuresOf(segmentation, segmentId)
        if parameters.points and not isForeign:
            return
        if parameters.points:
            pointsOf.removePoints(parameters.points)
        points = pointsOf.makePoints(parameters.inputVolume)
        if segmentOf(parameters):
            pointsOf.assignPoints(points, segmentation, segmentId)
            keepBase(points, segmentation, segmentId, parameters.inputVolume)
            forgetFigures(segmentOf(parameters))
        parameters.points = points

    def startDrawingBox(self, parameters) -> None:
        """Let clicks in the views draw a box around the structure."""
        self.ensurePoints(parameters)
        startDrawing(parameters.points)
        self.sendAhead(parameters.inputVolume)

    def askAttention(self, figures: dict, onResult, onError):
        """Ask for the attention behind the mask with these figures; ``onResult`` gets a message."""
        request = Message("attention", {"volume_id": figures["volume_id"]})
        return self.client.submit(request, on_result=onResult, on_error=onError)

    def download(self, name: str, onProgress, onResult, onError):
        """Download weights whose licence the user has accepted."""
        return self.client.submit(
            Message("weights", {"name": name, "accepted": True}),
            on_progress=onProgress,
            on_result=onResult,
            on_error=onError,
        )

    def saveDicom(self, parameters, path: str, onProgress, onResult, onError):
        """Write the segments as DICOM SEG; ValueError says what is missing for that."""
        return self.localClient.submit(
            dicomRequest(parameters, path),
            on_progress=onProgress,
            on_result=onResult,
            on_error=onError,
        )

    def startNextSegment(self, parameters) -> None:
        """Keep the segment with its points and begin another one."""
        isPlacing = pointsOf.isPlacing(parameters.points)
        self.clicks.forget()
        parameters.segmentId, parameters.points = "", None
        if isPlacing:
            self.startPlacing(parameters)

    def segment(self, parameters, onResult, onError) -> bool:
        """Segment what the points show; ``onResult`` gets the segment's figures.

        Returns whether a result will come; without a positive point the segment is removed
        instead. Raises ValueError if a point lies outside the volume or contradicts another.
        """
        volumeNode = parameters.inputVolume
        if isLocked(segmentOf(parameters)):
            raise ValueError(_("The segment is locked: unlock it to change it."))
        base = baseOf(parameters.points)
        self.checkUnchanged(parameters, isNew=base is not None)
        prompts = pointsOf.promptsOf(parameters.points, volumeNode)
        prompts.voxels(gridOf(volumeNode))
        prompts.check_box()
        if not len(prompts.positive_ras) and prompts.box_ras is None and base is None:
            self.clicks.forget()
            self.removeSegment(parameters)
            return False
        key = volumeKey(volumeNode)

        def onMask(message) -> None:
            # A volume that was changed or exchanged meanwhile must not get the mask of the old one.
            if parameters.inputVolume is volumeNode and volumeKey(volumeNode) == key:
                onResult(placeMask(parameters, volumeNode, message))

        settings = self.guidance(parameters)
        engine = parameters.engine.value or None
        read = partial(volumeReader, volumeNode)
        state = ClickState(key, read, prompts, settings, engine, base)
        return self.clicks.update(state, on_result=onMask, on_error=onError)

    def checkUnchanged(self, parameters, isNew: bool) -> None:
        """Refuse to overwrite what was drawn otherwise since the points made the segment."""
        segmentation, segmentId = parameters.segmentation, parameters.segmentId
        segment = segmentOf(parameters)
        if segment is None or figuresOf(segmentation, segmentId):
            return
        if not (isNew and not hasFigures(segment)):
            raise ValueError(
                _("The segment was changed elsewhere: press + Inside or − Outside to go on.")
            )

    def removeSegment(self, parameters) -> None:
        """Remove the chosen segment, if there is one, and keep its points."""
        segment, segmentId = segmentOf(parameters), parameters.segmentId
        parameters.segmentId = ""
        if segment:
            pointsOf.assignPoints(parameters.points, None, "")
            parameters.segmentation.GetSegmentation().RemoveSegment(segmentId)
