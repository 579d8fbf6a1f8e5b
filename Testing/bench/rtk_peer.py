"""The same scans through itk-rtk, the yardstick."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

Float32Array = npt.NDArray[np.float32]


class RtkPeer:
    """FDK, SART, conjugate gradient and Joseph's projector of itk-rtk on one circular scan.

    RTK turns about its y axis: its (x, y, z) are our (A, S, R) relative to the isocenter.
    """

    def __init__(self, projection_set: ProjectionSet, grid: VolumeGrid) -> None:
        from NASAM3DLib.scan.vendor import load_rtk

        load_rtk()
        import itk

        self._itk, self._rtk = itk, itk.RTK
        self._type = itk.Image[itk.F, 3]
        self._grid, self._set = grid, projection_set
        orbit = projection_set.geometry.orbit
        assert orbit is not None
        self._orbit = orbit
        self.geometry = self._rtk.ThreeDCircularProjectionGeometry.New()
        for angle in orbit.angles_rad:
            self.geometry.AddProjection(
                orbit.source_to_isocenter_mm, orbit.source_to_detector_mm, float(np.degrees(angle))
            )

    def _image(self, array: npt.ArrayLike, spacing: list[float], origin: list[float]) -> Any:
        image = self._itk.image_from_array(np.ascontiguousarray(array, dtype=np.float32))
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        return image

    def _volume(self, array: npt.ArrayLike) -> Any:
        spacing = float(self._grid.spacing_mm[0])
        n = self._grid.shape_kji[0]
        origin = -(n - 1) / 2 * spacing
        turned = np.asarray(array, dtype=np.float32).transpose(2, 0, 1)
        return self._image(turned, [spacing] * 3, [origin] * 3)

    def _projections(self, array: npt.ArrayLike) -> Any:
        rows, columns = self._set.geometry.detector_shape
        v, u = self._orbit.pixel_spacing_mm
        return self._image(array, [u, v, 1.0], [-(columns - 1) / 2 * u, -(rows - 1) / 2 * v, 0.0])

    def _ours(self, image: Any) -> Float32Array:
        return np.asarray(self._itk.array_from_image(image).transpose(1, 2, 0))

    def forward(self, array: npt.ArrayLike) -> Float32Array:
        """Run JosephForwardProjectionImageFilter."""
        filter_ = self._rtk.JosephForwardProjectionImageFilter[self._type, self._type].New()
        filter_.SetInput(0, self._projections(np.zeros(self._set.projections.shape)))
        filter_.SetInput(1, self._volume(array))
        filter_.SetGeometry(self.geometry)
        filter_.Update()
        return np.asarray(self._itk.array_from_image(filter_.GetOutput()))

    def adjoint(self, projections: npt.ArrayLike) -> Float32Array:
        """Run JosephBackProjectionImageFilter."""
        filter_ = self._rtk.JosephBackProjectionImageFilter[self._type, self._type].New()
        filter_.SetInput(0, self._volume(np.zeros(self._grid.shape_kji)))
        filter_.SetInput(1, self._projections(projections))
        filter_.SetGeometry(self.geometry)
        filter_.Update()
        return self._ours(filter_.GetOutput())

    def fdk(self, hann_cutoff: float = 1.0) -> Float32Array:
        """Run RTK's FDK with its Parker weights (which leave full turns alone)."""
        weights = self._rtk.ParkerShortScanImageFilter[self._type].New()
        weights.SetInput(self._projections(self._set.projections))
        weights.SetGeometry(self.geometry)
        filter_ = self._rtk.FDKConeBeamReconstructionFilter[self._type].New()
        filter_.SetInput(0, self._volume(np.zeros(self._grid.shape_kji)))
        filter_.SetInput(1, weights.GetOutput())
        filter_.SetGeometry(self.geometry)
        filter_.GetRampFilter().SetTruncationCorrection(0.0)
        filter_.GetRampFilter().SetHannCutFrequency(hann_cutoff)
        filter_.Update()
        return self._ours(filter_.GetOutput())

    def sart(self, n_iterations: int = 3, relaxation: float = 0.3) -> Float32Array:
        """Run RTK's SART, view by view, with positivity."""
        filter_ = self._rtk.SARTConeBeamReconstructionFilter[self._type, self._type].New()
        filter_.SetInput(0, self._volume(np.zeros(self._grid.shape_kji)))
        filter_.SetInput(1, self._projections(self._set.projections))
        filter_.SetGeometry(self.geometry)
        filter_.SetNumberOfIterations(n_iterations)
        filter_.SetNumberOfProjectionsPerSubset(1)
        filter_.SetLambda(relaxation)
        filter_.SetEnforcePositivity(True)
        filter_.SetForwardProjectionFilter(filter_.ForwardProjectionType_FP_JOSEPH)
        filter_.SetBackProjectionFilter(filter_.BackProjectionType_BP_VOXELBASED)
        filter_.Update()
        return self._ours(filter_.GetOutput())

    def conjugate_gradient(self, n_iterations: int = 10) -> Float32Array:
        """Run RTK's conjugate gradient on the normal equations, which wants a matched pair."""
        filter_ = self._rtk.ConjugateGradientConeBeamReconstructionFilter[self._type].New()
        filter_.SetInputVolume(self._volume(np.zeros(self._grid.shape_kji)))
        filter_.SetInputProjectionStack(self._projections(self._set.projections))
        filter_.SetInputWeights(self._projections(np.ones(self._set.projections.shape)))
        filter_.SetGeometry(self.geometry)
        filter_.SetNumberOfIterations(n_iterations)
        filter_.SetDisableDisplacedDetectorFilter(True)
        filter_.SetForwardProjectionFilter(filter_.ForwardProjectionType_FP_JOSEPH)
        filter_.SetBackProjectionFilter(filter_.BackProjectionType_BP_JOSEPH)
        filter_.Update()
        return self._ours(filter_.GetOutput())
