import csv
import http.server
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

import longtake.pipelines.tracking.tracker
from longtake.pipelines.tracking.job_run import ENVIRONMENT, open_tracker
from longtake.pipelines.tracking.mlflow_run import is_final
from longtake.pipelines.tracking.origin import HOME
from longtake.pipelines.tracking.settings import TrackingParams
from longtake.pipelines.tracking.tracker import MAX_CHARS

os.environ.update(ENVIRONMENT)  # before mlflow is imported: its telemetry and its log are set up then

from mlflow import MlflowClient
from mlflow.exceptions import ErrorCode, MlflowException

FAST = {"interval_s": 0.05, "system_metrics": False}

# Prints its connections, and the threads that would keep a process from ending.
QUIET = """
import sys, threading, time
sys.addaudithook(lambda event, args: event in ("socket.connect", "socket.getaddrinfo") and print(event, args))
from pathlib import Path
from longtake.pipelines.tracking.job_run import open_tracker
from longtake.pipelines.tracking.settings import TrackingParams
with open_tracker(TrackingParams(), Path(sys.argv[1]), "bulk") as tracker:
    tracker.params({"seed": 1})
    tracker.metrics({"loss": 0.5})
    tracker.table([{"id": "a"}])
    while tracker.run_id is None:
        time.sleep(0.1)
print([thread.name for thread in threading.enumerate() if not thread.daemon])
"""

KILLED = """
import os, signal, sys, time
from pathlib import Path
from longtake.pipelines.tracking.job_run import open_tracker
from longtake.pipelines.tracking.settings import TrackingParams
tracker = open_tracker(TrackingParams(interval_s=0.05), Path(sys.argv[1]), "bulk")
from mlflow import MlflowClient
tracker.metrics({"videos": 1.0})
while tracker.run_id is None:
    time.sleep(0.05)
client = MlflowClient(f"sqlite:///{sys.argv[1]}/mlflow.db")
while "videos" not in client.get_run(tracker.run_id).data.metrics:
    time.sleep(0.05)
time.sleep(1)  # the run's next seconds are other steps
print(tracker.key, tracker.run_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

FORGOTTEN = """
import sys
from longtake.pipelines.tracking.job_run import open_tracker
from longtake.pipelines.tracking.settings import TrackingParams
tracker = open_tracker(TrackingParams(uri=sys.argv[1]), None, "bulk")
tracker.metrics({"videos": 1.0})
"""


@pytest.fixture(autouse=True)
def _no_store_of_the_user(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(
        longtake.pipelines.tracking.tracker, "END_S", 60.0
    )  # a busy core may take longer than a job wants to wait


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """An empty mlflow.db with tables: creating one takes 3 s, copying it none."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def folder(empty_store, tmp_path):
    shutil.copy(empty_store, tmp_path)
    return tmp_path


