"""SA3D's idea as a method of this library: masks of single views lifted to a mask of voxels."""

from __future__ import annotations

from NASAM3DLib.benchmark.inverse_rendering import InverseRenderingSegmenter
from NASAM3DLib.benchmark.methods.protocol import (
    Method,
    library_version,
    package_missing,
)

METHODS = (
    Method(
        "sa3d-idea",
        "peer",
        "not SA3D itself, which lifts masks of SAM through a NeRF: masks of 12 projections by a "
        "random walker around the projected clicks, lifted to a mask grid by inverse rendering "
        "through the projector, with the likelihood of the clicked density as rendering weight",
        InverseRenderingSegmenter,
        lambda: package_missing("skimage", "scikit-image"),
        lambda: f"{library_version()}, 1",
    ),
)
