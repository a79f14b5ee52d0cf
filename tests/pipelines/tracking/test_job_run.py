import json

import pytest

from longtake.pipelines.files.store import Store
from longtake.pipelines.tracking.job_run import job_run, open_tracker
from longtake.pipelines.tracking.settings import TrackingParams

OFF = TrackingParams(enabled=False)


def test_a_restarted_job_continues_the_run_whose_key_its_folder_holds(tmp_path):
    store, keys = Store(tmp_path), []
    for attempt in range(2):
        with job_run(OFF, store, "job.json", "bulk", {"seed": 1}, {"settings": {"attempt": attempt}}) as tracker:
            kept = json.loads((tmp_path / "job.json").read_text())
            assert kept == {"settings": {"attempt": attempt}, "run": tracker.key}
        keys.append(tracker.key)
    assert keys[0] == keys[1]
    with job_run(OFF, store, "tracking.json", "train", {}) as other:
        assert other.key != keys[0]


def test_a_file_of_an_earlier_version_is_continued(tmp_path):
    (tmp_path / "run.json").write_text('{"run": "0123abcd"}')
    with job_run(OFF, Store(tmp_path), "run.json", "evaluate", {}) as tracker:
        assert tracker.key == "0123abcd"


@pytest.mark.parametrize("key", ["", "a' OR '", "a" * 65])
def test_a_key_that_no_tracker_made_is_refused(key):
    with pytest.raises(ValueError, match="key=.*must be the key of an earlier tracker"):
        open_tracker(TrackingParams(), None, "bulk", key)


@pytest.mark.report("B10")
@pytest.mark.parametrize("name", ["a%20b #2", "100%? ü a@b:c"])
def test_the_run_is_in_the_folder_whatever_its_name(tmp_path, monkeypatch, name):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "home" / name
    folder.mkdir(parents=True)
    with open_tracker(TrackingParams(interval_s=0.1, system_metrics=False), folder, "bulk") as tracker:
        tracker.artifact(b"x", "samples/a.txt")
    assert {path.name for path in folder.iterdir()} == {"mlflow.db", "mlflow-artifacts"}
    assert [path.name for path in folder.rglob("a.txt")] == ["a.txt"]
    assert [*(tmp_path / "cwd").iterdir()] == [] and [*(tmp_path / "home").iterdir()] == [folder]
