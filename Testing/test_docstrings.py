"""Every public object of the library has a complete numpydoc docstring."""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from numpydoc.validate import validate

import NASAM3DLib

ROOT = Path(__file__).resolve().parents[1]
RULES = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["numpydoc_validation"]
OWN = NASAM3DLib.__name__


def library_modules() -> list[str]:
    """Names of all modules of the library that are not the command line."""
    found = pkgutil.walk_packages(NASAM3DLib.__path__, prefix=f"{OWN}.")
    names = [OWN, *(module.name for module in found)]
    return [name for name in names if not is_excluded(name)]


def is_excluded(full_name: str) -> bool:
    """Whether the settings take a module or object out."""
    return any(re.search(pattern, full_name) for pattern in RULES["exclude"])


def public_objects(module: ModuleType) -> Iterator[str]:
    """Yield the public functions, classes and methods that a module defines, by full name."""
    for name, thing in vars(module).items():
        is_own = getattr(thing, "__module__", None) == module.__name__
        if name.startswith("_") or not is_own:
            continue
        if inspect.isclass(thing):
            # A protocol is never called, an enumeration not with its own parameters.
            if not (getattr(thing, "_is_protocol", False) or issubclass(thing, enum.Enum)):
                yield f"{module.__name__}.{name}"
            yield from public_members(thing)
        elif inspect.isfunction(thing):
            yield f"{module.__name__}.{name}"


def public_members(owner: type) -> Iterator[str]:
    """Yield the public methods and properties that a class is the first to define."""
    inherited = {name for base in owner.__mro__[1:] for name in vars(base)}
    for name, member in vars(owner).items():
        if name in inherited:
            continue
        plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        documented = inspect.isfunction(plain) or isinstance(member, property)
        if documented and not name.startswith("_"):
            yield f"{owner.__module__}.{owner.__qualname__}.{name}"


def faults(full_name: str) -> list[str]:
    """Return what the chosen checks find in one docstring."""
    if is_excluded(full_name):
        return []
    errors = validate(full_name)["errors"]
    return [f"{full_name}: {code} {text}" for code, text in errors if code in RULES["checks"]]


@pytest.mark.parametrize("name", library_modules())
def test_docstrings_are_complete(name: str):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if str(error.name).startswith(OWN):
            raise
        pytest.skip(f"{error.name} is not installed")
    assert (module.__doc__ or "").strip(), f"{name} has no docstring"
    assert [fault for full_name in public_objects(module) for fault in faults(full_name)] == []


def test_checks_see_a_missing_parameter(monkeypatch: pytest.MonkeyPatch):
    def documented(first: int, second: int) -> int:
        """Add.

        Parameters
        ----------
        first : int
            A number.

        Returns
        -------
        int
            The sum.
        """
        return first + second

    monkeypatch.setattr(NASAM3DLib, "documented", documented, raising=False)
    assert [fault.split()[1] for fault in faults(f"{OWN}.documented")] == ["PR01"]
