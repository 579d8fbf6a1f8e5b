"""Measure the benchmark: ours beside itk-rtk on the same scans, clicks, and a measured scan.

python Testing/bench/run.py                    a few minutes: the abdomen, clean and noisy
python Testing/bench/run.py --full             more bodies, a half turn, the field, clicks
python Testing/bench/run.py --full --write     also into docs/benchmarks.md with pictures
python Testing/bench/run.py --full --continue  keeps the cases that an interrupted run has finished
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from bodies import body_case  # noqa: E402
from cases import (  # noqa: E402
    ROOT,
    Case,
    abdomen_case,
    data_folder,
    phantom_case,
    with_relative_noise,
)
from clicks import click_table  # noqa: E402
from measured import measured_table  # noqa: E402
from pictures import (  # noqa: E402
    save_cost_picture,
    save_measured_picture,
    save_reconstruction_picture,
)
from reconstructions import Result, projector_table, result_table, run_methods  # noqa: E402

import NASAM3DLib  # noqa: E402

PACKAGES = ("numpy", "numba", "torch", "itk-rtk", "scikit-image", "monai")
PHOTONS = 1e4
SMALLER = 96
COMMON = ("rtk-fdk", "rtk-sart", "rtk-cg", "fdk", "preview", "standard", "best")
KEPT = ROOT / "bench-output" / "cases"


@dataclass(frozen=True)
class Entry:
    """A case to come, with the methods to run on it."""

    name: str
    make: Callable[[], Case]
    methods: tuple[str, ...] = COMMON


@dataclass(frozen=True)
class Finished:
    """What was measured on a case: Markdown and the figures in it."""

    name: str
    text: str
    results: list[Result]


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


def entries(data: Path | None, *, full: bool) -> list[Entry]:
    """List the cases: the abdomen where the real data are, else the generated pelvis."""
    if data is None:
        return [Entry("pelvis", phantom_case)]
    field = ("field",) if full else ()
    listed = [
        Entry("abdomen", lambda: abdomen_case(data), COMMON + field),
        Entry("abdomen-noisy", lambda: with_relative_noise(abdomen_case(data), PHOTONS)),
    ]
    if full:
        listed += [
            Entry("pelvis", phantom_case),
            Entry(
                "abdomen-180",
                lambda: body_case(data, "abdomen", SMALLER, 180.0),
                (*COMMON, "field", "field-best"),
            ),
            Entry("chest-180-noisy", lambda: _noisy(data, "chest", 180.0)),
            Entry("head", lambda: body_case(data, "head", SMALLER, 360.0)),
            Entry("limb-noisy", lambda: _noisy(data, "limb 2", 360.0)),
        ]
    return listed


def _noisy(data: Path, body: str, arc_deg: float) -> Case:
    return with_relative_noise(body_case(data, body, SMALLER, arc_deg), PHOTONS)


def finish(entry: Entry, pictures: Path, *, full: bool) -> Finished:
    """Measure a case and keep the outcome in a file."""
    case = entry.make()
    results, volumes = run_methods(case, entry.methods)
    parts = [result_table(case, results).to_markdown()]
    if full and case.targets:
        parts.append(click_table(case, volumes["standard"]).to_markdown())
    path = pictures / f"case-{entry.name}.png"
    parts.append(save_reconstruction_picture(case, volumes, path))
    if entry.name in ("abdomen", "pelvis"):
        parts.insert(0, projector_table(case).to_markdown())
    finished = Finished(case.name, "\n\n".join(parts), results)
    KEPT.mkdir(parents=True, exist_ok=True)
    file = KEPT / f"{entry.name}.json"
    file.write_text(json.dumps(asdict(finished)), encoding="utf-8")
    return finished


def kept(entry: Entry) -> Finished | None:
    """Give what an earlier run has measured, if it has."""
    file = KEPT / f"{entry.name}.json"
    if not file.exists():
        return None
    fields = json.loads(file.read_text(encoding="utf-8"))
    results = [Result(**result) for result in fields["results"]]
    return Finished(fields["name"], fields["text"], results)


def main() -> None:
    """Run and print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all cases")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--continue", dest="keep", action="store_true", help="keep finished cases")
    options = parser.parse_args()
    data = data_folder()
    if data is None:
        print("No real scans found (NASAM3D_DATA): the generated pelvis takes their place.\n")
    pictures = ROOT / "docs" / "pictures" if options.write else ROOT / "bench-output"
    pictures.mkdir(parents=True, exist_ok=True)
    parts, all_finished = [machine()], []
    print(f"{parts[0]}\n")
    for entry in entries(data, full=options.full):
        earlier = kept(entry) if options.keep else None
        finished = earlier or finish(entry, pictures, full=options.full)
        print(f"{finished.text}\n", flush=True)
        all_finished.append(finished)
    shown = {finished.name: finished.results for finished in all_finished}
    parts.append(save_cost_picture(shown, pictures / "benchmark-cost.png"))
    parts += [finished.text for finished in all_finished]
    if data is not None and options.full:
        table, volumes = measured_table(data)
        parts += [table.to_markdown(), save_measured_picture(volumes, pictures / "measured.png")]
        print(parts[-2])
    if options.write:
        head = (HERE / "head.md").read_text(encoding="utf-8")
        target = ROOT / "docs" / "benchmarks.md"
        target.write_text(head + "\n" + "\n\n".join(parts) + "\n", encoding="utf-8")
        print(f"Written: {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
