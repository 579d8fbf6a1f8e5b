"""Print the benchmark: ours beside itk-rtk in the same run, clicks, and a measured scan.

python Testing/bench/run.py            a few minutes
python Testing/bench/run.py --full     noise, half turn and generated pelvis as well
python Testing/bench/run.py --write    also into docs/benchmarks.md with pictures
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from cases import ROOT, Case, abdomen_case, data_folder, phantom_case  # noqa: E402
from clicks import click_table  # noqa: E402
from measured import measured_table  # noqa: E402
from pictures import save_measured_picture, save_reconstruction_picture  # noqa: E402
from reconstructions import projector_table, reconstruction_table  # noqa: E402

import NASAM3DLib  # noqa: E402
from NASAM3DLib.evaluate.tables import Table  # noqa: E402

PACKAGES = ("numpy", "numba", "torch", "itk-rtk", "scikit-image", "monai")


def machine() -> str:
    """Describe where and when the figures were made."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} not installed")
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return (
        f"NASAM3D {NASAM3DLib.__version__}, {today}, {os.cpu_count()} cores "
        f"({platform.machine()}), no GPU, Python {platform.python_version()}; {', '.join(versions)}"
    )


def warm_up(case: Case) -> None:
    """Compile every kernel, so that no row pays for it."""
    from NASAM3DLib.pipeline import reconstruct
    from NASAM3DLib.reconstruct.projector import Projector
    from NASAM3DLib.reconstruct.settings import ReconstructionSettings

    small = case.projection_set.select(np.arange(0, 50, 5))
    grid = case.truth.grid.resampled((32, 32, 32))
    for method in ("fdk", "tv", "field"):
        reconstruct(small, grid, ReconstructionSettings(method=method, quality="preview"))
    reconstruct(small, grid)
    general = Projector(grid, small.geometry, separable=False)
    general.adjoint(general.forward(np.ones(grid.shape_kji)))


def cases(data: Path | None, *, full: bool) -> list[Case]:
    """List the cases: the abdomen where the real data are, else the generated pelvis."""
    if data is None:
        return [phantom_case()]
    listed = [abdomen_case(data)]
    if full:
        listed += [
            abdomen_case(data, photons=1e5),
            abdomen_case(data, arc_deg=180.0),
            phantom_case(),
            phantom_case(photons=1e5),
        ]
    return listed


def main() -> None:
    """Run and print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all cases")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args()
    data = data_folder()
    if data is None:
        print("No real scans found (NASAM3D_DATA): the generated pelvis takes their place.\n")
    pictures = ROOT / "docs" / "pictures" if options.write else ROOT / "bench-output"
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [machine()]

    def show(table: Table) -> None:
        text = table.to_markdown()
        print(f"{text}\n", flush=True)
        parts.append(text)

    print(f"{parts[0]}\n")
    listed = cases(data, full=options.full)
    warm_up(listed[0])
    show(projector_table(listed[0]))
    for number, case in enumerate(listed):
        table, volumes = reconstruction_table(case, full=options.full)
        show(table)
        show(click_table(case, volumes["ours, total variation, standard"]))
        parts.append(save_reconstruction_picture(case, volumes, pictures / f"case-{number}.png"))
    if data is not None:
        table, volumes = measured_table(data)
        show(table)
        parts.append(save_measured_picture(volumes, pictures / "measured.png"))
    if options.write:
        head = (HERE / "head.md").read_text(encoding="utf-8")
        target = ROOT / "docs" / "benchmarks.md"
        target.write_text(head + "\n" + "\n\n".join(parts) + "\n", encoding="utf-8")
        print(f"Written: {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
