"""Running the network: device, precision, embedding, and one step of decoding."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from NASAM3DLib.reconstruct.settings import Device
from NASAM3DLib.segment.sam_med3d.embedding import Embedding, weights_id_of
from NASAM3DLib.segment.sam_med3d.model import SamMed3D
from NASAM3DLib.segment.sam_med3d.region_cut import Region

FloatArray = npt.NDArray[np.float32]
Precision = Literal["auto", "float32", "bfloat16", "float16", "float64"]

_REDUCED = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, eq=False)
class ClickedVoxels:
    """Clicks on a region.

    Parameters
    ----------
    voxels_ijk : ndarray, shape (n, 3)
        Indices in the network's order of axes.
    labels : ndarray, shape (n,), int
        1 on the object, 0 beside it.
    """

    voxels_ijk: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, n_clicks: int) -> ClickedVoxels:
        """Give the first clicks.

        Parameters
        ----------
        n_clicks : int
            How many.

        Returns
        -------
        ClickedVoxels
        """
        return ClickedVoxels(self.voxels_ijk[:n_clicks], self.labels[:n_clicks])

    def last(self) -> ClickedVoxels:
        """Give the newest click alone.

        Returns
        -------
        ClickedVoxels
        """
        return ClickedVoxels(self.voxels_ijk[-1:], self.labels[-1:])


class Predictor:
    """The network on a device, in a precision.

    Parameters
    ----------
    model : SamMed3D
        Moved to the device.
    device : {"auto", "cpu", "cuda"}
        Where to compute; "auto" is a GPU if torch finds one.
    precision : {"auto", "float32", "bfloat16", "float16", "float64"}
        "auto" is float32 on a CPU, where less saves no time, and bfloat16 on a GPU (float16 on one
        that has none). Reduced precision means autocast; positions of points stay float32.

    Raises
    ------
    RuntimeError
        If a GPU is asked for and there is none.
    """

    def __init__(
        self, model: SamMed3D, *, device: Device = "auto", precision: Precision = "auto"
    ) -> None:
        self.device = torch_device(device)
        on_gpu = self.device.type == "cuda"
        self.precision = _chosen(precision, on_gpu=on_gpu)
        self._dtype = torch.float64 if self.precision == "float64" else torch.float32
        self.model = model.to(self.device, self._dtype).eval()
        self.weights_id = weights_id_of(
            [
                (name, value.detach().to("cpu", torch.float32).numpy())
                for name, value in model.image_encoder.named_parameters()
                if value.ndim == 1
            ]
        )

    @property
    def region_size(self) -> int:
        """Voxels along each edge of a region."""
        return self.model.config.image_size

    def embed(self, region: Region) -> Embedding:
        """Run the image encoder.

        Parameters
        ----------
        region : Region
            Normalised cube.

        Returns
        -------
        Embedding
        """
        with self._running():
            features = self.model.image_encoder(self._tensor(region.image_ijk))
        return Embedding(features[0].to("cpu", self._dtype).numpy(), region.grid, self.weights_id)

    def decode(
        self,
        embedding: Embedding,
        clicks: ClickedVoxels | None,
        *,
        low: FloatArray | None = None,
    ) -> FloatArray:
        """Run prompt encoder and decoder once.

        Parameters
        ----------
        embedding : Embedding
            Of the region.
        clicks : ClickedVoxels or None
            What the network is shown; None for a refinement of the mask alone.
        low : ndarray, shape (m, m, m), float32, optional
            Logits of the step before, axes i, j, k. Zeros if not given, as before a first click.

        Returns
        -------
        ndarray, shape (m, m, m), float32
            Logits of low resolution, axes i, j, k.
        """
        size = self.model.config.mask_size
        mask = np.zeros((size,) * 3, dtype=np.float32) if low is None else low
        points = None
        if clicks is not None and len(clicks):
            points = (
                self._tensor(clicks.voxels_ijk)[None],
                torch.as_tensor(clicks.labels.astype(np.int64), device=self.device)[None],
            )
        with self._running():
            logits, _ = self.model(
                self._tensor(embedding.features)[None], points, mask=self._tensor(mask)[None, None]
            )
        return np.asarray(logits[0, 0].to("cpu", self._dtype).numpy())

    def upsampled(self, low: FloatArray) -> FloatArray:
        """Interpolate logits at the region's voxels.

        Parameters
        ----------
        low : ndarray, shape (m, m, m), float32
            Logits of low resolution, axes i, j, k.

        Returns
        -------
        ndarray, shape (n, n, n), float32
            Logits, in the library's order of axes (k, j, i).
        """
        full = upsampled(torch.from_numpy(low)[None, None], self.region_size)[0, 0]
        return np.ascontiguousarray(full.numpy().transpose(2, 1, 0))

    def _tensor(self, values: npt.NDArray[np.floating]) -> Tensor:
        """Bring an array to the device."""
        return torch.as_tensor(values, dtype=self._dtype, device=self.device)

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        """Compute without gradients, in the chosen precision."""
        reduced = _REDUCED.get(self.precision)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=reduced, enabled=reduced is not None),
        ):
            yield


def upsampled(low: Tensor, size: int) -> Tensor:
    """Interpolate logits trilinearly, corners not aligned.

    Parameters
    ----------
    low : Tensor, shape (b, c, m, m, m)
        Logits of low resolution.
    size : int
        Voxels along each edge of the result.

    Returns
    -------
    Tensor, shape (b, c, size, size, size)
    """
    return functional.interpolate(low, size=(size,) * 3, mode="trilinear", align_corners=False)


def torch_device(device: Device) -> torch.device:
    """Turn a wish into a device.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        "auto" is a GPU if torch finds one.

    Returns
    -------
    torch.device

    Raises
    ------
    RuntimeError
        If a GPU is asked for and there is none.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise RuntimeError(
            "A GPU was asked for, but torch finds no CUDA device: choose the device auto or cpu, "
            "or install a CUDA build of PyTorch and the NVIDIA driver."
        )
    return torch.device("cuda" if found and device != "cpu" else "cpu")


def _chosen(precision: Precision, *, on_gpu: bool) -> Precision:
    """Replace "auto" by what suits the device."""
    if precision != "auto":
        return precision
    if not on_gpu:
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
