"""What is shipped: metadata, versions, addresses, and what the Extensions Index asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CMAKE_TEXT = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirement_lines(path: Path) -> list[Requirement]:
    """Read a requirements or constraints file."""
    lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def locked_versions() -> dict[str, str]:
    """Return the pinned version by package."""
    pinned = {}
    for item in requirement_lines(ROOT / "requirements-dev.lock"):
        (specifier,) = item.specifier
        assert specifier.operator == "==", f"the lock must pin exactly, got {item}"
        pinned[canonicalize_name(item.name)] = specifier.version
    return pinned


def declared_requirements() -> list[Requirement]:
    """Return the requirements of all groups, the package itself left out."""
    groups = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(line for group in groups for line in group)]
    return [item for item in map(Requirement, lines) if item.name != PROJECT["name"]]


def test_slicer_requirements_are_those_of_the_package():
    shipped = {str(item) for item in requirement_lines(ROOT / "Resources" / "requirements.txt")}
    assert shipped == {str(Requirement(line)) for line in PROJECT["dependencies"]}


def test_metadata_gives_ranges_not_pins():
    pins = [str(r) for r in declared_requirements() if any(s.operator == "==" for s in r.specifier)]
    assert pins == []


def test_lock_satisfies_every_dependency_group():
    locked = locked_versions()
    missing = [r.name for r in declared_requirements() if canonicalize_name(r.name) not in locked]
    assert missing == []
    wrong = [
        f"{r} but locked {locked[canonicalize_name(r.name)]}"
        for r in declared_requirements()
        if not r.specifier.contains(locked[canonicalize_name(r.name)], prereleases=True)
    ]
    assert wrong == []


def test_lock_names_no_build_suffix():
    assert [f"{name}=={v}" for name, v in locked_versions().items() if "+" in v] == []


def test_development_group_holds_all_others():
    (everything,) = map(Requirement, PROJECT["optional-dependencies"]["dev"])
    assert everything.extras == set(PROJECT["optional-dependencies"]) - {"dev"}


@pytest.mark.parametrize("group", ["lint", "test", "vendor"])
def test_groups_of_the_setup_can_do_without_torch(group: str):
    names = {Requirement(line).name for line in PROJECT["optional-dependencies"][group]}
    assert names.isdisjoint({"torch", "monai"})


def test_only_the_library_is_packaged():
    from setuptools import find_packages

    tool = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    found = find_packages(str(ROOT), include=tool["packages"]["find"]["include"])
    assert "NASAM3DLib" in found
    assert {name.partition(".")[0] for name in found} == {"NASAM3DLib"}
    on_disk = {path.parent for path in (ROOT / "NASAM3DLib").rglob("__init__.py")}
    assert len(found) == len(on_disk)


def cmake_setting(name: str) -> str:
    """Read a literal one-line setting, as the Extensions Index does."""
    found = re.findall(rf'^set\({name} "([^"$]*)"\)$', CMAKE_TEXT, re.MULTILINE)
    assert len(found) == 1, f"{name} must be set once, literally and on one line"
    return found[0]


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("EXTENSION_HOMEPAGE", r"https://.+"),
        ("EXTENSION_CATEGORY", r"Segmentation"),
        ("EXTENSION_CONTRIBUTORS", r"NASAM3D contributors"),
        ("EXTENSION_DESCRIPTION", r".{40,}"),
        ("EXTENSION_ICONURL", r"https://.+\.png"),
        ("EXTENSION_SCREENSHOTURLS", r"https://\S+\.png( https://\S+\.png)*"),
        ("EXTENSION_DEPENDS", r"PyTorch"),
    ],
)
def test_extension_metadata(name: str, pattern: str):
    assert re.fullmatch(pattern, cmake_setting(name))


def test_first_project_is_the_name_in_the_index():
    assert re.findall(r"^project\((\w+)\)", CMAKE_TEXT, re.MULTILINE)[0] == "NASAM3D"


def test_all_addresses_name_the_same_repository():
    homepage = cmake_setting("EXTENSION_HOMEPAGE")
    owner_and_name = homepage.removeprefix("https://github.com/")
    assert owner_and_name.partition("/")[2].startswith("Slicer"), "the Index asks for that"
    raw = f"https://raw.githubusercontent.com/{owner_and_name}/"
    pictures = [
        cmake_setting("EXTENSION_ICONURL"),
        *cmake_setting("EXTENSION_SCREENSHOTURLS").split(),
    ]
    assert [url for url in pictures if not url.startswith(raw)] == []
    assert PROJECT["urls"]["Homepage"] == homepage
    assert [url for url in PROJECT["urls"].values() if not url.startswith(homepage)] == []


def test_addresses_in_the_readme_name_the_same_repository():
    homepage = cmake_setting("EXTENSION_HOMEPAGE")
    readme = ROOT / "README.md"
    assert readme.exists()
    own = re.findall(r"https://[^\s)\"'>]*NASAM3D[^\s)\"'>]*", readme.read_text("utf-8"))
    place = homepage.removeprefix("https://github.com/")
    assert [url for url in own if place not in url] == []


@pytest.mark.parametrize("name", ["EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"])
def test_pictures_of_the_index_are_in_the_repository(name: str):
    for url in cmake_setting(name).split():
        path = ROOT / url.partition("/main/")[2]
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_icon_is_the_same_in_both_places_and_128_pixels():
    icon = (ROOT / "NASAM3D.png").read_bytes()
    assert icon == (ROOT / "Resources" / "Icons" / "NASAM3D.png").read_bytes()
    # The header chunk of a PNG holds width and height as big-endian integers.
    assert (int.from_bytes(icon[16:20]), int.from_bytes(icon[20:24])) == (128, 128)
