"""Pytest fixtures and hooks of the Slicer test host; ``Testing/conftest.py`` imports them.

The host runs in pytest's own process, once for all tests: Qt allows one application per process.
"""

from __future__ import annotations

import atexit
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import slicerhost

__all__ = [
    "clean_scene",
    "load_module",
    "pytest_sessionfinish",
    "pytest_unconfigure",
    "screenshot",
    "slicer_app",
]

_FOREIGN_MODULES = (r"slicer(\.|$)", r"vtk(modules)?\.")
_session: pytest.Session | None = None


@dataclass(frozen=True)
class LoadedModule:
    """A scripted module that is loaded and shown.

    Parameters
    ----------
    module : qSlicerScriptedLoadableModule
        What ``slicer.modules.<name>`` is.
    panel : qSlicerScriptedLoadableModuleWidget
        The Qt widget, for pictures and clicks, and to call ``enter`` and ``exit`` on.
    widget : ScriptedLoadableModuleWidget
        The module's own Python object, after its ``setup``.
    """

    module: Any
    panel: Any
    widget: Any


@pytest.fixture(scope="session")
def slicer_app() -> Any:
    """Return ``slicer.app`` of the started host; skip where it cannot start."""
    reason = slicerhost.missing_requirement()
    if reason is not None:
        pytest.skip(reason)
    _pass_foreign_deprecations()
    return slicerhost.start()


@pytest.fixture
def clean_scene(slicer_app: Any) -> Iterator[Any]:
    """Give an empty scene, and fail the test if a slot or an observer raised."""
    _pass_foreign_deprecations()
    _reset(slicer_app)
    yield slicer_app.mrmlScene()
    errors = _reset(slicer_app)
    if errors:
        pytest.fail("raised in a slot or an observer:\n" + "\n".join(errors), pytrace=False)


def _pass_foreign_deprecations() -> None:
    """Let the deprecations inside slicer-core's own Python code pass: they are not ours to mend.

    pytest puts the filters back after each test.
    """
    for module in _FOREIGN_MODULES:
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=module)


def _reset(app: Any) -> list[str]:
    """Empty the scene and return what was raised meanwhile."""
    import slicer
    from slicerhost import slot_errors

    app.processEvents()
    app.mrmlScene().Clear(0)
    app.processEvents()
    app.setLayoutAvailable(True)
    slicer.packaging.reset()
    return slot_errors.take()


@pytest.fixture
def load_module(clean_scene: Any, slicer_app: Any) -> Iterator[Callable[[Path], LoadedModule]]:
    """Return a function that loads a scripted module; it is unloaded after the test."""
    manager = slicer_app.moduleManager()
    loaded: list[str] = []

    def load(path: Path) -> LoadedModule:
        module = manager.loadScriptedModule(path)
        loaded.append(module.name)
        panel = module.widgetRepresentation()
        panel.resize(panel.sizeHint())
        panel.show()
        return LoadedModule(module=module, panel=panel, widget=panel.self())

    yield load
    for name in reversed(loaded):
        manager.unloadScriptedModule(name)
    slicer_app.processEvents()


@pytest.fixture
def screenshot(slicer_app: Any) -> Callable[[Any, Path], Path]:
    """Return :func:`slicerhost.screenshots.screenshot`."""
    from slicerhost import screenshots

    return screenshots.screenshot


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remember the session, whose exit status is final only at the very end."""
    global _session
    _session = session


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_unconfigure() -> Iterator[None]:
    """Once the host has run, end the process with pytest's status as soon as pytest is done.

    The interpreter would go on to destroy VTK's observers and PySide6's wrappers in no certain
    order, and a crash there would make a failure of a run whose tests have all passed. Whatever
    registered with ``atexit`` still runs, and the output is written.
    """
    failed = False
    try:
        yield
    except Exception:
        if not slicerhost.is_started():
            raise
        traceback.print_exc()
        failed = True
    if slicerhost.is_started() and _session is not None:
        slicerhost.start().close()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(_session.exitstatus) or int(failed))
