"""Measure joint refinement: volume and mask before and after, on real bodies and generated ones.

python Testing/bench/joint.py              prints the table; about twenty minutes of one core
python Testing/bench/joint.py --write      also into docs/joint.md, between the marks of the table
python Testing/bench/joint.py --continue   keeps the rows that an interrupted run has finished
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
from bodies import (  # noqa: E402
    DETECTOR_MM,
    PEAK,
    SIDE_MM,
    SOURCE_TO_DETECTOR_MM,
    SOURCE_TO_ISOCENTRE_MM,
)
from cases import CT_LIMITS_HU, ROOT, Case, data_folder, with_relative_noise  # noqa: E402
from quality import automatic  # noqa: E402

from NASAM3DLib.evaluate.clicks import click_session  # noqa: E402
from NASAM3DLib.evaluate.metrics import dice, psnr  # noqa: E402
from NASAM3DLib.evaluate.surfaces import asd_mm, hd95_mm  # noqa: E402
from NASAM3DLib.evaluate.tables import Cell, Column, Table  # noqa: E402
from NASAM3DLib.joint.refinement import refine_jointly  # noqa: E402
from NASAM3DLib.joint.rounds import Clicks  # noqa: E402
from NASAM3DLib.phantom.anatomy import make_phantom, phantom_grid  # noqa: E402
from NASAM3DLib.pipeline import Reconstruction  # noqa: E402
from NASAM3DLib.reconstruct.iterative import TotalVariationProblem  # noqa: E402
from NASAM3DLib.reconstruct.projector import forward_project  # noqa: E402
from NASAM3DLib.reconstruct.settings import PHASES  # noqa: E402
from NASAM3DLib.reconstruct.stages import smoothed  # noqa: E402
from NASAM3DLib.reconstruct.volume import Volume  # noqa: E402
from NASAM3DLib.scan.geometry import ConeBeamGeometry  # noqa: E402
from NASAM3DLib.scan.grid import VolumeGrid  # noqa: E402
from NASAM3DLib.scan.noise import noise_weights  # noqa: E402
from NASAM3DLib.scan.orbit import CircularOrbit  # noqa: E402
from NASAM3DLib.scan.projections import ProjectionSet  # noqa: E402
from NASAM3DLib.segment.mask import Mask  # noqa: E402
from NASAM3DLib.segment.segmenter import make_segmenter  # noqa: E402

Float32Array = npt.NDArray[np.float32]

N_VOXELS, PHOTONS, N_CLICKS, BAND_MM = 64, 1e4, 3, 10.0
VIEWS = (15, 25)
SEGMENTED = "totalseg-example/example_seg"
REAL = {
    "liver": ("totalseg-example/example_ct.nii.gz", f"{SEGMENTED}/liver.nii.gz"),
    "right kidney": ("totalseg-example/example_ct.nii.gz", f"{SEGMENTED}/kidney_right.nii.gz"),
    "spleen": ("totalseg-example/example_ct.nii.gz", f"{SEGMENTED}/spleen.nii.gz"),
    "sarcoma 1": ("sts-005/CT_image.nii.gz", "sts-005/CT_mask.nii.gz"),
    "sarcoma 2": ("sts-022/CT_image.nii.gz", "sts-022/CT_mask.nii.gz"),
}
GENERATED = {
    **{f"generated bladder {n}": (n, "pelvis", "bladder") for n in (3, 5, 1)},
    **{f"generated spleen {n}": (n, "abdomen", "spleen") for n in (2, 6)},
    **{f"generated liver {n}": (n, "abdomen", "liver") for n in (4, 8)},
}
TARGETS = (
    *("generated spleen 2", "liver", "generated bladder 3", "sarcoma 1", "generated liver 4"),
    *("sarcoma 2", "generated spleen 6", "right kidney", "generated bladder 5", "spleen"),
    *("generated liver 8", "generated bladder 1"),
)
KEPT = ROOT / "bench-output" / "joint.jsonl"
BEGIN, END = "<!-- table begins -->\n", "<!-- table ends -->\n"
Figures = dict[str, float]


@dataclass(frozen=True)
class Row:
    """Figures of one scan: volume and mask of standard and best, and joint refinement of best."""

    target: str
    n_views: int
    noisy: bool
    is_joint: bool
    standard: Figures
    best: Figures
    joint: Figures
    full: Figures
    cpu_s: float


def real_body(data: Path, name: str, n_voxels: int) -> tuple[Float32Array, Float32Array]:
    """Resample a CT and the share of a target to a cube about the CT's longest side."""
    import SimpleITK as sitk  # noqa: N813

    ct, mask = (sitk.ReadImage(str(data / file), sitk.sitkFloat32) for file in REAL[name])
    ct, mask = sitk.DICOMOrient(ct, "RAS"), sitk.DICOMOrient(mask > 0, "RAS")
    mask = sitk.Cast(mask, sitk.sitkFloat32)
    mask = sitk.Resample(mask, ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0)
    size, spacing = np.array(ct.GetSize()), np.array(ct.GetSpacing())
    voxel_mm = float((size * spacing).max()) / n_voxels
    centre = np.array(ct.TransformContinuousIndexToPhysicalPoint(((size - 1) / 2).tolist()))
    cube = sitk.Image([n_voxels] * 3, sitk.sitkFloat32)
    cube.SetSpacing([voxel_mm] * 3)
    cube.SetDirection(ct.GetDirection())
    direction = np.array(ct.GetDirection()).reshape(3, 3)
    cube.SetOrigin((centre - direction @ np.full(3, (n_voxels - 1) / 2 * voxel_mm)).tolist())
    low, high = CT_LIMITS_HU
    ct = sitk.Resample(
        sitk.Clamp(ct, sitk.sitkFloat32, low, high), cube, sitk.Transform(), sitk.sitkLinear, low
    )
    share = sitk.Resample(mask, cube, sitk.Transform(), sitk.sitkLinear, 0.0)
    hu = np.clip(sitk.GetArrayFromImage(ct), low, high)
    scaled = (hu - low) * np.float32(PEAK / (high - low))
    return scaled.astype(np.float32), sitk.GetArrayFromImage(share)


