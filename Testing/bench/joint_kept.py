"""What the benchmark of joint refinement keeps of a scan: a slice for pictures, and the masks."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cases import ROOT
from joint_tables import Figures, Row

from NASAM3DLib.evaluate.metrics import dice
from NASAM3DLib.evaluate.surfaces import asd_mm, hd95_mm
from NASAM3DLib.joint.choice import joint_mask
from NASAM3DLib.joint.rounds import Clicks
from NASAM3DLib.joint.settings import JointResult
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

FOLDER = ROOT / "bench-output" / "joint"


def scan_path(name: str, n_views: int, noisy: bool) -> Path:
    """Name the file of a scan."""
    return FOLDER / f"{name.replace(' ', '-')}-{n_views}-{'noisy' if noisy else 'clean'}.npz"


def mask_figures(mask: Mask, target: Mask) -> Figures:
    """Measure a mask."""
    return {
        "dice": 100 * dice(mask, target),
        "hd95": hd95_mm(mask, target),
        "asd": asd_mm(mask, target),
    }


@dataclass(frozen=True, eq=False)
class Kept:
    """Masks of a scan with all that their choice takes, and volumes in one slice.

    ``later`` is what the clicks give on the guided volume, ``after`` what is made of both.
    """

    truth: Float32Array
    before: Float32Array
    after: Float32Array
    place: npt.NDArray[np.intp]
    target: BoolArray
    mask_before: BoolArray
    mask_later: BoolArray
    mask_after: BoolArray
    soft_before: Float32Array
    soft_later: Float32Array
    volume_later: Float32Array
    points_ras: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int8]
    ijk_to_ras: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls, truth: Volume, best: Volume, target: Mask, *, clicks: Clicks, done: JointResult
    ) -> Kept:
        """Collect it; the slice is the one with most of the target."""
        place = int(np.argmax(target.array.sum(axis=(1, 2))))
        guided = done.volume if done.guided is None else done.guided
        (before, soft_before), (later, soft_later) = map(clicks.segment, (best, guided))
        return cls(
            truth.array[place],
            best.array[place],
            done.volume.array[place],
            np.array([place]),
            target.array,
            before.array,
            later.array,
            done.mask.array,
            soft_before,
            soft_later,
            guided.array,
            clicks.prompts.points_ras,
            clicks.prompts.labels,
            np.asarray(target.grid.ijk_to_ras),
        )

    def save(self, path: Path) -> None:
        """Write it."""
        np.savez_compressed(path, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Kept:
        """Read it."""
        with np.load(path) as content:
            return cls(**{f.name: content[f.name] for f in fields(cls)})

    @property
    def grid(self) -> VolumeGrid:
        """Voxels."""
        return VolumeGrid(self.target.shape, self.ijk_to_ras)

    def prompts(self) -> Prompts:
        """Give the clicks."""
        return Prompts(self.points_ras, self.labels)

    def slices(self) -> dict[str, npt.NDArray[np.generic]]:
        """Give what the picture shows."""
        place = int(self.place[0])
        masks = ("target", "mask_before", "mask_after")
        volumes = {name: getattr(self, name) for name in ("truth", "before", "after")}
        return {**volumes, **{name: getattr(self, name)[place] for name in masks}}


def masks_again(row: Row) -> Row:
    """Choose the mask of a row anew; the volume stays."""
    if not row.is_joint:
        return row
    path = scan_path(*row.scan)
    kept = Kept.load(path)
    grid = kept.grid
    before = Mask(kept.mask_before, grid)
    later = Mask(kept.mask_later, grid), kept.soft_later
    volume = Volume(kept.volume_later, grid)
    chosen = joint_mask((before, kept.soft_before), later, volume, kept.prompts())
    replace(kept, mask_after=chosen.array).save(path)
    figures = {**row.after, **mask_figures(chosen, Mask(kept.target, grid))}
    return replace(row, after=figures, is_new_mask=chosen is not before)
