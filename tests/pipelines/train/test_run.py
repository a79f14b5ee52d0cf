from longtake.pipelines.tracking.settings import TrackingParams
from longtake.pipelines.train.run import tracked
from longtake.pipelines.train.worker_group import WorkerGroup


def test_a_worker_that_does_not_lead_tracks_nothing_whatever_the_settings(tmp_path):
    with tracked(TrackingParams(interval_s=0.2, system_metrics=False), tmp_path, WorkerGroup(1, 2), {}) as tracker:
        tracker.metrics({"loss": 1.0})
    assert list(tmp_path.iterdir()) == []
