from __future__ import annotations

import io

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from NASAM3DLib.evaluate import pictures
from NASAM3DLib.evaluate.panels import (
    Outline,
    Window,
    draw_clicks,
    draw_heat,
    draw_image,
    draw_outlines,
)
from NASAM3DLib.evaluate.pictures import (
    Picture,
    Subject,
    picture_comparison,
    picture_masks,
    picture_projections,
    picture_volume,
)
from NASAM3DLib.evaluate.slices import PLANES, SliceView, body_box_ras
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

GRID = VolumeGrid.centred((30, 24, 20), (2.0, 1.5, 1.0))
POINT = np.array([3.0, -2.0, 4.0])


def field(grid: VolumeGrid) -> Volume:
    """A volume that rises by 1 HU per mm along R, 2 along A and 5 along S."""
    points = grid.to_ras(np.moveaxis(np.indices(grid.shape_kji)[::-1], 0, -1))
    return Volume((points @ [1.0, 2.0, 5.0]).astype(np.float32), grid, "HU")


def ball(radius_mm: float = 7.0) -> Mask:
    points = GRID.to_ras(np.moveaxis(np.indices(GRID.shape_kji)[::-1], 0, -1))
    return Mask(np.linalg.norm(points - POINT, axis=-1) <= radius_mm, GRID)


def pixels(picture: Picture) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(picture.png))


def turned(grid: VolumeGrid) -> VolumeGrid:
    """The same box with other axes: i and j swapped, k mirrored."""
    affine = np.array(grid.ijk_to_ras)[:, [1, 0, 2, 3]]
    affine[:3, 3] += affine[:3, 2] * (grid.shape_kji[0] - 1)
    affine[:3, 2] *= -1
    k, j, i = grid.shape_kji
    return VolumeGrid((k, i, j), affine)


def test_orientation_letters_are_radiological() -> None:
    assert PLANES["axial"].letters == ("R", "L", "A", "P")
    assert PLANES["coronal"].letters == ("R", "L", "S", "I")
    assert PLANES["sagittal"].letters == ("A", "P", "S", "I")


@pytest.mark.parametrize(
    ("name", "right_hu_per_mm", "up_hu_per_mm"),
    # To the right of the picture lie L, L and P; upwards A, S and S.
    [("axial", -1.0, 2.0), ("coronal", -1.0, 5.0), ("sagittal", -2.0, 5.0)],
)
@pytest.mark.parametrize("grid", [GRID, turned(GRID)], ids=["upright", "turned"])
def test_slices_show_the_right_side_whatever_the_axes(
    name, right_hu_per_mm: float, up_hu_per_mm: float, grid: VolumeGrid
) -> None:  # type: ignore[no-untyped-def]
    view = SliceView.through(field(grid), name, POINT)
    image = view.sample(field(grid))
    to_right, upwards = view.axes_mm()
    inner = image[8:-8, 8:-8]
    slope_right = np.diff(inner, axis=1).mean() / np.diff(to_right).mean()
    slope_up = np.diff(inner, axis=0).mean() / np.diff(upwards).mean()
    assert slope_right == pytest.approx(right_hu_per_mm, rel=1e-3)
    assert slope_up == pytest.approx(up_hu_per_mm, rel=1e-3)


@pytest.mark.parametrize("name", list(PLANES))
def test_place_is_where_the_sample_is(name) -> None:  # type: ignore[no-untyped-def]
    view = SliceView.through(field(GRID), name, POINT)
    x, y, away = view.place(POINT)[0]
    to_right, upwards = view.axes_mm()
    column, row = np.abs(to_right - x).argmin(), np.abs(upwards - y).argmin()
    assert away == pytest.approx(0.0)
    expected = POINT @ [1.0, 2.0, 5.0]
    # The nearest sample is at most half a sampling step away along each axis.
    assert view.sample(field(GRID))[row, column] == pytest.approx(expected, abs=view.spacing_mm * 4)


@pytest.mark.parametrize("grid", [GRID, turned(GRID)], ids=["upright", "turned"])
def test_air_around_the_body_is_cut_off(grid: VolumeGrid) -> None:
    points = grid.to_ras(np.moveaxis(np.indices(grid.shape_kji)[::-1], 0, -1))
    low, high = np.array([-9.0, -4.0, -10.0]), np.array([5.0, 8.0, 10.0])
    inside = ((points > low) & (points < high)).all(axis=-1)
    volume = Volume(np.where(inside, 0.0, -1000.0).astype(np.float32), grid, "HU")
    found_low, found_high = body_box_ras(volume)
    # To the voxel, with 6 mm of air where the grid still has it.
    assert found_low == pytest.approx([-15.0, -10.0, -15.0], abs=2.0)
    assert found_high == pytest.approx([11.0, 14.0, 15.0], abs=2.0)


def test_nothing_but_air_is_shown_whole() -> None:
    empty = Volume(np.full(GRID.shape_kji, -1000.0, np.float32), GRID, "HU")
    low, high = body_box_ras(empty)
    np.testing.assert_allclose(low, GRID.corners_ras.min(axis=0))
    np.testing.assert_allclose(high, GRID.corners_ras.max(axis=0))


