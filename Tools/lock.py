"""Pin what the package's dependency groups need, at the versions installed here.

The result is a pip constraints file. Only packages reachable from ``pyproject.toml`` are pinned,
so that a stray package in the environment does not enter. Build suffixes such as ``+cpu`` are
dropped, so that one file serves machines with and without a GPU. To move to newer versions, upgrade
them with ``pip install --upgrade`` and write the file again.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements-dev.lock"
HEADER = "# Written by `make lock`: exact versions for pip's --constraint.\n"


def declared_requirements() -> list[Requirement]:
    """Read every requirement of pyproject.toml, those of the optional groups too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"]]
    for group in project["optional-dependencies"].values():
        lines += group
    own = canonicalize_name(project["name"])
    requirements = map(Requirement, lines)
    return [item for item in requirements if canonicalize_name(item.name) != own]


def closure(requirements: Iterable[Requirement]) -> dict[str, str]:
    """Follow requirements through the installed packages.

    Parameters
    ----------
    requirements : iterable of Requirement
        Where to start. Those whose marker excludes this platform are left out.

    Returns
    -------
    dict of str to str
        Installed version, without build suffix, by package name.

    Raises
    ------
    RuntimeError
        If a required package is not installed.
    """
    versions: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [item for item in requirements if item.marker is None or item.marker.evaluate()]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        extras = frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise RuntimeError(
                f"The lock needs {requirement}, which is not installed here: run make test first."
            ) from None
        versions[name] = package.version.partition("+")[0]
        queue += [item for item in map(Requirement, package.requires or ()) if wanted(item, extras)]
    return versions


def wanted(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Whether a package installed with these extras needs the requirement on this platform."""
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in extras | {""})


def lock_text() -> str:
    """Return what the lock should hold."""
    versions = closure(declared_requirements())
    return HEADER + "".join(f"{name}=={versions[name]}\n" for name in sorted(versions))


def main(argv: Sequence[str] | None = None) -> int:
    """Compare the lock with the environment, or write it."""
    parser = argparse.ArgumentParser(description="Pin the installed versions.")
    parser.add_argument("--write", action="store_true", help=f"write {LOCK.name}")
    arguments = parser.parse_args(argv)
    text = lock_text()
    if arguments.write:
        LOCK.write_text(text, encoding="utf-8", newline="\n")
        return 0
    if LOCK.read_text(encoding="utf-8") != text:
        print(f"{LOCK.name} differs from the environment: run make lock to take it over")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
