"""A background process does jobs, can be cancelled, and whatever happens to it is told."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.job import Job, Progress, WorkerError
from NASAM3DLib.worker.launch import describe_exit, worker_command, worker_environment
from NASAM3DLib.worker.protocol import Message

SCRIPT = [sys.executable, str(Path(__file__).with_name("worker_with_test_jobs.py"))]
TIMEOUT_S = 30.0

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals are a matter of POSIX")


@pytest.fixture
def client() -> Iterator[WorkerClient]:
    """A client of the worker with test jobs."""
    client = WorkerClient(SCRIPT, cancel_grace_s=0.5)
    yield client
    client.close()


def start(client: WorkerClient, verb: str, **fields: object) -> tuple[Job, list[Progress]]:
    """Submit a job and collect its progress."""
    seen: list[Progress] = []
    return client.submit(Message(verb, fields), on_progress=seen.append), seen


def poll_until(client: WorkerClient, condition: Callable[[], bool]) -> None:
    """Poll as a timer does."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        client.poll()
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not just waiting to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_arrays_and_fields_make_the_round_trip(client: WorkerClient) -> None:
    values = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(np.float32)
    got = client.wait(
        client.submit(Message("double", {"note": "α"}, {"values": values})), TIMEOUT_S
    )
    np.testing.assert_array_equal(got.arrays["values"], values * 2)
    assert got.fields["note"] == "α"
    assert client.hello is not None
    assert client.hello["verbs"][:2] == ["chatter", "count"]


def test_callbacks_come_from_poll_in_order(client: WorkerClient) -> None:
    events: list[str] = []
    job = client.submit(
        Message("count", {"steps": 5, "step_s": 0.12}),
        on_progress=lambda progress: events.append(f"{progress.fraction:.1f}"),
        on_result=lambda result: events.append(f"{result.fields['steps']} done"),
        on_error=lambda error: events.append(str(error)),
    )
    time.sleep(0.3)
    assert events == []
    poll_until(client, lambda: job.is_finished)
    assert events == ["0.0", "0.2", "0.4", "0.6", "0.8", "5 done"]
    assert job.state == "done"


def test_progress_is_throttled_and_tells_the_remaining_time(client: WorkerClient) -> None:
    job, seen = start(client, "count", steps=1500, step_s=0.001)
    client.wait(job, TIMEOUT_S)
    elapsed_s = seen[-1].elapsed_s
    assert 5 <= len(seen) <= 10 * elapsed_s + 2
    assert [p.fraction for p in seen] == sorted(p.fraction for p in seen)
    assert seen[0].remaining_s is None
    late = seen[-1]
    assert late.remaining_s == pytest.approx(late.elapsed_s * (1 - late.fraction) / late.fraction)
    assert late.stage == "counting"


def test_jobs_run_one_after_the_other_in_one_process(client: WorkerClient) -> None:
    finished: list[int] = []
    jobs = [
        client.submit(
            Message("count", {"steps": n, "step_s": 0.02}),
            on_result=lambda result: finished.append(result.fields["steps"]),
        )
        for n in (6, 1, 3)
    ]
    process_id = client.process_id
    client.wait(jobs[-1], TIMEOUT_S)
    assert finished == [6, 1, 3]
    assert client.process_id == process_id
    assert client.generation == 0


def test_a_cancelled_job_ends_softly_and_the_process_stays(client: WorkerClient) -> None:
    job, seen = start(client, "count", steps=10_000, step_s=0.01)
    poll_until(client, lambda: bool(seen))
    process_id = client.process_id
    job.cancel()
    job.cancel()
    with pytest.raises(WorkerError, match="cancelled") as caught:
        client.wait(job, TIMEOUT_S)
    assert (job.state, caught.value.kind) == ("cancelled", "cancelled")
    client.wait(start(client, "count", steps=1, step_s=0)[0], TIMEOUT_S)
    assert client.process_id == process_id


def test_a_job_that_does_not_listen_is_ended_within_the_grace_time(client: WorkerClient) -> None:
    job, seen = start(client, "deaf")
    poll_until(client, lambda: bool(seen))
    process_id, asked_at = client.process_id, time.monotonic()
    job.cancel()
    poll_until(client, lambda: job.is_finished)
    assert time.monotonic() - asked_at < 1.5
    assert job.state == "cancelled"
    assert client.generation == 1
    client.wait(start(client, "count", steps=1, step_s=0)[0], TIMEOUT_S)
    assert client.process_id != process_id


