"""Compare the automatic reconstruction with the best that total variation can do, over many bodies.

python Testing/bench/quality.py              prints the tables; about ten minutes on two cores
python Testing/bench/quality.py --write      also into docs/quality.md with a picture
python Testing/bench/quality.py --continue   keeps the rows that an interrupted run has finished
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
from bodies import BODIES, PEAK, body_case  # noqa: E402
from cases import ROOT, Case, data_folder, with_relative_noise  # noqa: E402
from quality_tables import Row, save_picture, tables  # noqa: E402

from NASAM3DLib.reconstruct.iterative import TotalVariationProblem  # noqa: E402
from NASAM3DLib.reconstruct.refine import Base, plan_refinement, refine  # noqa: E402
from NASAM3DLib.reconstruct.settings import PHASES  # noqa: E402
from NASAM3DLib.reconstruct.tuning import choose_strength  # noqa: E402

Float32Array = npt.NDArray[np.float32]

PHOTONS = 1e4
ARCS_DEG = (360.0, 180.0)
SMALL, LARGE = 64, 128
WARM_UP_VOXELS = 24
BLURS_VOXELS = (0.0, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
FIRST_FACTORS = (-1.0, 0.0, 1.0)
MOST_OCTAVES = 4.0
FINEST_OCTAVE = 0.5
N_PROCESSES = 2
KEPT = ROOT / "bench-output" / "quality.jsonl"


@dataclass(frozen=True)
class Scan:
    """One scan of the comparison."""

    body: str
    n_voxels: int
    arc_deg: float
    noisy: bool


@dataclass(frozen=True)
class Tried:
    """What a strength gave: plain, and with the blur that suits the truth best, dB and voxels."""

    plain: float
    blurred: float
    blur: float
    ssim: float


def scans() -> list[Scan]:
    """List the scans, the large ones first, so that both processes end together."""
    large = [Scan("abdomen", LARGE, 360.0, noisy) for noisy in (False, True)]
    return large + [
        Scan(body, SMALL, arc_deg, noisy)
        for body, arc_deg, noisy in product(BODIES, ARCS_DEG, (False, True))
    ]


def search(evaluate: Callable[[float], Tried], *, fine: bool) -> dict[float, Tried]:
    """Try factors of two about the tuned strength until none beats the best, then roots of two."""
    tried = {octave: evaluate(octave) for octave in FIRST_FACTORS}

    def best(key: Callable[[Tried], float]) -> float:
        return max(tried, key=lambda octave: key(tried[octave]))

    criteria = (lambda t: t.plain, lambda t: t.blurred)
    for step in (1.0, FINEST_OCTAVE) if fine else (1.0,):
        while True:
            wanted = {best(key) + sign * step for key in criteria for sign in (-1, 1)}
            missing = [o for o in wanted if o not in tried and abs(o) <= MOST_OCTAVES]
            if not missing:
                break
            tried |= {octave: evaluate(octave) for octave in missing}
    return tried


def measure(scan: Scan) -> Row:
    """Reconstruct one scan automatically, and with what only the truth can tell."""
    from NASAM3DLib.evaluate.metrics import psnr, ssim
    from NASAM3DLib.reconstruct.margin import attenuates_outside

    case = _case(scan)
    truth = case.truth.array
    begin = time.process_time()
    base, refined, noise_share = automatic(case)
    seconds = time.process_time() - begin
    tried = search(Comparison(case, base), fine=scan.n_voxels == SMALL)
    octave, plain = max(tried.items(), key=lambda item: item[1].plain)
    _, peer = max(tried.items(), key=lambda item: item[1].blurred)
    return Row(
        body=scan.body,
        n_voxels=scan.n_voxels,
        arc_deg=scan.arc_deg,
        noisy=scan.noisy,
        strength=base.strength,
        best_strength=base.strength * 2**octave,
        tuned_psnr=psnr(base.array, truth, data_range=PEAK),
        best_psnr=plain.plain,
        peer_psnr=peer.blurred,
        peer_blur=peer.blur,
        peer_ssim=peer.ssim,
        psnr=psnr(refined, truth, data_range=PEAK),
        ssim=ssim(refined, truth, data_range=PEAK),
        noise_share=noise_share,
        outside=attenuates_outside(case.projection_set, case.truth.grid),
        cpu_s=seconds,
    )


def automatic(case: Case) -> tuple[Base, Float32Array, float]:
    """Run the stages of the best quality; nothing is outside the cube, so no surroundings."""
    projection_set, grid = case.projection_set, case.truth.grid
    strength = choose_strength(projection_set, grid).strength
    problem = TotalVariationProblem(projection_set, grid)
    base = Base(problem, strength, problem.solve(strength, PHASES["best"]))
    plan = plan_refinement(base)
    return base, refine(base, plan), plan.noise_share


@dataclass(frozen=True)
class Comparison:
    """Total variation at other strengths, judged by the truth."""

    case: Case
    base: Base

    def __call__(self, octave: float) -> Tried:
        """Solve at the tuned strength times a power of two and try all blurs."""
        from scipy import ndimage

        from NASAM3DLib.evaluate.metrics import psnr, ssim

        array, truth = self.base.array, self.case.truth.array
        if octave:
            array = self.base.problem.solve(self.base.strength * 2**octave, PHASES["best"])
        blurs = {b: ndimage.gaussian_filter(array, b) if b else array for b in BLURS_VOXELS}
        figures = {b: psnr(blurred, truth, data_range=PEAK) for b, blurred in blurs.items()}
        blur = max(figures, key=lambda b: figures[b])
        likeness = ssim(blurs[blur], truth, data_range=PEAK)
        return Tried(figures[0.0], figures[blur], blur, likeness)


def warm_up() -> None:
    """Compile the kernels, clean and noisy, so that no row pays for it."""
    for noisy in (False, True):
        automatic(_case(Scan("abdomen", WARM_UP_VOXELS, 360.0, noisy)))


def _case(scan: Scan) -> Case:
    """Make the scan."""
    data = data_folder()
    if data is None:
        raise ValueError("The real scans are missing: set NASAM3D_DATA to their folder.")
    case = body_case(data, scan.body, scan.n_voxels, scan.arc_deg)
    return with_relative_noise(case, PHOTONS) if scan.noisy else case


def all_rows(*, keep: bool) -> Iterator[Row]:
    """Measure all scans in two processes of one thread each; finished rows are kept in a file."""
    kept = [Row(**json.loads(line)) for line in _lines()] if keep else []
    if not keep:
        KEPT.unlink(missing_ok=True)
    yield from kept
    done = {Scan(r.body, r.n_voxels, r.arc_deg, r.noisy) for r in kept}
    left = [scan for scan in scans() if scan not in done]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(N_PROCESSES, mp_context=context, initializer=warm_up) as pool:
        futures = [pool.submit(measure, scan) for scan in left]
        for future in futures:
            future.add_done_callback(_keep)
        for future in futures:
            yield future.result()


def _lines() -> list[str]:
    return KEPT.read_text(encoding="utf-8").splitlines() if KEPT.exists() else []


def _keep(future: object) -> None:
    """Append a finished row to the file."""
    row = future.result()  # type: ignore[attr-defined]
    KEPT.parent.mkdir(exist_ok=True)
    with KEPT.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def main() -> None:
    """Run and print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write docs/quality.md")
    parser.add_argument("--continue", dest="keep", action="store_true", help="keep finished rows")
    options = parser.parse_args()
    # Read by the processes to come, which must not compete for the cores.
    os.environ["NUMBA_NUM_THREADS"] = "1"
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    rows = []
    for row in all_rows(keep=options.keep):
        print(row, flush=True)
        rows.append(row)
    order = scans()
    rows.sort(key=lambda r: order.index(Scan(r.body, r.n_voxels, r.arc_deg, r.noisy)))
    text = "\n".join(table.to_markdown() for table in tables(rows))
    print(text)
    if options.write:
        from run import machine

        save_picture(rows, ROOT / "docs" / "pictures" / "quality.png")
        head, tail = (
            (HERE / f"quality_{part}.md").read_text(encoding="utf-8") for part in ("head", "tail")
        )
        document = "\n".join((head, f"{machine()}\n", text, tail))
        (ROOT / "docs" / "quality.md").write_text(document, encoding="utf-8")


if __name__ == "__main__":
    main()
