"""Projections to files and back, and every kind of bad file with what is said about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile

from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.io import load_projections, save_projections, sidecar_of
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.scan.rtk import to_rtk
from NASAM3DLib.scan.rtk_xml import write_rtk_xml

SHAPE = (6, 5, 4)
ENTRIES: dict[str, Any] = {
    "nasam3d_scan": 1,
    "angles_deg": {"first": 0, "step": 60},
    "pixel_spacing_mm": [1.5, 2.0],
    "source_to_isocenter_mm": 1000,
    "source_to_detector_mm": 1500,
}


def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 4, SHAPE).astype(np.float32)


def circular() -> ConeBeamGeometry:
    angles = np.radians(np.arange(6) * 60.0)
    orbit = CircularOrbit(
        angles, (1.5, 2.0), 1000, 1500, (3.0, -4.0), (0.1, 0.02, 0.03), 1.0, (1, 2, 3)
    )
    return ConeBeamGeometry.circular(orbit, SHAPE[1:])


def general() -> ConeBeamGeometry:
    base = circular()
    rng = np.random.default_rng(1)
    centres = base.detector_centres_ras + rng.normal(0, 5, (6, 3))
    return ConeBeamGeometry(
        base.sources_ras, centres, base.detector_u_ras, base.detector_v_ras, SHAPE[1:]
    )


def write_scan(folder: Path, changes: dict[str, Any] | None = None, **arrays: np.ndarray) -> Path:
    """A stack ``scan.tiff`` with its sidecar; entries set to None are left out."""
    entries = {k: v for k, v in {**ENTRIES, **(changes or {})}.items() if v is not None}
    stack = folder / "scan.tiff"
    tifffile.imwrite(stack, arrays.pop("stack", images()), photometric="minisblack")
    for name, array in arrays.items():
        tifffile.imwrite(folder / f"{name}.tiff", array, photometric="minisblack")
    (folder / "scan.geometry.json").write_text(json.dumps(entries))
    return stack


def assert_same(one: ProjectionSet, other: ProjectionSet) -> None:
    np.testing.assert_array_equal(one.projections, other.projections)
    for name in ("sources_ras", "detector_centres_ras", "detector_u_ras", "detector_v_ras"):
        ours, theirs = getattr(one.geometry, name), getattr(other.geometry, name)
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("name", ["a.npz", "a.mha", "a.nrrd", "a.nii.gz", "a.tiff"])
@pytest.mark.parametrize("geometry", [circular(), general()], ids=["circular", "general"])
def test_round_trip(tmp_path: Path, name: str, geometry: ConeBeamGeometry) -> None:
    path = tmp_path / "new" / "folder" / name
    measured = ProjectionSet(images(), geometry)
    save_projections(measured, path)
    loaded = load_projections(path)
    assert_same(measured, loaded)
    assert (loaded.geometry.orbit is None) == (geometry.orbit is None)
    assert not [p for p in path.parent.iterdir() if p.name.startswith(".")]


def test_sidecar_itself_may_be_opened(tmp_path: Path) -> None:
    save_projections(ProjectionSet(images(), circular()), tmp_path / "scan.mha")
    assert_same(
        load_projections(tmp_path / "scan.geometry.json"), load_projections(tmp_path / "scan.mha")
    )


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    measured = ProjectionSet(images(), circular())
    for name in ("a.npz", "a.mha"):
        save_projections(measured, tmp_path / name)
        before = (tmp_path / name).read_bytes()
        with pytest.raises(FileExistsError, match=r"exists already: .*force=True"):
            save_projections(measured, tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
        save_projections(measured, tmp_path / name, force=True)
    (tmp_path / "a.mha").unlink()
    with pytest.raises(FileExistsError, match=r"a\.geometry\.json exists already"):
        save_projections(measured, tmp_path / "a.mha")
    assert not (tmp_path / "a.mha").exists()


def test_minimal_sidecar_gives_a_circular_scan(tmp_path: Path) -> None:
    loaded = load_projections(write_scan(tmp_path))
    orbit = loaded.geometry.orbit
    assert orbit is not None
    np.testing.assert_allclose(np.degrees(orbit.angles_rad), np.arange(6) * 60)
    assert orbit.pixel_spacing_mm == (1.5, 2.0)
    np.testing.assert_array_equal(loaded.projections, images())


def test_without_distances_the_beam_is_parallel(tmp_path: Path) -> None:
    changes = {"source_to_isocenter_mm": None, "source_to_detector_mm": None}
    assert load_projections(write_scan(tmp_path, changes)).geometry.is_parallel


def test_counts_become_line_integrals(tmp_path: Path) -> None:
    truth = images()
    flat = np.random.default_rng(1).uniform(9e3, 1.1e4, SHAPE[1:]).astype(np.float32)
    dark = np.full(SHAPE[1:], 100.0, dtype=np.float32)
    counts = dark + (flat - dark) * np.exp(-truth)
    counts[:, 2, 1] = 0
    changes = {
        "values": "counts",
        "flat_field": "flat.tiff",
        "dark_field": "dark.tiff",
        "dead_pixels": [[2, 1]],
    }
    loaded = load_projections(write_scan(tmp_path, changes, stack=counts, flat=flat, dark=dark))
    living = np.ones(SHAPE, dtype=bool)
    living[:, 2, 1] = False
    np.testing.assert_allclose(loaded.projections[living], truth[living], atol=1e-4)
    around = np.delete(truth[0, 1:4, 0:3].ravel(), 4)
    assert loaded.projections[0, 2, 1] == pytest.approx(np.median(around), abs=1e-4)


def test_first_row_on_top_is_turned(tmp_path: Path) -> None:
    loaded = load_projections(write_scan(tmp_path, {"first_row": "top"}))
    np.testing.assert_array_equal(loaded.projections, images()[:, ::-1])


def test_folder_of_single_images(tmp_path: Path) -> None:
    entries = {**ENTRIES, "values": "counts", "flat_field": "flat.tiff", "images": "raw_*.tiff"}
    counts = 1000 * np.exp(-images())
    for number, image in enumerate(counts):
        tifffile.imwrite(tmp_path / f"raw_{number:03d}.tiff", image)
    tifffile.imwrite(tmp_path / "flat.tiff", np.full(SHAPE[1:], 1000, np.float32))
    (tmp_path / "geometry.json").write_text(json.dumps(entries))
    np.testing.assert_allclose(load_projections(tmp_path).projections, images(), atol=1e-5)


def test_folder_of_other_images_with_the_sidecar_beside(tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    folder.mkdir()
    for number, image in enumerate(images()):
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / f"{number}.mha"))
    (tmp_path / "scan.geometry.json").write_text(json.dumps(ENTRIES))
    np.testing.assert_array_equal(load_projections(folder).projections, images())


def test_rtk_geometry_beside_a_stack(tmp_path: Path) -> None:
    measured = ProjectionSet(images(), general())
    save_projections(measured, tmp_path / "p.mha")
    (tmp_path / "p.geometry.json").unlink()
    write_rtk_xml(to_rtk(general()), tmp_path / "geometry.xml")
    assert_same(load_projections(tmp_path / "p.mha"), measured)


def test_rtk_geometry_needs_pixel_sizes(tmp_path: Path) -> None:
    stack = write_scan(tmp_path)
    sidecar_of(stack).unlink()
    write_rtk_xml(to_rtk(general()), tmp_path / "scan.xml")
    message = "does not say the size of its pixels.*convert the stack to MHA"
    with pytest.raises(ValueError, match=message):
        load_projections(stack)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"angles_deg": None}, "lacks the entries angles_deg: add them"),
        ({"pixel_spacing_mm": None}, "lacks the entries pixel_spacing_mm"),
        ({"pixel_size": 3}, "has unknown entries: pixel_size. Known are: angles_deg"),
        ({"angles_rad": [0]}, r"unknown entries: angles_rad.*in degrees \(angles_deg\)"),
        ({"nasam3d_scan": 2}, 'must say "nasam3d_scan": 1, got 2'),
        ({"nasam3d_scan": None}, 'must say "nasam3d_scan": 1, got None'),
        ({"angles_deg": [0, 90, 180]}, "describes 3 views, but there are 6 images: give one angle"),
        ({"angles_deg": [0, 1, 2, 3, 4, 5.2]}, "look like radians, multiply them by 180/pi"),
        ({"angles_deg": {"start": 0}}, 'angles_deg must be a list, or {"first"'),
        ({"angles_deg": {"first": 0, "step": 600}}, "more than two turns"),
        ({"pixel_spacing_mm": [1.5, -2]}, r"pixel_spacing_mm must be two positive numbers"),
        ({"pixel_spacing_mm": [0, 2]}, r"pixel_spacing_mm must be two positive numbers"),
        ({"source_to_detector_mm": None}, "Give both source_to_isocenter_mm"),
        ({"source_to_isocenter_mm": 1500, "source_to_detector_mm": 100}, "are the two exchanged"),
        ({"sources_ras_mm": [[0, 0, 0, 1]]}, "lacks the entries detector_centres_ras_mm"),
        ({"values": "grey"}, 'values in .* must be "line_integrals" or "counts", got \'grey\''),
        ({"values": "counts"}, "must name the flat_field"),
        ({"first_row": "left"}, 'first_row in .* must be "bottom" or "top"'),
        ({"dead_pixels": [[5, 0]]}, "dead_pixels in .* within 5x4 pixels"),
    ],
)
def test_wrong_sidecars_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_projections(write_scan(tmp_path, changes))


def test_both_kinds_of_geometry_are_refused(tmp_path: Path) -> None:
    names = ("sources_ras_mm", "detector_centres_ras_mm", "detector_u_ras_mm", "detector_v_ras_mm")
    with pytest.raises(ValueError, match=r"both free poses and a circular orbit"):
        load_projections(write_scan(tmp_path, {name: [[0, 0, 0]] for name in names}))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no file or folder"):
        load_projections(tmp_path / "absent.mha")
    stack = write_scan(tmp_path, {"values": "counts", "flat_field": "flat.tiff"})
    message = r"no .*flat\.tiff, which scan\.geometry\.json names as flat"
    with pytest.raises(FileNotFoundError, match=message):
        load_projections(stack)
    sidecar_of(stack).unlink()
    message = r"There is no .*scan\.geometry\.json: write the scan's geometry"
    with pytest.raises(FileNotFoundError, match=message):
        load_projections(stack)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "geometry.json").write_text(json.dumps(ENTRIES))
    with pytest.raises(FileNotFoundError, match=r"There are no images for"):
        load_projections(empty)


@pytest.mark.parametrize("name", ["a.npz", "a.mha", "a.nrrd", "a.nii.gz", "a.tiff"])
def test_truncated_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    noisy = np.random.default_rng(0).uniform(0, 4, (6, 40, 40)).astype(np.float32)
    angles = np.radians(np.arange(6) * 60.0)
    geometry = ConeBeamGeometry.circular(CircularOrbit(angles, (1, 1), 1000, 1500), (40, 40))
    save_projections(ProjectionSet(noisy, geometry), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"complete"):
        load_projections(path)


def test_truncated_sidecar_is_refused(tmp_path: Path) -> None:
    stack = write_scan(tmp_path)
    text = sidecar_of(stack).read_text()
    sidecar_of(stack).write_text(text[:40])
    with pytest.raises(ValueError, match=r"is not complete JSON.*write it again"):
        load_projections(stack)
    sidecar_of(stack).write_text("[1]")
    with pytest.raises(ValueError, match=r"must hold one JSON object, got list"):
        load_projections(stack)


def test_nan_and_wrong_shapes_are_refused(tmp_path: Path) -> None:
    broken = images()
    broken[1, 2, 3] = np.nan
    message = r"have 1 values that are NaN or infinite: list broken pixels"
    with pytest.raises(ValueError, match=message):
        load_projections(write_scan(tmp_path, stack=broken))
    message = r"must hold a stack of images .* got the shape \(2, 3, 4, 5\)"
    with pytest.raises(ValueError, match=message):
        load_projections(write_scan(tmp_path, stack=np.zeros((2, 3, 4, 5), np.float32)))
    for number, shape in enumerate([(5, 4), (5, 3)]):
        tifffile.imwrite(tmp_path / f"r{number}.tiff", np.zeros(shape, np.float32))
    (tmp_path / "geometry.json").write_text(json.dumps({**ENTRIES, "images": "r*.tiff"}))
    with pytest.raises(ValueError, match=r"all images of a scan must have one size"):
        load_projections(tmp_path)


def test_dead_nan_pixel_is_repaired(tmp_path: Path) -> None:
    broken = images()
    broken[:, 2, 1] = np.nan
    loaded = load_projections(write_scan(tmp_path, {"dead_pixels": [[2, 1]]}, stack=broken))
    assert np.isfinite(loaded.projections).all()


def test_foreign_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, projections=images())
    with pytest.raises(
        ValueError, match=r"lacks nasam3d_projections, geometry: it was not written"
    ):
        load_projections(path)
    np.savez(path, nasam3d_projections=9, projections=images(), geometry="{}")
    with pytest.raises(ValueError, match=r"has version 9, this program reads 1: update it"):
        load_projections(path)
    np.savez(path, nasam3d_projections=1, projections=images()[0], geometry="{}")
    message = r"must have shape \(n_views, n_rows, n_cols\), got \(5, 4\)"
    with pytest.raises(ValueError, match=message):
        load_projections(path)
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(path, nasam3d_projections=1, projections=objects, geometry="{}", allow_pickle=True)
    with pytest.raises(ValueError, match=r"pickle"):
        load_projections(path)


def test_unknown_endings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("x")
    with pytest.raises(ValueError, match=r"has the ending '\.xyz', which is not known"):
        load_projections(tmp_path / "a.xyz")
    with pytest.raises(ValueError, match=r"cannot be written as '\.xyz': end the name with \.npz"):
        save_projections(ProjectionSet(images(), circular()), tmp_path / "a.xyz")


def test_vendor_files_want_a_geometry_and_the_optional_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.his"
    path.write_bytes(b"x")
    message = r"no RTK geometry XML beside .*rtkelektasynergygeometry"
    with pytest.raises(FileNotFoundError, match=message):
        load_projections(path)
    write_rtk_xml(to_rtk(general()), tmp_path / "geometry.xml")
    monkeypatch.setitem(__import__("sys").modules, "itk", None)
    message = "needs the package itk-rtk: install it with: pip"
    with pytest.raises(ModuleNotFoundError, match=message):
        load_projections(path)


def his_file(pixels: np.ndarray) -> bytes:
    """A file as Elekta Synergy's panel writes: 68 bytes, 32 more, 16-bit pixels."""
    header = bytearray(100)
    header[0:4] = b"\x00\x70\x44\x00"
    header[10:12] = (32).to_bytes(2, "little")
    rows, columns = pixels.shape
    for place, value in ((12, 1), (14, 1), (16, columns), (18, rows), (20, 1), (32, 4)):
        header[place : place + 2] = value.to_bytes(2, "little")
    return bytes(header) + pixels.astype("<u2").tobytes()


