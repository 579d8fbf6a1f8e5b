"""Photograph the module in the Slicer host while somebody works through the sample scan.

    python Testing/tools/take_screenshots.py [--output FOLDER]

The tutorial in the README uses the pictures, the last of them is the extension's screenshot.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "host")]

TIMEOUT_S, JOINT_TIMEOUT_S = 120.0, 1200.0
PANEL_WIDTH, PANEL_HEIGHT = 420, 720
VIEWS_SIZE = (720, 720)
BLADDER_MM = (-25.0, 85.0, 0.0)
"""From the lesion of the sample to the bladder before it."""


def wait(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Let Qt run until a condition holds."""
    from slicerhost.interaction import process_events

    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing happened within {timeout_s:.0f} s")
        process_events(0.05)


class Photographer:
    """Works with the panel by its own buttons and takes pictures.

    Parameters
    ----------
    app : qSlicerApplication
        The host.
    folder : Path
        Where the pictures go.
    """

    def __init__(self, app: Any, folder: Path) -> None:
        module = app.moduleManager().loadScriptedModule(ROOT / "NASAM3D" / "NASAM3D.py")
        self.app, self.folder = app, folder
        self.panel = module.widgetRepresentation()
        self.panel.resize(PANEL_WIDTH, PANEL_HEIGHT)
        app.layoutManager().viewport().resize(*VIEWS_SIZE)
        self.panel.show()
        self.panel.enter()
        self.widget = self.panel.self()
        self.ui = self.widget.ui

    def photograph(self, name: str) -> None:
        """Save what is to be seen."""
        import qt
        from slicerhost.screenshots import screenshot

        from NASAM3DLib.evaluate.png import few_colours

        path = self.folder / name
        screenshot([self.panel, self.app.layoutManager()], path)
        # The panel is as high as all its sections together, whichever are open.
        picture = qt.QPixmap(str(path))
        picture.copy(0, 0, picture.width(), VIEWS_SIZE[1]).save(str(path), "PNG")
        path.write_bytes(few_colours(path.read_bytes()))
        print(f"Written: {path}")

    def rest(self) -> None:
        """Wait until nothing runs."""
        from slicerhost.interaction import process_events

        process_events(0.1)
        wait(lambda: not self.widget.logic.client.is_busy)
        process_events(0.1)

    def collapse(self, *names: str) -> None:
        """Leave open only these sections of the panel."""
        for name in ("projections", "reconstruct", "segment", "result"):
            button = getattr(self.ui, f"{name}CollapsibleButton")
            button.collapsed = name not in names

    def segment(self) -> Any:
        """Give the chosen segment."""
        import slicer
        from NASAM3DModule.volumes import gridOf

        from NASAM3DLib.segment.mask import Mask

        parameters = self.widget.parameters
        volume = parameters.inputVolume
        array = slicer.util.arrayFromSegmentBinaryLabelmap(
            parameters.segmentation, parameters.segmentId, volume
        )
        return Mask(array > 0, gridOf(volume))

    def click(self, positive: bool, point_ras: Any) -> None:
        """Click on a point in the red view, with the kind of point chosen before."""
        import slicer
        from slicerhost.interaction import click_in_slice

        button = self.ui.positiveButton if positive else self.ui.negativeButton
        if not button.checked:
            button.click()
        slicer.modules.markups.logic().JumpSlicesToLocation(*point_ras, True)
        click_in_slice("Red", [float(x) for x in point_ras])
        self.rest()


