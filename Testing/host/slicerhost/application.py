"""``slicer.app``: the scene, the logics and the managers behind one QApplication."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import qt
import slicer

from .io_manager import CoreIOManager
from .layout import qSlicerLayoutManager
from .module_manager import ModuleManager, qSlicerCoreModule
from .subject_hierarchy import SubjectHierarchyKeeper

_LOGICS = {
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Colors": "vtkSlicerColorLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}


class qSlicerApplication(qt.QApplication):
    """The application object of the host, in testing mode and without a main window."""

    startupCompleted = qt.Signal()
    majorVersion, minorVersion = 5, 12
    applicationVersion, revision = "5.12.0", "0"
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"

    def __init__(self) -> None:
        self._startup_environment = dict(os.environ)
        self._folder = Path(tempfile.mkdtemp(prefix="slicer-test-host-"))
        _isolate_settings(self._folder / "settings")
        super().__init__(["SlicerTestHost"])
        self.setApplicationName("SlicerTestHost")
        self.setOrganizationName("NASAM3D")
        self.setQuitOnLastWindowClosed(False)
        self._scene = slicer.vtkMRMLScene()
        self._application_logic = slicer.vtkSlicerApplicationLogic()
        self._logics: dict[str, Any] = {}
        self._layout_manager: Any = None
        self._layout_available = True
        self._io_manager = CoreIOManager(self)
        self._module_manager = ModuleManager()
        self._keep: list[Any] = []

    def start(self) -> None:
        """Fill the scene with what Slicer puts there, then make logics and views."""
        slicer.app, slicer.mrmlScene = self, self._scene
        (self._folder / "share" / "ColorFiles").mkdir(parents=True)
        _install_launcher(self._folder / "bin")
        self._start_data_io()
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self._scene.AddNode(crosshair)
        self._application_logic.SetMRMLScene(self._scene)
        self._application_logic.SetTemporaryPath(self.temporaryPath)
        self._application_logic.SetHomeDirectory(self.slicerHome)
        self._application_logic.SetShareDirectory("share")
        colors = self._application_logic.GetColorLogic()
        colors.SetMRMLScene(self._scene)
        colors.AddDefaultColorNodes()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self._scene, True)
        for name, class_name in _LOGICS.items():
            self._start_logic(name, class_name)
        self._keep.append(SubjectHierarchyKeeper(self._scene))
        self._layout_manager = qSlicerLayoutManager()
        self._layout_manager.start(self._application_logic)

    def _start_data_io(self) -> None:
        """Give the scene the cache folder without which it reads no .mrb file."""
        folder = self._folder / "RemoteIO"
        folder.mkdir()
        cache, manager = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
        cache.SetRemoteCacheDirectory(str(folder))
        cache.SetMRMLScene(self._scene)
        manager.SetCacheManager(cache)
        self._scene.SetCacheManager(cache)
        self._scene.SetDataIOManager(manager)
        self._keep += [cache, manager]

    def _start_logic(self, name: str, class_name: str) -> None:
        """Make a module's real logic and its place under ``slicer.modules``."""
        kind = getattr(slicer, class_name, None)
        if kind is None:
            return
        logic = kind()
        share = self._folder / "share" / name
        share.mkdir(parents=True)
        if hasattr(logic, "SetModuleShareDirectory"):
            logic.SetModuleShareDirectory(str(share))
        if hasattr(logic, "SetMRMLApplicationLogic"):
            logic.SetMRMLApplicationLogic(self._application_logic)
            self._application_logic.SetModuleLogic(name, logic)
        logic.SetMRMLScene(self._scene)
        self._logics[name.lower()] = logic
        self._module_manager.register(qSlicerCoreModule.make(name, logic))

    def close(self) -> None:
        """Remove the files that the host made."""
        shutil.rmtree(self._folder, ignore_errors=True)

    temporaryPath = qt.Property(str, lambda self: str(self._folder))
    slicerHome = qt.Property(str, lambda self: str(self._folder))

    def mrmlScene(self) -> Any:
        return self._scene

    def applicationLogic(self) -> Any:
        return self._application_logic

    def coreIOManager(self) -> Any:
        return self._io_manager

    def ioManager(self) -> Any:
        return self._io_manager

    def layoutManager(self) -> Any:
        """Return the layout manager, or None while :meth:`setLayoutAvailable` says so."""
        return self._layout_manager if self._layout_available else None

    def setLayoutAvailable(self, available: bool) -> None:
        """Behave as ``Slicer --no-main-window`` does, which has no layout manager (host only)."""
        self._layout_available = available

    def viewLayout(self) -> Any:
        """Return the views' owner whether or not modules may see it (host only)."""
        return self._layout_manager

    def moduleManager(self) -> Any:
        return self._module_manager

    def moduleLogic(self, name: str) -> Any:
        return self._logics.get(name.lower())

    def testingEnabled(self) -> bool:
        return True

    def commandOptions(self) -> Any:
        return types.SimpleNamespace(noMainWindow=True, testingEnabled=True)

    def startupEnvironment(self) -> Any:
        environment = qt.QProcessEnvironment()
        for key, value in self._startup_environment.items():
            environment.insert(key, value)
        return environment

    def userSettings(self) -> Any:
        return qt.QSettings()

    def settings(self) -> Any:
        return qt.QSettings()

    def revisionUserSettings(self) -> Any:
        return qt.QSettings()

    def setRenderPaused(self, paused: bool) -> None:
        self._layout_manager.setRenderPaused(paused)

    def pauseRender(self) -> None:
        self.setRenderPaused(True)

    def resumeRender(self) -> None:
        self.setRenderPaused(False)

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def toSlicerHomeAbsolutePath(self, path: str) -> str:
        return str(self._folder / path)

    def completeStartup(self) -> None:
        """Emit ``startupCompleted()``, as Slicer does with all modules loaded (host only)."""
        self.startupCompleted.emit()


def _isolate_settings(folder: Path) -> None:
    """Keep ``qt.QSettings()`` away from the user's own settings."""
    folder.mkdir()
    qt.QSettings.setDefaultFormat(qt.QSettings.IniFormat)
    for scope in (qt.QSettings.UserScope, qt.QSettings.SystemScope):
        qt.QSettings.setPath(qt.QSettings.IniFormat, scope, str(folder))


def _install_launcher(folder: Path) -> None:
    """Put a ``PythonSlicer`` on the path that, like Slicer's, runs Python as its child."""
    folder.mkdir()
    if os.name == "nt":
        launcher = folder / "PythonSlicer.bat"
        launcher.write_text(f'@"{sys.executable}" %*\n', encoding="utf-8")
    else:
        launcher = folder / "PythonSlicer"
        launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n', encoding="utf-8")
        launcher.chmod(0o755)
    os.environ["PATH"] = os.pathsep.join((str(folder), os.environ.get("PATH", "")))


def install() -> None:
    """Put the application's class into ``slicer``."""
    slicer.qSlicerApplication = qSlicerApplication
