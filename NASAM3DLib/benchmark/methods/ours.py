"""The engines of this library."""

from __future__ import annotations

import NASAM3DLib
from NASAM3DLib.benchmark.methods.protocol import Method, code_digest, package_missing
from NASAM3DLib.evaluate.clicks import Segmenter
from NASAM3DLib.segment.segmenter import SegmentationSettings, make_segmenter

SILENT = (
    *("curve", "interaction", "rescan", "training", "training_data", "training_loop"),
    *("dicom_seg", "dicom_series", "mask_io", "prompts_io"),
)
"""Modules that have no part in an answer to clicks: training, and files."""


def answering_code(*folders: str) -> str:
    """Give a digest of the source text behind the answers of engines.

    Parameters
    ----------
    *folders : str
        Folders of engines below the library.

    Returns
    -------
    str
        Eight hexadecimal digits.
    """
    return code_digest("segment", *folders, without=SILENT)


def _make(name: str, *, guided: bool = True) -> Segmenter:
    return make_segmenter(name, SegmentationSettings(density_guidance=guided))


def walker_identity() -> str:
    """Name the code behind the answers of the engine without training.

    Returns
    -------
    str
    """
    return f"{NASAM3DLib.__version__}, code {answering_code()}"


def _label_free_missing() -> str:
    from NASAM3DLib.segment.labelfree.location import default_path

    if not default_path().is_file():
        return "its weights are not installed"
    return package_missing("torch")


def _label_free_identity() -> str:
    from NASAM3DLib.segment.labelfree.location import default_path
    from NASAM3DLib.weights.store import sha256_of

    code = answering_code("segment/labelfree")
    return f"{NASAM3DLib.__version__}, code {code}, weights {sha256_of(default_path())[:8]}"


def _sam_missing() -> str:
    from NASAM3DLib.weights.store import WeightStore

    try:
        WeightStore().find()
    except FileNotFoundError:
        return "no weights are installed"
    return package_missing("torch")


def _sam_identity() -> str:
    from NASAM3DLib.weights.store import WeightStore

    code = answering_code("segment/sam_med3d")
    return f"{NASAM3DLib.__version__}, code {code}, weights {WeightStore().preferred()}"


METHODS = (
    Method(
        "built-in",
        "ours",
        "the default: the network that was trained on generated volumes only, with the random "
        "walker at its logits",
        lambda: _make("built-in"),
        _label_free_missing,
        _label_free_identity,
    ),
    Method(
        "density-guided",
        "ours",
        "density-geodesic attention as the prior of a random walker; no training",
        lambda: _make("density-guided"),
        identity=walker_identity,
    ),
    Method(
        "sam-med3d",
        "ours",
        "SAM-Med3D with the installed weights, guided by density",
        lambda: _make("sam-med3d"),
        _sam_missing,
        _sam_identity,
    ),
    Method(
        "unguided",
        "ours",
        "the engine density-guided with its density guidance off: a plain random walker",
        lambda: _make("density-guided", guided=False),
        identity=walker_identity,
    ),
)
