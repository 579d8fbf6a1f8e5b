"""Photograph the module in the Slicer host while it works on the demonstration's scan.

    python Testing/tools/take_screenshots.py DEMO_FOLDER [--output Screenshots/NASAM3D.png]

The picture is used by the README and as the extension's screenshot.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "host")]
from NASAM3DLib.segment.prompts_io import load_prompts  # noqa: E402

TIMEOUT_S = 300.0


def wait(condition: Callable[[], object]) -> None:
    """Let Qt run until a condition holds."""
    from slicerhost.interaction import process_events

    end = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing happened within {TIMEOUT_S:.0f} s")
        process_events(0.05)


def take(demo: Path, output: Path) -> None:
    """Walk the road by the panel's own buttons and save the picture."""
    import slicerhost

    reason = slicerhost.missing_requirement()
    if reason is not None:
        raise SystemExit(reason)
    app = slicerhost.start()
    import slicer
    from slicerhost.interaction import click_in_slice, process_events
    from slicerhost.screenshots import screenshot

    module = app.moduleManager().loadScriptedModule(ROOT / "NASAM3D" / "NASAM3D.py")
    panel = module.widgetRepresentation()
    panel.resize(400, 760)
    panel.show()
    widget = panel.self()
    # A short path looks tidy in the picture.
    os.chdir(demo)
    widget.ui.pathLineEdit.currentPath = "scan.npz"
    wait(lambda: widget._inspectJob is None)
    widget.ui.applyButton.click()
    wait(lambda: widget._reconstructJob is None)
    prompts = load_prompts(Path("points.mrk.json"))
    for position, label in zip(prompts.points_ras, prompts.labels, strict=True):
        (widget.ui.positiveButton if label else widget.ui.negativeButton).click()
        slicer.modules.markups.logic().JumpSlicesToLocation(*position, True)
        process_events(0.2)
        click_in_slice("Red", position)
        wait(lambda: not widget.logic.client.is_busy)
    slicer.modules.markups.logic().JumpSlicesToLocation(*prompts.points_ras[0], True)
    app.layoutManager().resetThreeDViews()
    screenshot([panel, app.layoutManager()], output)
    widget.logic.client.close()


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="folder that the demonstration has written")
    parser.add_argument("--output", type=Path, default=ROOT / "Screenshots" / "NASAM3D.png")
    options = parser.parse_args()
    output = options.output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    take(options.demo.resolve(), output)
    print(f"Written: {output}")
    # VTK's observers and PySide's wrappers are destroyed in no certain order at exit.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
