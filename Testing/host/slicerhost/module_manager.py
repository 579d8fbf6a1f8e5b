"""Modules: Slicer's own, which are a logic only here, and scripted ones loaded from a file."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import qt
import slicer

from .mrml_widgets import qSlicerWidget
from .qt_standin import stand_in, stored


@stand_in()
class qSlicerCoreModule(qt.QObject):
    """A module of Slicer's own: its name and its real logic, but no widget."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._name = ""
        self._logic: Any = None

    @classmethod
    def make(cls, name: str, logic: Any) -> qSlicerCoreModule:
        """Make the module of a logic."""
        module = cls()
        module._name, module._logic = name, logic
        return module

    name = qt.Property(str, lambda self: self._name)
    title = qt.Property(str, lambda self: self._name)
    path = qt.Property(str, lambda _: "")

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> None:
        return None


@stand_in()
class qSlicerScriptedLoadableModule(qt.QObject):
    """What a scripted module's first class gets as ``parent``."""

    title, setTitle = stored(str, "title", "")
    categories, setCategories = stored("QStringList", "categories", ())
    contributors, setContributors = stored("QStringList", "contributors", ())
    dependencies, setDependencies = stored("QStringList", "dependencies", ())
    associatedNodeTypes, setAssociatedNodeTypes = stored("QStringList", "associatedNodeTypes", ())
    helpText, setHelpText = stored(str, "helpText", "")
    acknowledgementText, setAcknowledgementText = stored(str, "acknowledgementText", "")
    icon, setIcon = stored(qt.QIcon, "icon", None)
    hidden, setHidden = stored(bool, "hidden", False)
    index, setIndex = stored(int, "index", -1)
    widgetRepresentationCreationEnabled, setWidgetRepresentationCreationEnabled = stored(
        bool, "widgetRepresentationCreationEnabled", True
    )

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._path = Path()
        self._representation: Any = None

    path = qt.Property(str, lambda self: str(self._path))
    name = qt.Property(str, lambda self: self._path.stem)

    def setPythonSource(self, path: Path) -> None:
        """Import the file and make its first class, as Slicer does when it starts."""
        self._path = path
        python_module = import_source(path)
        instance = getattr(python_module, path.stem)(self)
        setattr(slicer.modules, f"{path.stem}Instance", instance)

    def logic(self) -> None:
        """Answer None: a scripted module has no C++ logic."""
        return None

    def widgetRepresentation(self) -> Any:
        if self._representation is None:
            self._representation = self.createNewWidgetRepresentation()
        return self._representation

    def createNewWidgetRepresentation(self) -> Any:
        widget = qSlicerScriptedLoadableModuleWidget()
        widget.start(self)
        return widget

    def dropWidgetRepresentation(self) -> None:
        """Delete the widget (host only)."""
        if self._representation is not None:
            self._representation.hide()
            self._representation.deleteLater()
            self._representation = None


@stand_in()
class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """What a scripted module's widget class gets as ``parent``."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._module: Any = None
        self._python_self: Any = None
        qt.QVBoxLayout(self)

    def start(self, module: Any) -> None:
        """Make the Python widget of ``module`` and set it up."""
        self._module = module
        self.reload()
        self.setMRMLScene(slicer.mrmlScene)

    def reload(self) -> None:
        """Make the Python widget anew and set it up, from the module as it is imported now."""
        name = self._module.name
        kind = getattr(sys.modules[name], f"{name}Widget")
        self._python_self = kind(self)
        setattr(slicer.modules, f"{name}Widget", self._python_self)
        self._python_self.setup()

    def module(self) -> Any:
        return self._module

    def self(self) -> Any:
        return self._python_self

    def enter(self) -> None:
        """Call the module's ``enter``, as Slicer does when the user selects the module."""
        if hasattr(self._python_self, "enter"):
            self._python_self.enter()

    def exit(self) -> None:
        """Call the module's ``exit``, as Slicer does when the user leaves the module."""
        if hasattr(self._python_self, "exit"):
            self._python_self.exit()


@stand_in()
class ModuleManager(qt.QObject):
    """What ``slicer.app.moduleManager()`` returns; it is its own factory manager."""

    moduleLoaded = qt.Signal(str)
    moduleAboutToBeUnloaded = qt.Signal(str)
    moduleUnloaded = qt.Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._modules: dict[str, Any] = {}

    def register(self, module: Any) -> None:
        """Make a module known under ``slicer.modules`` and ``slicer.moduleNames``."""
        self._modules[module.name] = module
        setattr(slicer.modules, module.name.lower(), module)
        setattr(slicer.moduleNames, module.name, module.name)
        self.moduleLoaded.emit(module.name)

    def loadScriptedModule(self, path: Path) -> Any:
        """Load the module of a file (host only)."""
        path = Path(path).resolve()
        if not path.is_file():
            raise FileNotFoundError(f"a scripted module's file was wanted, got {path}")
        module = qSlicerScriptedLoadableModule()
        module.setPythonSource(path)
        self.register(module)
        return module

    def unloadScriptedModule(self, name: str) -> None:
        """Forget a scripted module: its widget, its import and its folder (host only)."""
        module = self._modules.pop(name)
        self.moduleAboutToBeUnloaded.emit(name)
        module.dropWidgetRepresentation()
        for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
            slicer.modules.__dict__.pop(attribute, None)
        slicer.moduleNames.__dict__.pop(name, None)
        sys.modules.pop(name, None)
        folder = str(Path(module.path).parent)
        if folder in sys.path:
            sys.path.remove(folder)
        self.moduleUnloaded.emit(name)

    def module(self, name: str) -> Any:
        return self._modules.get(name)

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(self._modules)

    def loadedModuleNames(self) -> tuple[str, ...]:
        return tuple(self._modules)

    def factoryManager(self) -> Any:
        return self


def import_source(path: Path) -> types.ModuleType:
    """Import a file under its own name, with its folder on ``sys.path``, as Slicer does.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    module
        The module, also in ``sys.modules``.
    """
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"a Python file was wanted, got {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def install() -> None:
    """Put the module classes and the empty ``slicer.modules`` into ``slicer``."""
    for name in ("modules", "moduleNames"):
        namespace = types.ModuleType(f"slicer.{name}")
        sys.modules[namespace.__name__] = namespace
        setattr(slicer, name, namespace)
    for kind in (
        qSlicerCoreModule,
        qSlicerScriptedLoadableModule,
        qSlicerScriptedLoadableModuleWidget,
    ):
        setattr(slicer, kind.__name__, kind)
