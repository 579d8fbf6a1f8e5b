"""Hounsfield units from what air and water read in a reconstruction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal

from NASAM3DLib.reconstruct.volume import AIR_ATTENUATION, WATER_ATTENUATION, Volume

FloatArray = npt.NDArray[np.float64]

N_BINS = 512
SMOOTH_BINS = 4.0
PROMINENCE = 0.08
"""How far a peak of the histogram stands out, relative to the highest."""

LEAST_SHARE = 0.01
"""Part of the voxels that must be soft tissue for their peak to be believed."""

HIGHEST_AIR = 0.25
"""Attenuation of air relative to water above which something else was taken for air."""

SOFT_TISSUE_HU = 30.0
"""Muscle and organs, which form the highest peak of most bodies once fat is left out."""

WATER_RANGE = (0.4, 2.5)
"""Attenuation of water relative to that at 60 keV that a diagnostic X-ray tube can give."""


@dataclass(frozen=True)
class Calibration:
    """What air and water read in a volume.

    Parameters
    ----------
    air, water : float
        Attenuation, in the volume's own unit.

    Raises
    ------
    ValueError
        If the values are not finite, water does not exceed air, or air exceeds a quarter of water.
    """

    air: float = AIR_ATTENUATION
    water: float = WATER_ATTENUATION

    def __post_init__(self) -> None:
        if not np.isfinite([self.air, self.water]).all():
            raise ValueError(f"Calibration needs finite values, got {self}.")
        if self.water <= max(self.air, 0.0):
            raise ValueError(
                f"Water must attenuate more than air and more than nothing, got water = "
                f"{self.water:g} and air = {self.air:g}: are the two exchanged?"
            )
        if abs(self.air) > HIGHEST_AIR * self.water:
            raise ValueError(
                f"Air reads {self.air:g}, {100 * self.air / self.water:.0f} % of water "
                f"({self.water:g}); that is not air. Measure it outside the object, or correct the "
                "projections (flat field, drift) first."
            )

    def to_hu(self, volume: Volume) -> Volume:
        """Convert a volume to Hounsfield units.

        Parameters
        ----------
        volume : Volume
            Attenuation.

        Returns
        -------
        Volume
            ``HU = 1000 (mu - water) / (water - air)``; the same volume if it is in HU already.
        """
        if volume.quantity == "HU":
            return volume
        scale = np.float32(1000.0 / (self.water - self.air))
        array = (volume.array - np.float32(self.water)) * scale
        spread = None if volume.uncertainty is None else volume.uncertainty * scale
        return Volume(array, volume.grid, "HU", spread)


def calibrate(
    volume: Volume, *, air: float | None = None, water: float | None = None
) -> Calibration:
    """Find what air and water read in a volume.

    Parameters
    ----------
    volume : Volume
        Attenuation.
    air : float, optional
        What air reads; by default the lowest peak of the histogram.
    water : float, optional
        What water reads; by default from the densest peak of soft tissue, taken for 30 HU.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        If the volume is in HU, a peak cannot be found, or the result is implausible.

    Notes
    -----
    A given value is used as it is. The estimate of water is good to about 10 HU in a body with
    enough muscle or organs, to 90 HU where noise hides their peak, and meaningless in a tooth:
    measure water where it matters.
    """
    if volume.quantity == "HU":
        raise ValueError("The volume is in Hounsfield units already: calibrate the attenuation.")
    values = np.asarray(volume.array, dtype=np.float64).ravel()
    if air is None:
        air = _air_peak(values)
    if water is None:
        water = _water_from_soft_tissue(values, air)
    return Calibration(air, water)


def _air_peak(values: FloatArray) -> float:
    """Give the lowest peak of the histogram, provided that something attenuates more."""
    low, high = (float(v) for v in np.percentile(values, [0.1, 99.5]))
    peak = _peaks(values, low, high)[0]
    above = np.count_nonzero(values > peak + (high - peak) / 4)
    if peak > HIGHEST_AIR * high or above < LEAST_SHARE * values.size:
        raise ValueError(
            "The histogram's lowest peak is not far below an object, so it is not known to be air: "
            "give the attenuation of air (0 if the projections are well normalised)."
        )
    return peak


def _water_from_soft_tissue(values: FloatArray, air: float) -> float:
    """Give water's attenuation from the densest clear peak of soft tissue."""
    low, high = (air + share * WATER_ATTENUATION for share in WATER_RANGE)
    tissue = values[(values > low) & (values < high)]
    if tissue.size < LEAST_SHARE * values.size:
        raise ValueError(
            f"No soft tissue between {low:.3g} and {high:.3g}: the volume is not a body, or its "
            "unit is not 1/mm. Give the attenuation of water."
        )
    peak = _peaks(tissue, low, high)[-1]
    return air + (peak - air) / (1 + SOFT_TISSUE_HU / 1000)


def _peaks(values: FloatArray, low: float, high: float) -> list[float]:
    """Give where the smoothed histogram has clear peaks, ascending."""
    if not high > low:
        raise ValueError(
            "The volume holds one value only, so air and water cannot be told apart: give both."
        )
    counts, edges = np.histogram(np.clip(values, low, high), bins=N_BINS, range=(low, high))
    # What lies outside the range is no peak at its end, unless it is one value, as clipped air is.
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), SMOOTH_BINS, mode="constant")
    padded = np.concatenate([[0.0], smooth, [0.0]])
    found, _ = signal.find_peaks(padded, prominence=PROMINENCE * smooth.max())
    middles = (edges[:-1] + edges[1:]) / 2
    return [_median_near(values, float(middles[n - 1]), edges[1] - edges[0]) for n in found]


def _median_near(values: FloatArray, place: float, bin_width: float) -> float:
    """Refine a peak by the median of the values around it."""
    near = values[np.abs(values - place) <= SMOOTH_BINS * bin_width]
    return float(np.median(near)) if near.size else place