def test_zoom_keeps_the_plane() -> None:
    view = SliceView.through(field(GRID), "axial", POINT)
    close = view.zoomed([10.0, 5.0, 99.0], 12.0)
    assert close.position_mm == view.position_mm == 4.0
    assert close.extent_mm == (-6.0, 6.0, -6.0, 6.0)
    np.testing.assert_allclose(close.centre_ras, [10.0, 5.0, 4.0])


def test_panel_is_annotated() -> None:
    axes = Figure().subplots()
    view = SliceView.through(field(GRID), "sagittal", POINT)
    draw_image(axes, view, field(GRID), window=Window(40, 400))
    texts = {text.get_text() for text in axes.texts}
    assert {"A", "P", "S", "I", "W 400 L 40 HU", "sagittal R 3 mm", "5 mm"} <= texts
    assert axes.images[0].get_clim() == (-160.0, 240.0)


def test_outline_encloses_the_mask() -> None:
    axes = Figure().subplots()
    view = SliceView.through(field(GRID), "axial", POINT)
    draw_outlines(axes, view, (Outline("ball", ball(), "red"),))
    vertices = axes.collections[0].get_paths()[0].vertices
    radii = np.linalg.norm(vertices - view.place(POINT)[0, :2], axis=1)
    assert radii.mean() == pytest.approx(7.0, abs=0.6)


def test_mask_beside_the_slice_leaves_no_line() -> None:
    axes = Figure().subplots()
    view = SliceView.through(field(GRID), "axial", [0.0, 0.0, -14.0])
    draw_outlines(axes, view, (Outline("ball", ball(), "red"),))
    assert not axes.collections


def test_heat_is_transparent_where_it_is_zero() -> None:
    axes = Figure().subplots()
    view = SliceView.through(field(GRID), "axial", POINT)
    draw_heat(axes, view, ball().array.astype(np.float32), grid=GRID)
    alpha = np.asarray(axes.images[0].get_alpha())
    assert alpha.min() == 0.0
    assert alpha.max() == pytest.approx(0.75)
    # A circle of 7 mm radius covers 154 mm2.
    assert (alpha > 0.5).sum() * view.spacing_mm**2 == pytest.approx(154, rel=0.2)


def test_clicks_are_numbered_and_faint_beside_the_slice() -> None:
    axes = Figure().subplots()
    view = SliceView.through(field(GRID), "axial", POINT)
    points = POINT + np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 8.0], [200.0, 0.0, 0.0]])
    draw_clicks(axes, view, Prompts(points, np.array([1, 0, 1])))
    assert [text.get_text() for text in axes.texts] == ["1", "2"]
    assert axes.lines[0].get_alpha() == 1.0
    assert axes.lines[1].get_alpha() < 0.5
    assert axes.lines[0].get_color() != axes.lines[1].get_color()


def test_pictures_are_made_and_repeatable() -> None:
    subject = Subject(
        POINT, (Outline("truth", ball(), "gold"),), Prompts(POINT[None], np.array([1]))
    )
    first, second = (picture_volume(field(GRID), subject) for _ in range(2))
    assert first.png == second.png
    assert pixels(first)[..., :3].std() > 0.1


def test_comparison_shows_the_difference_in_colour() -> None:
    reference = field(GRID)
    brighter = Volume(reference.array + 60.0, GRID, "HU")
    darker = Volume(reference.array - 60.0, GRID, "HU")

    def redness(volume: Volume) -> float:
        picture = picture_comparison({"one": volume}, reference, Subject(POINT), planes=["axial"])
        image = pixels(picture)
        quarter = image[image.shape[0] // 2 :, image.shape[1] // 2 :, :3]
        return float((quarter[..., 0] - quarter[..., 2]).mean())

    assert redness(brighter) > 0.05
    assert redness(darker) < -0.05


def test_masks_get_a_row_each() -> None:
    subject = Subject(POINT, (Outline("ball", ball(), "cyan"),))
    single = pixels(picture_masks(field(GRID), {"one": subject}, around=ball()))
    both = pixels(picture_masks(field(GRID), {"one": subject, "two": subject}, around=ball()))
    assert both.shape[1] == single.shape[1]
    assert both.shape[0] > 1.7 * single.shape[0]


def test_close_up_holds_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[SliceView] = []
    monkeypatch.setattr(pictures, "draw_image", lambda axes, view, *_, **__: seen.append(view))
    picture_masks(field(GRID), {"one": Subject(POINT)}, around=ball())
    # A ball of 14 mm is small: the smallest panel, with the ball in its middle.
    assert [view.width_mm for view in seen] == [60.0] * 3
    for view in seen:
        np.testing.assert_allclose(view.place(POINT), 0.0, atol=1.0)


def test_projections_are_shown_with_their_angles() -> None:
    orbit = CircularOrbit(np.linspace(0, np.pi, 6, endpoint=False), (2.0, 2.0), 500.0, 800.0)
    geometry = ConeBeamGeometry.circular(orbit, (12, 16))
    rng = np.random.default_rng(0)
    views = ProjectionSet(rng.random(geometry.projections_shape), geometry)
    assert pixels(picture_projections(views))[..., :3].std() > 0.05
