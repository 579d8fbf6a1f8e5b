"""Tables and pictures of one case from one call."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.evaluate.clicks import centre_click
from NASAM3DLib.evaluate.compare import compare_masks, compare_volumes
from NASAM3DLib.evaluate.panels import Outline
from NASAM3DLib.evaluate.pictures import (
    Picture,
    Subject,
    picture_comparison,
    picture_masks,
    picture_volume,
)
from NASAM3DLib.evaluate.tables import Table
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

logger = logging.getLogger(__name__)

TRUTH_COLOUR = "#ffd23f"
RESULT_COLOURS = ("#4cc9f0", "#ff8fab", "#9ef01a", "#c77dff")


@dataclass(frozen=True)
class Evaluation:
    """Figures and pictures of one case.

    Parameters
    ----------
    tables : dict of str to Table
        By name: ``volumes`` and ``masks``, as far as there was something to compare.
    pictures : tuple of Picture
        What was compared, slice by slice.
    """

    tables: dict[str, Table]
    pictures: tuple[Picture, ...]


def evaluate(
    volumes: Mapping[str, Volume],
    reference: Volume | None = None,
    *,
    masks: Mapping[str, Mask] | None = None,
    reference_mask: Mask | None = None,
    prompts: Prompts | None = None,
) -> Evaluation:
    """Compare reconstructions and segmentations of one case with the truth.

    Parameters
    ----------
    volumes : mapping of str to Volume
        Reconstructions by name; masks are drawn on the first one.
    reference : Volume, optional
        The true volume.
    masks : mapping of str to Mask, optional
        Segmentations by name.
    reference_mask : Mask, optional
        The true mask.
    prompts : Prompts, optional
        Clicks to mark in the pictures.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If there is nothing to compare, or what is compared does not overlap in space.
    """
    tables: dict[str, Table] = {}
    if reference is not None and volumes:
        tables["volumes"] = compare_volumes(volumes, reference)
    if reference_mask is not None and masks:
        tables["masks"] = compare_masks(masks, reference_mask)
    if not tables:
        raise ValueError(
            "There is nothing to compare: give volumes and a reference volume, or masks and a "
            "reference mask."
        )
    shown = dict(volumes)
    if not shown and reference is not None:
        shown = {"reference": reference}
    outlines = outlines_of(masks or {}, reference_mask)
    pictures = _pictures(shown, reference, outlines=outlines, prompts=prompts or Prompts())
    return Evaluation(tables, pictures)


def outlines_of(masks: Mapping[str, Mask], reference_mask: Mask | None) -> dict[str, Outline]:
    """Give each mask its colour; the truth is dashed.

    Parameters
    ----------
    masks : mapping of str to Mask
        Masks by name.
    reference_mask : Mask or None
        The truth.

    Returns
    -------
    dict of str to Outline
        The truth first, under the name ``truth``.
    """
    outlines = {}
    if reference_mask is not None:
        outlines["truth"] = Outline("truth", reference_mask, TRUTH_COLOUR, "--")
    for number, (name, mask) in enumerate(masks.items()):
        colour = RESULT_COLOURS[number % len(RESULT_COLOURS)]
        outlines[name] = Outline(name, mask, colour)
    return outlines


def _pictures(
    volumes: Mapping[str, Volume],
    reference: Volume | None,
    *,
    outlines: Mapping[str, Outline],
    prompts: Prompts,
) -> tuple[Picture, ...]:
    """Draw what was compared, on the volumes there are."""
    if not volumes:
        logger.warning("There is no volume to draw the masks on, so no pictures are made.")
        return ()
    name, first = next(iter(volumes.items()))
    point = _point_of_interest(first, outlines, prompts)
    truth = tuple(outline for label, outline in outlines.items() if label == "truth")
    subject = Subject(point, truth, prompts)
    pictures = []
    if reference is not None and list(volumes.values()) != [reference]:
        caption = "Reconstructions beside the truth and, in colour, their differences from it."
        pictures.append(picture_comparison(volumes, reference, subject, caption=caption))
    else:
        caption = f"Three slices through {name}."
        pictures.append(picture_volume(first, subject, caption=caption))
    rows = {
        label: Subject(point, (*truth, one), prompts)
        for label, one in outlines.items()
        if label != "truth"
    }
    if rows:
        around = next(iter(outlines.values())).mask
        caption = f"Close-up of the masks on {name}."
        pictures.append(picture_masks(first, rows, around=around, caption=caption))
    return tuple(pictures)


def _point_of_interest(
    volume: Volume, outlines: Mapping[str, Outline], prompts: Prompts
) -> npt.NDArray[np.float64]:
    """Choose where to cut: the first positive click, the middle of a mask, or of the volume."""
    if len(prompts.positive_ras):
        return np.asarray(prompts.positive_ras[0])
    for outline in outlines.values():
        if outline.mask.n_voxels:
            click = centre_click(None, outline.mask)
            if click is not None:
                return click.point_ras
    return volume.grid.centre_ras
