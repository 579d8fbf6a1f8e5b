"""A mask of voxels fitted to masks of single views, the idea of SA3D in X-rays.

SA3D lifts masks that a network drew into pictures of a radiance field to a mask grid V of the
field: V is rendered with the field's own weights w, ``P(r) = sum_x w(x) V(x) along r``, and fitted
by ``L(V) = - sum_r M(r) P(r) + lambda sum_r (1 - M(r)) P(r)``, where M is the mask of a view. Here
the pictures are projections of the attenuation, their masks come from a random walker on the
pixels, and P is computed by the projector A of this library.

- What the user clicks is a point in space and is seen in every view, so that no prompts have to be
  invented for the other views.
- L is linear in V. Over ``0 <= V <= 1`` its minimum is known: V is 1 where the gradient
  ``w A^T (lambda (1 - M) - M)`` is negative, that is where more than ``lambda / (1 + lambda)`` of
  the rays through a voxel, weighted by their lengths in it, run through the masks.
- In X-rays nothing hides what lies behind it, so that rendering weights by opacity would say
  nothing of where along a ray the mask lands. The weights are the likelihood of the clicked density
  instead: voxels of other density get no mask.
- As in SA3D, views whose mask overlaps the rendered one by an IoU below one half are left out, and
  the grid is fitted once more.

References
----------
J. Cen et al., "Segment Anything in 3D with NeRFs", NeurIPS 2023, equations 4-6.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.benchmark.views import scan_of
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.density import density_model, smoothed
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import POSITIVE, Prompts
from NASAM3DLib.segment.region_box import to_triple

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.intp]

LEAST_LIKELIHOOD = 0.1
"""Rendering weights below this are zero: there is nothing that a mask could land on."""

LEAST_OVERLAP = 0.5
OBJECT, BACKGROUND = 1, 2


@dataclass(frozen=True)
class RenderingSettings:
    """Choices of the fit.

    Parameters
    ----------
    n_views : int
        Views, spread over half a turn.
    outside_weight : float
        Weight lambda of rays beside the masks, positive.
    beta : float
        How much steps of the line integrals hold the random walker of a view back.
    """

    n_views: int = 12
    outside_weight: float = 2.0
    beta: float = 300.0


@dataclass(frozen=True, eq=False)
class _Scene:
    """A volume and its projections."""

    volume_hu: Volume
    projector: Projector
    images: FloatArray


class InverseRenderingSegmenter:
    """Segment by masks of single views and a mask grid behind them.

    Parameters
    ----------
    settings : RenderingSettings, optional
        Views and weights.
    """

    def __init__(self, settings: RenderingSettings | None = None) -> None:
        self.settings = settings or RenderingSettings()
        self._scene: _Scene | None = None

    def set_volume(self, volume: Volume) -> None:
        """Project the volume to be segmented.

        Parameters
        ----------
        volume : Volume
            In 1/mm or HU.
        """
        n_views = self.settings.n_views
        turn = scan_of(volume.grid, 2 * n_views)
        projector = Projector(volume.grid, turn.select(np.arange(n_views)))
        # Attenuation is not negative, whatever a reconstruction says.
        attenuation = np.maximum(volume.to_attenuation().array, 0)
        self._scene = _Scene(volume.to_hu(), projector, projector.forward(attenuation))

    def predict(self, prompts: Prompts) -> Mask:
        """Give the mask for all prompts so far.

        Parameters
        ----------
        prompts : Prompts
            All clicks, in order; the first is positive.

        Returns
        -------
        Mask
            Agrees with every click.

        Raises
        ------
        RuntimeError
            If there is no volume yet.
        """
        if self._scene is None:
            raise RuntimeError("There is no volume to segment yet: call set_volume first.")
        volume, projector = self._scene.volume_hu, self._scene.projector
        masks = np.stack(
            [
                mask_in_view(
                    image, *_pixels(projector, prompts, view=view), beta=self.settings.beta
                )
                for view, image in enumerate(self._scene.images)
            ]
        )
        weights = _likelihood(volume, prompts)
        limit = self.settings.outside_weight
        found = mask_grid(projector, masks, weights, outside_weight=limit)
        kept = agreeing_views(projector.forward(found * weights), masks)
        if 0 < np.count_nonzero(kept) < len(kept):
            rest = Projector(volume.grid, projector.geometry.select(np.flatnonzero(kept)))
            found = mask_grid(rest, masks[kept], weights, outside_weight=limit)
        return Mask(found, volume.grid).tidied(prompts)


def mask_in_view(
    image: FloatArray, positive: IndexArray, negative: IndexArray, *, beta: float
) -> BoolArray:
    """Ask a random walker on the pixels of a view which of them belong to the clicked object.

    Parameters
    ----------
    image : ndarray, shape (rows, columns), float32
        Line integrals.
    positive, negative : ndarray, shape (n, 2), intp
        Clicked pixels (row, column); at least one positive.
    beta : float
        How much steps of the line integrals hold the walker back.

    Returns
    -------
    ndarray, shape (rows, columns), bool
        The border of the view counts as background, and so does a negative click but where a
        positive one is seen on the same pixel.
    """
    from skimage import segmentation

    spread = max(float(image.std()), 1e-6)
    labels = np.zeros(image.shape, dtype=np.int32)
    labels[[0, -1]] = BACKGROUND
    labels[:, [0, -1]] = BACKGROUND
    labels[tuple(negative.T)] = BACKGROUND
    labels[tuple(positive.T)] = OBJECT
    with warnings.catch_warnings():
        # It recommends pyamg, and tells when a probability is a rounding error below zero.
        warnings.simplefilter("ignore", category=UserWarning)
        found = segmentation.random_walker(
            image / spread, labels, beta=beta, mode="cg_j", tol=1e-2, prob_tol=0.1
        )
    return np.asarray(found == OBJECT)


def mask_grid(
    projector: Projector, masks: BoolArray, weights: FloatArray, *, outside_weight: float
) -> BoolArray:
    """Fit the mask grid: the minimum of L over ``0 <= V <= 1``.

    Parameters
    ----------
    projector : Projector
        From voxels to the pixels of the views.
    masks : ndarray, shape (n_views, n_rows, n_cols), bool
        Mask M of each view.
    weights : ndarray, shape (k, j, i), float32
        Rendering weights w, not negative.
    outside_weight : float
        Weight lambda of rays beside the masks.

    Returns
    -------
    ndarray, shape (k, j, i), bool
        V, which is 0 or 1 but where the gradient is zero; it is 0 there.
    """
    gradient = weights * projector.adjoint(outside_weight - (1 + outside_weight) * masks)
    return np.asarray(gradient < 0)


def agreeing_views(rendered: FloatArray, masks: BoolArray) -> BoolArray:
    """Tell which views' masks overlap the rendered mask.

    Parameters
    ----------
    rendered : ndarray, shape (n_views, n_rows, n_cols), float32
        Rendered mask grid P.
    masks : ndarray, same shape, bool
        Mask of each view.

    Returns
    -------
    ndarray, shape (n_views,), bool
        Whether the IoU is at least one half.
    """
    shadow = rendered > 0
    both = (shadow & masks).sum(axis=(1, 2))
    either = (shadow | masks).sum(axis=(1, 2))
    return np.asarray(both >= LEAST_OVERLAP * np.maximum(either, 1))


def _pixels(projector: Projector, prompts: Prompts, *, view: int) -> tuple[IndexArray, IndexArray]:
    """Find the pixels of the clicks in a view: positive and negative ones."""
    shape = np.array(projector.geometry.detector_shape)
    pixels = projector.geometry.project_points(view, prompts.points_ras)
    nearest = np.clip(np.rint(pixels).astype(np.intp), 0, shape - 1)
    positive = prompts.labels == POSITIVE
    return nearest[positive], nearest[~positive]


def _likelihood(volume: Volume, prompts: Prompts) -> FloatArray:
    """Give the likelihood of the clicked densities, zero where there is next to none."""
    voxels = prompts.voxels(volume.grid)[prompts.labels == POSITIVE]
    values = smoothed(volume.array)
    models = [density_model(volume.array, to_triple(voxel)) for voxel in voxels]
    alike = np.max([model.likelihood(values) for model in models], axis=0)
    return np.where(alike < LEAST_LIKELIHOOD, 0, alike).astype(np.float32)
