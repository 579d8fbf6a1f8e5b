"""The embedding of a region: computed once, kept, written to a file of less than a megabyte."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from NASAM3DLib.files import replacing
from NASAM3DLib.scan.grid import VolumeGrid

FloatArray = npt.NDArray[np.float32]

ENTRIES = ("features", "shape_kji", "ijk_to_ras", "weights_id")


@dataclass(frozen=True, eq=False)
class Embedding:
    """What the image encoder says about a region.

    Parameters
    ----------
    features : ndarray, shape (channels, g, g, g), float32
        The embedding, axes i, j, k behind the channels; float64 if it was computed so.
    grid : VolumeGrid
        The region's voxels.
    weights_id : str
        Tells the weights that made it, see :func:`weights_id_of`.

    Raises
    ------
    ValueError
        If the features are not a cube of finite numbers.
    """

    features: FloatArray
    grid: VolumeGrid
    weights_id: str

    def __post_init__(self) -> None:
        features = np.asarray(self.features)
        if features.dtype != np.float64:
            features = features.astype(np.float32, copy=False)
        if features.ndim != 4 or len(set(features.shape[1:])) != 1:
            raise ValueError(
                f"Embedding.features must have shape (channels, g, g, g), got {features.shape}."
            )
        if not np.isfinite(features).all():
            raise ValueError("Embedding.features must be finite, got NaN or infinity.")
        object.__setattr__(self, "features", features)

    def save(self, path: Path, *, force: bool = False) -> None:
        """Write the embedding.

        Parameters
        ----------
        path : Path
            File to write, ``.npz``.
        force : bool
            Whether an existing file may be replaced.

        Raises
        ------
        FileExistsError
            If the file exists and must not be replaced.
        ValueError
            If the name does not end with ``.npz``.
        """
        if path.suffix.lower() != ".npz":
            raise ValueError(f"An embedding is written as .npz, got {path.name!r}.")
        with replacing(path, force=force) as passing:
            np.savez(
                passing,
                features=self.features,
                shape_kji=np.array(self.grid.shape_kji),
                ijk_to_ras=self.grid.ijk_to_ras,
                weights_id=np.array(self.weights_id),
            )

    @classmethod
    def load(cls, path: Path, *, weights_id: str | None = None) -> Embedding:
        """Read an embedding.

        Parameters
        ----------
        path : Path
            File of :meth:`save`.
        weights_id : str, optional
            The weights with which it shall be used.

        Returns
        -------
        Embedding

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, or other weights made it.
        """
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {path}.")
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
                features, shape, affine, made_by = (content[name] for name in ENTRIES)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is no complete embedding ({error}): make it anew.") from error
        k, j, i = (int(n) for n in shape)
        embedding = cls(features, VolumeGrid((k, j, i), affine), str(made_by))
        if weights_id is not None and embedding.weights_id != weights_id:
            raise ValueError(
                f"{path} was made by the weights {embedding.weights_id}, not by {weights_id}: "
                "compute the embedding anew with the present weights."
            )
        return embedding


def weights_id_of(vectors: list[tuple[str, npt.NDArray[np.float32]]]) -> str:
    """Tell weights apart by the encoder's biases and gains, which any training changes.

    Parameters
    ----------
    vectors : list of (str, ndarray)
        Name and values of the one-dimensional parameters.

    Returns
    -------
    str
        Sixteen hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, values in vectors:
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return digest.hexdigest()[:16]
