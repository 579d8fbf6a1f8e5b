from __future__ import annotations

from pathlib import Path

import pytest

from NASAM3DLib.files import check_writable, replacing, write_bytes, write_text


def test_text_arrives_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "note.txt", "Größe\n")
    assert (tmp_path / "note.txt").read_bytes() == "Größe\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_existing_files_are_kept_without_force(tmp_path: Path) -> None:
    path = tmp_path / "volume.nrrd"
    write_bytes(path, b"first")
    with pytest.raises(FileExistsError, match=r"volume.nrrd exists already.*--force"):
        write_bytes(path, b"second")
    assert path.read_bytes() == b"first"
    write_bytes(path, b"second", force=True)
    assert path.read_bytes() == b"second"


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "mask.seg.nrrd"
    write_bytes(path, b"old")

    def interrupted() -> None:
        with replacing(path, force=True) as passing:
            assert passing.name.endswith(".seg.nrrd")
            assert passing.parent == tmp_path
            passing.write_bytes(b"ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["mask.seg.nrrd"]


def test_impossible_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder .*nowhere does not exist: make it first"):
        check_writable(tmp_path / "nowhere" / "a.nrrd")
    with pytest.raises(IsADirectoryError, match="is a folder: name a file in it"):
        check_writable(tmp_path)