@pytest.mark.slow  # Loading RTK's wrappers takes 12 CPU seconds.
def test_elekta_files_are_read_through_rtk(tmp_path: Path) -> None:
    from NASAM3DLib.scan.vendor import load_rtk

    try:
        load_rtk()
    except ModuleNotFoundError:
        pytest.skip("itk-rtk is not installed")
    rng = np.random.default_rng(0)
    raw = rng.integers(20000, 60000, (6, 24, 24))
    for number, image in enumerate(raw):
        (tmp_path / f"{number:02d}.his").write_bytes(his_file(image))
    angles = np.radians(np.arange(6) * 60.0)
    geometry = ConeBeamGeometry.circular(CircularOrbit(angles, (17.0, 17.0), 1000, 1536), (16, 16))
    write_rtk_xml(to_rtk(geometry), tmp_path / "geometry.xml")
    loaded = load_projections(tmp_path)
    # RTK drops the four outer pixels, which this panel fills with nonsense.
    assert loaded.projections.shape == (6, 16, 16)
    assert loaded.geometry.orbit is not None
    # The panel stores 65536 minus the signal, so that bright pixels attenuate most.
    order = np.corrcoef(raw[:, 4:-4, 4:-4].ravel(), loaded.projections.ravel())[0, 1]
    assert order > 0.9
    assert loaded.projections.min() >= 0


def test_real_parallel_scan_is_read(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "proj-diamond-24737"
    if not folder.is_dir():
        pytest.skip(f"no real projections at {folder}")
    entries = {
        "nasam3d_scan": 1,
        "angles_deg": {"first": -88.2, "step": 2.0},
        "pixel_spacing_mm": [1, 1],
        "values": "counts",
        "flat_field": "flat_00001.tiff",
        "dark_field": "dark_00001.tiff",
        "images": "raw_*.tiff",
        "first_row": "top",
    }
    for path in folder.glob("*.tiff"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "geometry.json").write_text(json.dumps(entries))
    loaded = load_projections(tmp_path)
    assert loaded.projections.shape == (91, 135, 160)
    assert loaded.geometry.is_parallel
    assert 0.2 < np.percentile(loaded.projections, 99) < 8
