"""Measure how honest the uncertainty maps are, on scans with known truth.

python Testing/bench/uncertainty.py            prints the tables, ten minutes
python Testing/bench/uncertainty.py --write    also into docs/uncertainty.md with a picture
python Testing/bench/uncertainty.py --fit      fits the factors on generated patients only
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from cases import CT_LIMITS_HU, ROOT, Case, data_folder  # noqa: E402
from run import machine  # noqa: E402
from scipy import ndimage, optimize, stats  # noqa: E402
from uncertainty_clicks import widening_table  # noqa: E402
from uncertainty_picture import Shown, save_picture  # noqa: E402

from NASAM3DLib.evaluate.tables import Column, Table  # noqa: E402
from NASAM3DLib.phantom.anatomy import make_phantom, phantom_grid  # noqa: E402
from NASAM3DLib.pipeline import reconstruct  # noqa: E402
from NASAM3DLib.reconstruct.simulate import SimulationSettings, simulate  # noqa: E402
from NASAM3DLib.reconstruct.uncertainty import (  # noqa: E402
    estimate_uncertainty,
    uncertainty_terms,
)
from NASAM3DLib.reconstruct.volume import Volume  # noqa: E402
from NASAM3DLib.reconstruct.volume_io import load_volume  # noqa: E402
from NASAM3DLib.scan.geometry import ConeBeamGeometry  # noqa: E402
from NASAM3DLib.scan.grid import VolumeGrid  # noqa: E402
from NASAM3DLib.scan.orbit import CircularOrbit  # noqa: E402

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]

Setting = tuple[float, float | None]
Scan = tuple[str, float, float | None]

BODIES = {
    "abdomen": "totalseg-example/example_ct.nii.gz",
    "chest": "cip-lung64/ct-64.nrrd",
    "neck": "openkbp-200/ct.nii.gz",
    "limb 1": "sts-005/CT_image.nii.gz",
    "limb 2": "sts-022/CT_image.nii.gz",
}
SETTINGS = tuple((arc, photons) for arc in (360.0, 180.0) for photons in (None, 1e4))
LARGE: tuple[Scan, ...] = (("abdomen", 360.0, None), ("chest", 180.0, 1e4))
PICTURED: tuple[Scan, ...] = (
    ("abdomen", 360.0, None),
    ("abdomen", 180.0, 1e4),
    ("chest", 360.0, 1e4),
)
FITTED_ON = (101, 102, 103, 104)
BODY_HU, SOFT_HU, PEAK_HU = -500.0, (-150.0, 250.0), 3000.0
FIT_MARGIN, FIT_VOXELS = 3, 20000
CLOSING = 2


@dataclass(frozen=True)
class Estimate:
    """A reconstruction with its map, and what both cost in CPU seconds."""

    case: Case
    volume: Volume
    strength: float
    spread: FloatArray
    cost_ratio: float


def body_volume(name: str, n_voxels: int) -> Volume:
    """Make the fine volume of a body, twice the reconstruction's voxels along each side."""
    kind, _, seed = name.partition(" ")
    if kind == "generated":
        region: Literal["pelvis", "abdomen"] = "pelvis" if int(seed) % 2 else "abdomen"
        return make_phantom(int(seed), phantom_grid(2 * n_voxels), region=region).volume
    folder = data_folder()
    if folder is None:
        raise ValueError("The real scans are missing: set NASAM3D_DATA to their folder.")
    ct = load_volume(folder / BODIES[name], quantity="HU")
    side_mm = float((np.array(ct.grid.shape_kji[::-1]) * ct.grid.spacing_mm).max())
    grid = VolumeGrid.centred((2 * n_voxels,) * 3, side_mm / (2 * n_voxels))
    x, y, z = map(float, ct.grid.centre_ras)
    centred = VolumeGrid.centred(grid.shape_kji, side_mm / (2 * n_voxels), centre_ras=(x, y, z))
    to_ct = ct.grid.ras_to_ijk @ centred.ijk_to_ras
    # Where the new voxels are larger than the old ones, averaging comes before sampling.
    ratio = np.maximum(grid.spacing_mm / ct.grid.spacing_mm, 1)[::-1]
    low, high = CT_LIMITS_HU
    soft = ndimage.gaussian_filter(np.clip(ct.array, low, high), 0.35 * (ratio - 1))
    fine = ndimage.affine_transform(
        soft,
        to_ct[:3, :3][::-1, ::-1],
        to_ct[:3, 3][::-1],
        output_shape=grid.shape_kji,
        order=3,
        mode="constant",
        cval=low,
    )
    return Volume(np.clip(fine, low, high), grid, "HU").to_attenuation()


