"""What the worker can be asked for, and what it remembers from one job to the next.

=============  =================================================  ================================
verb           takes                                              gives
=============  =================================================  ================================
inspect        a scan                                             views, arc, detector, summary
reconstruct    a scan; ``n_views``, ``settings``, ``grid``,       the volume, its report and a
               ``quantity``, ``previews``, ``checkpoint``         window to show it with; before,
                                                                  "preview" messages if asked for
joint          a scan, a volume, points, ``basis``, ``n_views``;  the report; volume and mask where
               ``engine``, ``settings``, ``previews``             they were refined
estimate       a scan's size; ``settings``                        seconds and bytes
set_volume     a volume                                           ``volume_id``
predict        ``volume_id``, points; ``engine``, ``settings``    the mask and its figures
attention      ``volume_id``                                      part of a volume, 0 to 255
undo, reset    ``volume_id``                                      the mask before, nothing
machine                                                           cores, memory, GPU, engines
sample         ``folder``                                         a generated scan in a file
simulate       a volume, ``path``, ``n_views``; ``photons``       a scan in a file
weights        ``name``, ``accepted``, ``mirror``                 digest and size, when downloaded
dicom_seg      segments, ``path``; ``series`` or a volume         a DICOM segmentation in a file
=============  =================================================  ================================

A scan is a ``path`` that both sides see, or files (:mod:`NASAM3DLib.worker.files`), or arrays
(:func:`~NASAM3DLib.worker.payloads.pack_projections`).
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from NASAM3DLib.progress import ProgressCallback, sub_progress
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.worker import services
from NASAM3DLib.worker.dicom import dicom_seg
from NASAM3DLib.worker.joint import basis_of, joint
from NASAM3DLib.worker.mask_parts import pack_attention, unpack_base
from NASAM3DLib.worker.memory import HeldVolume, VolumeMemory
from NASAM3DLib.worker.payloads import pack_mask, pack_volume, unpack_prompts, unpack_volume
from NASAM3DLib.worker.protocol import Message
from NASAM3DLib.worker.requested import (
    default_shape,
    display_window,
    in_quantity,
    requested_scan,
    run_options,
)
from NASAM3DLib.worker.server import JobTable
from NASAM3DLib.worker.thumbnails import thumbnail_strip

if TYPE_CHECKING:
    from NASAM3DLib.segment.mask import Mask
    from NASAM3DLib.segment.prompts import Prompts
    from NASAM3DLib.segment.segmenter import PromptableSegmenter

READING_PART = 0.05
PREPARING_PART = 0.3


class Session:
    """The jobs of one worker process.

    A volume is prepared once, however often it is clicked on, and kept under the hash of its
    content: the same voxels sent again find what was prepared.
    """

    def __init__(self) -> None:
        self._memory = VolumeMemory()
        self._asked: HeldVolume | None = None

    def jobs(self) -> JobTable:
        """Give the table of jobs.

        Returns
        -------
        mapping of str to callable
        """
        return {
            "inspect": self.inspect,
            "reconstruct": self.reconstruct,
            "joint": joint,
            "estimate": services.estimate,
            "set_volume": self.set_volume,
            "predict": self.predict,
            "attention": self.attention,
            "undo": self.undo,
            "reset": self.reset,
            "machine": services.machine,
            "sample": services.sample,
            "simulate": services.simulate,
            "weights": services.weights,
            "dicom_seg": dicom_seg,
        }

    def release(self) -> None:
        """Let go of volumes and embeddings; whoever asks for one next has to send it again."""
        self._asked = None
        self._memory.release()

    def inspect(self, request: Message, progress: ProgressCallback) -> Message:
        """Describe the scan in a file.

        Parameters
        ----------
        request : Message
            With the field ``path``.
        progress : callable
            Progress callback.

        Returns
        -------
        Message
            Fields ``summary``, ``n_views``, ``arc_deg`` (None for a free orbit),
            ``detector_shape``, ``pixel_spacing_mm``, ``is_parallel``, and ``shape_kji`` of the
            voxels that are filled unless others are asked for (None if others must be). The array
            ``strip`` is a picture of some views, uint8.
        """
        progress("Reading projections", 0.0)
        scan = requested_scan(request)
        geometry = scan.geometry
        orbit = geometry.orbit
        fields = {
            "summary": str(geometry),
            "n_views": geometry.n_views,
            "arc_deg": None if orbit is None else float(np.degrees(orbit.arc_rad)),
            "detector_shape": list(geometry.detector_shape),
            "pixel_spacing_mm": list(geometry.pixel_spacing_mm),
            "is_parallel": geometry.is_parallel,
            "shape_kji": default_shape(geometry),
        }
        return Message("result", fields, {"strip": thumbnail_strip(scan.projections)})

    def reconstruct(self, request: Message, progress: ProgressCallback) -> Message:
        """Reconstruct a volume from a file or from the projections in the message.

        Parameters
        ----------
        request : Message
            With ``path`` or the arrays of a scan. Optional: ``n_views`` to use, ``settings`` for
            ``ReconstructionSettings``, ``grid``, ``quantity`` ("HU" or "attenuation"),
            ``previews`` (whether to send them: volumes with the fields ``stage`` and ``window``),
            ``checkpoint`` (path of a file to resume from and to save in).
        progress : callable
            Progress callback.

        Returns
        -------
        Message
            The volume, with the fields ``report``, ``window`` and ``basis`` (what "joint" has to
            know of the reconstruction).
        """
        # Numba and the solvers load here, so that the worker says hello at once.
        from NASAM3DLib.pipeline import reconstruct
        from NASAM3DLib.reconstruct.settings import ReconstructionSettings
        from NASAM3DLib.scan.corrections import correct

        fields = request.fields
        progress("Reading projections", 0.0)
        # All views tell more about defects and drift than the chosen ones.
        scan, corrections = correct(requested_scan(request))
        if fields.get("n_views"):
            scan = scan.sparse(int(fields["n_views"]))
        grid = VolumeGrid.from_dict(fields["grid"]) if fields.get("grid") else None
        settings = ReconstructionSettings(**fields.get("settings", {}))
        part = sub_progress(progress, READING_PART, 1.0)
        options = run_options(request, progress)
        done = reconstruct(scan, grid, settings, options=options, progress=part)
        volume = in_quantity(done.volume, request)
        report = {**done.report, "corrections": corrections.to_dict()}
        basis = basis_of(scan, volume, done.report)
        window = list(display_window(volume))
        return pack_volume("result", volume, report=report, basis=basis, window=window)

    def set_volume(self, request: Message, progress: ProgressCallback) -> Message:
        """Take the volume that will be clicked on.

        Parameters
        ----------
        request : Message
            With a volume.
        progress : callable
            Progress callback.

        Returns
        -------
        Message
            Field ``volume_id``, the same for the same content.
        """
        progress("Receiving the volume", 0.0)
        volume_id = self._memory.put(unpack_volume(request))
        progress("Loading the engine", 0.5)
        # What is missing for one engine may not be needed for the one that is asked for.
        with contextlib.suppress(ImportError):
            services.warm_up()
        return Message("result", {"volume_id": volume_id})

    def predict(self, request: Message, progress: ProgressCallback) -> Message:
        """Segment what the points show.

        Parameters
        ----------
        request : Message
            With ``volume_id`` and prompts. Optional: ``engine``, ``settings``, and a mask that
            the prompts shall correct (:func:`~NASAM3DLib.worker.mask_parts.with_base`).
        progress : callable
            Progress callback.

        Returns
        -------
        Message
            The mask, with the fields of :class:`~NASAM3DLib.segment.figures.SegmentFigures`,
            ``volume_id``, and ``ambiguity`` (0 to 1, None where the engine does not tell) with the
            ``hint`` that a user should read (None where there is nothing to be said).
        """
        prompts = unpack_prompts(request)
        segmenter = self._requested_segmenter(request, sub_progress(progress, 0.0, PREPARING_PART))
        part = sub_progress(progress, PREPARING_PART, 1.0)
        base = unpack_base(request, self._check_volume(request).grid)
        if base is None:
            answer = self._packed(segmenter.predict(prompts, progress=part))
            return _with_ambiguity(answer, segmenter.last_ambiguity())
        from NASAM3DLib.segment.continued import continued

        def predict_alone(some: Prompts) -> Mask:
            """Predict without regard to what was predicted before."""
            segmenter.reset()
            return segmenter.predict(some, progress=part)

        return self._packed(continued(base, prompts, predict_alone))

    def attention(self, request: Message, progress: ProgressCallback) -> Message:
        """Give the attention behind the last prediction.

        Parameters
        ----------
        request : Message
            With ``volume_id``.
        progress : callable
            Progress callback.

        Returns
        -------
        Message
            As :func:`~NASAM3DLib.worker.mask_parts.pack_attention` makes it.
        """
        volume = self._check_volume(request)
        engine = self._last_engine()
        return pack_attention(None if engine is None else engine.last_attention(), volume.grid)

    def undo(self, request: Message, progress: ProgressCallback) -> Message:
        """Take the last prediction back.

        Parameters
        ----------
        request : Message
            With ``volume_id``.
        progress : callable
            Progress callback.

        Returns
        -------
        Message
            The mask before, as :meth:`predict` gives it; without a mask if there was none.
        """
        self._check_volume(request)
        engine = self._last_engine()
        if engine is None:
            raise RuntimeError("There is nothing to take back: predict first.")
        mask = engine.undo()
        return Message("result", {"n_voxels": 0}) if mask is None else self._packed(mask)

    def reset(self, request: Message, progress: ProgressCallback) -> Message:
        """Forget the predictions but keep the volume.

        Parameters
        ----------
        request : Message
            With ``volume_id``.
        progress : callable
            Progress callback.

        Returns
        -------
        Message
        """
        self._check_volume(request)
        engine = self._last_engine()
        if engine is not None:
            engine.reset()
        return Message("result", {"volume_id": request.fields["volume_id"]})

    def _requested_segmenter(
        self, request: Message, progress: ProgressCallback
    ) -> PromptableSegmenter:
        """Give the engine with the volume set, prepared only if it is not kept so."""
        from NASAM3DLib.segment.segmenter import DEFAULT_ENGINE, SegmentationSettings

        held = self._memory.get(request.fields.get("volume_id"))
        self._asked = held
        engine = str(request.fields.get("engine", DEFAULT_ENGINE))
        settings = SegmentationSettings(**request.fields.get("settings", {}))
        return held.engine(engine, settings, progress)

    def _check_volume(self, request: Message) -> Volume:
        """Give the volume that the request is about."""
        self._asked = self._memory.get(request.fields.get("volume_id"))
        return self._asked.volume

    def _last_engine(self) -> PromptableSegmenter | None:
        """Give the engine that was last used on the volume that was asked about."""
        return None if self._asked is None else self._asked.last_engine

    def _packed(self, mask: Mask) -> Message:
        """Put a mask and its figures into a result."""
        if self._asked is None:
            raise RuntimeError("There is no volume: send one with set_volume.")
        from NASAM3DLib.segment.figures import measure

        figures = asdict(measure(mask, self._asked.volume))
        return pack_mask("result", mask, volume_id=self._asked.name, **figures)


def _with_ambiguity(answer: Message, ambiguity: float | None) -> Message:
    """Add how ambiguous the density of the object is, and what the user can do about it."""
    from NASAM3DLib.segment.segmenter import ambiguity_hint

    told = {"ambiguity": ambiguity, "hint": ambiguity_hint(ambiguity)}
    return Message(answer.kind, {**answer.fields, **told}, answer.arrays)
