"""A worker whose jobs are quick and known in advance, started as a script by the module's tests.

Reconstruction gives a bright ball in air; segmentation gives a ball around every positive point,
without the balls around the negative ones. Everything else is the real session.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from NASAM3DLib.progress import ProgressCallback
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.figures import measure
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.segmenter import ambiguity_hint
from NASAM3DLib.worker.jobs import Session
from NASAM3DLib.worker.mask_parts import pack_attention, unpack_base
from NASAM3DLib.worker.payloads import pack_mask, pack_volume, unpack_prompts, unpack_volume
from NASAM3DLib.worker.protocol import Message
from NASAM3DLib.worker.reporting import ProgressReporter
from NASAM3DLib.worker.server import JobTable, Upkeep, serve

RADIUS_MM = 9.0
CENTRE_RAS = (10.0, -5.0, 20.0)
N_STEPS = 10
STEP_S = {"standard": 0.01, "best": 0.15}
PREDICTION_S = 0.1
JOINT_STEP_S = 0.03


class KnownSession(Session):
    """A session with stand-ins for the long jobs and for what differs between machines."""

    has_weights = False
    last_mask: Mask | None = None

    def jobs(self) -> JobTable:
        """Give the table of jobs."""
        own = ("machine", "estimate", "weights", "attention", "sample", "simulate", "joint")
        return {**super().jobs(), **{verb: getattr(self, verb) for verb in own}}

    def machine(self, request: Message, progress: ProgressCallback) -> Message:
        """Describe a machine without a GPU and without weights."""
        weights = {
            "name": "sam-med3d-turbo",
            "title": "SAM-Med3D",
            "licence": "For research.",
            "size_bytes": 402_000_000,
            "is_installed": self.has_weights,
        }
        fields = {
            "cores": 4,
            "memory_bytes": 16 * 2**30,
            "free_memory_bytes": 8 * 2**30,
            "device": "Everything runs on the CPU.",
            "gpu": None,
            "engines": ["built-in", "density-guided", "sam-med3d", "label-free"],
            "weights": [weights],
            "has_torch": True,
        }
        return Message("result", fields)

    def estimate(self, request: Message, progress: ProgressCallback) -> Message:
        """Take two seconds and 100 MiB for every view, four times the memory for the best."""
        fields, best = request.fields, request.fields["settings"]["quality"] == "best"
        peak_bytes = fields["n_views"] * 100 * 2**20 * (4 if best else 1)
        free = 8 * 2**30
        answer = {
            "seconds": 2.0 * fields["n_views"],
            "peak_bytes": peak_bytes,
            "free_memory_bytes": free,
            "fits": peak_bytes <= free,
            "shape_kji": fields["shape_kji"],
        }
        return Message("result", answer)

    def inspect(self, request: Message, progress: ProgressCallback) -> Message:
        """Describe a scan; the text in the file is the number of views."""
        # A client with a command of its own sends the file itself.
        sent = request.arrays.get("files")
        text = Path(request.fields["path"]).read_text() if sent is None else bytes(sent).decode()
        if not text.isdigit():
            raise ValueError(f"A scan must hold projections and geometry, got {text!r}.")
        fields = {
            "summary": "a scan",
            "n_views": int(text),
            "arc_deg": 360.0,
            "detector_shape": [64, 80],
            "pixel_spacing_mm": [1.5, 1.5],
            "is_parallel": False,
            "shape_kji": [40, 48, 56],
        }
        strip = np.tile(np.arange(0, 240, 2, dtype=np.uint8), (30, 1))
        return Message("result", fields, {"strip": strip})

    def reconstruct(self, request: Message, progress: ProgressCallback) -> Message:
        """Give a ball of 40 HU and radius 25 mm in air, at the pace of the quality."""
        self.inspect(request, progress)
        settings = request.fields["settings"]
        for step in range(N_STEPS):
            progress("Iterating", step / N_STEPS)
            time.sleep(STEP_S[settings["quality"]])
            if step == N_STEPS // 2 and request.fields["previews"]:
                assert isinstance(progress, ProgressReporter)
                coarse = VolumeGrid.centred((10, 12, 14), (8.0, 8.0, 10.0), centre_ras=CENTRE_RAS)
                grey = Volume(np.full((10, 12, 14), 7.0, np.float32), coarse, "HU")
                preview = pack_volume("preview", grey, stage="first look", window=[-160.0, 240.0])
                progress.send_preview(preview)
        grid = VolumeGrid.centred((40, 48, 56), (2.0, 2.0, 2.5), centre_ras=CENTRE_RAS)
        inside = distance_mm(grid, np.array(CENTRE_RAS)) < 25.0
        volume = Volume(np.where(inside, 40.0, -1000.0).astype(np.float32), grid, "HU")
        if settings["uncertainty"]:
            volume = replace(volume, uncertainty=np.full(inside.shape, 900.0, np.float32))
        volume = volume if request.fields["quantity"] == "HU" else volume.to_attenuation()
        known = {"tv_strength": 1e-3} if settings["method"] == "tv" else {}
        basis = {"report": known, "scan": {"projections": "1", "geometry": "2"}}
        return pack_volume("result", volume, report={}, basis=basis, window=[-160.0, 240.0])

    def joint(self, request: Message, progress: ProgressCallback) -> Message:
        """Make the volume 5 HU brighter and the mask a ball of twice the radius.

        A first point on the right half is not worth it; a single positive point keeps the mask.
        """
        self.inspect(request, progress)
        assert request.fields["basis"]["scan"] == {"projections": "1", "geometry": "2"}
        volume, prompts = unpack_volume(request), unpack_prompts(request)
        for step in range(N_STEPS):
            progress("refereeing", step / N_STEPS)
            time.sleep(JOINT_STEP_S)
            if step == N_STEPS // 2 and request.fields["previews"]:
                assert isinstance(progress, ProgressReporter)
                preview = pack_volume("preview", volume, stage="refining", window=[0.0, 100.0])
                progress.send_preview(preview)
        first, *others = prompts.positive_ras
        if first[0] > CENTRE_RAS[0] + 5.0:
            report = {"returned": "un-joined", "why": "held-out views got worse"}
            return Message("result", {"is_joint": False, "report": report})
        radius_mm = RADIUS_MM * (2 if others else 1)
        mask = Mask(distance_mm(volume.grid, first) < radius_mm, volume.grid)
        report = {
            "returned": "joint",
            "why": "held-out views do not speak against it",
            "mask_returned": "joint" if others else "un-joined",
            "mask_change": 0.25,
        }
        brighter = replace(volume, array=volume.array + np.float32(5))
        fields = {"is_joint": True, "report": report, "window": [-160.0, 240.0]}
        whole = pack_volume("result", brighter, **fields)
        part = pack_mask("result", mask, **asdict(measure(mask, brighter)))
        return Message("result", {**whole.fields, **part.fields}, {**whole.arrays, **part.arrays})

    def weights(self, request: Message, progress: ProgressCallback) -> Message:
        """Take a second for what the user has agreed to."""
        if request.fields["accepted"] is not True:
            raise ValueError("The licence was not accepted.")
        for step in range(20):
            progress("downloading", step / 20)
            time.sleep(0.05)
        self.has_weights = True
        return Message("result", {"name": request.fields["name"]})

    def sample(self, request: Message, progress: ProgressCallback) -> Message:
        """Make a scan file of the kind that this worker knows."""
        progress("generating a patient", 0.0)
        path = Path(request.fields["folder"]) / "NASAM3D-sample.npz"
        path.write_text("50")
        return Message("result", {"path": str(path), "lesion_ras": [list(CENTRE_RAS)]})

    def simulate(self, request: Message, progress: ProgressCallback) -> Message:
        """Write a scan file with as many views as were asked for."""
        assert unpack_volume(request).array.any()
        Path(request.fields["path"]).write_text(str(request.fields["n_views"]))
        return Message("result", {"path": request.fields["path"]})

    def attention(self, request: Message, progress: ProgressCallback) -> Message:
        """Look at where the last mask is."""
        self._check_volume(request)
        assert self.last_mask is not None
        return pack_attention(self.last_mask.array.astype(np.float32), self.last_mask.grid)

    def predict(self, request: Message, progress: ProgressCallback) -> Message:
        """Give balls around the points, within the box; the box alone gives all of it."""
        volume = self._check_volume(request)
        prompts = unpack_prompts(request)
        time.sleep(PREDICTION_S)
        if request.fields["settings"].get("density_guidance") is False:
            raise ValueError("Density guidance cannot be switched off in this worker.")
        if request.fields.get("engine") == "sam-med3d" and not self.has_weights:
            raise FileNotFoundError("SAM-Med3D has no weights yet: download them.")
        inside = prompts.inside_box(volume.grid)
        base = unpack_base(request, volume.grid)
        array = np.zeros(volume.grid.shape_kji, dtype=bool) if base is None else base.array
        if base is None and not len(prompts.positive_ras):
            array |= inside
        for points, value in ((prompts.positive_ras, True), (prompts.negative_ras, False)):
            for point in points:
                array[distance_mm(volume.grid, point) < RADIUS_MM] = value
        self.last_mask = Mask(array & inside, volume.grid)
        answer = self._packed(self.last_mask)
        leaks = len(prompts.positive_ras) == 2 and not len(prompts.negative_ras)
        told = {"ambiguity": float(leaks), "hint": ambiguity_hint(float(leaks))}
        return Message(answer.kind, {**answer.fields, **told}, answer.arrays)


def distance_mm(grid: VolumeGrid, point_ras: np.ndarray) -> np.ndarray:
    """Distance of every voxel from a point, shape (k, j, i)."""
    kji = np.indices(grid.shape_kji).reshape(3, -1).T
    away = np.linalg.norm(grid.to_ras(kji[:, ::-1]) - point_ras, axis=1)
    return away.reshape(grid.shape_kji)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--idle-s", type=float, default=600.0)
    parser.add_argument("--forgetful", action="store_true")
    options = parser.parse_args()
    session = KnownSession()
    jobs = dict(session.jobs())
    if options.forgetful:
        jobs["set_volume"] = lambda request, progress: Message("result", {"volume_id": "lost"})
    serve(jobs, Upkeep(session.release, options.idle_s))
