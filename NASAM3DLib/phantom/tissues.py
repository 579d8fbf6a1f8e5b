"""CT numbers of tissues in three states of contrast medium, and the labels of the phantom.

Native values: rounded means of the tabulated compositions in ICRU Report 44 (1989) and of clinical
CT at 120 kV; enhancement: typical peaks of abdominal protocols as reviewed by K. T. Bae, Radiology
256:32 (2010). They are meant to be plausible, not a measurement; every patient draws his own values
around them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

ContrastState = Literal["native", "arterial", "portal"]

CONTRAST_STATES: tuple[ContrastState, ...] = ("native", "arterial", "portal")

LESION_CONTRAST_HU = (15.0, 40.0)
"""A rectal lesion exceeds the brighter of rectal wall and muscle by this much (drawn evenly)."""

LIVER_LESION_CONTRAST_HU = (-55.0, -20.0)
"""A liver metastasis is darker than the liver around it by this much (drawn evenly)."""

LABELS: Mapping[str, int] = MappingProxyType(
    {
        "background": 0,
        "subcutaneous_fat": 1,
        "deep_fat": 2,
        "muscle": 3,
        "spine": 4,
        "pelvis": 5,
        "femur": 6,
        "ribs": 7,
        "bladder": 8,
        "rectum": 9,
        "rectal_gas": 10,
        "rectal_lesion": 11,
        "genital_organs": 12,
        "liver": 13,
        "kidneys": 14,
        "spleen": 15,
        "stomach": 16,
        "pancreas": 17,
        "gallbladder": 18,
        "aorta": 19,
        "iliac_arteries": 20,
        "veins": 21,
        "bowel": 22,
        "liver_lesion": 23,
        "lungs": 24,
        "heart": 25,
        "spinal_canal": 26,
    }
)
"""Number of each label; the numbers exclude each other voxel by voxel."""


@dataclass(frozen=True)
class Tissue:
    """CT number of a tissue.

    Parameters
    ----------
    native_hu, arterial_hu, portal_hu : float
        Mean in each state of contrast, HU.
    spread_hu : float
        Standard deviation between patients, HU.
    texture_hu : float
        Standard deviation inside one patient's organ, HU.
    """

    native_hu: float
    arterial_hu: float
    portal_hu: float
    spread_hu: float
    texture_hu: float


TISSUES: Mapping[str, Tissue] = MappingProxyType(
    {
        "air": Tissue(-1000, -1000, -1000, 0, 0),
        "gas": Tissue(-985, -985, -985, 5, 0),
        "lung": Tissue(-830, -825, -820, 30, 35),
        "skin": Tissue(25, 30, 40, 10, 0),
        "fat": Tissue(-105, -105, -103, 6, 9),
        "muscle": Tissue(52, 56, 64, 5, 9),
        "cortex": Tissue(1050, 1050, 1050, 120, 60),
        "thin_cortex": Tissue(520, 520, 520, 90, 60),
        "marrow": Tissue(160, 160, 165, 40, 45),
        "shaft_marrow": Tissue(-40, -40, -35, 25, 15),
        "cartilage": Tissue(85, 85, 90, 12, 6),
        "spinal_canal": Tissue(22, 22, 25, 5, 4),
        "urine": Tissue(6, 6, 8, 4, 1),
        "bladder_wall": Tissue(36, 42, 52, 5, 5),
        "rectal_wall": Tissue(40, 56, 66, 5, 7),
        "stool": Tissue(15, 15, 15, 25, 70),
        "prostate": Tissue(42, 52, 72, 6, 9),
        "uterus": Tissue(48, 75, 100, 10, 10),
        "liver": Tissue(56, 70, 108, 7, 6),
        "kidney_cortex": Tissue(34, 160, 175, 12, 7),
        "kidney_medulla": Tissue(31, 70, 165, 10, 6),
        "spleen": Tissue(47, 115, 118, 8, 6),
        "stomach_wall": Tissue(40, 70, 80, 8, 7),
        "bowel_wall": Tissue(40, 75, 85, 8, 7),
        "bowel_content": Tissue(18, 18, 18, 12, 12),
        "pancreas": Tissue(40, 95, 85, 8, 9),
        "bile": Tissue(9, 9, 9, 4, 1),
        "artery": Tissue(42, 290, 150, 25, 5),
        "vein": Tissue(42, 65, 145, 12, 5),
        "heart": Tissue(44, 200, 130, 15, 10),
    }
)
"""CT numbers of all tissues that are painted."""

TEXTURE_HU: Mapping[str, str] = MappingProxyType(
    {
        "subcutaneous_fat": "fat",
        "deep_fat": "fat",
        "muscle": "muscle",
        "spine": "marrow",
        "pelvis": "marrow",
        "femur": "marrow",
        "ribs": "marrow",
        "bladder": "urine",
        "rectum": "rectal_wall",
        "rectal_lesion": "rectal_wall",
        "genital_organs": "prostate",
        "liver": "liver",
        "kidneys": "kidney_cortex",
        "spleen": "spleen",
        "stomach": "stomach_wall",
        "pancreas": "pancreas",
        "gallbladder": "bile",
        "aorta": "artery",
        "iliac_arteries": "artery",
        "veins": "vein",
        "bowel": "bowel_wall",
        "liver_lesion": "liver",
        "lungs": "lung",
        "heart": "heart",
    }
)
"""Which tissue's texture each label has; labels not named have none."""


def draw_tissues(rng: np.random.Generator, contrast: ContrastState) -> dict[str, float]:
    """Draw one patient's CT numbers.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the random numbers.
    contrast : {"native", "arterial", "portal"}
        State of contrast medium.

    Returns
    -------
    dict of str to float
        HU of each tissue.

    Raises
    ------
    ValueError
        If the state is unknown.
    """
    if contrast not in CONTRAST_STATES:
        raise ValueError(f"contrast must be one of {CONTRAST_STATES}, got {contrast!r}.")
    values = {}
    for name, tissue in TISSUES.items():
        mean = float(getattr(tissue, f"{contrast}_hu"))
        values[name] = mean + tissue.spread_hu * float(np.clip(rng.standard_normal(), -2, 2))
    return values


def texture_table() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Give the standard deviation of the texture of each label.

    Returns
    -------
    ndarray, shape (n_labels,), float32
        HU, indexed by label.
    """
    table = np.zeros(len(LABELS), dtype=np.float32)
    for label, tissue in TEXTURE_HU.items():
        table[LABELS[label]] = TISSUES[tissue].texture_hu
    return table
