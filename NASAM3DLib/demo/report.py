"""The demonstration's report, written for a reader who was not there."""

from __future__ import annotations

import platform

import numpy as np
import numpy.typing as npt

from NASAM3DLib import __version__
from NASAM3DLib.demo.results import FULL_TURN_VIEWS, Demo
from NASAM3DLib.evaluate.evaluate import outlines_of
from NASAM3DLib.evaluate.panels import Window
from NASAM3DLib.evaluate.pictures import (
    Picture,
    Subject,
    picture_comparison,
    picture_masks,
    picture_projections,
    picture_volume,
)
from NASAM3DLib.evaluate.report import Report, Section
from NASAM3DLib.evaluate.tables import Cell, Column, Table

LESION_WINDOW = Window(level=70.0, width=300.0)
"""Narrower than the usual one, because the lesion is hardly brighter than muscle."""

LESIONS = {"pelvis": "lesion of the rectal wall", "abdomen": "liver lesion"}

CONTRAST = {"native": "none", "arterial": "arterial phase", "portal": "portal venous phase"}

LIMITS = (
    "The patient is generated, not scanned: real anatomy, contrast and pathology are richer, and "
    "figures on real scans are lower.",
    "The simulated rays have one energy; scatter, motion and metal are left out. The patient ends "
    "at the upper and lower face of the volume.",
    "The clicks are placed with knowledge of the truth. A person clicks less well at first, and "
    "better afterwards, because a person knows anatomy.",
    "The segmentation engine was not trained on labels. It follows density and edges, and needs "
    "more clicks where an organ is uneven or touches tissue of the same density.",
    "This is research software. It is not a medical device and must not guide treatment.",
)

OPENING = (
    "Drag volume.nrrd into the window of 3D Slicer and accept: the volume is in Hounsfield units.",
    "Drag lesion.seg.nrrd in as well: it opens as a segmentation with its name and colour, in "
    "place; Show 3D in the module Segmentations displays its surface.",
    "Drag points.mrk.json in to see the clicks; truth.nrrd and truth-lesion.seg.nrrd are the "
    "generated patient for comparison.",
    "scan.npz holds the measured projections with their geometry: the module NASAM3D, or the "
    "command line, reconstructs them again with other settings.",
)


def make_report(demo: Demo) -> Report:
    """Write the report of a demonstration.

    Parameters
    ----------
    demo : Demo
        What happened.

    Returns
    -------
    Report
    """
    return Report(
        "From sparse X-ray views to an outlined lesion",
        _summary(demo),
        (_measured(demo), _reconstructed(demo), _segmented(demo), *_closing()),
        f"NASAM3DLib {__version__}, Python {platform.python_version()}, seed {demo.settings.seed}. "
        f"Wall time of the steps: {_times(demo)}.",
    )


def _summary(demo: Demo) -> str:
    """Say in three sentences what came out."""
    first, last = demo.result.session.records[0], demo.result.session.records[-1]
    quality = [row[1] for row in demo.volume_table.rows]
    name = list(demo.reconstructions)[-1]
    part = 100 * demo.scan.n_views / FULL_TURN_VIEWS
    lesion = f"{LESIONS[demo.settings.region]} of {demo.lesion.volume_ml:.0f} ml"
    return (
        f"A generated patient was scanned with {demo.scan.n_views} views: {part:.0f} % of the "
        f"{FULL_TURN_VIEWS} views, and so of the dose, of a full scan. {name.capitalize()} "
        f"reconstructed the volume with {quality[-1]:.1f} dB against the truth, filtered "
        f"back-projection with {quality[0]:.1f} dB. A {lesion} was outlined with a Dice overlap of "
        f"{first.dice:.2f} after one click and {last.dice:.2f} after {last.n_clicks}."
    )


def _measured(demo: Demo) -> Section:
    """Describe the scan."""
    settings, patient, geometry = demo.settings, demo.phantom.patient, demo.scan.geometry
    orbit = geometry.orbit
    distances = "parallel beam"
    if orbit is not None and not orbit.is_parallel:
        distances = (
            f"{orbit.source_to_isocenter_mm:g} mm from source to axis, "
            f"{orbit.source_to_detector_mm:g} mm to the detector"
        )
    rows: tuple[tuple[Cell, ...], ...] = (
        ("Patient", f"generated with seed {settings.seed}: {patient.sex}, {settings.region}"),
        ("Contrast medium", CONTRAST[patient.contrast]),
        ("Views", f"{geometry.n_views} over a full turn, instead of {FULL_TURN_VIEWS}"),
        ("Beam", distances),
        (
            "Detector",
            "{} rows by {} columns of {:.2f} mm".format(
                *geometry.detector_shape, geometry.pixel_spacing_mm[1]
            ),
        ),
        (
            "Noise",
            f"Poisson, {settings.photons:,.0f} photons per pixel and view without the patient",
        ),
        ("Fineness", "patient and rays are simulated twice as fine as they are reconstructed"),
    )
    picture = picture_projections(
        demo.scan, caption="Four of the measured views: line integrals of the attenuation."
    )
    table = Table((Column("What"), Column("Value")), rows)
    return Section("What was measured", tables=(table,), pictures=(picture,))


