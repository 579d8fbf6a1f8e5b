"""A page about the segments: figures, and pictures of the views as they are."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _

import NASAM3DLib
from NASAM3DModule.parameters import Quantity
from NASAM3DModule.pictures import pngOf
from NASAM3DModule.segments import figuresOf, segmentOf
from NASAM3DModule.texts import warningText
from NASAM3DModule.volumes import quantityOf


def writeReport(parameters, path: str) -> None:
    """Write the page; raises OSError if the file cannot be written."""
    # The library's pictures load SciPy, which opening the module must not.
    from NASAM3DLib.evaluate.report import Report, Section

    segmentation, volumeNode = parameters.segmentation, parameters.inputVolume
    table, warnings = figuresTable(segmentation, volumeNode)
    showChosen(parameters)
    sections = [Section(_("Figures"), items=tuple(warnings), tables=(table,))]
    pictures = viewPictures()
    if pictures:
        sections.append(Section(_("Views"), pictures=tuple(pictures)))
    if volumeNode and volumeNode.GetDescription():
        sections.append(Section(_("Reconstruction"), (volumeNode.GetDescription(),)))
    summary = _("{n} segments on {volume}. For research, not for clinical use.").format(
        n=len(table.rows), volume=volumeNode.GetName() if volumeNode else "?"
    )
    footer = f"NASAM3D {NASAM3DLib.__version__}"
    report = Report(segmentation.GetName(), summary, tuple(sections), footer)
    Path(path).write_text(report.to_html(), encoding="utf-8")


def figuresTable(segmentationNode, volumeNode):
    """Give the table of all segments, and what the user must know about them."""
    from NASAM3DLib.evaluate.tables import Column, Table

    unit = "HU" if not volumeNode or quantityOf(volumeNode) == Quantity.HU.value else "1/mm"
    digits = 0 if unit == "HU" else 4
    columns = (
        Column(_("segment")),
        Column(_("volume [ml]"), 2),
        Column(_("mean [{unit}]").format(unit=unit), digits),
        Column(_("spread [{unit}]").format(unit=unit), digits),
        Column(_("longest diameter [mm]"), 1),
        Column(_("surface [cm²]"), 1),
    )
    segmentation, rows, warnings = segmentationNode.GetSegmentation(), [], []
    keys = ("volume_ml", "mean", "spread", "longest_diameter_mm", "surface_cm2")
    for segmentId in segmentation.GetSegmentIDs():
        name = segmentation.GetSegment(segmentId).GetName()
        figures = figuresOf(segmentationNode, segmentId)
        rows.append((name, *((figures or {}).get(key) for key in keys)))
        if figures and warningText(figures):
            warnings.append(f"{name}: {warningText(figures)}")
        elif not figures:
            warnings.append(_("{name} was changed elsewhere.").format(name=name))
    return Table(columns, tuple(rows)), warnings


def showChosen(parameters) -> None:
    """Show the slices through the middle of the chosen segment."""
    if segmentOf(parameters):
        centre = parameters.segmentation.GetSegmentCenterRAS(parameters.segmentId)
        slicer.modules.markups.logic().JumpSlicesToLocation(*centre, True)


def viewPictures() -> list:
    """Photograph the slice views and the first 3-D view."""
    from NASAM3DLib.evaluate.pictures import Picture

    layout = slicer.app.layoutManager()
    if layout is None:
        return []
    views = [(name, layout.sliceWidget(name).sliceView()) for name in layout.sliceViewNames()]
    if layout.threeDViewCount:
        views.append((_("3-D"), layout.threeDWidget(0).threeDView()))
    pictures = []
    for name, view in views:
        view.forceRender()
        pictures.append(Picture(name, name, pngOf(view.renderWindow())))
    return pictures
