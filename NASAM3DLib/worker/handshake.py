"""The first message of a worker: who it is, and whether this program can work with it."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterable

import NASAM3DLib
from NASAM3DLib.worker.protocol import PROTOCOL_VERSION, Message

logger = logging.getLogger(__name__)


def greeting(verbs: Iterable[str]) -> Message:
    """Say who is speaking.

    Parameters
    ----------
    verbs : iterable of str
        What can be asked for.

    Returns
    -------
    Message
    """
    fields = {
        "protocol": PROTOCOL_VERSION,
        "library": NASAM3DLib.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "pid": os.getpid(),
        "verbs": sorted(verbs),
    }
    return Message("hello", fields)


def objection(hello: Message) -> str:
    """Tell why a worker cannot be used.

    Parameters
    ----------
    hello : Message
        Its greeting.

    Returns
    -------
    str
        What is wrong and what to do; empty if it can be used. Another version of the library that
        speaks the same protocol is only logged.
    """
    theirs, library = (hello.fields.get(name) for name in ("protocol", "library"))
    if theirs != PROTOCOL_VERSION:
        return (
            f"The background process speaks protocol {theirs} (NASAM3DLib {library}), this program "
            f"{PROTOCOL_VERSION} (NASAM3DLib {NASAM3DLib.__version__}): install the same version "
            "of NASAM3DLib on both sides."
        )
    if library != NASAM3DLib.__version__:
        logger.warning(
            "The worker has NASAM3DLib %s, this program %s.", library, NASAM3DLib.__version__
        )
    return ""
