"""A take in progress, without Ray: any order of calls and jobs, and an end of the process at any moment."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from longtake.models.domain.scheduler import Coupling, Scheduler, SchedulerParams, StageName
from longtake.pipelines.config.conf import Conf, for_video
from longtake.pipelines.serve.engine.take_in_progress import TakeInProgress
from longtake.pipelines.serve.engine.take_runner import TakeRunner
from longtake.pipelines.serve.library.events import EventLog
from longtake.pipelines.serve.library.inputs import InputFile, InputKind
from longtake.pipelines.serve.library.paths import boundary_name, chunk_name, fragment_name, preview_name
from longtake.pipelines.serve.library.resume_plan import count_fragments, figures_of
from tests.pipelines.serve.library.test_takes import take_of


class Process:
    """Works on a take until `calls` calls have ended; `disk` holds the files that remain."""

    def __init__(self, take, disk, rng):
        self.take, self.disk, self.rng = take, disk, rng
        self.conf = for_video(Conf(), take.spec.settings)
        self.video = TakeInProgress(take, self.conf, EventLog())
        self.scheduler = Scheduler(SchedulerParams())
        self.submitted = self.finished = False
        self.video.set_files(dict(disk))
        self.jobs, self.tasks = self.video.loads(), []
        self.next_final = self.video._window
        self.made = []  # tasks that were run

    def run(self, calls):
        for _ in range(calls):
            if self.finished and not self.jobs:
                return
            self.hand_out()
            waiting = [*self.jobs, *self.tasks]
            assert waiting, "nothing runs and nothing is ready"
            one = self.rng.choice(waiting)
            if one in self.jobs:
                self.jobs.remove(one)
                self.jobs += self.write(one)
            else:
                self.tasks.remove(one)
                self.jobs += self.ran(one)

    def hand_out(self):
        if not self.submitted and (resume := self.video.resume) is not None:
            shape = self.video.shape
            self.scheduler.submit(self.take.spec, shape.plan, shape.num_steps, self.take.coupling, 1, resume)
            self.submitted = True
        for stage in StageName:
            while task := self.scheduler.next(stage):
                self.tasks.append(task)

    def ran(self, task):
        generated = task.stage is StageName.GENERATE
        if not (generated and chunk_name(task.index) in self.disk):  # it would be read
            self.made.append(task)
        output = f"chunk {task.index}" if generated else boundary_name(task.index, task.steps)
        segments = self.scheduler.done(task, "carry", output)
        jobs = self.video.chunk_done(task.index, "carry", output) if generated else self.video.window_done(task, output)
        for _ in segments:
            jobs = [*jobs, *self.video.segment_final(self.next_final, "segment")]
            self.next_final += 1
        return jobs

    def write(self, job):
        if job.subject:
            assert job.subject in self.disk
            self.video.loaded(job.subject, "handle")
            return []
        if job.method == "drop":
            for name in job.args[1]:
                del self.disk[name]
            return []
        names = self.names(job)
        assert job.method == "finish" or not set(names) <= set(self.disk), f"{names} are there"
        if job.method == "keep_fragment":
            assert all(name in self.disk for name in self.video.shape.basis(job.args[1] + 1))
        self.disk |= dict.fromkeys(names, 1)
        self.finished |= job.method == "finish"
        return self.video.files_written(dict.fromkeys(names, 1))

    def names(self, job):
        if job.method == "keep_chunk":
            index = job.args[1]
            inside = self.video.shape.plan.chunks[index].start < self.take.num_frames
            return [*([preview_name(index)] if inside else []), chunk_name(index)]
        if job.method == "keep_boundary":
            return [job.args[1]]
        return [fragment_name(job.args[1])] if job.method == "keep_fragment" else ["video.mp4"]


SOURCE_OF_40 = InputFile(kind=InputKind.VIDEO, num_bytes=1, width=32, height=24, num_frames=40, fps="12")
takes = st.builds(take_of, st.integers(1, 150), st.sampled_from(Coupling))


@given(take=takes, seed=st.integers(0, 2**32), ends=st.lists(st.integers(0, 120), max_size=3))
@example(take=take_of(1, Coupling.SYMMETRIC), seed=0, ends=[8])  # its fragment could be written before its chunks
def test_it_is_whole_in_the_end_whatever_happens_and_nothing_is_written_twice(take, seed, ends):
    disk, rng = {}, random.Random(seed)
    for calls in ends:
        Process(take, disk, rng).run(calls)
    before = dict(disk)
    last = Process(take, disk, rng)
    num_final = last.video._window
    last.run(10_000)
    assert last.finished
    shape = last.video.shape
    assert {fragment_name(index) for index in range(shape.num_fragments)} <= set(disk)
    assert {chunk_name(index) for index in range(len(shape.plan.chunks))} <= set(disk) or "video.mp4" in before
    kept = {index for index in range(len(shape.plan.chunks)) if chunk_name(index) in before}
    assert not kept & {task.index for task in last.made if task.stage is StageName.GENERATE}
    if take.coupling is Coupling.CAUSAL:
        assert num_final == count_fragments(before)
        assert len({name.split("-")[0] for name in disk if name.startswith("boundaries/")}) <= 2


@given(take=takes, seed=st.integers(0, 2**32), calls=st.integers(0, 120))
@example(take=take_of(121, Coupling.CAUSAL), seed=18339, calls=94)  # ends while a window with a fragment still runs
def test_it_is_told_of_every_piece_once_and_in_order_also_after_a_restart(take, seed, calls):
    disk, rng = {}, random.Random(seed)
    Process(take, disk, rng).run(calls)
    process = Process(take, disk, rng)
    assert process.video.take.progress == figures_of(process.video.shape, disk).percent
    process.run(10_000)
    events, shape = process.video.events._events, process.video.shape
    for kind, count in (("fragment", shape.num_fragments), ("chunk", len(shape.plan.chunks))):
        told = [event.data["index"] for event in events if event.kind == kind]
        assert told == [*range(count)]
    shown = sum(chunk.start < take.num_frames for chunk in shape.plan.chunks)
    assert [event.data["index"] for event in events if event.kind == "preview"] == [*range(shown)]
    percents = [event.data["progress"] for event in events if event.kind == "progress"]
    assert percents == sorted(percents) and percents[-1] == 99 == process.video.take.progress


@pytest.mark.parametrize("source", [None, SOURCE_OF_40])
def test_every_job_that_holds_a_segment_is_counted_as_one(source):
    take = take_of(80, Coupling.SYMMETRIC, input=source)
    video = TakeInProgress(take, for_video(Conf(), take.spec.settings), EventLog())
    shape = video.shape
    video.set_files(dict.fromkeys([*shape.own_files(shape.first_window), *map(chunk_name, range(20))], 1))
    jobs = [job for window in range(shape.first_window, 4) for job in video.segment_final(window, "segment")]
    assert len(jobs) == 4 - shape.first_window
    assert {job.method for job in jobs} == {TakeRunner.segment_method}


def test_the_frames_of_a_clients_video_are_written_by_one_job_after_the_other():
    take = take_of(80, input=SOURCE_OF_40)
    video = TakeInProgress(take, for_video(Conf(), take.spec.settings), EventLog())
    names = video.shape.own_files(video.shape.first_window)
    for name in names:
        (job,) = video.loads()
        assert job.method == "begin_video" and set(video.files) == job.args[-1]
        video.set_files({name: 1})
    assert [job.method for job in video.loads()] == ["load_clip"]
    told = [event.data["index"] for event in video.events._events if event.kind == "fragment"]
    assert told == list(range(len(told))) and len(told) == video.shape.first_window - video.shape.num_skipped > 1
    video.unreadable(fragment_name(1))
    (job,) = video.loads()
    assert job.method == "begin_video" and set(names) - job.args[-1] == {fragment_name(1)}


def test_a_file_that_is_unreadable_is_made_again():
    take, disk, rng = take_of(120), {}, random.Random(0)
    first = Process(take, disk, rng)
    while count_fragments(disk) < 3:
        first.run(1)
    process = Process(take, disk, rng)
    window = process.video._window
    process.video.unreadable(process.jobs[-1].subject)
    assert all(job.method.startswith("load_") for job in process.video.loads())
    assert process.video._window == window - 1  # boundaries of two windows are kept
