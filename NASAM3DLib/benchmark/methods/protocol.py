"""What a method is to the benchmark.

A file with a tuple ``METHODS`` of such entries is all that a new method takes: name the file by
``--methods FILE`` on the command line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import NASAM3DLib
from NASAM3DLib.evaluate.clicks import Segmenter


def nothing_missing() -> str:
    """Tell that a method can always run.

    Returns
    -------
    str
        Empty.
    """
    return ""


def library_version() -> str:
    """Give the version of this library.

    Returns
    -------
    str
    """
    return NASAM3DLib.__version__


def code_digest(*folders: str, without: Collection[str] = ()) -> str:
    """Give a digest of the library's source text, for what may change within a version.

    Parameters
    ----------
    *folders : str
        Folders below the library; not those in them.
    without : collection of str
        Modules that do not count.

    Returns
    -------
    str
        Eight hexadecimal digits.
    """
    code = hashlib.sha256()
    for folder in folders:
        for path in sorted((Path(NASAM3DLib.__file__).parent / folder).glob("*.py")):
            if path.stem not in without:
                code.update(path.read_bytes())
    return code.hexdigest()[:8]


class NotMeantError(ValueError):
    """A method is not meant for an object. This is listed apart from what failed."""


@dataclass(frozen=True)
class Occasion:
    """What a method that was trained on labels may know besides volume and clicks.

    Parameters
    ----------
    case, target : str
        Names of the case and of the object in it.
    """

    case: str
    target: str


@dataclass(frozen=True)
class Method:
    """A method that turns clicks into masks.

    Parameters
    ----------
    name : str
        Name, unlike all others.
    kind : {"ours", "peer"}
        Whether it is an engine of this library.
    note : str
        What it does with which parameters, in a sentence.
    make : callable
        Gives a new object with ``set_volume`` and ``predict``.
    missing : callable
        Gives the reason why it cannot run on this machine; empty if it can.
    identity : callable
        Gives what its answers depend on besides its name: versions, weights. Answers that another
        identity gave are not taken for its own.
    make_for : callable, optional
        Gives the object for one occasion instead of ``make``: a method that was trained on labels
        must know which object is meant, and by which case it must not have been trained. May raise
        :class:`NotMeantError`.
    """

    name: str
    kind: Literal["ours", "peer"]
    note: str
    make: Callable[[], Segmenter]
    missing: Callable[[], str] = nothing_missing
    identity: Callable[[], str] = library_version
    make_for: Callable[[Occasion], Segmenter] | None = None

    def made_for(self, occasion: Occasion) -> Segmenter:
        """Make the object that answers the clicks on one target.

        Parameters
        ----------
        occasion : Occasion
            Case and target.

        Returns
        -------
        Segmenter
        """
        return self.make() if self.make_for is None else self.make_for(occasion)


def package_missing(module: str, package: str | None = None) -> str:
    """Tell whether a package is absent.

    Parameters
    ----------
    module : str
        What would be imported.
    package : str, optional
        What would be installed, if it is called otherwise.

    Returns
    -------
    str
        A reason, empty if it is there.
    """
    from importlib.util import find_spec

    if find_spec(module) is not None:
        return ""
    return f"the package {package or module} is not installed"


def package_version(package: str) -> str:
    """Give the version of an installed package.

    Parameters
    ----------
    package : str
        Its name in the index.

    Returns
    -------
    str
        Name and version.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} not installed"
