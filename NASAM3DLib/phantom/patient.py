"""One patient: the random numbers that make him differ from the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from NASAM3DLib.phantom.tissues import CONTRAST_STATES, ContrastState, draw_tissues

Sex = Literal["female", "male"]
Region = Literal["pelvis", "abdomen"]

REGION_CENTRE_MM = {"pelvis": 25.0, "abdomen": 245.0}
"""Height over the femoral heads that comes to lie in the middle of the grid, mm."""


@dataclass(frozen=True, eq=False)
class Patient:
    """Build, pose and CT numbers of a generated patient.

    Parameters
    ----------
    sex : {"female", "male"}
        Decides the genital organs and the width of the pelvis.
    scale : ndarray, shape (3,)
        Size relative to the template along R, A and S.
    rotation : ndarray, shape (3, 3)
        From the template's frame to RAS.
    shift_mm : ndarray, shape (3,)
        Displacement of the patient, mm.
    fat_mm : ndarray, shape (3,)
        Thickness of the subcutaneous fat at the side, in front and behind, mm.
    warp_mm : float
        Standard deviation of the smooth random deformation, mm.
    contrast : {"native", "arterial", "portal"}
        State of contrast medium.
    hu : dict of str to float
        CT numbers of the tissues.
    """

    sex: Sex
    scale: npt.NDArray[np.float64]
    rotation: npt.NDArray[np.float64]
    shift_mm: npt.NDArray[np.float64]
    fat_mm: npt.NDArray[np.float64]
    warp_mm: float
    contrast: ContrastState
    hu: dict[str, float]


def draw_patient(rng: np.random.Generator, contrast: ContrastState | None = None) -> Patient:
    """Draw a patient.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the random numbers.
    contrast : {"native", "arterial", "portal"}, optional
        State of contrast medium; drawn if None.

    Returns
    -------
    Patient
    """
    from scipy.spatial.transform import Rotation

    sex: Sex = "female" if rng.random() < 0.5 else "male"
    drawn = CONTRAST_STATES[int(rng.integers(len(CONTRAST_STATES)))]
    state = drawn if contrast is None else contrast
    overall = rng.normal(1.0, 0.03)
    scale = np.clip(overall * rng.normal(1.0, 0.02, 3), 0.9, 1.09)
    angles = np.clip(rng.normal(0, (2.5, 2.0, 3.0)), -6, 6)
    lateral = rng.uniform(8, 26)
    fat = np.array([lateral, lateral * rng.uniform(0.6, 1.5), lateral * rng.uniform(0.6, 1.1)])
    return Patient(
        sex=sex,
        scale=np.asarray(scale, dtype=np.float64),
        rotation=np.asarray(Rotation.from_euler("xyz", angles, degrees=True).as_matrix()),
        shift_mm=rng.normal(0, (3.0, 3.0, 6.0)),
        fat_mm=fat,
        warp_mm=float(rng.uniform(1.0, 2.2)),
        contrast=state,
        hu=draw_tissues(rng, state),
    )
