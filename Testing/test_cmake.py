"""The extension installs module, library and resources side by side."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Tools"))

import cmake_lists  # noqa: E402 - Tools is no package, so that it is never installed

CMAKE_TEXT = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")

# Stands in for Slicer's and CTK's macros in the three things that matter here: every file must
# exist, it is copied under its path relative to the calling CMakeLists.txt, and only what lands
# below qt-scripted-modules is installed.
SLICER_STUB = """
set(Slicer_FOUND TRUE)
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/Empty.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/Empty.cmake")
"""
USE_STUB = """
set(modules_dir "${CMAKE_BINARY_DIR}/lib/qt-scripted-modules")
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS;WITH_SUBDIR" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS OR NOT MY_SCRIPTS)
    message(FATAL_ERROR "wrong arguments: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  set(targets)
  foreach(file IN LISTS MY_SCRIPTS MY_RESOURCES)
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
      message(FATAL_ERROR "nonexistent file ${file}")
    endif()
    set(source "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
    add_custom_command(
      OUTPUT "${modules_dir}/${file}"
      COMMAND ${CMAKE_COMMAND} -E copy "${source}" "${modules_dir}/${file}"
      )
    list(APPEND targets "${modules_dir}/${file}")
  endforeach()
  add_custom_target(Copy${MY_NAME} ALL DEPENDS ${targets})
  install(DIRECTORY "${modules_dir}" DESTINATION lib)
endmacro()
"""


def test_lists_agree_with_the_tree():
    found = cmake_lists.differences(CMAKE_TEXT, cmake_lists.files_in_tree(ROOT))
    assert found == [], "run: python Tools/cmake_lists.py --write"


@pytest.fixture
def small_tree(tmp_path: Path) -> Path:
    """A tree with three scripts, one data file, one resource, and what must not be listed."""
    for name in (
        "NASAM3D/NASAM3D.py",
        "NASAM3D/NASAM3DModule/a.py",
        "NASAM3DLib/__init__.py",
        "NASAM3DLib/scan/b.py",
        "NASAM3DLib/py.typed",
        "NASAM3DLib/__pycache__/x.pyc",
        "Resources/Icons/i.png",
        "Resources/.DS_Store",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


CMAKE_SAMPLE = f"""\
set({cmake_lists.MODULE_SCRIPTS}
  )
set({cmake_lists.SCRIPTS}
  NASAM3DLib/__init__.py
  NASAM3DLib/gone.py
  )
set({cmake_lists.RESOURCES}
  )
"""


def test_differences_name_missing_and_gone_files(small_tree: Path):
    found = cmake_lists.differences(CMAKE_SAMPLE, cmake_lists.files_in_tree(small_tree))
    assert found == [
        f"{cmake_lists.MODULE_SCRIPTS} lacks NASAM3DModule/a.py",
        f"{cmake_lists.SCRIPTS} lacks NASAM3DLib/scan/b.py",
        f"{cmake_lists.SCRIPTS} names NASAM3DLib/gone.py, which is gone",
        f"{cmake_lists.RESOURCES} lacks NASAM3DLib/py.typed",
        f"{cmake_lists.RESOURCES} lacks Resources/Icons/i.png",
    ]


def test_written_lists_agree_and_keep_the_rest(small_tree: Path):
    files = cmake_lists.files_in_tree(small_tree)
    before = f"# above\n{CMAKE_SAMPLE}# below\n"
    after = cmake_lists.with_lists(before, files)
    assert cmake_lists.differences(after, files) == []
    assert after.startswith("# above\nset(")
    assert after.endswith(")\n# below\n")
    assert cmake_lists.with_lists(after, files) == after


def test_missing_list_is_refused():
    with pytest.raises(ValueError, match=f"must hold a block 'set\\({cmake_lists.SCRIPTS}'"):
        cmake_lists.listed_files("project(NASAM3D)\n", cmake_lists.SCRIPTS)


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_configure_and_install_put_everything_side_by_side(tmp_path: Path):
    stub = tmp_path / "slicer"
    stub.mkdir()
    (stub / "SlicerConfig.cmake").write_text(SLICER_STUB, encoding="utf-8")
    (stub / "UseSlicer.cmake").write_text(USE_STUB, encoding="utf-8")
    (stub / "Empty.cmake").touch()
    build, prefix = tmp_path / "build", tmp_path / "installed"
    run_cmake("-S", str(ROOT), "-B", str(build), f"-DSlicer_DIR={stub}")
    run_cmake("--build", str(build))
    run_cmake("--install", str(build), "--prefix", str(prefix))

    modules = prefix / "lib" / "qt-scripted-modules"
    installed = sorted(p.relative_to(prefix).as_posix() for p in prefix.rglob("*") if p.is_file())
    lists = cmake_lists.files_in_tree(ROOT)
    module = ["NASAM3D.py", *lists[cmake_lists.MODULE_SCRIPTS]]
    wanted = [*module, *lists[cmake_lists.SCRIPTS], *lists[cmake_lists.RESOURCES]]
    assert installed == sorted(f"lib/qt-scripted-modules/{name}" for name in wanted)
    assert {path.name for path in modules.iterdir()} == {
        "NASAM3D.py",
        "NASAM3DModule",
        "NASAM3DLib",
        "Resources",
    }
    for name in wanted:
        source = ROOT / (f"NASAM3D/{name}" if name in module else name)
        assert (modules / name).read_bytes() == source.read_bytes()


def run_cmake(*arguments: str) -> None:
    """Run cmake; show what it said if it fails."""
    answer = subprocess.run(["cmake", *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