def test_a_result_that_crossed_the_cancelling_is_dropped(client: WorkerClient) -> None:
    job, seen = start(client, "count", steps=3, step_s=0.02)
    poll_until(client, lambda: bool(seen))
    time.sleep(0.5)
    job.cancel()
    poll_until(client, lambda: job.is_finished)
    assert (job.state, job.result) == ("cancelled", None)


def test_a_waiting_job_is_cancelled_without_disturbing_the_running_one(
    client: WorkerClient,
) -> None:
    first, _ = start(client, "count", steps=20, step_s=0.02)
    second, _ = start(client, "deaf")
    second.cancel()
    client.wait(first, TIMEOUT_S)
    assert (first.state, second.state) == ("done", "cancelled")
    assert client.generation == 0


def test_waiting_jobs_survive_the_end_of_the_process(client: WorkerClient) -> None:
    first, seen = start(client, "deaf")
    second, _ = start(client, "count", steps=2, step_s=0)
    poll_until(client, lambda: bool(seen))
    first.cancel()
    assert client.wait(second, TIMEOUT_S).fields["steps"] == 2


def test_cancel_all_leaves_nothing_running(client: WorkerClient) -> None:
    jobs = [start(client, "count", steps=10_000, step_s=0.01)[0] for _ in range(3)]
    client.cancel_all()
    poll_until(client, lambda: not client.is_busy)
    assert [job.state for job in jobs] == ["cancelled"] * 3


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ("value", "input", "Spacing must be positive, got -1."),
        ("file", "input", "No such file or directory: scan.npz"),
        ("memory", "memory", "not enough memory for this job. Unable to allocate 1 TiB."),
        ("package", "package", "cannot be loaded: No module named 'torch'."),
        ("key", "internal", "Unexpected error: KeyError: 'angles'"),
        ("exit", "internal", "Unexpected error: SystemExit: 1"),
    ],
)
def test_errors_come_with_kind_message_and_traceback(
    client: WorkerClient, error: str, kind: str, message: str
) -> None:
    job, _ = start(client, "fail", error=error)
    with pytest.raises(WorkerError) as caught:
        client.wait(job, TIMEOUT_S)
    assert caught.value.kind == kind
    assert message in str(caught.value)
    assert "worker_with_test_jobs.py" in caught.value.details
    assert client.generation == 0


def test_an_unknown_verb_is_an_error_that_lists_the_verbs(client: WorkerClient) -> None:
    job, _ = start(client, "reconstruckt")
    with pytest.raises(WorkerError, match=r"no verb 'reconstruckt', only cancel, chatter, count"):
        client.wait(job, TIMEOUT_S)


def test_a_request_that_cannot_be_sent_fails_alone(client: WorkerClient) -> None:
    bad = client.submit(Message("double", {}, {"values": np.array(["text"])}))
    good, _ = start(client, "count", steps=1, step_s=0)
    client.wait(good, TIMEOUT_S)
    assert bad.error is not None
    assert "Array 'values' has type" in str(bad.error)


def test_death_during_a_job_is_told_with_exit_code_and_last_words(client: WorkerClient) -> None:
    job, _ = start(client, "die")
    with pytest.raises(WorkerError) as caught:
        client.wait(job, TIMEOUT_S)
    assert caught.value.kind == "died"
    assert "ended unexpectedly (exit code 7)" in str(caught.value)
    assert "the sky is falling" in str(caught.value)
    assert client.wait(start(client, "count", steps=1, step_s=0)[0], TIMEOUT_S)


@posix_only
def test_a_killed_worker_is_told_and_replaced(client: WorkerClient) -> None:
    job, _ = start(client, "kill")
    with pytest.raises(WorkerError, match=r"SIGKILL.*which the system does when memory runs out"):
        client.wait(job, TIMEOUT_S)
    assert client.generation == 1


@posix_only
def test_a_worker_that_died_while_idle_is_replaced_silently(client: WorkerClient) -> None:
    client.wait(start(client, "count", steps=1, step_s=0)[0], TIMEOUT_S)
    process_id = client.process_id
    assert process_id is not None
    os.kill(process_id, 9)
    poll_until(client, lambda: client.generation == 1)
    assert client.wait(start(client, "count", steps=1, step_s=0)[0], TIMEOUT_S)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ending_a_worker_ends_its_children(client: WorkerClient) -> None:
    job, seen = start(client, "orphan")
    poll_until(client, lambda: bool(seen))
    child = int(seen[0].stage)
    assert is_alive(child)
    job.cancel()
    poll_until(client, lambda: job.is_finished and not is_alive(child))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_garbage_in_the_middle_is_told_and_the_process_replaced(client: WorkerClient) -> None:
    job, _ = start(client, "garbage")
    with pytest.raises(WorkerError, match=r"was not understood. .* got b'Segmenta'") as caught:
        client.wait(job, TIMEOUT_S)
    assert caught.value.kind == "protocol"
    assert client.wait(start(client, "count", steps=1, step_s=0)[0], TIMEOUT_S)


