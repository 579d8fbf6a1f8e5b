"""Average two sets of weights of the built-in network, of which one was trained on from the other.

    python Tools/average_weights.py before.safetensors after.safetensors -o mean.safetensors

The mean of weights from before and after a part of a training often answers better than either
(M. Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022). The record beside the
result holds both records.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from NASAM3DLib.segment.labelfree.weights import load_weights, save_weights  # noqa: E402


def average(first: Path, second: Path, output: Path, *, share: float, force: bool = False) -> str:
    """Write the weighted mean of two sets of weights.

    Parameters
    ----------
    first, second : Path
        Files of weights with the same channels, their records beside them.
    output : Path
        File to write; its record lies beside it.
    share : float
        Weight of the second, 0 to 1.
    force : bool
        Whether existing files may be replaced.

    Returns
    -------
    str
        SHA-256 of the result.

    Raises
    ------
    ValueError
        If the share is out of range or the networks have different channels.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"The share of the second weights must lie in [0, 1], got {share}.")
    loaded = [load_weights(path) for path in (first, second)]
    channels = [one.network.config.channels for one in loaded]
    if channels[0] != channels[1]:
        raise ValueError(
            f"Only networks with the same channels have a mean, got {channels[0]} in {first} and "
            f"{channels[1]} in {second}."
        )
    states = [one.network.state_dict() for one in loaded]
    network = loaded[0].network
    network.load_state_dict(
        {name: value.lerp(states[1][name], share) for name, value in states[0].items()}
    )
    parts = [
        {"share": part, "sha256": one.sha256, "training": one.record}
        for part, one in zip((1 - share, share), loaded, strict=True)
    ]
    return save_weights(network, output, record={"mean_of": parts}, force=force)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command-line arguments without the program's name.

    Returns
    -------
    int
        Exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path, help="weights from before, .safetensors")
    parser.add_argument("second", type=Path, help="weights from after, .safetensors")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    parser.add_argument("--share", type=float, default=0.5, help="weight of the second")
    parser.add_argument("--force", action="store_true", help="replace existing files")
    chosen = parser.parse_args(arguments)
    digest = average(
        chosen.first, chosen.second, chosen.output, share=chosen.share, force=chosen.force
    )
    print(f"{chosen.output}: SHA-256 {digest}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
