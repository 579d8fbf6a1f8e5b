"""The jobs around the work: this machine, expected costs, and weights that are asked for."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from file_server import Behaviour, serving

from NASAM3DLib.progress import no_progress
from NASAM3DLib.weights.catalogue import SAM_MED3D_TURBO
from NASAM3DLib.worker import services
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.job import Progress, WorkerError
from NASAM3DLib.worker.launch import worker_environment
from NASAM3DLib.worker.protocol import Message

TIMEOUT_S = 60.0
NAME = SAM_MED3D_TURBO.name
CONTENT = np.random.default_rng(0).bytes(200_000)


@pytest.fixture(scope="module")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store of weights."""
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def client(store_folder: Path) -> Iterator[WorkerClient]:
    """A worker with that store and no proxy."""
    environment = worker_environment({"NASAM3D_WEIGHTS": str(store_folder)})
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        environment.pop(name, None)
        environment.pop(name.upper(), None)
    running = WorkerClient(environment=environment)
    yield running
    running.close()


def asked(client: WorkerClient, verb: str, **fields: object) -> Message:
    """Ask and wait for the answer."""
    return client.wait(client.submit(Message(verb, fields)), TIMEOUT_S)


def test_the_machine_is_described(client: WorkerClient) -> None:
    fields = asked(client, "machine").fields
    assert fields["cores"] == os.cpu_count()
    assert fields["device"]
    assert fields["engines"][0] == "built-in"
    assert (fields["gpu"] is None) == (fields["device"] == "Everything runs on the CPU.")
    (weights,) = fields["weights"]
    assert (weights["name"], weights["is_installed"]) == (NAME, False)
    assert weights["size_bytes"] == SAM_MED3D_TURBO.size_bytes
    assert "Apache" in weights["licence"]


def test_the_cost_of_a_reconstruction_is_told(client: WorkerClient) -> None:
    scan = {"n_views": 50, "detector_shape": [128, 128], "shape_kji": [64, 64, 64]}
    costs = [
        asked(client, "estimate", **scan, settings={"quality": quality, "device": "cpu"}).fields
        for quality in ("preview", "standard", "best")
    ]
    assert all(cost["device"] == "cpu" for cost in costs)
    assert costs[0]["seconds"] < costs[1]["seconds"] < costs[2]["seconds"]
    assert costs[0]["peak_bytes"] < costs[2]["peak_bytes"]
    assert {cost["fits"] for cost in costs} <= {True, None}
    huge = {**scan, "shape_kji": [20_000, 20_000, 20_000], "settings": {"device": "cpu"}}
    assert asked(client, "estimate", **huge).fields["fits"] in (False, None)


def test_what_lacks_in_an_estimate_is_named(client: WorkerClient) -> None:
    with pytest.raises(WorkerError, match="needs a field 'shape_kji'") as caught:
        asked(client, "estimate", n_views=50, detector_shape=[128, 128])
    assert caught.value.kind == "input"


@pytest.mark.parametrize("accepted", [None, False, "yes", 1])
def test_nothing_is_downloaded_before_the_licence_is_accepted(
    client: WorkerClient, store_folder: Path, accepted: object
) -> None:
    behaviour = Behaviour(CONTENT)
    with serving(behaviour) as address, pytest.raises(WorkerError, match="licence was accepted"):
        asked(client, "weights", name=NAME, mirror=address, accepted=accepted)
    assert behaviour.requests == []
    assert list(store_folder.iterdir()) == []


def test_unknown_weights_are_refused(client: WorkerClient) -> None:
    with pytest.raises(WorkerError, match="no public weights 'other'"):
        asked(client, "weights", name="other", accepted=True)


def test_a_file_that_is_another_is_not_kept(client: WorkerClient, store_folder: Path) -> None:
    with (
        serving(Behaviour(CONTENT)) as address,
        pytest.raises(WorkerError, match="damaged or was changed, and has been removed"),
    ):
        asked(client, "weights", name=NAME, mirror=address, accepted=True)
    assert list(store_folder.iterdir()) == []


def test_a_network_that_refuses_says_what_to_do(client: WorkerClient) -> None:
    with pytest.raises(WorkerError, match="check the network, the proxy or --mirror") as caught:
        asked(client, "weights", name=NAME, mirror="http://127.0.0.1:9", accepted=True)
    assert caught.value.kind == "input"


@contextmanager
def dripping(n_bytes: int) -> Iterator[str]:
    """Serve a file in drops, as a slow line does; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(n_bytes))
            self.end_headers()
            try:
                for _ in range(n_bytes >> 20):
                    self.wfile.write(bytes(1 << 20))
                    time.sleep(0.1)
            except OSError:
                return

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_download_tells_how_far_it_is_and_can_be_cancelled(
    client: WorkerClient, store_folder: Path
) -> None:
    asked(client, "machine")
    process_id, seen = client.process_id, list[Progress]()
    with dripping(100 << 20) as address:
        request = Message("weights", {"name": NAME, "mirror": address, "accepted": True})
        job = client.submit(request, on_progress=seen.append)
        end = time.monotonic() + TIMEOUT_S
        while not seen or seen[-1].fraction < 0.03:
            assert time.monotonic() < end
            client.poll()
            time.sleep(0.01)
        job.cancel()
        with pytest.raises(WorkerError, match="cancelled"):
            client.wait(job, TIMEOUT_S)
    assert {progress.stage for progress in seen} <= {"Connecting", "downloading"}
    assert [p.fraction for p in seen] == sorted(p.fraction for p in seen)
    assert client.process_id == process_id
    (partial,) = store_folder.iterdir()
    assert partial.stat().st_size >= 3 << 20
    partial.unlink()


def test_accepted_weights_end_in_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NASAM3D_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(Behaviour(CONTENT)) as address:
        entry = dataclasses.replace(
            SAM_MED3D_TURBO,
            url=f"{address}/models/file.pth",
            size_bytes=len(CONTENT),
            sha256=hashlib.sha256(CONTENT).hexdigest(),
        )
        monkeypatch.setattr("NASAM3DLib.weights.catalogue.CATALOGUE", {NAME: entry})
        request = Message("weights", {"name": NAME, "accepted": True})
        answer = services.weights(request, no_progress).fields
    assert (answer["name"], answer["size_bytes"]) == (NAME, len(CONTENT))
    assert answer["sha256"] == entry.sha256
    assert (tmp_path / f"{NAME}.pth").read_bytes() == CONTENT
    (listed,) = services.machine(Message("machine"), no_progress).fields["weights"]
    assert listed["is_installed"]