def scanned(name: str, n_voxels: int, settings: Sequence[Setting] = SETTINGS) -> Iterator[Case]:
    """Scan a body in some settings; the truth is the mean over the fine voxels."""
    fine = body_volume(name, n_voxels)
    grid = fine.grid.resampled((n_voxels,) * 3)
    truth = Volume(fine.array.reshape((n_voxels, 2) * 3).mean(axis=(1, 3, 5)), grid)
    scale = float(grid.spacing_mm[0]) * n_voxels / 246.0
    pixel = scale * 2 * 128 / n_voxels
    for arc_deg, photons in settings:
        angles = np.arange(50) * np.deg2rad(arc_deg) / 50
        orbit = CircularOrbit(angles, (pixel, pixel), 1000.0 * scale, 1500.0 * scale)
        simulation = SimulationSettings(
            photons=photons,
            electronic_noise=0.0 if photons is None else 10.0,
            reconstruction_spacing_mm=float(grid.spacing_mm[0]),
        )
        geometry = ConeBeamGeometry.circular(orbit, (2 * n_voxels,) * 2)
        rng = np.random.default_rng(0)
        measured = simulate(fine, geometry, settings=simulation, rng=rng)
        yield Case(case_name(name, arc_deg, photons, n_voxels), truth, measured)


def case_name(name: str, arc_deg: float, photons: float | None, n_voxels: int) -> str:
    noise = "clean" if photons is None else f"{photons:.0e} photons"
    return f"{name}, {arc_deg:.0f} degrees, {noise}, {n_voxels}^3"


def estimate(case: Case) -> Estimate:
    """Reconstruct at the standard quality and estimate the map."""
    begin = time.process_time()
    result = reconstruct(case.projection_set, case.truth.grid)
    middle = time.process_time()
    strength = float(result.report["tv_strength"])
    spread = estimate_uncertainty(case.projection_set, result.volume, strength)
    ratio = (time.process_time() - middle) / (middle - begin)
    return Estimate(case, result.volume, strength, spread, ratio)


def regions(truth: Volume) -> tuple[BoolArray, BoolArray]:
    """Find the body with its air inside, and the soft tissue away from other tissues."""
    hu = truth.to_hu().array
    labels, _ = ndimage.label(hu > BODY_HU)
    body = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    body |= ndimage.binary_closing(body, iterations=CLOSING)
    body = np.stack([ndimage.binary_fill_holes(plane) for plane in body])
    soft = ndimage.binary_erosion((hu > SOFT_HU[0]) & (hu < SOFT_HU[1]) & body)
    return body, soft


def honesty(spread: FloatArray, error: FloatArray, region: BoolArray) -> list[float]:
    """Give rank correlation, the ideal one, shares within one and two sigma, rms ratio."""
    u, e = spread[region].astype(np.float64), np.abs(error[region]).astype(np.float64)
    normal = np.abs(np.random.default_rng(0).normal(size=u.size)) * u
    return [
        float(stats.spearmanr(u, e)[0]),
        float(stats.spearmanr(u, normal)[0]),
        float((e < u).mean()),
        float((e < 2 * u).mean()),
        float(np.sqrt((e**2).mean() / (u**2).mean())),
    ]


def tables(estimates: list[Estimate]) -> list[Table]:
    """Show the figures of honesty in both regions, with their means."""
    made = []
    for number, region_name in enumerate(("whole body", "inside soft tissue")):
        rows: list[tuple[Any, ...]] = []
        for item in estimates:
            error = item.volume.array - item.case.truth.array
            figures = honesty(item.spread, error, regions(item.case.truth)[number])
            to_hu = PEAK_HU / _peak(item.case.truth)
            psnr = 20 * np.log10(PEAK_HU / (to_hu * float(np.sqrt(np.mean(error**2)))))
            rows.append((item.case.name, float(psnr), *figures, item.cost_ratio))
        means = tuple(float(np.mean([row[n] for row in rows])) for n in range(1, 8))
        columns = (
            Column("scan"),
            Column("PSNR [dB]", 1),
            Column("rank correlation", 2),
            Column("ideal", 2),
            Column("within 1 sigma", 2),
            Column("within 2 sigma", 2),
            Column("rms error / rms sigma", 2),
            Column("CPU of map / of volume", 2),
        )
        caption = f"Honesty of the map, {region_name}"
        made.append(Table(columns, (*rows, ("mean", *means)), caption))
    return made


