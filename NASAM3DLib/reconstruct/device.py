"""Choosing the device for what torch computes."""

from __future__ import annotations

import logging

from NASAM3DLib.reconstruct.settings import Device

logger = logging.getLogger(__name__)


def choose_device(device: Device) -> str:
    """Turn a wish into a torch device.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        What the user asked for.

    Returns
    -------
    str
        "cpu" or "cuda".

    Raises
    ------
    ModuleNotFoundError
        If torch is not installed.
    RuntimeError
        If a GPU was asked for and there is none that torch can use.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "The attenuation field needs PyTorch, which is not installed: install it with "
            '"pip install NASAM3DLib[field]" or choose the method tv, which does without.',
            name="torch",
        ) from error
    if device == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise RuntimeError(
            "A GPU was asked for, but torch finds no CUDA device: choose the device auto or cpu, "
            "or install a CUDA build of PyTorch and the NVIDIA driver."
        )
    logger.info("No CUDA device: the attenuation field is fitted on the CPU.")
    return "cpu"
