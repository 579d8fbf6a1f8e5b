"""Stand-in for ``slicer.parameterNodeWrapper``: typed access to a node, bound to widgets.

The same names, the same checks and the same pairs of types and widgets as in Slicer; parameter
packs and serializers of a module's own are not here.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk

from . import parameter_types
from .parameter_types import Default, Parameter
from .parameter_widgets import Connector, make_connector

PROPERTY_NAME = "SlicerParameterName"
_ANNOTATIONS = (
    "Choice", "Decimals", "Default", "Exclude", "IsInstance", "Maximum", "Minimum", "NotNone",
    "SingleStep", "Validator", "WithinRange",
)  # fmt: skip


class _WrapperMethods:
    """What every parameter node wrapper can do besides its parameters."""

    allParameters: typing.ClassVar[dict[str, Parameter]] = {}
    _is_parameter_node_wrapper = True

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode = parameterNode
        self._bindings: dict[int, tuple[dict[str, Connector], int]] = {}
        self._next_tag = 0
        self._updating = False
        for parameter in self.allParameters.values():
            parameter.read(parameterNode)

    def default(self, name: str) -> Default:
        return self._parameter(name).default

    def dataType(self, name: str) -> Any:
        return self._parameter(name).annotation

    def getValue(self, name: str) -> Any:
        return self._parameter(name).read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        with slicer.util.NodeModify(self.parameterNode):
            self._parameter(name).write(self.parameterNode, value)

    def _parameter(self, name: str) -> Parameter:
        if name not in self.allParameters:
            known = ", ".join(self.allParameters)
            raise ValueError(f"Cannot find a param with the given name: {name}, there are: {known}")
        return self.allParameters[name]

    def connectGui(self, gui: Any) -> int:
        """Bind the widgets that name a parameter in their dynamic property.

        Parameters
        ----------
        gui : QWidget or object
            A widget to search, or what ``slicer.util.childWidgetVariables`` returns.

        Returns
        -------
        int
            Tag for :meth:`disconnectGui`.
        """
        is_widget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if is_widget else vars(gui).values()
        named = {widget.property(PROPERTY_NAME): widget for widget in widgets}
        return self.connectParametersToGui({k: v for k, v in named.items() if k})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        connectors = {
            name: make_connector(widget, self._parameter(name)) for name, widget in mapping.items()
        }
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.connect(self._gui_to_node(name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, self._node_to_gui)
        self._next_tag += 1
        self._bindings[self._next_tag] = (connectors, observer)
        return self._next_tag

    def disconnectGui(self, tag: int) -> None:
        connectors, observer = self._bindings.pop(tag, ({}, None))
        for connector in connectors.values():
            connector.disconnect()
        if observer is not None:
            self.RemoveObserver(observer)

    def _gui_to_node(self, name: str, connector: Connector) -> Callable[[], None]:
        def changed() -> None:
            if not self._updating:
                self.setValue(name, connector.read())

        return changed

    def _node_to_gui(self, *_: Any) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connectors, _observer in list(self._bindings.values()):
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updating = False

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, was_modifying: Any) -> Any:
        return self.parameterNode.EndModify(was_modifying)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def parameterNodeWrapper(kind: type | None = None) -> Any:
    """Turn a class with annotated attributes into a wrapper of a parameter node.

    Parameters
    ----------
    kind : type, optional
        The class; without it a decorator is returned.

    Returns
    -------
    type or callable
        The same class, with its attributes as properties kept in the node.
    """
    if kind is None:
        return parameterNodeWrapper
    methods = {
        name: value
        for name, value in vars(_WrapperMethods).items()
        if name == "__init__" or not name.startswith("__")
    }
    hints = typing.get_type_hints(kind, include_extras=True)
    clashes = sorted(set(hints) & set(methods))
    if clashes:
        raise ValueError(f"Cannot use reserved name '{clashes[0]}' in a parameterNodeWrapper")
    parameters = {}
    for name, annotation in hints.items():
        default = Default(getattr(kind, name)) if hasattr(kind, name) else None
        parameters[name] = Parameter(name, annotation, default)
        setattr(kind, name, _as_property(name))
    for name, value in methods.items():
        setattr(kind, name, value)
    kind.allParameters = parameters
    return kind


def _as_property(name: str) -> property:
    """Make the attribute of one parameter."""
    return property(
        lambda self: self.getValue(name), lambda self, value: self.setValue(name, value)
    )


def isParameterNodeWrapper(candidate: Any) -> bool:
    """Tell whether a class or an object is a parameter node wrapper."""
    return bool(getattr(candidate, "_is_parameter_node_wrapper", False))


def findChildWidgetForParameter(widget: Any, parameter: str) -> Any:
    """Find the child widget that names ``parameter``, None where there is none."""
    children = widget.findChildren(qt.QWidget)
    return next((item for item in children if item.property(PROPERTY_NAME) == parameter), None)


def install() -> None:
    """Make the names importable from ``slicer.parameterNodeWrapper``."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    module.__dict__.update({name: getattr(parameter_types, name) for name in _ANNOTATIONS})
    for function in (parameterNodeWrapper, isParameterNodeWrapper, findChildWidgetForParameter):
        module.__dict__[function.__name__] = function
    module.__dict__["SlicerParameterNamePropertyName"] = PROPERTY_NAME
    sys.modules[module.__name__] = module
    slicer.parameterNodeWrapper = module
