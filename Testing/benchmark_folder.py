"""A small folder of cases and small methods, for the tests of the benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from NASAM3DLib.benchmark.discovery import find_cases
from NASAM3DLib.benchmark.sources import FileSource, Source
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.reconstruct.volume_io import save_volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.mask_io import save_mask

GRID = VolumeGrid.centred((24, 24, 24), 3.0)

METHODS = '''
"""Methods for tests: one knows the answer by density, one only fails, one is not there."""

import numpy as np

from NASAM3DLib.benchmark.methods.protocol import Method
from NASAM3DLib.segment.mask import Mask


class Dense:
    """Everything as dense as the first click, within reach of a positive click."""

    def set_volume(self, volume):
        self.volume = volume.to_hu()

    def predict(self, prompts):
        grid = self.volume.grid
        voxels = prompts.voxels(grid)
        alike = np.abs(self.volume.array - self.volume.array[tuple(voxels[0])]) < 25
        places = np.argwhere(alike)
        distance = np.linalg.norm(places[:, None] - voxels[prompts.labels == 1], axis=-1)
        mask = np.zeros(grid.shape_kji, dtype=bool)
        mask[tuple(places[distance.min(axis=1) < 3.5].T)] = True
        return Mask(mask, grid).tidied(prompts)


class Failing(Dense):
    """Fails where the object is in the upper half, for reasons of its own."""

    def predict(self, prompts):
        if prompts.points_ras[0, 2] > 3:
            raise ValueError("no objects above the middle, please")
        return super().predict(prompts)


METHODS = (
    Method("dense", "peer", "takes what is alike", Dense),
    Method("failing", "peer", "fails now and then", Failing),
    Method("absent", "peer", "is never there", Dense, lambda: "the package absent is missing"),
)
'''


def ball(centre_kji: tuple[float, float, float], radius: float) -> np.ndarray:
    k, j, i = np.ogrid[:24, :24, :24]
    c = centre_kji
    return (k - c[0]) ** 2 + (j - c[1]) ** 2 + (i - c[2]) ** 2 < radius**2


def make_folder(folder: Path) -> Path:
    """Two cases: one declared by labels of one map, with a lesion and an organ in each."""
    entries = []
    for number in (1, 2):
        rng = np.random.default_rng(number)
        array = rng.normal(0, 4, GRID.shape_kji)
        lesion, organ = ball((6, 8, 8), 4.0 + number), ball((17, 15, 14), 5.5)
        array[lesion] += 60
        array[organ] += 120
        place = folder / f"patient-{number}"
        place.mkdir(parents=True)
        save_volume(Volume(array.astype(np.float32), GRID, "HU"), place / "scan.nii.gz")
        save_mask(Mask(lesion, GRID), place / "tumour.nii.gz")
        save_mask(Mask(organ, GRID), place / "liver.nii.gz")
        targets = [
            {"name": name, "mask": f"patient-{number}/{name}.nii.gz"}
            for name in ("tumour", "liver")
        ]
        image = f"patient-{number}/scan.nii.gz"
        entries.append({"name": f"patient {number}", "image": image, "targets": targets})
    (folder / "benchmark.json").write_text(json.dumps({"cases": entries}), encoding="utf-8")
    return folder


def methods_file(folder: Path) -> Path:
    path = folder / "methods.py"
    path.write_text(METHODS, encoding="utf-8")
    return path


def sources_of(folder: Path) -> list[Source]:
    """Find the cases of a folder."""
    return [FileSource(case) for case in find_cases(folder)]
