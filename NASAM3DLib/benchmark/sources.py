"""Where cases come from: files, or the generator with numbers that no training draws."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from NASAM3DLib.benchmark.case import Case, Target, load_case, read_case, save_case
from NASAM3DLib.benchmark.layout import CaseFiles
from NASAM3DLib.benchmark.methods.protocol import code_digest
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.weights.store import sha256_of

HELD_OUT = 0x434C4943
"""Third number of the seeds of held-out volumes: "CLIC"."""

GENERATED_EDGE, GENERATED_SPACING_MM = 64, 3.0
"""Voxels along each edge of a generated volume, and their size, mm."""


class Source(Protocol):
    """A case that can be loaded."""

    def __hash__(self) -> int: ...

    @property
    def name(self) -> str:
        """Name of the case, unlike all others of a run."""

    def key(self) -> str:
        """Identify what :meth:`load` gives."""

    def load(self, spacing_mm: float) -> Case:
        """Load the case.

        Parameters
        ----------
        spacing_mm : float
            Spacing of the benchmark's grid, mm.

        Returns
        -------
        Case
        """


@dataclass(frozen=True)
class FileSource:
    """A case in files.

    Parameters
    ----------
    files : CaseFiles
        Where they are.
    """

    files: CaseFiles

    @property
    def name(self) -> str:
        """Name of the case."""
        return self.files.name

    def key(self) -> str:
        """Identify the case by its name, its objects and the content of its files.

        Returns
        -------
        str
            The same for a copy of the files elsewhere.
        """
        files = self.files
        objects = [(one.name, one.labels, one.group, _digest_of(one.mask)) for one in files.targets]
        return repr((files.name, files.data_set, files.pictures, _digest_of(files.image), objects))

    def load(self, spacing_mm: float) -> Case:
        """Read the files.

        Parameters
        ----------
        spacing_mm : float
            Spacing of the benchmark's grid, mm.

        Returns
        -------
        Case
        """
        return load_case(self.files, spacing_mm)


@dataclass(frozen=True)
class GeneratedSource:
    """A generated volume with one object.

    Parameters
    ----------
    number : int
        Which one.
    edge : int
        Voxels along each edge.

    Notes
    -----
    Training draws its volumes from seeds of two numbers, ``[seed, number]``. Held-out volumes have
    three, ``[number, 0, 0x434C4943]``: a generator of random numbers that no training meets,
    whatever its seed. Faults of few views are switched off, because the benchmark makes its own
    scans; blur, noise, thick slices and wrong calibration stay. Sparse scans are made of the volume
    as it was before these faults.
    """

    number: int
    edge: int = GENERATED_EDGE

    @property
    def name(self) -> str:
        """Name of the case."""
        return f"generated-{self.number:02d}"

    def seed(self) -> list[int]:
        """Give the seed of the volume.

        Returns
        -------
        list of int
            Three numbers.
        """
        return [self.number, 0, HELD_OUT]

    def key(self) -> str:
        """Identify the case by its seed and the generator's source text.

        Returns
        -------
        str
        """
        return f"{self.seed()} {self.edge} {code_digest('segment/labelfree/generator')}"

    def load(self, spacing_mm: float) -> Case:
        """Generate the volume; its own spacing is kept.

        Parameters
        ----------
        spacing_mm : float
            Without effect: voxels are of 3 mm.

        Returns
        -------
        Case
        """
        from NASAM3DLib.segment.labelfree.generator.acquisition import AcquisitionChances
        from NASAM3DLib.segment.labelfree.generator.sample import GeneratorSettings, generate

        chances = AcquisitionChances(comb=0.0, scan=0.0)
        made = generate(self.seed(), GeneratorSettings(self.edge, n_targets=1, chances=chances))
        grid = VolumeGrid.centred((self.edge,) * 3, GENERATED_SPACING_MM)
        target = Target("object", "generated", Mask(made.targets[0], grid))
        return Case(
            self.name,
            "generated",
            Volume(made.array_hu, grid, "HU"),
            (target,),
            scanned=Volume(made.true_hu, grid, "HU"),
        )


@dataclass(frozen=True)
class ThinnedSource:
    """A case of which only some objects are targets, where every one would take too long.

    Parameters
    ----------
    original : Source
        The case.
    most : int
        Largest number of targets.
    """

    original: Source
    most: int

    @property
    def name(self) -> str:
        """Name of the case."""
        return self.original.name

    def key(self) -> str:
        """Identify the case.

        Returns
        -------
        str
        """
        return f"{self.original.key()} at most {self.most}"

    def load(self, spacing_mm: float) -> Case:
        """Load the case.

        Parameters
        ----------
        spacing_mm : float
            Spacing of the benchmark's grid, mm.

        Returns
        -------
        Case
            With targets of all sizes: every so many-th of them, sorted by their voxels.
        """
        case = self.original.load(spacing_mm)
        sizes = np.argsort([target.mask.n_voxels for target in case.targets], kind="stable")
        n = min(self.most, len(sizes))
        places = {int(i) for i in sizes[np.round(np.linspace(0, len(sizes) - 1, n)).astype(int)]}
        kept = tuple(target for place, target in enumerate(case.targets) if place in places)
        left = tuple(
            f"{case.name}, {target.name}: left out to save time"
            for place, target in enumerate(case.targets)
            if place not in places
        )
        return replace(case, targets=kept, left_out=(*case.left_out, *left))


@dataclass(frozen=True)
class CaseStore:
    """Cases and reconstructions kept on disk, so that they are made once.

    Parameters
    ----------
    folder : Path
        Where they are kept; what is deleted there is made again.
    spacing_mm : float
        Spacing of the benchmark's grid, mm.
    """

    folder: Path
    spacing_mm: float

    def path_of(self, source: Source) -> Path:
        """Give the file of a case.

        Parameters
        ----------
        source : Source
            The case.

        Returns
        -------
        Path
            May not exist.
        """
        return self.folder / f"{file_name(source.name, f'{source.key()} {self.spacing_mm}')}.npz"

    def case(self, source: Source) -> Case:
        """Give a case, from disk if it is there.

        Parameters
        ----------
        source : Source
            The case.

        Returns
        -------
        Case
        """
        path = self.path_of(source)
        if path.is_file():
            return read_case(path)
        case = source.load(self.spacing_mm)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_case(case, path)
        return case


def _digest_of(path: Path) -> str:
    """Digest a file, or all files of a folder with their names."""
    parts = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    stats = [(one, one.stat()) for one in parts]
    return " ".join(
        f"{one.name} {_digest(one, stat.st_size, stat.st_mtime_ns)}" for one, stat in stats
    )


@lru_cache(maxsize=4096)
def _digest(path: Path, _size: int, _mtime_ns: int) -> str:
    """Digest a file; size and time only tell when to do it again."""
    return sha256_of(path)


def file_name(name: str, key: str) -> str:
    """Make a file name out of a name and a digest of what identifies the content.

    Parameters
    ----------
    name : str
        Name of a case.
    key : str
        What identifies the content.

    Returns
    -------
    str
        Without an ending.
    """
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
    return f"{safe}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
