"""Where the weights lie that come with the product; found without importing torch."""

from __future__ import annotations

from pathlib import Path

FILE_NAME = "labelfree.safetensors"


def default_path() -> Path:
    """Give the place of the weights that come with the product.

    Returns
    -------
    Path
        May not exist.
    """
    return Path(__file__).resolve().parents[3] / "Resources" / "Weights" / FILE_NAME
