"""Stand-in for ``slicer.packaging``: it checks for real, and records instead of installing.

A test reads ``slicer.packaging.calls``; only ``slicer.packaging.allow_installs = True`` lets pip
run.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer
from packaging.requirements import InvalidRequirement, Requirement


@dataclass(frozen=True)
class Call:
    """One request to change the installed packages.

    Parameters
    ----------
    function : str
        ``"pip_install"``, ``"pip_uninstall"`` or ``"pip_ensure"``.
    requirements : tuple of str
        What was asked for.
    options : dict
        The keyword arguments.
    """

    function: str
    requirements: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


class Recorder(types.ModuleType):
    """The module ``slicer.packaging``.

    Attributes
    ----------
    calls : list of Call
        What was asked for, in order.
    allow_installs : bool
        Whether pip really runs.
    user_declines : bool
        Whether the user answers "No" when :meth:`pip_ensure` asks.
    """

    def __init__(self) -> None:
        super().__init__("slicer.packaging", __doc__)
        self.reset()

    def reset(self) -> None:
        """Forget the calls and go back to recording only."""
        self.calls: list[Call] = []
        self.allow_installs = False
        self.user_declines = False

    def load_requirements(self, path: str | Path) -> list[Requirement]:
        lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
        return [Requirement(line) for line in lines if line and line[0] not in "#-"]

    def load_pyproject_dependencies(self, path: str | Path) -> list[Requirement]:
        project = tomllib.loads(Path(path).read_text(encoding="utf-8"))["project"]
        return [Requirement(text) for text in project.get("dependencies", [])]

    def pip_check(self, req: Any) -> bool:
        return all(_is_satisfied(item) for item in _requirements(req))

    def isPipInstallInProgress(self) -> bool:
        return False

    def pip_ensure(self, requirements: Any, **options: Any) -> None:
        """Install what is missing, if the user agrees; in testing mode Slicer only logs it."""
        missing = [item for item in _requirements(requirements) if not _is_satisfied(item)]
        if not missing:
            return
        names = tuple(str(item) for item in missing)
        self.calls.append(Call("pip_ensure", names, options))
        if options.get("prompt_install", True) and self.user_declines:
            raise RuntimeError("User declined package installation")
        if not options.get("skip_in_testing", True):
            self.pip_install(list(names), **_only(options, "constraints", "requester"))

    def pip_install(self, requirements: Any, **options: Any) -> None:
        self._run("install", requirements, options)

    def pip_uninstall(self, requirements: Any, **options: Any) -> None:
        self._run("uninstall", requirements, options)

    def _run(self, verb: str, requirements: Any, options: dict[str, Any]) -> None:
        """Record a call to pip, and run it where that is allowed."""
        arguments = requirements.split() if isinstance(requirements, str) else list(requirements)
        words = tuple(str(item) for item in arguments)
        self.calls.append(Call(f"pip_{verb}", words, options))
        status = 0
        if self.allow_installs:
            yes = ["--yes"] if verb == "uninstall" else []
            command = [sys.executable, "-m", "pip", verb, *yes, *words]
            if options.get("constraints"):
                command += ["--constraint", str(options["constraints"])]
            status = subprocess.run(command, check=options.get("blocking", True)).returncode
        completed: Callable[[int], None] | None = options.get("completedCallback")
        if completed is not None:
            completed(status)


def _requirements(value: Any) -> list[Requirement]:
    """Read one requirement, several in one text, or a list of them."""
    if isinstance(value, str):
        try:
            return [Requirement(value)]
        except InvalidRequirement:
            return [Requirement(text) for text in value.split()]
    if isinstance(value, Requirement):
        return [value]
    return [item if isinstance(item, Requirement) else Requirement(item) for item in value]


def _is_satisfied(requirement: Requirement) -> bool:
    """Compare with what is installed; extras are not followed."""
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def _only(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Keep some of the options."""
    return {name: options[name] for name in names if name in options}


def install() -> None:
    """Make the recorder importable as ``slicer.packaging``."""
    module = Recorder()
    sys.modules[module.__name__] = module
    slicer.packaging = module
