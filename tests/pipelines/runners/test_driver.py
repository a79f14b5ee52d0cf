"""The driver of videos on toy pools, with the simplest policy."""

import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import ray

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import Coupling, StageName
from longtake.pipelines.files.piece_writer import PieceWriter
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.driver import JOBS_PER_SEGMENT, VideoDriver
from longtake.pipelines.runners.local import LocalRunner
from longtake.pipelines.runners.ray_cluster import pools
from longtake.pipelines.runners.writer_queue import WriterJob
from tests.pipelines.runners.test_local import NUM_STEPS, frames_of
from tests.pipelines.runners.test_ray_runner import conf_of
from tests.support.engine_toys import LinkedBase, LinkedRefiner, linked
from tests.support.slow_writer import SlowWriter

pytestmark = pytest.mark.xdist_group("ray")


class Driver(VideoDriver):
    """Keeps final segments; `chunks` are the paths of chunks on disk. More than two segments hold tasks back."""

    segment_method = "wait_for"

    def __init__(self, conf, pools):
        super().__init__(conf, pools, max_segments=2)
        self.chunks, self.segments, self.failed, self.ended = {}, {}, {}, []

    def begin(self, spec):
        self._runner.submit(spec)
        self._videos[spec.video_id] = spec

    def run(self, until, patience_s=60):
        end = time.monotonic() + patience_s
        while not until():
            assert time.monotonic() < end, "waited too long"
            self.hand_out()
            self.take_in(0.05)

    def finish(self, spec):
        num_segments = len(Plan(spec.num_frames, PlanParams()).segments)
        self.run(lambda: all((spec.video_id, i) in self.segments for i in range(num_segments)))
        return frames_of(self.segments[spec.video_id, i] for i in range(num_segments))

    def num_calls(self):
        return {name: self._calls.running(pool) for name, pool in self._pools.items()}

    def _chunk_file(self, video, index):
        return self.chunks.get(index)

    def _chunk_unreadable(self, video, index):
        del self.chunks[index]

    def _task_done(self, video, event): ...

    def _segment_final(self, video, event):
        self.segments[video.video_id, event.index] = ray.get(event.segment)

    def _job_done(self, video, result):
        self.ended.append(result.job)

    def _job_raised(self, video, result):
        self.ended.append(result.job)

    def _resubmit(self, video, lost):
        self.begin(video)

    def _fail(self, video, why):
        self.failed[video.video_id] = why
        self._forget(video.video_id)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The store of the writers, with a `log` of the calls of both stages."""
    folder = tmp_path_factory.mktemp("driver")
    Store(folder).put("mark", b"")
    return folder


@pytest.fixture(scope="module")
def proven(ray_cluster, folder):
    """One actor in each pool."""
    writer = partial(SlowWriter, Store(folder), "out", "mark")
    with pools(conf_of().ray, {**linked(log=str(folder / "log")), "writer": writer}) as proven:
        yield proven


@pytest.fixture
def driver(proven):
    driver = Driver(conf_of("refiner.coupling=causal", "ray.max_attempts=3"), proven)
    yield driver
    driver.run(lambda: not driver._calls)


def local(spec):
    stages = {StageName.GENERATE: LinkedBase(), StageName.REFINE: LinkedRefiner()}
    return frames_of(LocalRunner(stages, PlanParams(), NUM_STEPS, Coupling.CAUSAL).stream(spec))


def test_a_video_that_lost_a_part_begins_again_with_the_same_frames_until_it_happens_too_often(driver):
    spec, other = PromptSpec("a", "a red circle"), PromptSpec("b", "a blue circle", num_frames=40)
    driver.begin(spec)
    driver.begin(other)
    driver.run(lambda: ("a", 0) in driver.segments)
    driver._jobs.put(WriterJob("wait_for", ("never",), "a"))
    driver.segments.clear()
    for losses in (1, 2):
        driver._restart("a", "its machine is gone")
        assert driver._repeats("a") == losses and not driver._jobs.num_waiting()
    np.testing.assert_array_equal(driver.finish(spec), local(spec))
    driver._restart("a", "its machine is gone")
    assert driver.failed == {"a": "parts of it were lost 3 times: its machine is gone"}
    driver.begin(replace(other, video_id="c"))
    np.testing.assert_array_equal(driver.finish(replace(other, video_id="c")), local(other))
    assert list(driver._videos) == ["b", "c"] and driver._repeats("a") == 0


def test_a_chunk_on_disk_is_read_and_one_that_is_unreadable_is_made(driver, folder):
    spec, base = PromptSpec("read", "a red circle", num_frames=40), LinkedBase()
    plan, memory, store = Plan(40, PlanParams()), None, Store(folder)
    for index in range(3):
        memory, chunk = base.advance(spec, plan, index, memory)
        driver.chunks[index] = f"chunks/{index}.npz"
        PieceWriter(store, "out", "mark").save_chunk(driver.chunks[index], memory, chunk)
    store.put(driver.chunks[1], b"broken")
    driver.begin(spec)
    np.testing.assert_array_equal(driver.finish(spec), local(spec))
    lines = [line.split() for line in (folder / "log").read_text().splitlines()]
    made = [int(index) for stage, video_id, index in lines if (stage, video_id) == ("base", "read")]
    assert made == [1, *range(3, len(plan.chunks))]


@pytest.mark.parametrize(("method", "most"), [("wait_for", 2), ("other", 2 * JOBS_PER_SEGMENT)])
def test_no_task_starts_while_the_writers_are_behind(driver, tmp_path, method, most):
    spec, go = PromptSpec("a", "a red circle", num_frames=24), tmp_path / "go"
    driver.segment_method = method
    for _ in range(1 + most + 1):  # one of them runs
        driver._jobs.put(WriterJob("wait_for", (str(go),)))
    driver.hand_out(tasks=False)
    driver.begin(spec)
    driver.hand_out()
    assert driver.num_calls() == {"base": 0, "refiner": 0, "writer": 1}
    go.touch()
    np.testing.assert_array_equal(driver.finish(spec), local(spec))
    driver.run(lambda: not driver._jobs.busy)
    assert len(driver.ended) == 1 + most + 1
