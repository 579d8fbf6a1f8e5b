"""The demonstration's folder of files."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

from NASAM3DLib.demo.report import LESIONS, OPENING, make_report
from NASAM3DLib.demo.results import Demo
from NASAM3DLib.files import check_writable, write_text
from NASAM3DLib.reconstruct.volume_io import save_volume
from NASAM3DLib.scan.io import save_projections
from NASAM3DLib.segment.mask_io import save_mask
from NASAM3DLib.segment.prompts_io import save_prompts

FILES = {
    "report.html": "what was done and what came out, with pictures; opens in any browser",
    "scan.npz": "the measured projections and their geometry",
    "volume.nrrd": "the reconstructed volume in Hounsfield units",
    "fdk.nrrd": "the same projections by filtered back-projection",
    "reconstruction.json": "settings, times and reasons of the reconstruction",
    "lesion.seg.nrrd": "the lesion as outlined after the clicks",
    "points.mrk.json": "the clicks",
    "truth.nrrd": "the generated patient on the same voxels",
    "truth-lesion.seg.nrrd": "the true lesion",
    "figures.csv": "quality of the reconstructions",
    "lesion.csv": "quality of the outlines after each click",
    "README.txt": "this list, and how to open the files",
}
"""Name and content of each file."""

TRUTH_COLOUR = (1.0, 0.82, 0.25)


def check_folder(folder: Path, *, force: bool = False) -> None:
    """Refuse a folder in which something would be replaced, before the work begins.

    Parameters
    ----------
    folder : Path
        Where the files shall go; it is made if need be.
    force : bool
        Whether existing files may be replaced.

    Raises
    ------
    FileExistsError
        If one of the files exists and must not be replaced.
    OSError
        If the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        check_writable(folder / name, force=force)


def save_demo(demo: Demo, folder: Path, *, force: bool = False) -> None:
    """Write all files of a demonstration.

    Parameters
    ----------
    demo : Demo
        What happened.
    folder : Path
        Where the files go; it is made if need be.
    force : bool
        Whether existing files may be replaced.

    Raises
    ------
    FileExistsError
        If one of the files exists and must not be replaced.
    """
    check_folder(folder, force=force)
    reconstructions = list(demo.reconstructions.values())
    name = LESIONS[demo.settings.region].capitalize()
    save_projections(demo.scan, folder / "scan.npz", force=force)
    save_volume(demo.volume, folder / "volume.nrrd", force=force)
    save_volume(reconstructions[0].volume.to_hu(), folder / "fdk.nrrd", force=force)
    save_volume(demo.truth, folder / "truth.nrrd", force=force)
    outline = demo.result.session.masks[-1]
    save_mask(outline, folder / "lesion.seg.nrrd", name=name, force=force)
    truth_name = f"{name} (truth)"
    place = folder / "truth-lesion.seg.nrrd"
    save_mask(demo.lesion, place, name=truth_name, colour=TRUTH_COLOUR, force=force)
    save_prompts(demo.result.session.prompts, folder / "points.mrk.json", force=force)
    texts = {
        "reconstruction.json": json.dumps(reconstructions[-1].report, indent=2) + "\n",
        "figures.csv": demo.volume_table.to_csv(),
        "lesion.csv": demo.click_table.to_csv(),
        "README.txt": _readme(),
        "report.html": make_report(demo).to_html(),
    }
    for file_name, text in texts.items():
        write_text(folder / file_name, text, force=force)


def _readme() -> str:
    """List the files and say how to open them."""
    width = max(len(name) for name in FILES)
    files = "\n".join(f"  {name:<{width}}  {content}" for name, content in FILES.items())
    steps = "\n".join(
        textwrap.fill(step, 78, initial_indent=f"  {number}. ", subsequent_indent="     ")
        for number, step in enumerate(OPENING, start=1)
    )
    return f"Results of the demonstration\n\n{files}\n\nOpen them in 3D Slicer\n\n{steps}\n"
