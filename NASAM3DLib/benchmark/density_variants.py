"""The density-guided module taken apart: methods that differ in one of its choices each.

Every method is an engine of this library with one part exchanged. The walker without density
guidance walks on the densities alone; the network without it gets empty channels, as it did in a
part of its training. Whatever is not named is as in the product.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from NASAM3DLib.benchmark.density_parts import (
    AT_LOGITS,
    LIKELIHOODS,
    PATHS,
    VariantWalker,
    WalkerVariant,
    WithoutUncertainty,
    added_to_output,
    attention_alone,
    gated_output,
    without_channels,
)
from NASAM3DLib.benchmark.methods import ours
from NASAM3DLib.benchmark.methods.protocol import Method
from NASAM3DLib.evaluate.clicks import Segmenter
from NASAM3DLib.segment.segmenter import SegmentationSettings, make_segmenter


def _engine(
    name: str,
    *,
    guided: bool = True,
    strength: float = 1.0,
    emptied: tuple[str, ...] = (),
    uncertainty: bool = False,
) -> Segmenter:
    """Make an engine of the product, parts of it switched off."""
    settings = SegmentationSettings(density_guidance=guided, guidance_strength=strength)
    segmenter: Segmenter = make_segmenter(name, settings)
    if emptied:
        segmenter = without_channels(segmenter, emptied)
    return segmenter if uncertainty else WithoutUncertainty(segmenter)


def _walker(name: str, note: str, variant: WalkerVariant) -> Method:
    """Describe a variant of the walker."""
    return Method(
        f"walker: {name}",
        "ours",
        note,
        partial(VariantWalker, variant),
        identity=ours.walker_identity,
    )


def _same_as(
    engines: tuple[str, ...], name: str, note: str, make: Callable[[], Segmenter]
) -> Method:
    """Describe a variant of an engine that may be missing here."""
    known = next(method for method in ours.METHODS if method.name in engines)
    return Method(name, "ours", note, make, known.missing, known.identity)


def _network(name: str, note: str, **choices: object) -> Method:
    """Describe a variant of the network."""
    make = partial(_engine, "label-free", **choices)  # type: ignore[arg-type]
    return _same_as(("built-in", "label-free"), f"network: {name}", note, make)


METHODS = (
    Method(
        "walker: off",
        "ours",
        "density guidance off: a random walker on the densities",
        partial(_engine, "density-guided", guided=False),
        identity=ours.walker_identity,
    ),
    _walker("default", "attention along paths as the walker's prior", WalkerVariant()),
    _walker(
        "added to output",
        "attention along paths added to the logits of the walker without guidance",
        WalkerVariant(added_to_output),
    ),
    _walker(
        "gate on output",
        "walker without guidance, multiplied by the attention along paths where that is below 1/2",
        WalkerVariant(gated_output),
    ),
    _walker(
        "attention alone", "attention along paths without a walker", WalkerVariant(attention_alone)
    ),
    _walker(
        "attenuation only",
        "the likelihood of the clicked density, without paths, as the prior",
        WalkerVariant(paths=False),
    ),
    _walker(
        "attenuation + uncertainty",
        "the same, with models widened by the volume's uncertainty",
        WalkerVariant(paths=False, uncertainty=True),
    ),
    _walker(
        "default + uncertainty",
        "default with models widened by the volume's uncertainty",
        WalkerVariant(uncertainty=True),
    ),
    _walker("strength 0.25", "default at a quarter of the strength", WalkerVariant(strength=0.25)),
    _walker("strength 0.5", "default at half the strength", WalkerVariant(strength=0.5)),
    _walker("strength 2", "default at twice the strength", WalkerVariant(strength=2.0)),
    _walker("strength 4", "default at four times the strength", WalkerVariant(strength=4.0)),
    _network("off", "density guidance off: its channels are empty", guided=False),
    _network("default", "all channels, attention and walker added to the logits"),
    _network(
        "added to output",
        "what is added to the logits, no other channel of the guidance",
        emptied=(*LIKELIHOODS, *PATHS),
    ),
    _network(
        "channels alone",
        "channels of likelihoods and attention, nothing added to the logits",
        emptied=AT_LOGITS,
    ),
    _network(
        "without walker", "default without the random walker's channel", emptied=AT_LOGITS[:1]
    ),
    _network(
        "attenuation only",
        "channels of likelihoods only, without paths",
        emptied=(*PATHS, *AT_LOGITS),
    ),
    _network(
        "default + uncertainty",
        "default with models widened by the volume's uncertainty",
        uncertainty=True,
    ),
    _network("strength 0.5", "half the learned weight at the logits", strength=0.5),
    _network("strength 2", "twice the learned weight at the logits", strength=2.0),
    _same_as(
        ("sam-med3d",),
        "sam-med3d: off",
        "SAM-Med3D without density guidance",
        partial(_engine, "sam-med3d", guided=False),
    ),
    _same_as(
        ("sam-med3d",),
        "sam-med3d: default",
        "SAM-Med3D, attention added to its logits",
        partial(_engine, "sam-med3d"),
    ),
)
