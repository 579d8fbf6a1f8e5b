"""Stand-in for Slicer's IO manager: file types by name, reading and writing by the real nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

_EXTENSIONS = {
    "VolumeFile": (
        ".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".tif", ".tiff", ".png", ".dcm",
    ),
    "SegmentationFile": (".seg.nrrd", ".seg.nhdr"),
    "ModelFile": (".vtk", ".vtp", ".stl", ".ply", ".obj"),
    "TransformFile": (".tfm", ".h5", ".mat"),
    "MarkupsFile": (".mrk.json", ".fcsv"),
    "TableFile": (".csv", ".tsv"),
    "TextFile": (".txt", ".json"),
    "SceneFile": (".mrb", ".mrml"),
}  # fmt: skip
_NODE_CLASSES = {
    "vtkMRMLSegmentationNode": "SegmentationFile",
    "vtkMRMLVolumeNode": "VolumeFile",
    "vtkMRMLModelNode": "ModelFile",
    "vtkMRMLTransformNode": "TransformFile",
    "vtkMRMLMarkupsNode": "MarkupsFile",
    "vtkMRMLTableNode": "TableFile",
    "vtkMRMLTextNode": "TextFile",
}
# slicer-core registers no ITK image formats with the volume storage node, which then names none.
_VOLUME_FORMATS = (
    "NRRD (.nrrd)",
    "NRRD (.nhdr)",
    "NIfTI (.nii.gz)",
    "NIfTI (.nii)",
    "MetaImage (.mha)",
    "MetaImage (.mhd)",
)
# vtkSlicerVolumesLogic::LoadingOptions, which is not wrapped for Python.
_VOLUME_OPTIONS = {
    "labelmap": 1,
    "center": 2,
    "singleFile": 4,
    "autoWindowLevel": 8,
    "discardOrientation": 16,
}


class CoreIOManager:
    """What ``slicer.app.coreIOManager()`` returns.

    Parameters
    ----------
    application : qSlicerApplication
        Owner of the scene and of the module logics.
    """

    def __init__(self, application: Any) -> None:
        self._application = application

    def fileType(self, file_name: Any) -> str:
        name = str(file_name).lower()
        matches = [
            (len(extension), kind)
            for kind, extensions in _EXTENSIONS.items()
            for extension in extensions
            if name.endswith(extension)
        ]
        return max(matches)[1] if matches else "NoFile"

    def fileWriterFileType(self, node: Any) -> str:
        for name, kind in _NODE_CLASSES.items():
            if node.IsA(name):
                return kind
        return "NoFile"

    def loadNodes(
        self, file_type: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None
    ) -> bool:
        path = str(properties["fileName"])
        if not Path(path).exists():
            return False
        if file_type == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", True)), messages)
        name = properties.get("name") or Path(path).name.split(".")[0]
        readers = {
            "VolumeFile": lambda: self._load_volume(path, name, properties),
            "SegmentationFile": lambda: self._load_segmentation(path, name),
            "MarkupsFile": lambda: self._load_markups(path, name, messages),
        }
        reader = readers.get(file_type, lambda: self._load_plain(file_type, path, name))
        node = reader()
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def _load_scene(self, path: str, clear: bool, messages: Any) -> bool:
        scene = self._application.mrmlScene()
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear, messages))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())

    def _load_volume(self, path: str, name: str, properties: dict[str, Any]) -> Any:
        options = sum(bit for key, bit in _VOLUME_OPTIONS.items() if properties.get(key))
        logic = self._application.moduleLogic("Volumes")
        node = logic.AddArchetypeVolume(path, name, options)
        if node is not None and properties.get("show", True):
            selection = self._application.applicationLogic().GetSelectionNode()
            selection.SetActiveVolumeID(node.GetID())
            self._application.applicationLogic().PropagateVolumeSelection(1)
        return node

    def _load_segmentation(self, path: str, name: str) -> Any:
        logic = self._application.moduleLogic("Segmentations")
        return logic.LoadSegmentationFromFile(path, True, name)

    def _load_markups(self, path: str, name: str, messages: Any) -> Any:
        logic = self._application.moduleLogic("Markups")
        node_id = logic.LoadMarkups(path, name, messages)
        return self._application.mrmlScene().GetNodeByID(node_id) if node_id else None

    def _load_plain(self, file_type: str, path: str, name: str) -> Any:
        """Load the kinds of node whose storage node needs no logic."""
        classes = {"vtkMRMLTransformNode": "vtkMRMLLinearTransformNode"}
        kind = next((key for key, value in _NODE_CLASSES.items() if value == file_type), None)
        if kind is None:
            return None
        scene = self._application.mrmlScene()
        node = scene.AddNewNodeByClass(classes.get(kind, kind), name)
        node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        if not storage.ReadData(node):
            scene.RemoveNode(node)
            return None
        if node.IsA("vtkMRMLDisplayableNode"):
            node.CreateDefaultDisplayNodes()
        return node

    def saveNodes(self, file_type: str, properties: dict[str, Any], messages: Any = None) -> bool:
        path = str(properties["fileName"])
        scene = self._application.mrmlScene()
        if file_type == "SceneFile":
            return self._save_scene(path, messages)
        node = scene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(path)
        return self._write(node, node.GetStorageNode(), path, properties)

    def _save_scene(self, path: str, messages: Any) -> bool:
        scene = self._application.mrmlScene()
        if path.endswith(".mrb"):
            return bool(scene.WriteToMRB(path, None, messages))
        if path.endswith(".mrml"):
            scene.SetURL(path)
            return bool(scene.Commit())
        logic = self._application.applicationLogic()
        return bool(logic.SaveSceneToSlicerDataBundleDirectory(path, None))

    def _write(self, node: Any, storage: Any, path: str, properties: dict[str, Any]) -> bool:
        storage.SetFileName(path)
        storage.SetUseCompression(int(properties.get("useCompression", True)))
        return bool(storage.WriteData(node))

    def exportNodes(
        self,
        node_ids: list[str],
        file_names: list[Any],
        properties: dict[str, Any],
        harden_transform: bool,
        messages: Any = None,
    ) -> bool:
        """Write nodes without touching their own storage nodes."""
        scene = self._application.mrmlScene()
        results = []
        for node_id, path in zip(node_ids, file_names, strict=True):
            node = scene.GetNodeByID(node_id)
            if harden_transform and node.GetParentTransformNode() is not None:
                raise RuntimeError("the test host cannot export in world coordinates")
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            results.append(self._write(node, storage, str(path), properties))
        return all(results)

    def extractKnownExtension(self, file_name: Any, node: Any) -> str:
        name = str(file_name).lower()
        known = (item for extensions in _EXTENSIONS.values() for item in extensions)
        return max((item for item in known if name.endswith(item)), key=len, default="")

    def fileWriterExtensions(self, node: Any) -> tuple[str, ...]:
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
        types = storage.GetSupportedWriteFileTypes()
        formats = tuple(types.GetValue(index) for index in range(types.GetNumberOfValues()))
        return formats or (_VOLUME_FORMATS if node.IsA("vtkMRMLVolumeNode") else ())


def install() -> None:
    """Put the manager into ``slicer``."""
    slicer.qSlicerCoreIOManager = CoreIOManager
