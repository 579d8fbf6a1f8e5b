"""What the demonstration is asked for and what it produces."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from NASAM3DLib.evaluate.clicks import ClickSession
from NASAM3DLib.evaluate.compare import compare_masks, compare_volumes
from NASAM3DLib.evaluate.tables import Column, Table
from NASAM3DLib.phantom.anatomy import Phantom
from NASAM3DLib.phantom.patient import Region
from NASAM3DLib.pipeline import Reconstruction
from NASAM3DLib.reconstruct.settings import ReconstructionSettings
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.mask import Mask

FULL_TURN_VIEWS = 360
"""Views of the scan with which the dose is compared: one for each degree."""


@dataclass(frozen=True)
class DemoSettings:
    """Who is scanned and how.

    Parameters
    ----------
    seed : int
        Decides the patient, the noise and every other random choice.
    region : {"pelvis", "abdomen"}
        Part of the body; the lesion is on the rectal wall or in the liver.
    n_voxels : int
        Voxels along each edge of the reconstruction.
    field_mm : float
        Length of its edges, mm.
    n_views : int
        Views that are measured over a full turn.
    detector_shape : tuple of int
        Rows and columns of the detector.
    photons : float
        Photons per pixel and view without the patient.
    n_clicks : int
        Clicks that the simulated user may place.
    reconstruction : ReconstructionSettings
        The method that is shown beside filtered back-projection.
    """

    seed: int = 1
    region: Region = "pelvis"
    n_voxels: int = 128
    field_mm: float = 350.0
    n_views: int = 50
    detector_shape: tuple[int, int] = (256, 256)
    photons: float = 1e5
    n_clicks: int = 2
    reconstruction: ReconstructionSettings = field(default_factory=ReconstructionSettings)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One segmentation of the lesion.

    Parameters
    ----------
    volume_name : str
        Which reconstruction was clicked on.
    guided : bool
        Whether density guidance was on.
    session : ClickSession
        Clicks, masks and figures.
    attention : ndarray, shape (k, j, i), float32, or None
        Density-aware attention behind the last mask, in [0, 1]; None without guidance.
    """

    volume_name: str
    guided: bool
    session: ClickSession
    attention: npt.NDArray[np.float32] | None

    @property
    def name(self) -> str:
        """Name for tables and pictures."""
        return f"{self.volume_name}, {'guided' if self.guided else 'unguided'}"


@dataclass(frozen=True, eq=False)
class Demo:
    """All that the demonstration produced.

    Parameters
    ----------
    settings : DemoSettings
        What was asked for.
    phantom : Phantom
        The generated patient on the finer grid.
    scan : ProjectionSet
        The measured projections.
    truth : Volume
        The patient averaged onto the reconstructed voxels, HU.
    lesion : Mask
        The true lesion on the reconstructed voxels.
    reconstructions : dict of str to Reconstruction
        By name; the last one is what is returned.
    segmentations : tuple of Segmentation
        The last one is what is returned.
    seconds : dict of str to float
        Wall time of each step, s.
    """

    settings: DemoSettings
    phantom: Phantom
    scan: ProjectionSet
    truth: Volume
    lesion: Mask
    reconstructions: dict[str, Reconstruction]
    segmentations: tuple[Segmentation, ...]
    seconds: dict[str, float]

    @property
    def volume(self) -> Volume:
        """The reconstruction that is returned, HU."""
        return list(self.reconstructions.values())[-1].volume.to_hu()

    @property
    def result(self) -> Segmentation:
        """The segmentation that is returned."""
        return self.segmentations[-1]

    @cached_property
    def volume_table(self) -> Table:
        """Figures of the reconstructions against the patient."""
        volumes = {name: done.volume for name, done in self.reconstructions.items()}
        return compare_volumes(volumes, self.truth)

    @cached_property
    def mask_table(self) -> Table:
        """Figures of the final masks against the lesion."""
        masks = {one.name: one.session.masks[-1] for one in self.segmentations}
        return compare_masks(masks, self.lesion)

    @cached_property
    def click_table(self) -> Table:
        """Figures of the masks after each click."""
        rows = [
            (
                one.name,
                record.n_clicks,
                "lesion" if record.positive else "background",
                record.dice,
                record.hd95_mm,
                record.seconds,
            )
            for one in self.segmentations
            for record in one.session.records
        ]
        columns = (
            Column("Segmentation"),
            Column("clicks"),
            Column("newest on"),
            Column("Dice", 3),
            Column("HD95 (mm)", 2),
            Column("time (s)", 2),
        )
        caption = (
            "The simulated user clicks the middle of the lesion, then the middle of the largest "
            "region that is wrong."
        )
        return Table(columns, tuple(rows), caption)
