"""Keep the lists of installed files in CMakeLists.txt equal to the tree.

Slicer packages only what is listed, file by file. Without arguments this tells what is missing or
too much and ends with status 1; with ``--write`` it rewrites the lists.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CMAKE_FILE = "CMakeLists.txt"
MODULE_SCRIPTS = "NASAM3D_MODULE_SCRIPTS"
SCRIPTS = "NASAM3D_LIBRARY_SCRIPTS"
RESOURCES = "NASAM3D_LIBRARY_RESOURCES"


def files_in_tree(root: Path) -> dict[str, list[str]]:
    """Find what the extension must install beside its module.

    Parameters
    ----------
    root : Path
        Root of the repository.

    Returns
    -------
    dict of str to list of str
        Sorted paths by name of the CMake list, relative to the root; those of the module's own
        package relative to the module's folder, where they are listed for the macro.
    """
    package = [path for path in (root / "NASAM3D").rglob("*/*.py") if is_content(path, root)]
    library = [path for path in (root / "NASAM3DLib").rglob("*") if is_content(path, root)]
    resources = [path for path in (root / "Resources").rglob("*") if is_content(path, root)]
    return {
        MODULE_SCRIPTS: relative(package, root / "NASAM3D"),
        SCRIPTS: relative([path for path in library if path.suffix == ".py"], root),
        RESOURCES: relative([p for p in library if p.suffix != ".py"] + resources, root),
    }


def is_content(path: Path, root: Path) -> bool:
    """Whether a path is a file that belongs to the project, not a cache or a hidden file."""
    parts = path.relative_to(root).parts
    return path.is_file() and not any(part.startswith((".", "__pycache__")) for part in parts)


def relative(paths: Sequence[Path], root: Path) -> list[str]:
    """Return sorted POSIX paths relative to the root."""
    return sorted(path.relative_to(root).as_posix() for path in paths)


def list_pattern(name: str) -> re.Pattern[str]:
    """Match ``set(<name> ...)`` and capture what stands between."""
    return re.compile(rf"(?<=set\({name}\n)(.*?)(?=^\s*\))", re.MULTILINE | re.DOTALL)


def listed_files(cmake_text: str, name: str) -> list[str]:
    """Read one list.

    Parameters
    ----------
    cmake_text : str
        Text of CMakeLists.txt.
    name : str
        Name of the CMake variable.

    Returns
    -------
    list of str
        Paths in the order in which they are listed.

    Raises
    ------
    ValueError
        If the text has no such list.
    """
    match = list_pattern(name).search(cmake_text)
    if match is None:
        raise ValueError(f"{CMAKE_FILE} must hold a block 'set({name}' ... ')', got none.")
    return match.group(1).split()


def with_lists(cmake_text: str, files: dict[str, list[str]]) -> str:
    """Return the text with its lists replaced."""
    for name, paths in files.items():
        listed_files(cmake_text, name)
        block = "".join(f"  {path}\n" for path in paths)
        cmake_text = list_pattern(name).sub(block, cmake_text, count=1)
    return cmake_text


def differences(cmake_text: str, files: dict[str, list[str]]) -> list[str]:
    """Say what the lists lack and what they name in vain or twice."""
    found = []
    for name, paths in files.items():
        listed = listed_files(cmake_text, name)
        missing, gone = set(paths) - set(listed), set(listed) - set(paths)
        twice = {path for path in listed if listed.count(path) > 1}
        found += [f"{name} lacks {path}" for path in sorted(missing)]
        found += [f"{name} names {path}, which is gone" for path in sorted(gone)]
        found += [f"{name} names {path} twice" for path in sorted(twice)]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Compare or rewrite the lists."""
    parser = argparse.ArgumentParser(description="Lists of installed files in CMakeLists.txt.")
    parser.add_argument("--write", action="store_true", help="rewrite the lists from the tree")
    arguments = parser.parse_args(argv)
    cmake_path = ROOT / CMAKE_FILE
    text = cmake_path.read_text(encoding="utf-8")
    files = files_in_tree(ROOT)
    if arguments.write:
        cmake_path.write_text(with_lists(text, files), encoding="utf-8", newline="\n")
        return 0
    found = differences(text, files)
    if found:
        print("\n".join([f"{CMAKE_FILE} and the tree differ:", *found]))
        print("Run: python Tools/cmake_lists.py --write")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
