"""Segments as a DICOM segmentation: where the source series is, and what is sent."""

import slicer
import vtk
from slicer.i18n import tr as _

from NASAM3DLib.worker.dicom import dicom_seg_request
from NASAM3DLib.worker.mask_parts import occupied_part
from NASAM3DLib.worker.payloads import pack_volume
from NASAM3DLib.worker.protocol import Deferred, Message
from NASAM3DModule.volumes import gridOf, volumeReader

REQUIREMENT = "highdicom>=0.24"
INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"
TERMINOLOGY_TAG = "TerminologyEntry"


def dicomRequest(parameters, path: str):
    """Ask for the segments in a DICOM file; ValueError says what is missing."""
    volumeNode, segmentationNode = parameters.inputVolume, parameters.segmentation
    if volumeNode is None:
        raise ValueError(_("Choose the volume that the segments were made on."))
    series = seriesOf(volumeNode)
    segments = segmentsOf(segmentationNode, volumeNode)
    request = dicom_seg_request(path, gridOf(volumeNode), segments)
    if series:
        return Message(request.kind, {**request.fields, "series": series}, request.arrays)
    read, name = volumeReader(volumeNode), volumeNode.GetName()

    def pack():
        whole = pack_volume("dicom_seg", read(), description=name)
        fields = {**whole.fields, **request.fields}
        return Message("dicom_seg", fields, {**whole.arrays, **request.arrays})

    return Deferred("dicom_seg", pack)


def seriesOf(volumeNode) -> list[str]:
    """List the files of the DICOM series that a volume was read from; none if it was not."""
    instances = (volumeNode.GetAttribute(INSTANCES_ATTRIBUTE) or "").split()
    if not instances:
        return []
    database = getattr(slicer, "dicomDatabase", None)
    files = [database.fileForInstance(uid) for uid in instances] if database else []
    if not files or not all(files):
        raise ValueError(
            _(
                "{volume} comes from a DICOM series that is not in Slicer's DICOM database any "
                "more: import it again."
            ).format(volume=volumeNode.GetName())
        )
    return files


def segmentsOf(segmentationNode, volumeNode) -> list:
    """List the voxels of each segment on the volume's grid, and what is told of it."""
    segmentation, found = segmentationNode.GetSegmentation(), []
    for segmentId in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode)
        told = {
            "name": segment.GetName(),
            "colour": list(segment.GetColor()),
            "terminology": terminologyOf(segment),
        }
        found.append((occupied_part(array > 0), told))
    return found


def terminologyOf(segment) -> str:
    """Give category, type and anatomy of a segment as Slicer writes them; empty without any."""
    text = vtk.mutable("")
    return str(text) if segment.GetTag(TERMINOLOGY_TAG, text) else ""
