"""Everything that the user chooses, in a node that is saved with the scene."""

import enum
from typing import Annotated

from slicer import vtkMRMLMarkupsFiducialNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


class Choice(enum.Enum):
    """Something to choose: the value is the library's word, the label the user's."""

    def label(self):
        """Give the text in the panel."""
        return {
            "tv": _("Total variation"),
            "fdk": _("Filtered back-projection"),
            "field": _("Total variation + neural field"),
            "preview": _("Preview"),
            "standard": _("Standard"),
            "best": _("Best"),
            "HU": _("Hounsfield units"),
            "attenuation": _("Attenuation (1/mm)"),
            "auto": _("Automatic"),
            "cpu": _("CPU"),
            "cuda": _("GPU (CUDA)"),
            "": _("Built-in"),
            "density-guided": _("Random walker"),
            "sam-med3d": _("SAM-Med3D"),
        }[self.value]


Method = Choice("Method", {"TV": "tv", "FDK": "fdk", "FIELD": "field"})
Quality = Choice("Quality", {"PREVIEW": "preview", "STANDARD": "standard", "BEST": "best"})
Quantity = Choice("Quantity", {"HU": "HU", "ATTENUATION": "attenuation"})
Engine = Choice("Engine", {"BUILT_IN": "", "WALKER": "density-guided", "SAM_MED3D": "sam-med3d"})
Device = Choice("Device", {"AUTO": "auto", "CPU": "cpu", "CUDA": "cuda"})


@parameterNodeWrapper
class NASAM3DParameterNode:
    """Everything that the user has chosen; saved with the scene."""

    projectionsPath: str = ""
    viewCount: Annotated[int, WithinRange(0, 100000)] = 0
    method: Method = Method.TV
    quality: Quality = Quality.STANDARD
    quantity: Quantity = Quantity.HU
    device: Device = Device.AUTO
    uncertainty: bool = False
    livePreview: bool = True
    outputVolume: vtkMRMLScalarVolumeNode
    inputVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    segmentId: str = ""
    points: vtkMRMLMarkupsFiducialNode
    engine: Engine = Engine.BUILT_IN
    densityGuidance: bool = True
    guidanceStrength: Annotated[float, WithinRange(0.1, 4.0)] = 1.0
    showAttention: bool = False


def needsTorch(engine) -> bool:
    """Tell whether an engine works only with PyTorch."""
    return engine == Engine.SAM_MED3D


def canBeUncertain(parameters) -> bool:
    """Tell whether the chosen method and quality can give a map of uncertainty."""
    return parameters.method != Method.FDK and parameters.quality != Quality.PREVIEW
