"""Measure SAM-Med3D: cost of its paths, size of each possible mistake, places after a round trip.

python Testing/bench/sam_med3d.py           a few minutes on a CPU
python Testing/bench/sam_med3d.py --write   also into docs/sam_med3d.md

The weights are drawn from the names of the parameters: cost and exactness do not depend on them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from sam_med3d_mistakes import DECODER_MISTAKES, ENCODER_MISTAKES  # noqa: E402
from sam_med3d_numpy import relative_l2  # noqa: E402

from NASAM3DLib.evaluate.tables import Column, Table  # noqa: E402
from NASAM3DLib.phantom.anatomy import make_phantom, phantom_grid  # noqa: E402
from NASAM3DLib.reconstruct.volume import Volume  # noqa: E402
from NASAM3DLib.scan.grid import VolumeGrid  # noqa: E402
from NASAM3DLib.segment.mask import Mask  # noqa: E402
from NASAM3DLib.segment.sam_med3d.canonical import CanonicalVolume, canonical_volume  # noqa: E402
from NASAM3DLib.segment.sam_med3d.click_loop import ClickLoop  # noqa: E402
from NASAM3DLib.segment.sam_med3d.inference import ClickedVoxels, Predictor  # noqa: E402
from NASAM3DLib.segment.sam_med3d.model import (  # noqa: E402
    SamMed3D,
    empty_sam_med3d,
    fill_parameters,
)
from NASAM3DLib.segment.sam_med3d.paste import paste_logits, paste_mask  # noqa: E402
from NASAM3DLib.segment.sam_med3d.region_cut import (  # noqa: E402
    Region,
    begin_around_voxel,
    cut_cube,
    cut_region,
)

DOCUMENT = HERE.parents[1] / "docs" / "sam_med3d.md"
N_THREADS = 2
CLICKS = ClickedVoxels(
    np.array([[64.0, 64, 64], [30, 80, 51], [70, 50, 90]]), np.array([1, 0, 1], dtype=np.int8)
)

VARIANTS = {
    "plain, float32": ("plain", "float32"),
    "shortcut, float32": ("shortcut", "float32"),
    "shortcut, bfloat16 autocast": ("shortcut", "bfloat16"),
    "shortcut, float16 autocast": ("shortcut", "float16"),
    "shortcut, float64": ("shortcut", "float64"),
}

IN_REFERENCE = {
    "padding of the windows masked": "70 %",
    "axis-wise relative positions": "20 %",
    "eps 1e-5 in the encoder": "6e-6 to 8e-6",
    "tanh GELU in the encoder": "2e-4",
    "position axes not exchanged": "13 %",
    "no padding point": "24 %",
    "points in the order k, j, i": "26 %",
    "points without half a voxel": "2.6 %",
    "eps 1e-6 in the decoder": "8e-6",
    "no-mask embedding at the first click": "100 %",
}
"""What the same mistakes changed in the reference, with other weights and another region."""


def named_model() -> SamMed3D:
    """The network of full size with weights from its names."""
    return fill_parameters(empty_sam_med3d().to_empty(device="cpu")).requires_grad_(False)


def abdomen() -> tuple[CanonicalVolume, tuple[int, int, int]]:
    """A generated patient and the first voxel of the region around its lesion."""
    phantom = make_phantom(1, phantom_grid(), region="abdomen")
    canonical = canonical_volume(phantom.volume)
    voxel = canonical.voxel_at(phantom.lesion_point_ras)
    return canonical, begin_around_voxel(voxel, 128)


def region() -> Region:
    return cut_region(*abdomen(), 128)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(variant: str) -> dict[str, object]:
    """Run one variant in this process; the caller starts a process for each."""
    torch.set_num_threads(N_THREADS)
    path, precision = VARIANTS[variant]
    cube = region()
    predictor = Predictor(named_model(), device="cpu", precision=precision)
    predictor.model.image_encoder.choose_path(path)
    before_mb = peak_mb()
    seconds = []
    # The first run also compiles and allocates; the plain path is too slow to run it twice.
    for _ in range(1 if path == "plain" else 3):
        begin = time.process_time()
        embedding = predictor.embed(cube)
        seconds.append(time.process_time() - begin)
    encoder_mb = peak_mb()
    loop = ClickLoop(predictor, embedding)
    loop.logits(CLICKS.first(1))
    begin = time.process_time()
    for n in (2, 3):
        predictor.upsampled(loop.logits(CLICKS.first(n)))
    per_click = (time.process_time() - begin) / 2
    return {
        "seconds": min(seconds),
        "before_mb": before_mb,
        "encoder_mb": encoder_mb,
        "per_click": per_click,
        "features": embedding.features.tolist(),
        "low": loop.logits(CLICKS).tolist(),
    }


def cost_table() -> Table:
    """CPU time, memory and error of each variant."""
    found = {}
    for variant in VARIANTS:
        command = [sys.executable, __file__, "--measure", variant]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[variant] = json.loads(done.stdout)
    exact = found["shortcut, float64"]
    plain = found["plain, float32"]
    rows = []
    for variant, got in found.items():
        rows.append(
            (
                variant,
                got["seconds"],
                plain["seconds"] / got["seconds"],
                got["before_mb"],
                got["encoder_mb"],
                got["per_click"],
                *(f"{relative_l2(got[key], exact[key]):.1e}" for key in ("features", "low")),
            )
        )
    columns = (
        Column("path"),
        Column("encoder [CPU s]", 2),
        Column("plain / this", 1),
        Column("before [MB]", 0),
        Column("peak [MB]", 0),
        Column("per click [CPU s]", 3),
        Column("embedding, rel. to float64"),
        Column("logits after 3 clicks"),
    )
    difference = relative_l2(found["shortcut, float32"]["features"], plain["features"])
    caption = (
        f"One region of 128^3 voxels, {N_THREADS} threads. Shortcut against plain in float32: "
        f"{difference:.1e}. A click is prompt encoder, decoder and interpolation to 128^3."
    )
    return Table(columns, tuple(rows), caption)


def mistake_table() -> Table:
    """How much each mistake changes the embedding, the logits or the image."""
    torch.set_num_threads(N_THREADS)
    cube = region()
    model = named_model().double()
    image = torch.tensor(cube.image_ijk).double()
    with torch.inference_mode():
        embedding = model.image_encoder(image)
        rows = []
        for name, mistake in ENCODER_MISTAKES.items():
            with mistake(model):
                wrong = model.image_encoder(image)
            rows.append((name, "embedding", relative_l2(wrong, embedding)))
        points = (torch.tensor(CLICKS.voxels_ijk)[None], torch.tensor([[1, 0, 1]]))
        mask = torch.zeros(1, 1, 32, 32, 32).double()
        right, _ = model(embedding, points, mask=mask)
        for name, mistake in DECODER_MISTAKES.items():
            with mistake(model):
                wrong, _ = model(embedding, points, mask=mask)
            rows.append((name, "logits", relative_l2(wrong, right)))
        wrong, _ = model(embedding, points)
        name = "no-mask embedding at the first click"
        rows.append((name, "logits", relative_l2(wrong, right)))
    rows += normalisation_rows()
    shown = tuple((name, what, readable(e), IN_REFERENCE.get(name)) for name, what, e in rows)
    columns = (Column("mistake"), Column("changes"), Column("by"), Column("in the reference"))
    caption = (
        "Relative L2, float64, one region and three clicks (+, -, +). Last column: what it "
        "changed in the reference with other weights, which tells the order of magnitude."
    )
    return Table(columns, shown, caption)


def normalisation_rows() -> list[tuple[str, str, float]]:
    """How much other ways of normalising change the image."""
    canonical, begin = abdomen()
    right = cut_region(canonical, begin, 128).array.astype(np.float64)
    cube = cut_cube(canonical.array_hu, begin, 128).astype(np.float64)
    whole = canonical.array_hu.astype(np.float64)
    above = cube[cube > 0]
    ways = {
        "normalised over all voxels": (cube.mean(), cube.std(ddof=1)),
        "normalised before cutting": (whole[whole > 0].mean(), whole[whole > 0].std(ddof=1)),
        "biased variance": (above.mean(), above.std()),
    }
    return [
        (name, "image", relative_l2((cube - mean) / spread, right))
        for name, (mean, spread) in ways.items()
    ]


def readable(error: float) -> str:
    return f"{100 * error:.1f} %" if error >= 1e-3 else f"{error:.0e}"


def rotation(angle_rad: float) -> np.ndarray:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return turn @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def round_trip_table() -> Table:
    """A thresholded sphere, there and back, on grids of several orientations."""
    swapped = np.eye(3)[[2, 0, 1]] * [-1, 1, -1]
    grids = {
        "along R, A, S": (np.eye(3), (0.8, 0.8, 0.8), (150, 150, 150)),
        "oblique": (rotation(0.4), (0.8, 0.8, 0.8), (150, 150, 150)),
        "oblique, anisotropic": (rotation(-0.3), (0.7, 0.9, 1.5), (90, 140, 170)),
        "axes exchanged and turned round": (swapped, (0.8, 1.0, 1.2), (100, 120, 150)),
    }
    rows = []
    for name, (directions, spacing, shape) in grids.items():
        affine = np.eye(4)
        affine[:3, :3] = directions * spacing
        affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
        rows.append((name, *round_trip(VolumeGrid(shape, affine))))
    columns = (Column("volume"), Column("nearest, Dice", 4), Column("linear, Dice", 4))
    caption = "A sphere of 45 mm radius: volume, region, threshold, pasted back, against itself."
    return Table(columns, tuple(rows), caption)


def round_trip(grid: VolumeGrid) -> tuple[float, float]:
    """Dice of the sphere pasted back as a mask, and as logits."""
    k, j, i = np.indices(grid.shape_kji)
    ball = np.linalg.norm(grid.to_ras(np.stack([i, j, k], axis=-1)), axis=-1) < 45
    volume = Volume(np.where(ball, 200.0, -50.5).astype(np.float32), grid, "HU")
    canonical = canonical_volume(volume)
    begin = begin_around_voxel(canonical.voxel_at((0, 0, 0)), 128)
    seen = cut_region(canonical, begin, 128)
    middle = (seen.array[64, 64, 64] + seen.array[64, 64, 25]) / 2
    logits = (seen.array - middle).astype(np.float32)
    nearest = paste_mask(Mask(logits > 0, seen.grid), grid).array
    linear = paste_logits(logits, seen.grid, grid).on(grid.shape_kji) > 0
    return tuple(2 * (b & ball).sum() / (b.sum() + ball.sum()) for b in (nearest, linear))


def size_table() -> Table:
    """Entries and values of each part."""
    model = empty_sam_med3d()
    rows = []
    for part in ("image_encoder", "prompt_encoder", "mask_decoder"):
        module = getattr(model, part)
        count = sum(p.numel() for p in module.parameters())
        rows.append((part, len(module.state_dict()), f"{count:,}"))
    count = sum(p.numel() for p in model.parameters())
    rows.append(("together", len(model.state_dict()), f"{count:,}"))
    columns = (Column("part"), Column("state entries", 0), Column("parameters"))
    caption = "Besides, the position code has 384 values that are no parameters."
    return Table(columns, tuple(rows), caption)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="also into docs/sam_med3d.md")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    from run import machine

    tables = [size_table(), cost_table(), mistake_table(), round_trip_table()]
    text = "\n\n".join([machine(), *(table.to_markdown() for table in tables)]) + "\n"
    print(text)
    if arguments.write:
        head = (HERE / "sam_med3d_head.md").read_text("utf-8")
        DOCUMENT.write_text(f"{head}\n{text}", "utf-8")


if __name__ == "__main__":
    main()
