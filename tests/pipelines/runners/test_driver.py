"""The driver of videos on toy pools, with a policy that does no more than it has to."""

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import ray

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import Coupling, Stage
from longtake.pipelines.files.piece_writer import PieceWriter
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.driver import JOBS_PER_SEGMENT, VideoDriver
from longtake.pipelines.runners.local import LocalRunner
from longtake.pipelines.runners.ray_cluster import pools
from longtake.pipelines.runners.writer_queue import WriterJob
from tests.pipelines.runners.test_local import NUM_STEPS, frames_of
from tests.pipelines.runners.test_ray_runner import conf_of
from tests.support.engine_toys import LinkedBase, LinkedRefiner, linked

pytestmark = pytest.mark.xdist_group("ray")


class Writer(PieceWriter):
    """One that can be kept busy."""

    def wait_for(self, path):
        while not os.path.exists(path):
            time.sleep(0.02)
        return None, None


@dataclass(frozen=True)
class WriterFactory:
    store: Store

    def __call__(self):
        return Writer(self.store, "out", "mark")


@dataclass
class Policy:
    """Keeps final segments; `chunks` are the paths of chunks on disk."""

    segment_method: str = "wait_for"
    chunks: dict[int, str] = field(default_factory=dict)
    segments: dict[tuple[str, int], object] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    ended: list[WriterJob] = field(default_factory=list)
    driver: VideoDriver | None = None

    def begin(self, spec):
        self.driver.runner.submit(spec)
        self.driver.videos[spec.video_id] = spec

    def run(self, until, patience_s=60):
        end = time.monotonic() + patience_s
        while not until():
            assert time.monotonic() < end, "waited too long"
            self.driver.hand_out()
            self.driver.take_in(0.05)

    def finish(self, spec):
        num_segments = len(Plan(spec.num_frames, PlanParams()).segments)
        self.run(lambda: all((spec.video_id, i) in self.segments for i in range(num_segments)))
        return frames_of(self.segments[spec.video_id, i] for i in range(num_segments))

    def kept_chunk(self, video, index):
        return self.chunks.get(index)

    def chunk_unreadable(self, video, index):
        del self.chunks[index]

    def passes(self, video, outcome):
        return True

    def task_done(self, video, event): ...

    def segment_final(self, video, event):
        self.segments[video.video_id, event.index] = ray.get(event.segment)

    def job_done(self, video, result):
        self.ended.append(result.job)

    def job_raised(self, video, result):
        self.ended.append(result.job)

    def begin_again(self, video, lost):
        self.begin(video)

    def fail(self, video, reason):
        self.failed[video.video_id] = reason
        self.driver.forget(video.video_id)


@contextmanager
def policy_in(folder, *overrides, **how):
    """A policy whose driver holds tasks back when more than two segments wait."""
    store = Store(folder)
    store.put("mark", b"")
    conf, policy = conf_of("refiner.coupling=causal", *overrides), Policy()
    with pools(conf.ray, {**linked(**how), "writer": WriterFactory(store)}) as made:
        policy.driver = VideoDriver(conf, made, policy, max_segments=2)
        yield policy


def local(spec):
    stages = {Stage.GENERATE: LinkedBase(), Stage.REFINE: LinkedRefiner()}
    return frames_of(LocalRunner(stages, PlanParams(), NUM_STEPS, Coupling.CAUSAL).stream(spec))


def test_a_video_that_lost_a_part_begins_again_with_the_same_frames_until_it_happens_too_often(ray_cluster, tmp_path):
    spec, other = PromptSpec("a", "a red circle"), PromptSpec("b", "a blue circle", num_frames=40)
    with policy_in(tmp_path, "ray.max_attempts=3") as policy:
        policy.begin(spec)
        policy.begin(other)
        policy.run(lambda: ("a", 0) in policy.segments)
        policy.driver.jobs.put(WriterJob("wait_for", ("never",), "a"))
        policy.segments.clear()
        for losses in (1, 2):
            policy.driver.begin_again("a", "its machine is gone")
            assert policy.driver.repeats("a") == losses and not policy.driver.jobs.num_waiting()
        np.testing.assert_array_equal(policy.finish(spec), local(spec))
        policy.driver.begin_again("a", "its machine is gone")
        assert policy.failed == {"a": "parts of it were lost 3 times: its machine is gone"}
        np.testing.assert_array_equal(policy.finish(other), local(other))
        assert list(policy.driver.videos) == ["b"] and policy.driver.repeats("a") == 0


def test_a_chunk_on_disk_is_read_and_one_that_is_unreadable_is_made(ray_cluster, tmp_path):
    spec, base = PromptSpec("a", "a red circle", num_frames=40), LinkedBase()
    plan, memory, log = Plan(40, PlanParams()), None, tmp_path / "log"
    with policy_in(tmp_path / "out", log=str(log)) as policy:
        for index in range(3):
            memory, chunk = base.advance(spec, plan, index, memory)
            policy.chunks[index] = f"chunks/{index}.npz"
            PieceWriter(Store(tmp_path / "out"), "out", "mark").save_chunk(policy.chunks[index], memory, chunk)
        Store(tmp_path / "out").put(policy.chunks[1], b"broken")
        policy.begin(spec)
        np.testing.assert_array_equal(policy.finish(spec), local(spec))
    made = [line.split()[2] for line in log.read_text().splitlines() if line.startswith("base")]
    assert made == ["1", *map(str, range(3, len(plan.chunks)))]


@pytest.mark.parametrize(("method", "most"), [("wait_for", 2), ("other", 2 * JOBS_PER_SEGMENT)])
def test_no_task_starts_while_the_writers_are_behind(ray_cluster, tmp_path, method, most):
    spec, go = PromptSpec("a", "a red circle", num_frames=24), tmp_path / "go"
    with policy_in(tmp_path) as policy:
        policy.segment_method = method
        for _ in range(1 + most + 1):  # one of them runs
            policy.driver.jobs.put(WriterJob("wait_for", (str(go),)))
        policy.driver.hand_out(tasks=False)
        policy.begin(spec)
        policy.driver.hand_out()
        assert policy.driver.num_calls() == {"base": 0, "refiner": 0, "writer": 1}
        go.touch()
        np.testing.assert_array_equal(policy.finish(spec), local(spec))
        policy.run(lambda: not policy.driver.jobs.busy)
        assert len(policy.ended) == 1 + most + 1
