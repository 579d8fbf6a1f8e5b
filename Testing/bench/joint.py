"""Measure joint refinement: volume and mask before and after, on real bodies and generated ones.

python Testing/bench/joint.py              measures what is missing or of other code, prints tables
python Testing/bench/joint.py --write      also into docs, with a picture and all scans as CSV
python Testing/bench/joint.py --anew       forgets what was measured and begins anew
python Testing/bench/joint.py --kept       measures nothing more, and lists what was not run
python Testing/bench/joint.py --masks      measures nothing more, but chooses the kept masks anew
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
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
from joint_kept import (  # noqa: E402
    FOLDER,
    Kept,
    mask_figures,
    masks_again,
    scan_path,
)
from joint_tables import (  # noqa: E402
    CHOSEN_ON,
    FEW_VIEWS,
    GENERATED_BODY,
    REAL_BODY,
    Figures,
    Row,
    case_table,
    mean_table,
    save_picture,
    standing_table,
)
from quality import automatic  # noqa: E402

from NASAM3DLib.benchmark.methods.ours import answering_code  # noqa: E402
from NASAM3DLib.benchmark.methods.protocol import code_digest  # noqa: E402
from NASAM3DLib.evaluate.clicks import click_session  # noqa: E402
from NASAM3DLib.evaluate.metrics import dice, psnr  # noqa: E402
from NASAM3DLib.joint.referee import surface_band  # noqa: E402
from NASAM3DLib.joint.refinement import refine_jointly  # noqa: E402
from NASAM3DLib.joint.rounds import Clicks  # noqa: E402
from NASAM3DLib.joint.settings import JointSettings  # noqa: E402
from NASAM3DLib.phantom.anatomy import make_phantom, phantom_grid  # noqa: E402
from NASAM3DLib.pipeline import Reconstruction  # noqa: E402
from NASAM3DLib.reconstruct.projector import forward_project  # noqa: E402
from NASAM3DLib.reconstruct.volume import Volume  # noqa: E402
from NASAM3DLib.scan.geometry import ConeBeamGeometry  # noqa: E402
from NASAM3DLib.scan.grid import VolumeGrid  # noqa: E402
from NASAM3DLib.scan.noise import noise_weights  # noqa: E402
from NASAM3DLib.scan.orbit import CircularOrbit  # noqa: E402
from NASAM3DLib.scan.projections import ProjectionSet  # noqa: E402
from NASAM3DLib.segment.mask import Mask  # noqa: E402
from NASAM3DLib.segment.segmenter import PromptableSegmenter, make_segmenter  # noqa: E402

Float32Array = npt.NDArray[np.float32]

N_VOXELS, PHOTONS, N_CLICKS = 48, 1e4, 3
MANY_VIEWS = (50,)
N_PROCESSES = 2


@dataclass(frozen=True)
class Body:
    """A CT, the labels of a target in its mask, and the cube's side relative to the CT's."""

    ct: str
    mask: str
    labels: tuple[int, ...] = (1,)
    field_of_view: float = 1.0


ABDOMEN, SEGMENTED = "totalseg-example/example_ct.nii.gz", "totalseg-example/example_seg"
HEAD = Body("openkbp-200/ct.nii.gz", "openkbp-200/labels.nii.gz", (7,), 0.75)
REAL = {
    "liver": Body(ABDOMEN, f"{SEGMENTED}/liver.nii.gz"),
    "right kidney": Body(ABDOMEN, f"{SEGMENTED}/kidney_right.nii.gz"),
    "spleen": Body(ABDOMEN, f"{SEGMENTED}/spleen.nii.gz"),
    "sarcoma 1": Body("sts-005/CT_image.nii.gz", "sts-005/CT_mask.nii.gz"),
    "sarcoma 2": Body("sts-022/CT_image.nii.gz", "sts-022/CT_mask.nii.gz"),
    # Labels of lung thirds in the low byte.
    "left lung": Body("cip-lung64/ct-64.nrrd", "cip-lung64/lm-64.nrrd", (9, 10, 11)),
    "jaw": HEAD,
}
GENERATED = {
    **{f"generated bladder {n}": (n, "pelvis", "bladder") for n in (1, 3, 5, 7)},
    **{f"generated spleen {n}": (n, "abdomen", "spleen") for n in (2, 3, 6)},
    **{f"generated liver {n}": (n, "abdomen", "liver") for n in (4, 8)},
    "generated stomach 5": (5, "abdomen", "stomach"),
}
TUNED_ON = {
    **{f"generated bladder {n}": (n, "pelvis", "bladder") for n in (11, 12, 13)},
    **{f"generated spleen {n}": (n, "abdomen", "spleen") for n in (14, 15)},
    **{f"generated liver {n}": (n, "abdomen", "liver") for n in (16, 17)},
}
"""Bodies that the constants of the gate were chosen on."""

NOT_DRAWN = ("jaw",)
"""Faces are not shown."""

KEPT = FOLDER / "rows.jsonl"
BLOCKS = ("standing", "table")
"""Parts of the document that are written, between comments that say so."""

Scan = tuple[str, int, bool]


def real_body(data: Path, name: str, n_voxels: int) -> tuple[Float32Array, Float32Array]:
    """Resample a CT and the share of a target to a cube about the CT's longest side."""
    import SimpleITK as sitk  # noqa: N813

    body = REAL[name]
    ct = sitk.DICOMOrient(sitk.ReadImage(str(data / body.ct), sitk.sitkFloat32), "RAS")
    labels = sitk.DICOMOrient(sitk.ReadImage(str(data / body.mask), sitk.sitkInt32), "RAS")
    chosen = np.isin(sitk.GetArrayFromImage(labels) & 255, body.labels)
    mask = sitk.GetImageFromArray(chosen.astype(np.float32))
    mask.CopyInformation(labels)
    mask = sitk.Resample(mask, ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0)
    size, spacing = np.array(ct.GetSize()), np.array(ct.GetSpacing())
    voxel_mm = float((size * spacing).max()) * body.field_of_view / n_voxels
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
    seed, region, part = (GENERATED | TUNED_ON)[name]
    phantom = make_phantom(seed, phantom_grid(n_voxels), region=region)
    volume = phantom.volume.to_attenuation()
    return volume.array, phantom.mask_of(part).astype(np.float32)


