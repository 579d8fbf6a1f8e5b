"""Downloading weights: only when asked, resumed where it was interrupted, checked by digest."""

from __future__ import annotations

import http.client
import logging
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from NASAM3DLib import __version__
from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.weights.catalogue import PublicWeights
from NASAM3DLib.weights.store import CHUNK_BYTES, StoredWeights, WeightStore

logger = logging.getLogger(__name__)

TIMEOUT_S = 30.0
"""Silence of the server after which a download ends, to be resumed later."""

SIZE_MARGIN = 1.1
"""A server may send so many times the expected size before it is cut off."""

_HTTP_PARTIAL, _HTTP_RANGE_REFUSED = 206, 416


def download(
    weights: PublicWeights,
    store: WeightStore,
    *,
    mirror: str | None = None,
    progress: ProgressCallback = no_progress,
) -> StoredWeights:
    """Download weights into a store.

    Parameters
    ----------
    weights : PublicWeights
        What to download.
    store : WeightStore
        Where to keep it.
    mirror : str, optional
        Address of a mirror to use instead of the authors' place.
    progress : callable
        Called with stage and fraction; may raise to interrupt. What has come so far is kept
        outside of the store's names and continued by the next call.

    Returns
    -------
    StoredWeights

    Raises
    ------
    OSError
        If the server cannot be reached or the connection breaks, or the disk is full.
    ValueError
        If the file is not what the catalogue says; nothing is stored then.

    Notes
    -----
    Proxies are taken from the environment or the system, as urllib does (``https_proxy``,
    ``no_proxy``). A resumed file that turns out wrong is fetched once more from its beginning.
    """
    url = weights.url_at(mirror)
    store.folder.mkdir(parents=True, exist_ok=True)
    partial = store.partial_path(weights.name)
    resumed = partial.is_file() and partial.stat().st_size > 0
    _check_space(weights, store.folder, partial)
    _fetch(url, partial, weights, progress)
    try:
        return store.admit(weights.name, sha256=weights.sha256, source=url)
    except ValueError:
        if not resumed:
            raise
    logger.warning("The parts of the download do not fit together; it is fetched anew.")
    _fetch(url, partial, weights, progress)
    return store.admit(weights.name, sha256=weights.sha256, source=url)


def _fetch(url: str, partial: Path, weights: PublicWeights, progress: ProgressCallback) -> None:
    """Bring the partial file to its full length."""
    begin = partial.stat().st_size if partial.is_file() else 0
    try:
        answer = _opened(url, begin)
        if answer is None:
            # The server has nothing behind this point: complete, or not the same file any more.
            return
        with answer:
            _receive(answer, partial, weights, progress)
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
    ) as error:
        reason = getattr(error, "reason", None) or error
        raise OSError(
            f"{url} cannot be downloaded ({reason}): check the network, the proxy or --mirror. "
            "What has come is kept; the same command continues."
        ) from error


def _opened(url: str, begin: int) -> Any:
    """Ask for a file from a byte on; None if there is nothing from there on."""
    headers = {"User-Agent": f"NASAM3D/{__version__}", "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        # An opener of its own: the common one keeps the proxies of the first request.
        return urllib.request.build_opener().open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _HTTP_RANGE_REFUSED and begin:
            return None
        raise


def _receive(
    answer: Any, partial: Path, weights: PublicWeights, progress: ProgressCallback
) -> None:
    """Write what a server sends behind what is there already."""
    begin = partial.stat().st_size if partial.is_file() else 0
    continues = answer.status == _HTTP_PARTIAL and answer.headers.get(
        "Content-Range", ""
    ).startswith(f"bytes {begin}-")
    done = begin if continues else 0
    length = answer.headers.get("Content-Length")
    total = done + int(length) if length else None
    limit = SIZE_MARGIN * weights.size_bytes
    with partial.open("ab" if continues else "wb") as stream:
        while chunk := answer.read(CHUNK_BYTES):
            stream.write(chunk)
            done += len(chunk)
            if done > limit:
                break
            progress("downloading", min(done / (total or weights.size_bytes), 1.0))
    if done > limit:
        partial.unlink()
        raise ValueError(
            f"The server sends more than {weights.size_bytes / 1e6:.0f} MB: this is not "
            f"{weights.name}. Nothing was installed."
        )
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _check_space(weights: PublicWeights, folder: Path, partial: Path) -> None:
    """Refuse to begin what cannot fit on the disk."""
    present = partial.stat().st_size if partial.is_file() else 0
    needed = SIZE_MARGIN * weights.size_bytes - present
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder} has {free / 1e6:.0f} MB left and {needed / 1e6:.0f} MB are needed: make "
            "room, or name another folder in the environment variable NASAM3D_WEIGHTS."
        )
