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


def test_a_folder_that_sqlite_cannot_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="folder=.*what.*with . in its name; set tracking.uri"):
        open_tracker(TrackingParams(), tmp_path / "what?", "bulk")
