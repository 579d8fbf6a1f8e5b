"""Loading the weights of a neural attenuation field that the authors' program trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from NASAM3DLib.reconstruct.naf import PER_METRE, NafField, NafSettings


def load_naf_checkpoint(
    path: str | Path,
    settings: NafSettings | None = None,
    *,
    isocenter_ras: tuple[float, float, float] = (0.0, 0.0, 0.0),
    peak_attenuation: float = PER_METRE,
) -> NafField:
    """Load the network of a checkpoint that the authors' program wrote.

    Parameters
    ----------
    path : str or Path
        Their ``ckpt.tar``. Nothing but tensors and plain values is read from it.
    settings : NafSettings, optional
        Shape of the network; by default the published one.
    isocenter_ras : tuple of float
        Where the origin of their coordinates lies, mm.
    peak_attenuation : float
        Attenuation that the output 1 stands for, 1/mm. Their lengths are in m, hence 1/m.

    Returns
    -------
    NafField

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no such checkpoint, or an entry is missing, unknown or misshapen.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no NAF checkpoint at {path}.")
    field = NafField(
        settings or NafSettings(),
        isocenter_ras=isocenter_ras,
        peak_attenuation=peak_attenuation,
    )
    field.load_state_dict(_checked_entries(_network_entries(path), field.state_dict()))
    return field


def _network_entries(path: Path) -> dict[str, Any]:
    """Read the checkpoint and take its network."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Of damaged files torch's readers raise almost anything; what cannot be read is refused.
        raise ValueError(
            f"{path} is no checkpoint that can be read safely as tensors: {error}"
        ) from error
    network = content.get("network") if isinstance(content, dict) else None
    if not isinstance(network, dict):
        found = (
            ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        )
        raise ValueError(
            f'{path} is no NAF checkpoint: it must hold an entry "network" with the weights, got '
            f"{found or 'nothing'}."
        )
    return network


def _checked_entries(found: dict[str, Any], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Refuse entries that are missing, unknown or misshapen, each by its name."""
    missing, unknown = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or unknown:
        raise ValueError(
            "The checkpoint's network does not have the expected entries: missing "
            f"{', '.join(missing) or 'none'}; unknown {', '.join(unknown) or 'none'}. Give the "
            "NafSettings it was trained with."
        )
    for name, entry in wanted.items():
        shape = tuple(getattr(found[name], "shape", ()))
        if shape != tuple(entry.shape):
            raise ValueError(
                f"The checkpoint's entry {name} must have shape {tuple(entry.shape)}, got {shape}. "
                "Give the NafSettings it was trained with."
            )
        if not torch.isfinite(found[name]).all():
            raise ValueError(f"The checkpoint's entry {name} holds NaN or infinity.")
    return found