def test_what_libraries_print_does_no_harm(client: WorkerClient) -> None:
    job, _ = start(client, "chatter")
    assert client.wait(job, TIMEOUT_S).fields["standard_input"] == ""


def client_of(code: str, hello_timeout_s: float = TIMEOUT_S) -> WorkerClient:
    """A client of a Python one-liner."""
    return WorkerClient([sys.executable, "-c", code], hello_timeout_s=hello_timeout_s)


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("print('Welcome to gpu-host', flush=True); input()", "protocol", "got b'Welcome '"),
        ("import no_such_package", "package", "No module named 'no_such_package'"),
        ("raise SystemExit(5)", "died", "(exit code 5)"),
        ("import time; time.sleep(60)", "start", "did not answer within 1 s"),
    ],
)
def test_what_is_no_worker_fails_all_that_wait(code: str, kind: str, message: str) -> None:
    client = client_of(code, 1.0 if kind == "start" else TIMEOUT_S)
    jobs = [start(client, "count", steps=1, step_s=0)[0] for _ in range(2)]
    poll_until(client, lambda: all(job.is_finished for job in jobs))
    assert [job.error.kind for job in jobs if job.error] == [kind, kind]
    assert message in str(jobs[0].error)
    client.close()


def test_another_protocol_version_is_refused_naming_both() -> None:
    client = client_of(
        "import sys\n"
        "from NASAM3DLib.worker.protocol import Message, write_message\n"
        "hello = Message('hello', {'protocol': 99, 'library': '7.0'})\n"
        "write_message(sys.stdout.buffer, hello); sys.stdin.read()"
    )
    job, _ = start(client, "count", steps=1, step_s=0)
    with pytest.raises(WorkerError, match=r"protocol 99 \(NASAM3DLib 7.0\), this program 1"):
        client.wait(job, TIMEOUT_S)
    client.close()


def test_a_command_that_does_not_exist_is_told() -> None:
    client = WorkerClient(["no-such-program"])
    job, _ = start(client, "count", steps=1, step_s=0)
    assert job.error is not None
    assert job.error.kind == "start"
    assert "cannot be started with 'no-such-program': No such file" in str(job.error)


@posix_only
def test_a_worker_behind_a_shell_and_a_pipe_serves_as_well() -> None:
    quoted = " ".join(f"'{word}'" for word in SCRIPT)
    client = WorkerClient(["sh", "-c", f"cat | {quoted} | cat"])
    values = np.arange(100_000, dtype=np.int32)
    got = client.wait(client.submit(Message("double", {}, {"values": values})), TIMEOUT_S)
    np.testing.assert_array_equal(got.arrays["values"], values * 2)
    client.close()


def test_a_closed_client_calls_nobody_back_and_takes_no_jobs(client: WorkerClient) -> None:
    job, seen = start(client, "deaf")
    poll_until(client, lambda: bool(seen))
    process_id = client.process_id
    assert process_id is not None
    client.close(0.2)
    client.poll()
    assert job.error is None
    assert not client.is_busy
    if sys.platform.startswith("linux"):
        assert not is_alive(process_id)
    with pytest.raises(RuntimeError, match="closed: make a new one"):
        start(client, "count", steps=1, step_s=0)


def test_wait_gives_up_in_time_and_leaves_the_job(client: WorkerClient) -> None:
    job, _ = start(client, "count", steps=100, step_s=0.01)
    with pytest.raises(TimeoutError, match=r"\(count\) took more than 0.1 s"):
        client.wait(job, 0.1)
    assert client.wait(job, TIMEOUT_S).fields["steps"] == 100


def test_the_command_prefers_the_python_of_slicer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert worker_command()[0] == sys.executable
    launcher = tmp_path / ("PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer")
    launcher.write_text("")
    launcher.chmod(0o755)
    assert worker_command() == [str(launcher), "-m", "NASAM3DLib.worker"]


def test_the_environment_finds_the_library_first(
    repository_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    environment = worker_environment({"OMP_NUM_THREADS": "1"})
    assert environment["PYTHONPATH"].split(os.pathsep) == [str(repository_root), "elsewhere"]
    assert environment["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exit code 0"),
        (-11, "ended by SIGSEGV"),
        (-250, "ended by signal 250"),
        (None, "closed its output but did not end"),
    ],
)
def test_exit_statuses_are_readable(status: int | None, text: str) -> None:
    assert text in describe_exit(status)
