"""How a parameter node wrapper checks its values and keeps them in a MRML node."""

from __future__ import annotations

import enum
import json
import pathlib
import types
import typing
from collections.abc import Callable
from typing import Any

import slicer


class Validator:
    """Base class of the annotations that restrict a parameter."""

    def validate(self, value: Any) -> None:
        """Raise ValueError where ``value`` is not allowed."""
        raise NotImplementedError


class NotNone(Validator):
    """The value must not be None."""

    def validate(self, value: Any) -> None:
        if value is None:
            raise ValueError("Value must not be None")


class IsInstance(Validator):
    """The value must be of a type."""

    def __init__(self, kind: Any) -> None:
        self.classtype = kind

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(
                f"Value must be of type '{self.classtype}', is type '{type(value)}' value '{value}'"
            )


class WithinRange(Validator):
    """The value must lie between two bounds, which count as allowed."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(
                f"Value must be within range [{self.minimum}, {self.maximum}], is {value}"
            )


class Minimum(Validator):
    """The value must not be smaller."""

    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


class Maximum(Validator):
    """The value must not be larger."""

    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


class Choice(Validator):
    """The value must be one of a list."""

    def __init__(self, choices: Any) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(
                f"Value is {value}, but must be in one of the following: {self.choices}"
            )


class Exclude(Validator):
    """The value must not be one of a list."""

    def __init__(self, excluded: Any) -> None:
        self.excludedValues = excluded

    def validate(self, value: Any) -> None:
        if value in self.excludedValues:
            raise ValueError(f"Value is {value}, which is one of {self.excludedValues}")


class Default:
    """Default value of a parameter, or a function that makes one."""

    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value, self._generator = value, generator

    @property
    def value(self) -> Any:
        return self._generator() if self._generator else self._value


class Decimals:
    """Number of decimals that a bound spin box or slider shows."""

    def __init__(self, value: int) -> None:
        self.value = value


class SingleStep:
    """Step of a bound spin box or slider."""

    def __init__(self, value: float) -> None:
        self.value = value


def split_annotated(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Split ``Annotated[type, a, b]`` into ``type`` and ``(a, b)``; a union becomes typing's."""
    kind, extras = annotation, ()
    if typing.get_origin(annotation) is typing.Annotated:
        kind, *rest = typing.get_args(annotation)
        extras = tuple(rest)
    if isinstance(kind, types.UnionType):
        kind = typing.Union[tuple(typing.get_args(kind))]  # noqa: UP007 - one form to compare with
    return kind, extras


def node_classes(kind: Any) -> tuple[type, ...]:
    """List the node classes of a node type or of a union of such, with or without None."""
    is_union = typing.get_origin(kind) is typing.Union
    members = typing.get_args(kind) if is_union else (kind,)
    members = tuple(item for item in members if item is not type(None))
    is_node = [isinstance(item, type) and issubclass(item, slicer.vtkMRMLNode) for item in members]
    return members if members and all(is_node) else ()


class Parameter:
    """One parameter: how it is checked, written to and read from a parameter node.

    Parameters
    ----------
    name : str
        Its name in the wrapper class and in the node.
    annotation : Any
        Its type, possibly ``Annotated`` with validators.
    default : Default, optional
        The class attribute's value; without one the annotation's, or the type's own default.
    """

    def __init__(self, name: str, annotation: Any, default: Default | None) -> None:
        self.name, self.annotation = name, annotation
        self.kind, extras = split_annotated(annotation)
        self.extras = extras
        self.nodes = node_classes(self.kind)
        annotated = next((item for item in extras if isinstance(item, Default)), None)
        self.default = default or annotated or Default(self._type_default())
        self._validators = [*self._type_validators(), *_validators_in(extras)]

    def _type_default(self) -> Any:
        if self.nodes or type(None) in typing.get_args(self.kind):
            return None
        if isinstance(self.kind, type) and issubclass(self.kind, enum.Enum):
            return next(iter(self.kind))
        return (typing.get_origin(self.kind) or self.kind)()

    def _type_validators(self) -> list[Validator]:
        if self.nodes:
            return [IsInstance(self.nodes)]
        if typing.get_origin(self.kind) is typing.Union:
            return []
        kind = typing.get_origin(self.kind) or self.kind
        if not isinstance(kind, type) or not issubclass(kind, (*_SIMPLE, *_COMPOUND)):
            raise TypeError(f"Unable to create serializer for {self.name}: {self.annotation}")
        return [NotNone(), IsInstance((int, float) if kind is float else kind)]

    def is_in(self, node: Any) -> bool:
        """Tell whether the node has a value for it."""
        return bool(node.HasParameter(self.name))

    def write(self, node: Any, value: Any) -> None:
        """Check and write a value."""
        for validator in self._validators:
            validator.validate(value)
        if self.nodes:
            # None is a value too, so that a parameter says that there is one.
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
        else:
            node.SetParameter(self.name, self._to_text(value))

    def read(self, node: Any) -> Any:
        """Read the value back; the default where there is none."""
        if not self.is_in(node):
            self.write(node, self.default.value)
        if self.nodes:
            return node.GetNodeReference(self.name)
        return self._from_text(node.GetParameter(self.name))

    def _to_text(self, value: Any) -> str:
        if isinstance(value, enum.Enum):
            return value.name
        if self.kind in _SIMPLE:
            return str(value)
        return json.dumps(value)

    def _from_text(self, text: str) -> Any:
        if self.kind is bool:
            return text == "True"
        if self.kind in _SIMPLE:
            return self.kind(text)
        if isinstance(self.kind, type) and issubclass(self.kind, enum.Enum):
            return self.kind[text]
        value = json.loads(text)
        return tuple(value) if typing.get_origin(self.kind) is tuple else value


_SIMPLE = (bool, int, float, str, pathlib.Path, pathlib.PurePath)
_COMPOUND = (enum.Enum, list, tuple, dict)


def _validators_in(extras: tuple[Any, ...]) -> list[Validator]:
    """Collect the validators among annotations, made or only named."""
    found: list[Validator] = []
    for item in extras:
        if isinstance(item, Validator):
            found.append(item)
        elif isinstance(item, type) and issubclass(item, Validator):
            found.append(item())
    return found
