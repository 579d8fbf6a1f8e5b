"""A small Slicer: slicer-core and PySide6 behind the names that a scripted module imports.

After :func:`start`, ``import qt, ctk, slicer, vtk`` works as in Slicer's own Python, and
``slicer.app.moduleManager().loadScriptedModule(path)`` loads a module's file unchanged.
What is real and what stands in for it is listed in the README beside this package.
"""

from __future__ import annotations

from typing import Any

from .environment import keep_singletons_alive, missing_requirement, prepare_environment

__all__ = ["missing_requirement", "start"]

_application: Any = None


def start() -> Any:
    """Start the host once for this process.

    Returns
    -------
    qSlicerApplication
        The object that is also ``slicer.app``.

    Raises
    ------
    RuntimeError
        If something else has already made a QApplication.

    Notes
    -----
    The order matters: the variables before PySide6 and VTK, the ``qt`` module before the classes
    made from it, and each stand-in before those that use it.
    """
    global _application
    if _application is not None:
        return _application
    prepare_environment()
    keep_singletons_alive()
    from . import qt_facade

    qt = qt_facade.build()
    if qt.QApplication.instance() is not None:
        raise RuntimeError("the test host makes the QApplication itself, but there is one already")
    _application = _assemble()
    return _application


def is_started() -> bool:
    """Tell whether :func:`start` has run."""
    return _application is not None


def _assemble() -> Any:
    """Install the stand-ins in the order of their imports, then make the application."""
    from . import ctk_widgets, packaging, services, slot_errors, uiloader

    ctk_widgets.install()
    services.install()
    packaging.install()
    slot_errors.install()

    from . import markups_widgets, module_manager, mrml_widgets, segments_table, subject_hierarchy

    classes = mrml_widgets.install() + segments_table.install() + markups_widgets.install()
    uiloader.install((*classes, *subject_hierarchy.install(), *ctk_widgets.WIDGETS))
    module_manager.install()

    from . import application, io_manager, layout, parameter_node, scripted, views

    for part in (views, layout, io_manager, application, parameter_node, scripted):
        part.install()
    instance = application.qSlicerApplication()
    instance.start()
    return instance