def generated_body(name: str, n_voxels: int) -> tuple[Float32Array, Float32Array]:
    """Draw a patient and the share of a target."""
    seed, region, part = GENERATED[name]
    phantom = make_phantom(seed, phantom_grid(n_voxels), region=region)
    volume = phantom.volume.to_attenuation()
    return volume.array, phantom.mask_of(part).astype(np.float32)


def body_case(data: Path | None, name: str, n_views: int) -> tuple[Case, Mask]:
    """Scan a body over a full turn; rays are four to a pixel, voxels eight to one."""
    side_mm = SIDE_MM
    if name in GENERATED:
        fine, share = generated_body(name, 2 * N_VOXELS)
        side_mm = float(phantom_grid(N_VOXELS).spacing_mm[0]) * N_VOXELS
    elif data is None:
        raise FileNotFoundError("The real bodies are not here: set NASAM3D_DATA to their folder.")
    else:
        fine, share = real_body(data, name, 2 * N_VOXELS)
    scale, angles = side_mm / SIDE_MM, np.arange(n_views) * 2 * np.pi / n_views
    pixels = 2 * N_VOXELS

    def geometry(n: int) -> ConeBeamGeometry:
        size_mm = (DETECTOR_MM / n * scale,) * 2
        distances = (SOURCE_TO_ISOCENTRE_MM * scale, SOURCE_TO_DETECTOR_MM * scale)
        return ConeBeamGeometry.circular(CircularOrbit(angles, size_mm, *distances), (n, n))

    fine_grid = VolumeGrid.centred((2 * N_VOXELS,) * 3, side_mm / 2 / N_VOXELS)
    rays = forward_project(fine, fine_grid, geometry(2 * pixels))
    rays = rays.reshape(n_views, pixels, 2, pixels, 2).mean(axis=(2, 4), dtype=np.float32)
    grid = VolumeGrid.centred((N_VOXELS,) * 3, side_mm / N_VOXELS)
    truth = fine.reshape((N_VOXELS, 2) * 3).mean(axis=(1, 3, 5))
    target = share.reshape((N_VOXELS, 2) * 3).mean(axis=(1, 3, 5)) > 0.5
    scan = ProjectionSet(rays, geometry(pixels))
    return Case(f"{name}, clean", Volume(truth, grid), scan), Mask(target, grid)


def measure(data: Path | None, name: str, n_views: int, *, noisy: bool) -> Row:
    """Reconstruct, click on the best volume, refine both."""
    case, target = body_case(data, name, n_views)
    case = with_relative_noise(case, PHOTONS) if noisy else case
    # What the pipeline does before it reconstructs.
    scan = case.projection_set
    case = replace(case, projection_set=replace(scan, weights=noise_weights(scan)))
    base, array, noise_share = automatic(case)
    best = Volume(np.ascontiguousarray(array), target.grid)
    problem = TotalVariationProblem(case.projection_set, target.grid)
    quick = np.ascontiguousarray(problem.solve(base.strength, PHASES["standard"]))
    prompts = click_session(make_segmenter(), best, target=target, n_clicks=N_CLICKS).prompts
    clicks = Clicks(prompts)
    report = {
        "tv_strength": base.strength,
        "settings": {"quality": "best"},
        "noise_share": noise_share,
        "weighted": case.projection_set.weights is not None,
    }
    begin = time.process_time()
    done = refine_jointly(case.projection_set, Reconstruction(best, report), clicks)
    seconds = time.process_time() - begin
    standard = smoothed(Volume(quick, target.grid))

    def figures(volume: Volume, mask: Mask) -> Figures:
        return {
            "band": band_psnr(volume, case.truth, target),
            "psnr": psnr(volume.array, case.truth.array, data_range=PEAK),
            "dice": 100 * dice(mask, target),
            "hd95": hd95_mm(mask, target),
            "asd": asd_mm(mask, target),
        }

    return Row(
        name,
        n_views,
        noisy,
        done.is_joint,
        figures(standard, clicks.segment(standard)[0]),
        figures(best, done.mask_before),
        figures(done.volume, done.mask),
        figures(case.truth, clicks.segment(case.truth)[0]),
        seconds,
    )


