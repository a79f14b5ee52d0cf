"""A bulk job without Ray: its pools have no actors, and nothing is handed out."""

from collections import Counter
from types import SimpleNamespace

import pytest

from longtake.actors.pool import Pool
from longtake.actors.worker import Receipt
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import StageName, Task
from longtake.models.domain.span import Span
from longtake.pipelines.bulk.job import BulkJob
from longtake.pipelines.bulk.records import Tally
from longtake.pipelines.bulk.settings import load_bulk
from longtake.pipelines.bulk.video import Slot, begin, requested_row
from longtake.pipelines.datasets.pictures import NamedPicture
from longtake.pipelines.datasets.prompt_rows import PromptRow
from longtake.pipelines.runners.ray_runner import TaskDone
from longtake.pipelines.runners.writer_queue import WriterJob


@pytest.fixture
def job():
    conf = load_bulk(overrides=["prompts=p.txt", "out=out", "ray.max_attempts=3"])
    pools = {name: Pool(name, lambda index: None, 1) for name in ("base", "refiner", "writer")}
    tally = Tally(frames_left=100.0)  # 74 of another video
    return BulkJob(conf, pools, SimpleNamespace(next=lambda: None), tally, Counter(), set(), lambda *_: None)


@pytest.fixture
def video(job):
    """A video of two segments in progress."""
    spec, conf = PromptSpec("a", "a red circle", num_frames=26), job._conf
    row = requested_row(PromptRow("p.txt:1", {}, None), spec, conf, conf, "ab" * 32, "{}")
    video = begin(row, spec, conf, conf)
    job._rows.next = iter([video, None]).__next__
    job._fill()
    return video


def test_a_video_whose_picture_changed_meanwhile_fails(job, tmp_path):
    spec, conf = PromptSpec("a", "a red circle", num_frames=26), job._conf
    picture = NamedPicture(str(tmp_path / "gone.png"), "ab" * 32)
    row = requested_row(PromptRow("p.txt:1", {}, None), spec, conf, conf, "ab" * 32, "{}", picture)
    job._rows.next = iter([begin(row, spec, conf, conf), None]).__next__
    job._fill()
    assert waiting(job) == ["record"] and not job._videos
    assert job._jobs._waiting[0].args[0].reason.startswith(f"image={tmp_path}/gone.png: it cannot be read")


def encode(job, video, num_fragments):
    for index in range(num_fragments):
        video.encode(Slot("video", index), "segment")
        video.encoded(Slot("video", index), None, f"fragment {index}", seconds=0)


def waiting(job):
    return [one.method for one in job._jobs._waiting]


def test_a_video_that_only_waits_for_its_commit_is_committed_when_something_else_of_it_is_lost(job, video):
    encode(job, video, 2)
    job._commit(video)
    job._restart("a", "its machine is gone", WriterJob("save_chunk", (), "a"))
    assert waiting(job) == ["commit"] and job._jobs._waiting[0].args[0].attempts == 2
    assert not job._runner.waiting_frames  # nothing is made again


def test_a_commit_that_lost_a_fragment_gets_all_of_them_again(job, video):
    encode(job, video, 2)
    job._restart("a", "its machine is gone", WriterJob("commit", (), "a"))
    assert waiting(job) == [] and list(job._runner.waiting_frames) == ["a"]
    assert not video.fragments and video.encode(Slot("video", 1), "segment") is not None


def test_a_video_that_loses_parts_too_often_fails_with_the_number_of_its_attempts(job, video):
    for _ in range(3):
        job._restart("a", "its machine is gone")
    (record,) = job._jobs._waiting
    row = record.args[0]
    assert (record.method, row.status, row.attempts) == ("record", "failed", 3)
    assert row.reason == "parts of it were lost 3 times: its machine is gone"
    assert not job._videos


@pytest.mark.report("B3")
def test_frames_are_left_by_the_cells_that_are_done_however_a_video_ends(job, video):
    def left():
        job._turn()
        return job.tally.frames_left

    assert left() == 100
    steps = Span(0, video.conf.refiner.num_inference_steps)  # of the first of two windows; its decoding is not done
    task = Task("a", StageName.REFINE, 0, steps, ())
    job._task_done(video, TaskDone(task, Receipt("worker", 0.0, 1.0), 1.0, None, None))
    share = len(steps) / (2 * (len(steps) + 1))
    assert job.tally.frames_left == left() == pytest.approx(74 + 26 * (1 - share))
    job._restart("a", "its machine is gone")
    assert left() == 100
    job._fail(video, "it broke")
    assert left() == 74