def _peak(truth: Volume) -> float:
    """Give what 3000 HU are in 1/mm."""
    low = replace(truth, array=np.zeros_like(truth.array)).to_hu().array.flat[0]
    high = replace(truth, array=np.ones_like(truth.array)).to_hu().array.flat[0]
    return float(PEAK_HU / (high - low))


def fit() -> str:
    """Maximise the normal likelihood of the errors over generated patients."""
    squares, errors = [], []
    rng = np.random.default_rng(0)
    for seed in FITTED_ON:
        for case in scanned(f"generated {seed}", 64):
            result = reconstruct(case.projection_set, case.truth.grid)
            strength = float(result.report["tv_strength"])
            terms = uncertainty_terms(case.projection_set, result.volume, strength, seed=0)
            near = ndimage.binary_dilation(regions(case.truth)[0], iterations=FIT_MARGIN)
            chosen = rng.choice(np.flatnonzero(near), min(FIT_VOXELS, near.sum()), replace=False)
            mean = float(terms[3].flat[0])
            values = [np.broadcast_to(t, near.shape).ravel()[chosen] / mean for t in terms[:4]]
            squares.append(np.stack(values, axis=1).astype(np.float64) ** 2)
            error = (result.volume.array - case.truth.array).ravel()[chosen] / mean
            errors.append(error.astype(np.float64) ** 2)
    terms_squared, error_squared = np.concatenate(squares), np.concatenate(errors)

    def loss(logarithms: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        factors = np.exp(logarithms)
        variance = terms_squared @ factors
        slope = 1 / variance - error_squared / variance**2
        value = np.mean(error_squared / variance + np.log(variance))
        return float(value), factors * (slope[:, None] * terms_squared).mean(axis=0)

    found = optimize.minimize(loss, np.log(np.full(4, 0.1)), jac=True, method="L-BFGS-B")
    a, b, c, f = np.exp(found.x / 2)
    return f"a = {a:.3f}, b = {b:.4f}, c = {c:.3f}, f = {f:.4f}"


def all_estimates() -> Iterator[Estimate]:
    """Go through all bodies at 64^3, one generated patient, and two scans at 128^3."""
    real = list(BODIES) if data_folder() is not None else []
    for name in (*real, "generated 7"):
        for case in scanned(name, 64):
            yield estimate(case)
    for name, arc_deg, photons in LARGE:
        if name in real:
            yield from map(estimate, scanned(name, 128, [(arc_deg, photons)]))


def main() -> None:
    """Run and print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write docs/uncertainty.md")
    parser.add_argument("--fit", action="store_true", help="fit the factors and stop")
    options = parser.parse_args()
    if options.fit:
        print(fit())
        return
    # Compiles, so that no row pays for it.
    next(map(estimate, scanned("generated 8", 64)))
    parts, estimates = [machine()], []
    for item in all_estimates():
        print(item.case.name, f"strength {item.strength:.2g}", flush=True)
        estimates.append(item)
    parts += [table.to_markdown() for table in tables(estimates)]
    print("\n\n".join(parts), flush=True)
    parts.append(widening_table().to_markdown())
    print(parts[-1])
    folder = ROOT / "docs" / "pictures" if options.write else ROOT / "bench-output"
    folder.mkdir(parents=True, exist_ok=True)
    names = [case_name(*entry, 64) for entry in PICTURED]
    shown = [
        Shown(e.case.name, e.case.truth, e.volume, e.spread)
        for e in estimates
        if e.case.name in names
    ]
    parts.append(save_picture(shown or [_first(estimates)], folder / "uncertainty.png"))
    if options.write:
        head = (HERE / "uncertainty_head.md").read_text(encoding="utf-8")
        target = ROOT / "docs" / "uncertainty.md"
        target.write_text(head + "\n" + "\n\n".join(parts) + "\n", encoding="utf-8")
        print(f"Written: {target.relative_to(ROOT)}")


def _first(estimates: list[Estimate]) -> Shown:
    """Show the first scan where the real ones are missing."""
    e = estimates[0]
    return Shown(e.case.name, e.case.truth, e.volume, e.spread)


if __name__ == "__main__":
    main()