def body_case(data: Path | None, name: str, n_views: int) -> tuple[Case, Mask]:
    """Scan a body over a full turn; rays are four to a pixel, voxels eight to one."""
    side_mm = SIDE_MM
    if name in GENERATED | TUNED_ON:
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
    clicks = Clicks(click_session(make_engine(), best, target=target, n_clicks=N_CLICKS).prompts)
    report = {
        "tv_strength": base.strength,
        "settings": {"quality": "best"},
        "noise_share": noise_share,
        "weighted": case.projection_set.weights is not None,
    }
    begin = time.process_time()
    done = refine_jointly(case.projection_set, Reconstruction(best, report), clicks)
    seconds = time.process_time() - begin
    Kept.of(case.truth, best, target, clicks=clicks, done=done).save(
        scan_path(name, n_views, noisy)
    )

    def figures(volume: Volume, mask: Mask) -> Figures:
        return {
            "band": band_psnr(volume, case.truth, target),
            "psnr": psnr(volume.array, case.truth.array, data_range=PEAK),
            **mask_figures(mask, target),
        }

    told = zip(done.report["surface_gains"], done.report["surface_gain_spreads"], strict=True)
    gain, spread = max(told, key=lambda pair: pair[0] - pair[1])
    return Row(
        target=name,
        bodies=bodies_of(name),
        n_views=n_views,
        noisy=noisy,
        is_joint=done.is_joint,
        n_rounds=int(done.report.get("n_rounds", 0)),
        gain=gain,
        gain_spread=spread,
        is_new_mask=done.report.get("mask_returned") == "joint",
        before=figures(best, done.mask_before),
        after=figures(done.volume, done.mask),
        dice_on_truth=100 * dice(clicks.segment(case.truth)[0], target),
        cpu_s=seconds,
        code=code_version(),
    )


def code_version() -> str:
    """Name the code that the figures depend on."""
    return f"{code_digest('joint', 'reconstruct', 'scan', 'phantom')}-{answering_code()}"


def bodies_of(name: str) -> str:
    """Name the kind of a body."""
    if name in REAL:
        return REAL_BODY
    return CHOSEN_ON if name in TUNED_ON else GENERATED_BODY


def make_engine() -> PromptableSegmenter:
    """Make the engine that joint refinement uses."""
    return make_segmenter(JointSettings().engine)


def band_psnr(volume: Volume, truth: Volume, target: Mask) -> float:
    """PSNR within 10 mm of the target's surface; infinite for the truth."""
    band = surface_band(target.array, target.grid.spacing_mm[::-1])
    error = np.mean((volume.array - truth.array)[band] ** 2, dtype=np.float64)
    return float(10 * np.log10(PEAK**2 / error)) if error else float("inf")