def band_psnr(volume: Volume, truth: Volume, target: Mask) -> float:
    """PSNR within 10 mm of the target's surface; infinite for the truth."""
    from scipy.ndimage import distance_transform_edt

    spacing = target.grid.spacing_mm[::-1]
    inside, outside = (
        distance_transform_edt(part, sampling=spacing) for part in (target.array, ~target.array)
    )
    band = np.where(target.array, inside, outside) <= BAND_MM
    error = np.mean((volume.array - truth.array)[band] ** 2, dtype=np.float64)
    return float(10 * np.log10(PEAK**2 / error)) if error else float("inf")


def all_rows(data: Path | None, *, keep: bool) -> Iterator[Row]:
    """Measure what is not kept from before; every row is kept at once."""
    KEPT.parent.mkdir(exist_ok=True)
    if not keep:
        KEPT.unlink(missing_ok=True)
    lines = KEPT.read_text().splitlines() if KEPT.exists() else []
    known = [Row(**json.loads(line)) for line in lines]
    yield from known
    done = {(row.target, row.n_views, row.noisy) for row in known}
    for name, n_views, noisy in product(TARGETS, VIEWS, (True, False)):
        if (name, n_views, noisy) in done or (name in REAL and data is None):
            continue
        row = measure(data, name, n_views, noisy=noisy)
        with KEPT.open("a") as stream:
            stream.write(json.dumps(asdict(row)) + "\n")
        print(row, flush=True)
        yield row


def table(rows: list[Row]) -> Table:
    """Give the figures of each scan, their means and the changes."""
    columns = [Column("target"), Column("views"), Column("photons")]
    for kind, digits in (("band PSNR [dB]", 1), ("Dice [%]", 1), ("HD95 [mm]", 1), ("ASD [mm]", 1)):
        columns += [Column(f"{kind}, {stage}", digits) for stage in ("standard", "best", "joint")]
    columns += [Column("Dice on the truth", 1), Column("returned"), Column("CPU s", 0)]

    def cells(group: list[Row]) -> list[Cell]:
        values: list[Cell] = []
        for key in ("band", "dice", "hd95", "asd"):
            for stage in ("standard", "best", "joint"):
                values.append(float(np.nanmean([getattr(row, stage)[key] for row in group])))
        return [*values, float(np.mean([row.full["dice"] for row in group]))]

    lines: list[tuple[Cell, ...]] = []
    for row in sorted(rows, key=lambda r: (r.target, r.n_views, r.noisy)):
        returned = "joint" if row.is_joint else "un-joined"
        photons = "1e4" if row.noisy else "all"
        lines.append((row.target, str(row.n_views), photons, *cells([row]), returned, row.cpu_s))
    for n_views, noisy in product((*VIEWS, None), (True, False)):
        group = [r for r in rows if n_views in (None, r.n_views) and r.noisy == noisy]
        if group:
            views = "all" if n_views is None else str(n_views)
            joint = f"joint in {sum(r.is_joint for r in group)} of {len(group)}"
            seconds = float(np.mean([r.cpu_s for r in group]))
            photons = "1e4" if noisy else "all"
            lines.append(("mean", views, photons, *cells(group), joint, seconds))
    return Table(tuple(columns), tuple(lines))


def main() -> None:
    """Measure and print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/joint.md")
    parser.add_argument("--continue", dest="keep", action="store_true", help="keep finished rows")
    options = parser.parse_args()
    text = table(list(all_rows(data_folder(), keep=options.keep))).to_markdown()
    print(text)
    if options.write:
        from run import machine

        path = ROOT / "docs" / "joint.md"
        head, rest = path.read_text().split(BEGIN)
        tail = rest.split(END)[1]
        path.write_text(f"{head}{BEGIN}{machine()}\n\n{text}\n{END}{tail}")


if __name__ == "__main__":
    main()
