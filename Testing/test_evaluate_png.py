from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from NASAM3DLib.evaluate.png import few_colours, png_of

ORANGE = (238, 150, 75)


def slice_with_outline(width: int = 240, height: int = 180) -> np.ndarray:
    """Grey noise like a slice of a CT, with one thin line in a colour."""
    noise = np.random.default_rng(7).integers(0, 256, (height, width, 1), dtype=np.uint8)
    image = np.repeat(noise, 3, axis=2)
    image[height // 2] = ORANGE
    return image


def scale_of_colours(width: int = 240, height: int = 180) -> np.ndarray:
    """A scale from blue over white to red beside grey noise."""
    image = slice_with_outline(width, height)
    way = np.linspace(-1, 1, height)[:, None]
    fading = 255 * (1 - np.abs(way))
    red, blue = np.where(way > 0, 255, fading), np.where(way < 0, 255, fading)
    image[:, : width // 2] = np.stack([red, fading, blue], axis=-1).astype(np.uint8)
    return image


def encoded(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png")
    return file.getvalue()


def decoded(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def drawing() -> Figure:
    figure = Figure(figsize=(3, 2), dpi=80)
    figure.subplots().plot([0, 1, 2], [2, 0, 1], color="#d1495b")
    return figure


def test_equal_figures_are_equal_files() -> None:
    first = png_of(drawing())
    assert first == png_of(drawing())
    assert first.startswith(b"\x89PNG")


@pytest.mark.parametrize("draw", [slice_with_outline, scale_of_colours])
def test_greys_outlines_and_scales_stay_what_they_are(draw: Callable[[], np.ndarray]) -> None:
    image = draw()
    png = encoded(image)
    small = few_colours(png)
    assert len(small) < 0.6 * len(png)
    assert np.abs(decoded(small) - image.astype(int)).max() <= 12


def test_a_picture_of_few_colours_loses_nothing() -> None:
    image = np.zeros((40, 50, 3), dtype=np.uint8)
    image[10:20] = ORANGE
    image[:, 30:] = 255
    small = few_colours(encoded(image))
    assert np.array_equal(decoded(small), image)
    assert few_colours(small) == small


@pytest.mark.parametrize(("scale", "size"), [(0.5, (120, 90)), (2.0, (480, 360)), (0.001, (1, 1))])
def test_the_scale_is_that_of_width_and_height(scale: float, size: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(few_colours(encoded(slice_with_outline()), scale=scale))) as image:
        assert image.size == size
        assert image.mode == "P"


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_must_be_positive(scale: float) -> None:
    with pytest.raises(ValueError, match="a scale above 0 was wanted"):
        few_colours(encoded(slice_with_outline()), scale=scale)