def scans(data: Path | None) -> list[Scan]:
    """List the scans so that a run that is cut short has some of every kind."""
    few, many = (list(product(views, (True, False))) for views in (FEW_VIEWS, MANY_VIEWS))
    # In every turn another kind for each target: the views that the aim is about before all others,
    # and among them the real bodies.
    return [
        (name, *kinds[(place + turn) % len(kinds)])
        for kinds in (few, many)
        for targets in (REAL if data is not None else {}, GENERATED, TUNED_ON)
        for turn in range(len(kinds))
        for place, name in enumerate(targets)
    ]


def kept_rows() -> list[Row]:
    """Read the rows that are finished, the last one of each scan."""
    lines = KEPT.read_text(encoding="utf-8").splitlines() if KEPT.exists() else []
    rows = [Row(**json.loads(line)) for line in lines]
    return list({row.scan: row for row in rows}.values())


def all_rows(data: Path | None, *, anew: bool, n_processes: int) -> Iterator[Row]:
    """Measure what is not kept from before; every row is kept at once."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if anew:
        KEPT.unlink(missing_ok=True)
    code = code_version()
    known = [row for row in kept_rows() if row.code == code]
    yield from known
    done = {row.scan for row in known}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, mp_context=context) as pool:
        futures = [
            pool.submit(measure, data, name, n_views, noisy=noisy)
            for name, n_views, noisy in scans(data)
            if (name, n_views, noisy) not in done
        ]
        for future in futures:
            future.add_done_callback(_keep)
        for future in futures:
            yield future.result()


def _keep(future: Future[Row]) -> None:
    """Append a finished row to the file."""
    if future.cancelled() or future.exception() is not None:
        return
    row = future.result()
    with KEPT.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(row)) + "\n")
    print(row.target, row.n_views, row.noisy, row.changes(), flush=True)


def not_run(rows: list[Row], data: Path | None) -> str:
    """List the scans that are missing."""
    done = {row.scan for row in rows}
    left = [scan for scan in scans(data) if scan not in done]
    names = "; ".join(f"{n}, {v} views, {'1e4 photons' if x else 'clean'}" for n, v, x in left)
    return f"Not run: {names}." if left else "All scans of the set were run."


def write(rows: list[Row], texts: tuple[str, str]) -> None:
    """Write tables, all scans and the picture of the best and the worst."""
    from run import machine

    docs = ROOT / "docs"
    path = docs / "joint.md"
    document = path.read_text(encoding="utf-8")
    standing, means = texts
    for block, text in zip(BLOCKS, (standing, f"{machine()}\n\n{means}"), strict=True):
        begin, end = (f"<!-- {block} {word} -->\n" for word in ("begins", "ends"))
        head, rest = document.split(begin)
        document = f"{head}{begin}{text}\n{end}{rest.split(end)[1]}"
    path.write_text(document, encoding="utf-8")
    (docs / "joint.csv").write_text(case_table(rows).to_csv(), encoding="utf-8")
    drawn = [row for row in rows if row.target not in NOT_DRAWN]
    drawn.sort(key=lambda row: row.changes()["band"])
    shown = {
        f"{kind}: {row.target}, {row.n_views} views, {'1e4 photons' if row.noisy else 'clean'}": (
            row,
            Kept.load(scan_path(*row.scan)).slices(),
        )
        for kind, row in (("most gained", drawn[-1]), ("least gained", drawn[0]))
    }
    save_picture(shown, docs / "pictures" / "joint.png")


def main() -> None:
    """Measure and print, and write if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write docs/joint.md")
    parser.add_argument("--anew", action="store_true", help="forget what was measured")
    parser.add_argument("--kept", action="store_true", help="measure nothing more")
    parser.add_argument("--masks", action="store_true", help="choose the kept masks anew")
    parser.add_argument("--processes", type=int, default=N_PROCESSES, help="how many at once")
    options = parser.parse_args()
    # Read by the processes to come, which must not compete for the cores.
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = "1"
    data = data_folder()
    if options.masks:
        rows = [masks_again(row) for row in kept_rows()]
        KEPT.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")
    elif options.kept:
        rows = kept_rows()
    else:
        rows = list(all_rows(data, anew=options.anew, n_processes=options.processes))
    texts = (
        standing_table(rows).to_markdown(),
        f"{mean_table(rows).to_markdown()}\n{not_run(rows, data)}\n",
    )
    print(*texts, sep="\n")
    if options.write:
        write(rows, texts)


if __name__ == "__main__":
    main()
