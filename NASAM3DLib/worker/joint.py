"""The job "joint": a volume and the object that clicks show in it refine each other.

It takes what the volume was made from: the scan, and the ``basis`` that the answer of "reconstruct"
held. Both are compared, since another scan would make the volume worse without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from NASAM3DLib.progress import ProgressCallback, sub_progress
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.worker.files import pack_files
from NASAM3DLib.worker.payloads import (
    pack_mask,
    pack_prompts,
    pack_volume,
    unpack_prompts,
    unpack_volume,
)
from NASAM3DLib.worker.protocol import Deferred, Message
from NASAM3DLib.worker.requested import display_window, in_quantity, requested_scan, run_options

if TYPE_CHECKING:
    from NASAM3DLib.scan.projections import ProjectionSet

READING_PART = 0.03

MARKS = ("projections", "geometry")
"""What tells one scan from another."""


def basis_of(scan: ProjectionSet, volume: Volume, report: dict[str, Any]) -> dict[str, Any]:
    """Write down what a later joint refinement has to know about a reconstruction.

    Parameters
    ----------
    scan : ProjectionSet
        Corrected line integrals that were used.
    volume : Volume
        What was made of them.
    report : dict
        Report of the reconstruction.

    Returns
    -------
    dict
        Plain JSON values: parts of the report, and marks of the scan.
    """
    from NASAM3DLib.joint.checkpoint import REPORTED
    from NASAM3DLib.reconstruct.checkpoint import fingerprint
    from NASAM3DLib.reconstruct.settings import ReconstructionSettings

    marks = fingerprint(scan, volume.grid, ReconstructionSettings())
    known = {name: report[name] for name in REPORTED if name in report}
    return {"report": known, "scan": {name: marks[name] for name in MARKS}}


def joint_request(
    path: str | Path,
    read_volume: Callable[[], Volume],
    prompts: Prompts,
    *,
    shares_files: bool,
    **fields: Any,
) -> Deferred:
    """Ask for a joint refinement.

    Parameters
    ----------
    path : str or Path
        The scan that the volume was made from.
    read_volume : callable
        Gives the volume; called in another thread when the request is sent.
    prompts : Prompts
        Clicks on the object, in the volume's coordinates.
    shares_files : bool
        Whether the worker sees the same files: ``WorkerClient.shares_files``.
    **fields : object
        Further fields, see :func:`joint`.

    Returns
    -------
    Deferred
        For ``WorkerClient.submit``.
    """

    def pack() -> Message:
        """Put volume, clicks and scan together."""
        if shares_files:
            scan = Message("joint", {"path": str(path)})
        else:
            scan = pack_files("joint", Path(path))
        parts = [scan, pack_volume("joint", read_volume()), pack_prompts("joint", prompts)]
        merged = {name: value for part in parts for name, value in part.fields.items()}
        arrays = {name: array for part in parts for name, array in part.arrays.items()}
        return Message("joint", {**merged, **fields}, arrays)

    return Deferred("joint", pack)


def joint(request: Message, progress: ProgressCallback) -> Message:
    """Refine a volume and the object that clicks show in it.

    Parameters
    ----------
    request : Message
        With a scan, a volume in any unit, prompts, ``basis`` as "reconstruct" gave it and
        ``n_views`` as it was asked for. Optional: ``engine``, ``settings`` of the segmentation,
        ``previews``.
    progress : callable
        Progress callback.

    Returns
    -------
    Message
        Fields ``is_joint`` and ``report``; where the volume was refined also the volume, in the
        unit in which it came, with its ``window``, and the mask with its figures, in the arrays
        ``volume`` and ``mask``.

    Raises
    ------
    ValueError
        If the volume cannot be refined, or the scan is not the one that it was made from.
    """
    from NASAM3DLib.joint.refinement import refine_jointly
    from NASAM3DLib.joint.rounds import Clicks
    from NASAM3DLib.joint.settings import JointSettings
    from NASAM3DLib.pipeline import Reconstruction
    from NASAM3DLib.scan.corrections import correct
    from NASAM3DLib.segment.segmenter import DEFAULT_ENGINE, SegmentationSettings

    fields = request.fields
    basis = fields.get("basis")
    if not isinstance(basis, dict) or "report" not in basis:
        raise ValueError(
            "Joint refinement needs a volume with the basis that its reconstruction gave: "
            "reconstruct it anew."
        )
    progress("Reading projections", 0.0)
    scan, _ = correct(requested_scan(request))
    if fields.get("n_views"):
        scan = scan.sparse(int(fields["n_views"]))
    volume = unpack_volume(request).to_attenuation()
    _check_scan(scan, volume, basis)
    settings = JointSettings(
        engine=str(fields.get("engine") or DEFAULT_ENGINE),
        segmentation=SegmentationSettings(**fields.get("settings", {})),
    )
    done = refine_jointly(
        scan,
        Reconstruction(volume, dict(basis["report"])),
        Clicks(unpack_prompts(request), settings),
        options=run_options(request, progress),
        progress=sub_progress(progress, READING_PART, 1.0),
    )
    told = {"is_joint": done.is_joint, "report": done.report}
    if not done.is_joint:
        return Message("result", told)
    from NASAM3DLib.segment.figures import measure

    shown = in_quantity(done.volume, request)
    figures = asdict(measure(done.mask, shown))
    whole = pack_volume("result", shown, window=list(display_window(shown)), **told)
    part = pack_mask("result", done.mask, **figures)
    return Message("result", {**whole.fields, **part.fields}, {**whole.arrays, **part.arrays})


def _check_scan(scan: ProjectionSet, volume: Volume, basis: dict[str, Any]) -> None:
    """Refuse another scan than the one the volume was made from."""
    wanted, got = basis.get("scan"), basis_of(scan, volume, {})["scan"]
    if wanted != got:
        raise ValueError(
            "The volume was made from other projections than those in this file, or other views "
            "of them: choose its own file, or reconstruct it anew."
        )