class Truth:
    """The lesion of the sample, to choose the click that a person would choose."""

    def __init__(self) -> None:
        from NASAM3DLib.demo.sample import sample_patient
        from NASAM3DLib.segment.mask import Mask

        patient = sample_patient()
        self._lesion = Mask(patient.labels == patient.lesion_label, patient.volume.grid)

    def leak_ras(self, segment: Any) -> Any:
        """Find the middle of the largest part of a segment that is not of the lesion."""
        from NASAM3DLib.evaluate.clicks import centre_click
        from NASAM3DLib.evaluate.resample import resample_mask
        from NASAM3DLib.segment.mask import Mask

        lesion = resample_mask(self._lesion, segment.grid)
        found = centre_click(segment, Mask(segment.array & lesion.array, segment.grid))
        if found is None:
            raise SystemExit("The segment of one click has no leak to be photographed.")
        return found.point_ras

    def dice(self, segment: Any) -> float:
        """Compare a segment with the lesion."""
        from NASAM3DLib.evaluate.metrics import dice
        from NASAM3DLib.evaluate.resample import resample_mask

        return dice(segment, resample_mask(self._lesion, segment.grid))


def take(output: Path, pictures: Path) -> None:
    """Walk the road and save a picture of each state."""
    import slicerhost

    reason = slicerhost.missing_requirement()
    if reason is not None:
        raise SystemExit(reason)
    app = slicerhost.start()
    import slicer

    # A short path looks tidy in the picture; the background process starts in this folder, too.
    os.chdir(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory())
    user = Photographer(app, pictures)
    user.ui.sampleButton.click()
    user.rest()
    user.ui.pathLineEdit.currentPath = Path(user.ui.pathLineEdit.currentPath).name
    user.rest()
    user.collapse("projections", "reconstruct")
    user.photograph("module-1-scan.png")
    user.ui.applyButton.click()
    wait(lambda: user.ui.progressBar.value > 70 or user.widget.reconstruction.job is None)
    user.photograph("module-2-reconstruct.png")
    wait(lambda: user.widget.reconstruction.job is None)
    user.rest()
    slicer.util.resetSliceViews()
    lesion = np.array(slicer.util.getNode("Sample lesion").GetNthControlPointPosition(0))
    slicer.util.getNode("Sample lesion").SetDisplayVisibility(False)
    user.collapse("segment", "result")
    user.click(True, lesion)
    app.layoutManager().resetThreeDViews()
    user.photograph("module-3-click.png")
    user.ui.attentionCheckBox.checked = True
    truth, clicked = Truth(), user.segment()
    user.click(False, truth.leak_ras(clicked))
    print(f"Dice {truth.dice(clicked):.2f}, corrected {truth.dice(user.segment()):.2f}")
    user.photograph("module-4-correct.png")
    user.ui.attentionCheckBox.checked = False
    refine_jointly(user, lesion)
    user.collapse("segment", "result")
    user.ui.newSegmentButton.click()
    user.click(True, lesion + BLADDER_MM)
    slicer.modules.markups.logic().JumpSlicesToLocation(*lesion, True)
    user.ui.positiveButton.click()
    app.layoutManager().resetThreeDViews()
    user.folder = output
    user.photograph("NASAM3D.png")
    user.widget.logic.client.close()


def refine_jointly(user: Photographer, lesion: Any) -> None:
    """Refine volume and segment together, photograph what came, and take it back."""
    import slicer

    user.ui.negativeButton.click()
    user.ui.jointButton.click()
    joint = user.widget.segmentation.joint
    wait(lambda: joint.job is None, JOINT_TIMEOUT_S)
    user.rest()
    user.collapse("segment")
    slicer.modules.markups.logic().JumpSlicesToLocation(*lesion, True)
    user.photograph("module-5-joint.png")
    print(f"The panel said: {user.ui.statusLabel.text}")
    if user.widget.parameters.inputVolume.GetName().endswith("joint"):
        user.ui.undoButton.click()
    user.rest()


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="one folder for all pictures")
    options = parser.parse_args()
    output = (options.output or ROOT / "Screenshots").resolve()
    pictures = (options.output or ROOT / "docs" / "pictures").resolve()
    for folder in (output, pictures):
        folder.mkdir(parents=True, exist_ok=True)
    take(output, pictures)
    # VTK's observers and PySide's wrappers are destroyed in no certain order at exit.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
