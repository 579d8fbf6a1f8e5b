"""The public weights that this library can use: address, size, digest and licence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit, urlunsplit

SCHEMES = ("https", "http")
"""What a mirror's address may begin with; the digest decides, whatever the way."""


@dataclass(frozen=True)
class PublicWeights:
    """A file of weights on the web.

    Parameters
    ----------
    name : str
        Name on the command line.
    title : str
        What it is, in a few words.
    url : str
        Where the authors offer it.
    mirrors : tuple of str
        Addresses of known mirrors, without path.
    size_bytes : int
        Size, approximately: what is downloaded is checked by its digest.
    sha256 : str
        Digest of the file, hexadecimal.
    licence : str
        Under which terms the authors offer it, to be shown before the download.
    """

    name: str
    title: str
    url: str
    mirrors: tuple[str, ...]
    size_bytes: int
    sha256: str
    licence: str

    def url_at(self, mirror: str | None) -> str:
        """Give the address of the file at a mirror.

        Parameters
        ----------
        mirror : str or None
            Address of the mirror, such as ``https://hf-mirror.com``; its path, if any, stands
            before that of the file. None for the authors' place.

        Returns
        -------
        str

        Raises
        ------
        ValueError
            If this is no web address.
        """
        if mirror is None:
            return self.url
        place = urlsplit(mirror)
        if place.scheme not in SCHEMES or not place.netloc:
            raise ValueError(
                f"A mirror must be a web address such as https://hf-mirror.com, got {mirror!r}."
            )
        path = place.path.rstrip("/") + urlsplit(self.url).path
        return urlunsplit((place.scheme, place.netloc, path, "", ""))


SAM_MED3D_TURBO = PublicWeights(
    name="sam-med3d-turbo",
    title="SAM-Med3D, stage 2, trained on 44 data sets (sam_med3d_turbo.pth)",
    url="https://huggingface.co/blueyo0/SAM-Med3D/resolve/main/sam_med3d_turbo.pth",
    mirrors=("https://hf-mirror.com",),
    size_bytes=402_000_000,
    sha256="899a46d04d3b70f723282ceb489149373558bf0aaba389a346f5ab57da5cdd3c",
    licence=(
        "The authors of SAM-Med3D (github.com/uni-medical/SAM-Med3D) offer this file under the "
        "Apache License 2.0, as its model card says. It was trained on 44 data sets, licensed "
        "private cases among them, whose own terms the authors do not restate: whether your use "
        "is covered is for you to judge. It is research software and no medical device. NASAM3D "
        "does not distribute the file; it is fetched from the authors' place or your mirror."
    ),
)

CATALOGUE: Mapping[str, PublicWeights] = MappingProxyType({SAM_MED3D_TURBO.name: SAM_MED3D_TURBO})
"""All public weights by name."""


def public_weights(name: str) -> PublicWeights:
    """Find public weights.

    Parameters
    ----------
    name : str
        Their name.

    Returns
    -------
    PublicWeights

    Raises
    ------
    ValueError
        If there are none of that name.
    """
    if name not in CATALOGUE:
        raise ValueError(
            f"There are no public weights {name!r}: choose one of {', '.join(CATALOGUE)}."
        )
    return CATALOGUE[name]