def _run(store, experiment="longtake"):
    """The only run in the store."""
    client = MlflowClient(store if isinstance(store, str) else f"sqlite:///{store}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return run


def _history(store, key):
    """(step, value) in order of time."""
    client = MlflowClient(store if isinstance(store, str) else f"sqlite:///{store}/mlflow.db")
    points = client.get_metric_history(_run(store).info.run_id, key)
    return [(point.step, point.value) for point in sorted(points, key=lambda point: point.timestamp)]


def _artifacts(run):
    root = Path(urllib.request.url2pathname(run.info.artifact_uri.removeprefix("file://")))
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def _wait(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def _program(text, *args, **options):
    environment = {**os.environ, "PYTHONPATH": str(HOME), **options}
    for name in (*ENVIRONMENT, "PYTEST_CURRENT_TEST", "CI"):  # the last two switch MLflow's telemetry off as well
        environment.pop(name, None)
    command = [sys.executable, "-c", text, *map(str, args)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_params_tags_and_metrics_of_a_job_are_in_its_run(folder):
    with open_tracker(TrackingParams(**FAST), folder, "bulk") as tracker:
        tracker.params({"refiner.strength": 0.97, "seed": 0, "video.negative_prompt": ""})
        tracker.tags({"bundle_sha256": "ab" * 32})
        tracker.metrics({"videos_done": 3, "loss": math.nan})
        tracker.metrics({"frames_per_second": 1.5}, step=7)
    run = _run(folder)
    assert run.info.run_id == tracker.run_id
    assert run.info.status == "FINISHED"
    assert run.info.run_name == f"bulk-{tracker.key[:8]}"
    assert run.data.params == {"refiner.strength": "0.97", "seed": "0", "video.negative_prompt": ""}
    assert run.data.tags["bundle_sha256"] == "ab" * 32
    assert run.data.tags["kind"] == "bulk"
    assert run.data.metrics["videos_done"] == 3 and math.isnan(run.data.metrics["loss"])
    assert _history(folder, "frames_per_second") == [(7, 1.5)]


def test_experiment_and_name_of_the_run_may_be_chosen(folder):
    with open_tracker(TrackingParams(experiment="cats", name="first try", **FAST), folder, "train"):
        pass
    assert _run(folder, "cats").info.run_name == "first try"


def test_a_run_says_which_sources_and_packages_made_it(folder):
    with open_tracker(TrackingParams(**FAST), folder, "evaluate"):
        pass
    tags = _run(folder).data.tags
    assert tags["version.longtake"] == longtake.__version__
    assert all(f"version.{name}" in tags for name in ("torch", "diffusers", "transformers", "av"))
    if (HOME / ".git").exists():
        head = subprocess.run(["git", "-C", HOME, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        assert tags["git"].removesuffix("-dirty") == head.stdout.strip()


def test_metrics_are_sent_once_an_interval_with_their_newest_value(folder):
    with open_tracker(TrackingParams(interval_s=60, system_metrics=False), folder, "train") as tracker:
        for step in range(1000):
            tracker.metrics({"loss": 1 / (step + 1)}, step)
    history = _history(folder, "loss")
    assert len(history) <= 2  # one when the thread began, one at the end
    assert history[-1] == (999, 0.001)


def test_system_metrics_are_there_unless_switched_off(folder):
    with open_tracker(TrackingParams(interval_s=0.05), folder, "bulk") as tracker:
        _wait(lambda: tracker.run_id)
        time.sleep(0.2)
    metrics = _run(folder).data.metrics
    assert metrics["system/system_memory_usage_megabytes"] > 0
    assert "system/cpu_utilization_percentage" in metrics and "system/network_receive_megabytes" in metrics


def test_a_failing_device_does_not_take_the_other_metrics_along(folder):
    class Fallen:
        def collect_metrics(self):
            raise RuntimeError("GPU is lost")

        def clear_metrics(self):
            pass

    with open_tracker(TrackingParams(interval_s=0.05), folder, "bulk") as tracker:
        _wait(lambda: tracker.run_id)
        tracker._run._monitors.insert(0, Fallen())
        tracker.metrics({"videos": 1})
    assert {"videos", "system/disk_usage_percentage"} <= set(_run(folder).data.metrics)


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, "FINISHED"), (RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")],
)
def test_how_a_job_ended_is_in_its_run(folder, error, status):
    try:
        with open_tracker(TrackingParams(**FAST), folder, "bulk"):
            if error is not None:
                raise error
    except BaseException as caught:
        assert type(caught) is error
    assert _run(folder).info.status == status


def test_after_the_end_nothing_is_recorded(folder):
    tracker = open_tracker(TrackingParams(**FAST), folder, "bulk")
    tracker.end("KILLED")
    tracker.end("FINISHED")
    tracker.metrics({"videos": 1})
    tracker.params({"seed": 1})
    time.sleep(0.2)
    run = _run(folder)
    assert run.info.status == "KILLED" and run.data.params == run.data.metrics == {}


def test_a_killed_job_goes_on_in_the_same_run(folder):
    done = _program(KILLED, folder)
    key, run_id = done.stdout.split()
    assert done.returncode == -signal.SIGKILL and _run(folder).info.status == "RUNNING"
    tracker = open_tracker(TrackingParams(**FAST), folder, "bulk", key)
    tracker.metrics({"videos": 2.0})
    tracker.end()
    run = _run(folder)
    assert (run.info.run_id, run.info.status, tracker.key, tracker.run_id) == (run_id, "FINISHED", key, run_id)
    (first, one), (last, two) = _history(folder, "videos")
    assert (one, two) == (1.0, 2.0) and first < last


def test_a_finished_run_that_goes_on_is_running_again(folder):
    with open_tracker(TrackingParams(**FAST), folder, "bulk") as first:
        pass
    with open_tracker(TrackingParams(**FAST), folder, "bulk", first.key) as second:
        _wait(lambda: second.run_id)
        assert _run(folder).info.status == "RUNNING"
    assert first.run_id == second.run_id and _run(folder).info.status == "FINISHED"


def test_a_deleted_run_is_replaced_by_a_new_one_with_a_warning(folder, caplog):
    with open_tracker(TrackingParams(**FAST), folder, "bulk") as first:
        pass
    MlflowClient(f"sqlite:///{folder}/mlflow.db").delete_run(first.run_id)
    with open_tracker(TrackingParams(**FAST), folder, "bulk", first.key) as second:
        pass
    assert _run(folder).info.run_id == second.run_id != first.run_id
    assert f"experiment longtake has no run with key {first.key}: starting a new one" in caplog.text


def test_params_that_change_are_tags_and_the_first_values_stay(folder):
    key = None
    for seed in (1, 1, 2, 1):
        with open_tracker(TrackingParams(**FAST), folder, "bulk", key) as tracker:
            tracker.params({"seed": seed, "video.fps": 8})
        key = tracker.key
        run = _run(folder)
        changes = {name: value for name, value in run.data.tags.items() if name.startswith("changed.")}
        assert run.data.params == {"seed": "1", "video.fps": "8"}
        assert changes.get("changed.seed", "1") == str(seed) and len(changes) <= 1


def test_other_origins_stand_beside_the_first_ones(folder):
    with open_tracker(TrackingParams(**FAST), folder, "bulk") as first:
        first.origin({"bundle_sha256": "a"})
    with open_tracker(TrackingParams(**FAST), folder, "evaluate", first.key) as second:
        second.origin({"bundle_sha256": "b"})
    tags = _run(folder).data.tags
    assert (tags["kind"], tags["changed.kind"]) == ("bulk", "evaluate")
    assert (tags["bundle_sha256"], tags["changed.bundle_sha256"]) == ("a", "b")


def test_a_value_of_any_length_is_kept_whole(folder):
    long = "x" * MAX_CHARS
    with open_tracker(TrackingParams(**FAST), folder, "bulk") as tracker:
        tracker.params({"fits": long, "does_not": long + "y"})
    run = _run(folder)
    assert run.data.params["fits"] == long
    assert len(run.data.params["does_not"]) <= MAX_CHARS
    ((place, data),) = _artifacts(run).items()
    assert data.decode() == long + "y"
    assert run.data.params["does_not"].endswith(f"... 6001 characters, all of them in {place}")


def test_a_change_beyond_what_fits_is_seen(folder):
    with open_tracker(TrackingParams(**FAST), folder, "bulk") as tracker:
        tracker.params({"prompts": "x" * 7000})
        tracker.params({"prompts": "x" * 6999 + "y"})
    run = _run(folder)
    assert "changed.prompts" in run.data.tags
    assert {data[-1:] for data in _artifacts(run).values()} == {b"x", b"y"}


def test_hundreds_of_params_and_strange_names_arrive(folder, caplog):
    with open_tracker(TrackingParams(**FAST), folder, "bulk") as tracker:
        tracker.params({f"p.{i}": i for i in range(250)} | {"layers[0]": "half \ud800 of a pair, \0"})
        tracker.metrics({f"m{i}?": i for i in range(2500)})
    run = _run(folder)
    assert len(run.data.params) == 251 and run.data.params["layers_0_"] == "half \ufffd of a pair, \ufffd"
    assert len(run.data.metrics) == 2500 and run.data.metrics["m7_"] == 7
    assert caplog.records == []


def test_artifacts_are_read_back_as_they_were(folder, tmp_path):
    video = tmp_path / "take.mp4"
    video.write_bytes(b"mp4")
    with open_tracker(TrackingParams(**FAST), folder, "bulk") as tracker:
        tracker.artifact(video, "samples/cat.mp4")
        tracker.artifact(b"png", "sheet.png")
    assert _artifacts(_run(folder)) == {"samples/cat.mp4": b"mp4", "sheet.png": b"png"}
    assert video.read_bytes() == b"mp4"


def test_a_table_grows_by_parts_over_all_lives_of_a_job(folder):
    key, rows = None, [{"id": "a", "prompt": 'a "red" ball,\nrolling'}, {"id": "b", "reason": None, "seconds": 1.5}]
    for part in (rows, [], [{"id": "c", "seconds": 2}]):
        with open_tracker(TrackingParams(**FAST), folder, "bulk", key) as tracker:
            tracker.table(part, "rows")
        key = tracker.key
    parts = _artifacts(_run(folder))
    assert len(parts) == 2 and all(place.startswith("rows/") for place in parts)
    first, second = (list(csv.DictReader(data.decode().splitlines(keepends=True))) for data in parts.values())
    assert first == [
        {"id": "a", "prompt": 'a "red" ball,\nrolling', "reason": "", "seconds": ""},
        {"id": "b", "prompt": "", "reason": "", "seconds": "1.5"},
    ]
    assert second == [{"id": "c", "seconds": "2"}]


def test_a_folder_of_any_name_holds_store_and_artifacts(empty_store, tmp_path):
    folder = tmp_path / "100% of it #1, été"
    folder.mkdir()
    shutil.copy(empty_store, folder)
    with open_tracker(TrackingParams(**FAST), folder, "bulk") as tracker:
        tracker.artifact(b"png", "sheet.png")
    assert sorted(os.listdir(folder)) == ["mlflow-artifacts", "mlflow.db"]
    assert len(list((folder / "mlflow-artifacts").rglob("sheet.png"))) == 1


def test_without_a_local_folder_the_store_is_here(empty_store, tmp_path, monkeypatch):
    shutil.copy(empty_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    with open_tracker(TrackingParams(**FAST), None, "bulk") as tracker:
        tracker.artifact(b"png", "sheet.png")
    assert _run(tmp_path).info.run_id == tracker.run_id
    assert sorted(os.listdir(tmp_path)) == ["mlflow-artifacts", "mlflow.db"]


@pytest.mark.parametrize("by", ["uri", "environment"])
def test_another_store_may_be_asked_for(folder, tmp_path_factory, monkeypatch, by):
    out, uri = tmp_path_factory.mktemp("out"), f"sqlite:///{folder}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri if by == "environment" else f"sqlite:///{out}/other.db")
    with open_tracker(TrackingParams(uri=uri if by == "uri" else None, **FAST), out, "bulk") as tracker:
        tracker.artifact(b"png", "sheet.png")
    assert "sheet.png" in _artifacts(_run(folder))
    assert os.listdir(out) == []


def test_switched_off_nothing_is_written_and_no_thread_runs(tmp_path):
    threads = threading.active_count()
    with open_tracker(TrackingParams(enabled=False), tmp_path, "bulk") as tracker:
        tracker.params({"seed": 1})
        tracker.tags({"a": 1})
        tracker.metrics({"videos": 1})
        tracker.table([{"id": "a"}])
        assert threading.active_count() == threads
    assert tracker.run_id is None and os.listdir(tmp_path) == []


def test_a_new_store_is_created_silently_and_without_a_network(tmp_path):
    done = _program(QUIET, tmp_path / "new")
    assert (done.stdout, done.stderr) == ("['MainThread']\n", "")
    assert _run(tmp_path / "new").data.metrics["loss"] == 0.5


# -- the store does not answer


@contextmanager
def _server(answer):
    """A local port that calls `answer(connection)` for each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@contextmanager
def _answers(status):
    """A server with one answer to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_error(status)

        do_GET = do_POST = answer

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("status", [500, 503, 429, 401, 404])
def test_a_server_that_only_fails_costs_nothing_but_two_lines(caplog, status):
    with _answers(status) as uri:
        began = time.monotonic()
        with open_tracker(TrackingParams(uri=uri, **FAST), None, "bulk") as tracker:
            for step in range(5):
                tracker.metrics({"loss": 1.0}, step)
                time.sleep(0.1)
        assert time.monotonic() - began < 10
    first, last = (record.getMessage() for record in caplog.records)
    assert first.startswith("tracking is unavailable, the job continues: ") and str(status) in first
    assert last.startswith(f"tracking: run {tracker.key} could not be ended as FINISHED; ")


def test_a_port_where_nobody_listens_is_a_warning_without_the_password(caplog):
    began = time.monotonic()
    uri = f"http://me:secret@127.0.0.1:{_free_port()}"
    with open_tracker(TrackingParams(uri=uri, **FAST), None, "bulk") as tracker:
        tracker.params({"seed": 1})
        time.sleep(0.5)
    assert time.monotonic() - began < 10
    assert tracker.run_id is None and len(caplog.records) == 2
    assert "Connection refused" in caplog.text and "secret" not in caplog.text


def test_a_server_that_never_answers_does_not_hold_up_the_job(caplog, monkeypatch):
    monkeypatch.setattr(longtake.pipelines.tracking.tracker, "END_S", 1.0)
    held = []
    with _server(held.append) as uri:
        tracker = open_tracker(TrackingParams(uri=uri, **FAST), None, "bulk")
        began = time.monotonic()
        for step in range(1000):
            tracker.metrics({"loss": 1.0}, step)
            tracker.artifact(b"png", f"{step}.png")
        assert time.monotonic() - began < 1
        tracker.end("FAILED")
        assert 1 <= time.monotonic() - began < 3
    assert f"run {tracker.key} could not be ended as FAILED" in caplog.text


def test_a_process_that_forgets_its_tracker_ends_all_the_same():
    with _server([].append) as uri:
        done = _program(FORGOTTEN, uri)
    assert (done.returncode, done.stdout) == (0, "")


def test_an_unknown_kind_of_store_is_a_warning(caplog):
    with open_tracker(TrackingParams(uri="htp://tracking:5000", **FAST), None, "bulk"):
        pass
    assert "unsupported URI 'htp://tracking:5000'" in caplog.text


def test_values_recorded_during_an_outage_arrive_afterwards(empty_store, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(longtake.pipelines.tracking.tracker, "MAX_POINTS", 10)
    monkeypatch.setattr(longtake.pipelines.tracking.tracker, "MAX_WAITING", 3)
    (tmp_path / "disk").write_text("no folder yet")
    tracker = open_tracker(TrackingParams(**FAST), tmp_path / "disk", "bulk")
    tracker.params({"seed": 1})
    for step in range(12):
        tracker.metrics({"loss": float(step)}, step)
        time.sleep(0.15)
    for i in range(5):
        tracker.artifact(b"png", f"{i}.png")
    assert [record.getMessage()[:24] for record in caplog.records] == ["tracking is unavailable,"]
    (tmp_path / "disk").unlink()
    (tmp_path / "disk").mkdir()
    shutil.copy(empty_store, tmp_path / "disk")
    _wait(lambda: "tracking is available again" in caplog.text)
    tracker.end()
    run = _run(tmp_path / "disk")
    assert run.info.status == "FINISHED" and run.data.params == {"seed": "1"}
    assert [step for step, _ in _history(tmp_path / "disk", "loss")] == list(range(2, 12))
    assert set(_artifacts(run)) == {"0.png", "1.png", "2.png"}
    back, end = (record.getMessage() for record in caplog.records[1:])
    assert back == "tracking is available again; 4 values or files were lost"
    assert end == f"tracking: run {tracker.key} was ended as FINISHED; 4 values or files are lost"


def test_the_queue_of_files_is_bounded_in_bytes(tmp_path, monkeypatch, folder, caplog):
    monkeypatch.setattr(longtake.pipelines.tracking.tracker, "MAX_HELD_BYTES", 100)
    with open_tracker(TrackingParams(**FAST), folder, "bulk") as tracker:
        tracker.artifact(bytes(101), "too_much")
        for i in range(5):
            tracker.artifact(bytes(60), f"{i}")
            _wait(lambda: not tracker._files)
            _wait(lambda: not tracker._held_bytes)
    assert set(_artifacts(_run(folder))) == {"0", "1", "2", "3", "4"}
    assert "1 values or files are lost" in caplog.text


def test_a_refused_file_does_not_stop_the_next_ones(folder, caplog):
    with open_tracker(TrackingParams(**FAST), folder, "bulk") as tracker:
        tracker.artifact(folder / "gone.mp4", "samples/gone.mp4")
        tracker.artifact(b"png", "sheet.png")
    assert set(_artifacts(_run(folder))) == {"sheet.png"}
    refused, end = (record.getMessage() for record in caplog.records)
    assert refused.startswith("tracking: MLflow rejected a value or file; others are still sent: ")
    assert "gone.mp4" in refused
    assert end.endswith("was ended as FINISHED; 1 values or files are lost")


def test_a_run_deleted_during_a_job_is_logged_once(folder, caplog):
    with open_tracker(TrackingParams(**FAST), folder, "bulk") as tracker:
        _wait(lambda: tracker.run_id)
        MlflowClient(f"sqlite:///{folder}/mlflow.db").delete_run(tracker.run_id)
        for step in range(5):
            tracker.metrics({"loss": 1.0}, step)
            time.sleep(0.2)
    assert len(caplog.records) == 2 and "could not be ended as FINISHED" in caplog.text


@pytest.mark.parametrize(
    ("code", "final"),
    [
        ("INVALID_PARAMETER_VALUE", True),
        ("RESOURCE_DOES_NOT_EXIST", True),
        ("INTERNAL_ERROR", False),
        ("TEMPORARILY_UNAVAILABLE", False),
        ("PERMISSION_DENIED", False),
        ("REQUEST_LIMIT_EXCEEDED", False),
    ],
)
def test_only_an_invalid_request_is_not_retried(code, final):
    assert is_final(MlflowException("no", ErrorCode.Value(code))) == final


@pytest.mark.parametrize(("status", "final"), [(413, True), (401, False), (500, False)])
def test_an_artifact_store_is_judged_by_its_answer(status, final):
    with _answers(status) as uri:
        response = requests.get(uri, timeout=5)
    with pytest.raises(requests.HTTPError) as caught:
        response.raise_for_status()
    assert is_final(caught.value) == final


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory):
    """A real one, for all tests of this module: 20 to 45 s on 2 busy cores until it answers."""
    folder, port = tmp_path_factory.mktemp("server"), _free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/files"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(lambda: _is_up(f"http://127.0.0.1:{port}/health"), 120)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _is_up(url):
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


@pytest.mark.chaos
@pytest.mark.xdist_group("mlflow server")
def test_a_server_that_hangs_for_a_while_gets_everything_later(mlflow_server, tmp_path, caplog, capfd, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    process, uri = mlflow_server
    tracker = open_tracker(TrackingParams(uri=uri, interval_s=0.2), tmp_path, "bulk")
    tracker.params({"seed": 1})
    tracker.metrics({"loss": 2.0, "best": math.inf}, 0)
    _wait(lambda: tracker.run_id and _history(uri, "loss") == [(0, 2.0)])
    os.killpg(process.pid, signal.SIGSTOP)
    tracker.metrics({"loss": 1.0}, 1)
    tracker.artifact(b"png", "samples/sheet.png")
    tracker.table([{"id": "a"}])
    _wait(lambda: "tracking is unavailable" in caplog.text)
    os.killpg(process.pid, signal.SIGCONT)
    _wait(lambda: "tracking is available again; 0 values or files were lost" in caplog.text)
    tracker.end()
    assert len(caplog.records) == 2
    run, client = _run(uri), MlflowClient(uri)
    assert run.info.run_id == tracker.run_id and run.info.status == "FINISHED" and run.data.params == {"seed": "1"}
    assert _history(uri, "loss") == [(0, 2.0), (1, 1.0)]
    assert "system/cpu_utilization_percentage" in run.data.metrics
    local = client.download_artifacts(run.info.run_id, "samples/sheet.png", str(tmp_path))
    assert Path(local).read_bytes() == b"png"
    assert len(client.list_artifacts(run.info.run_id, "videos")) == 1
    assert "View run" not in capfd.readouterr().out


@pytest.mark.chaos
@pytest.mark.xdist_group("mlflow server")
def test_a_server_that_dies_in_the_middle_does_not_hold_up_the_job(mlflow_server, caplog):
    process, uri = mlflow_server
    with open_tracker(TrackingParams(uri=uri, **FAST), None, "bulk") as tracker:
        tracker.metrics({"loss": 2.0}, 0)
        _wait(lambda: tracker.run_id and "loss" in MlflowClient(uri).get_run(tracker.run_id).data.metrics)
        os.killpg(process.pid, signal.SIGKILL)
        tracker.metrics({"loss": 1.0}, 1)
        _wait(lambda: "tracking is unavailable" in caplog.text)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert f"run {tracker.key} could not be ended as FINISHED; 1 values or files are lost" in caplog.text


# -- invalid arguments


@pytest.mark.parametrize(
    "place", ["", "/a.png", "a//b.png", "a/", "../a.png", "a/./b.png", "what?.png", "a b.png", "a" * 251]
)
def test_an_artifact_path_that_some_store_would_misread_is_refused(place):
    with pytest.raises(ValueError, match=r"place=.*: must be a relative path of letters, digits, ., _, - and /"):
        open_tracker(TrackingParams(enabled=False), None, "bulk").artifact(b"png", place)
