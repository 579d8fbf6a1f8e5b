"""Which widget can show which type of parameter, and how; the same pairs as in Slicer."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer

from .parameter_types import (
    Choice,
    Decimals,
    Maximum,
    Minimum,
    Parameter,
    SingleStep,
    WithinRange,
)

_INTEGER_LIMIT = 2**31
_DOUBLE_BOXES = (qt.QDoubleSpinBox, ctk.ctkSliderWidget, ctk.ctkDoubleSpinBox)
_SLIDERS = (qt.QSlider, ctk.ctkSliderWidget)
_COMBO_BOXES = (qt.QComboBox, ctk.ctkComboBox)


class Connector:
    """Ties one widget to one parameter.

    Parameters
    ----------
    widget : QWidget
        The widget.
    signal : str or None
        Name of the signal by which it tells of changes; None for one that only shows.
    read, write : callable
        Read the widget's value; write one to the widget.
    """

    def __init__(
        self,
        widget: Any,
        signal: str | None,
        *,
        read: Callable[[], Any],
        write: Callable[[Any], None],
    ) -> None:
        self.widget, self.read, self.write = widget, read, write
        self._signal = None if signal is None else getattr(widget, signal)
        self._callback: Callable[[], None] | None = None

    def connect(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever the widget's value changes."""
        self._callback = callback
        if self._signal is not None:
            self._signal.connect(self._changed)

    def disconnect(self) -> None:
        """Stop that."""
        if self._callback is not None and self._signal is not None:
            self._signal.disconnect(self._changed)
        self._callback = None

    def _changed(self) -> None:
        if self._callback is not None:
            self._callback()


def make_connector(widget: Any, parameter: Parameter) -> Connector:
    """Make the connector for a widget and a parameter.

    Parameters
    ----------
    widget : QWidget
        The widget.
    parameter : Parameter
        The parameter.

    Returns
    -------
    Connector
        Not yet connected.

    Raises
    ------
    RuntimeError
        If Slicer cannot bind this type of parameter to this class of widget either.
    """
    kind, widget_class = parameter.kind, type(widget)
    if parameter.nodes and widget_class is slicer.qMRMLNodeComboBox:
        return _node_combo_box(widget, parameter)
    if kind is bool and widget_class in (qt.QCheckBox, qt.QPushButton):
        return _attribute(widget, "checked", "toggled")
    if kind is int and widget_class in (qt.QSlider, qt.QSpinBox):
        return _number(widget, parameter)
    if kind in (int, float) and widget_class in _DOUBLE_BOXES:
        return _number(widget, parameter)
    if widget_class in _COMBO_BOXES and isinstance(kind, type):
        return _combo_box(widget, parameter)
    if kind is str and widget_class in _TEXT_WIDGETS:
        return _TEXT_WIDGETS[widget_class](widget)
    if kind in (pathlib.Path, pathlib.PurePath) and widget_class is ctk.ctkPathLineEdit:
        return _path_line(widget, kind)
    raise RuntimeError(
        f"Unable to create GUI connector from datatype '{parameter.annotation}' to widget type "
        f"'{widget_class}'."
    )


def _attribute(widget: Any, name: str, signal: str | None) -> Connector:
    """Bind a property of the widget."""
    if name == "checked":
        widget.checkable = True
    return Connector(
        widget,
        signal,
        read=lambda: getattr(widget, name),
        write=lambda value: setattr(widget, name, value),
    )


def _text_edit(widget: Any) -> Connector:
    return Connector(
        widget, "textChanged", read=widget.toPlainText, write=lambda text: widget.setPlainText(text)
    )


def _line_edit(widget: Any) -> Connector:
    def write(text: str) -> None:
        if text != widget.text:
            widget.text = text

    return Connector(widget, "textChanged", read=lambda: widget.text, write=write)


_TEXT_WIDGETS: dict[type, Callable[[Any], Connector]] = {
    qt.QLineEdit: _line_edit,
    qt.QLabel: lambda widget: _attribute(widget, "text", None),
    qt.QTextEdit: _text_edit,
}


def _path_line(widget: Any, kind: type) -> Connector:
    return Connector(
        widget,
        "currentPathChanged",
        read=lambda: kind(widget.currentPath),
        write=lambda path: widget.setCurrentPath(str(path)),
    )


def _node_combo_box(widget: Any, parameter: Parameter) -> Connector:
    """Bind a node selector, whose node types the annotation then decides."""
    widget.nodeTypes = tuple(kind().GetClassName() for kind in parameter.nodes)
    return Connector(
        widget,
        "currentNodeChanged",
        read=widget.currentNode,
        write=lambda node: widget.setCurrentNode(node),
    )


def _number(widget: Any, parameter: Parameter) -> Connector:
    """Bind a spin box or a slider, whose range the annotations then decide."""
    integer = parameter.kind is int
    low, high = _bounds(parameter)
    if type(widget) in _SLIDERS and (low is None or high is None):
        raise RuntimeError(
            f"Cannot have a connection to {type(widget).__name__} where the type is unbounded."
        )
    decimals, step = _find(parameter, Decimals), _find(parameter, SingleStep)
    if type(widget) in _DOUBLE_BOXES and (integer or decimals is not None):
        widget.decimals = 0 if integer else decimals.value
    if step is not None:
        widget.singleStep = step.value
    is_int_widget = type(widget) not in _DOUBLE_BOXES
    widget.minimum = low if low is not None else (-_INTEGER_LIMIT if is_int_widget else -1e300)
    widget.maximum = high if high is not None else (_INTEGER_LIMIT - 1 if is_int_widget else 1e300)
    return Connector(
        widget,
        "valueChanged",
        read=lambda: int(widget.value) if integer else widget.value,
        write=lambda value: setattr(widget, "value", value),
    )


def _bounds(parameter: Parameter) -> tuple[float | None, float | None]:
    """Find the bounds among the annotations."""
    within = _find(parameter, WithinRange)
    if within is not None:
        return within.minimum, within.maximum
    low, high = _find(parameter, Minimum), _find(parameter, Maximum)
    return (low and low.minimum), (high and high.maximum)


def _combo_box(widget: Any, parameter: Parameter) -> Connector:
    """Bind a combo box to an enumeration or to a list of choices."""
    if issubclass(parameter.kind, enum.Enum):
        label = getattr(parameter.kind, "label", lambda member: member.name)
        entries = [(label(member), member) for member in parameter.kind]
    else:
        choice = _find(parameter, Choice)
        if choice is None:
            raise RuntimeError(
                "ComboBoxToStringableConnector requires the Choice annotation to be used."
            )
        entries = [(str(value), value) for value in choice.choices]
    values = [value for _, value in entries]
    widget.clear()
    for text, _ in entries:
        widget.addItem(text)

    def write(value: Any) -> None:
        if value not in values:
            raise ValueError(f"Unable to find value {value} in choices {values}")
        widget.currentIndex = values.index(value)

    return Connector(
        widget, "currentIndexChanged", read=lambda: values[widget.currentIndex], write=write
    )


def _find(parameter: Parameter, kind: type) -> Any:
    """Find the first annotation of a class."""
    return next((item for item in parameter.extras if isinstance(item, kind)), None)