def _reasons(demo: Demo) -> tuple[str, ...]:
    """Tell what was returned, why, and how long it took."""
    name, done = list(demo.reconstructions.items())[-1]
    report = done.report
    asked_for = report["returned"] == report["settings"]["method"] != "field"
    reason = ", as asked for" if asked_for else f": {report['why']}"
    items = [f"Returned: {name}{reason}.", f"Voxels: {demo.volume.grid}."]
    if report.get("tv_held_out_errors"):
        views = ", ".join(str(view) for view in report["held_out_views"])
        tried = "; ".join(
            f"{strength:.2g} gave {error:.4f}"
            for strength, error in zip(
                report["tv_candidates"], report["tv_held_out_errors"], strict=True
            )
        )
        items.append(
            f"Strength of total variation: {report['tv_strength']:.2g}, chosen by how well the "
            f"left-out views {views} are predicted (root-mean-square error of their line "
            f"integrals: {tried})."
        )
    if report.get("field_held_out_error") is not None:
        items.append(
            f"Referee of the attenuation field: error of the left-out views "
            f"{report['field_held_out_error']:.4f} with it, {report['base_held_out_error']:.4f} "
            "without it."
        )
    seconds = ", ".join(f"{step} {time:.1f} s" for step, time in report["seconds"].items())
    items.append(f"Time: {seconds}.")
    return tuple(items)


def _reconstructed(demo: Demo) -> Section:
    """Show the reconstructions beside the patient."""
    volumes = {label: one.volume.to_hu() for label, one in demo.reconstructions.items()}
    comparison = picture_comparison(
        volumes,
        demo.truth,
        Subject(_point(demo), (outlines_of({}, demo.lesion)["truth"],)),
        caption="The generated patient and its reconstructions, with the true outline of the "
        "lesion; below each reconstruction its difference from the patient in HU.",
    )
    return Section(
        "What was reconstructed",
        (
            "Few views leave gaps, which filtered back-projection fills with streaks. The "
            "iterative method looks for the volume of least total variation that explains the "
            "measured views. Higher PSNR and SSIM (1 is perfect) and lower errors are better.",
        ),
        _reasons(demo),
        (demo.volume_table,),
        (comparison,),
    )


def _segmented(demo: Demo) -> Section:
    """Show the lesion with and without density guidance."""
    point = _point(demo)
    last = demo.result.volume_name
    shown = [one for one in demo.segmentations if one.volume_name == last]
    rows = {}
    for one in shown:
        outlines = outlines_of({"result": one.session.masks[-1]}, demo.lesion)
        title = "With density guidance" if one.guided else "Without density guidance"
        overlap = one.session.records[-1].dice
        rows[f"{title}: Dice {overlap:.2f}"] = Subject(
            point, tuple(outlines.values()), one.session.prompts, LESION_WINDOW
        )
    attention = demo.result.attention
    if attention is not None:
        truth = (outlines_of({}, demo.lesion)["truth"],)
        prompts = demo.result.session.prompts
        rows["Density-aware attention"] = Subject(point, truth, prompts, LESION_WINDOW, attention)
    close = picture_masks(
        demo.volume,
        rows,
        around=demo.lesion,
        caption="Close-up of the lesion in three planes, true outline dashed. Clicks on the lesion "
        "are green crosses, clicks on the background red ones; faint if beside the slice. The last "
        "row shows in colour, from dark to yellow, how strongly the density at the clicks speaks "
        "for each voxel.",
    )
    whole = _overview(demo)
    return Section(
        "What was outlined",
        (
            "Density guidance compares the attenuation of each voxel with that at the clicks and "
            "lets the outline grow only along paths of like density. Dice and IoU are 1 for a "
            "perfect outline; HD95 and ASD tell in millimetres how far outlines are apart.",
        ),
        tables=(demo.mask_table, demo.click_table),
        pictures=(close, whole),
    )


def _overview(demo: Demo) -> Picture:
    """Show the returned mask in the whole volume."""
    outlines = outlines_of({"result": demo.result.session.masks[-1]}, demo.lesion)
    subject = Subject(_point(demo), tuple(outlines.values()), demo.result.session.prompts)
    caption = "The returned volume and outline, as they open in 3D Slicer."
    return picture_volume(demo.volume, subject, caption=caption)


def _point(demo: Demo) -> npt.NDArray[np.float64]:
    """Give the first click, through which all slices go."""
    return np.asarray(demo.result.session.prompts.points_ras[0])


def _closing() -> tuple[Section, Section]:
    """State the limits and how to go on."""
    return Section("Limits", items=LIMITS), Section("Open it in 3D Slicer", items=OPENING)


def _times(demo: Demo) -> str:
    """List how long the steps took."""
    total = float(np.sum(list(demo.seconds.values())))
    parts = [f"{step} {seconds:.0f} s" for step, seconds in demo.seconds.items()]
    return f"{', '.join(parts)}; {total:.0f} s together"
