"""The Scheduler against any order of completion, beside the waits of DESIGN written down once more, cell by cell."""

import itertools
import random
import weakref
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import Cue, PromptSpec
from longtake.models.domain.resume import Resume
from longtake.models.domain.scheduler import Coupling, Scheduler, SchedulerParams, StageName, Task, task_blocks
from longtake.models.domain.span import Span

EXAMPLES = settings(max_examples=60)
ONE, FOUR = dict.fromkeys(StageName, 1), dict.fromkeys(StageName, 4)


class Handle:
    """A value in another process; a weak reference shows whether it is alive. `what` describes it for the test."""

    def __init__(self, *what):
        self.what = what


@dataclass
class Video:
    """A request and its progress: done chunks, done cells (window, step), and all handles."""

    spec: PromptSpec
    plan: Plan
    num_steps: int
    coupling: Coupling
    steps_per_task: int
    resumed: int = 0  # the windows before it were done in another life
    chunks: int = 0
    cells: set[tuple[int, int]] = field(default_factory=set)
    opened: int = 0
    out: list[int] = field(default_factory=list)
    watched: dict[tuple, "weakref.ref[Handle]"] = field(default_factory=dict)

    def __post_init__(self):
        causal = self.coupling is Coupling.CAUSAL
        self.listens = [-1] if causal else [-1, 1]
        self.windows = range(len(self.plan.windows))
        size = self.steps_per_task if causal else 1
        cuts = [*range(0, self.num_steps, size), self.num_steps, self.num_steps + 1]
        self.tasks = [Span(start, stop) for start, stop in itertools.pairwise(cuts)]  # of every window, by their cells
        self.chunks = min(self.plan.chunks_of(self.resumed))
        self.cells = {(k, s) for k in range(self.resumed) for s in range(self.num_steps + 1)}
        self.opened = self.resumed
        self.out = [*range(self.resumed)]

    def resume(self) -> Resume | None:
        """The results of the earlier run, as watched handles."""
        if not self.resumed:
            return None
        boundaries = {steps: self.handle("boundary", self.resumed - 1, steps) for steps in self.tasks[:-1]}
        memory = self.handle("memory", self.chunks - 1) if self.chunks else None
        return Resume(self.resumed, self.chunks, memory, boundaries)

    def handle(self, *what) -> Handle:
        handle = Handle(*what)
        self.watched[what] = weakref.ref(handle)
        return handle

    def heard(self, window: int, steps: Span) -> set[tuple[int, int]]:
        """DESIGN section 3: cell (k, s) waits for (k-1, s-1), in symmetric coupling for (k+1, s-1) too."""
        neighbours = [window + side for side in self.listens if window + side in self.windows]
        return {(neighbour, s - 1) for neighbour in neighbours for s in steps if s > 0}

    def to_do(self, window: int) -> list[Span]:
        return [steps for steps in self.tasks if (window, steps.start) not in self.cells]

    def may_refine(self, window: int) -> bool:
        """The first task that is left: its own window's past is done by definition."""
        if self.chunks <= max(self.plan.chunks_of(window)):
            return False
        return any(self.heard(window, steps) <= self.cells for steps in self.to_do(window)[:1])

    def may_generate(self, lookahead_frames: int) -> bool:
        if self.chunks == len(self.plan.chunks):
            return False
        first = min(self.plan.chunks_of(self.opened))
        return self.plan.chunks[self.chunks].stop - self.plan.chunks[first].start <= lookahead_frames

    def needed(self) -> set[tuple]:
        """Of the handles that were made: those that a task needs which is not done, and segments that are not out."""
        needed = {("segment", k) for k in self.windows if (k, self.num_steps) in self.cells and k not in self.out}
        if 0 < self.chunks < len(self.plan.chunks):
            needed |= {("memory", self.chunks - 1)}
        for k in self.windows[len(self.out) :]:
            if min(self.plan.chunks_of(k)) >= self.chunks and k != self.resumed:
                break  # nothing was made for this window yet
            if (k, 0) not in self.cells:
                needed |= {("chunk", i) for i in self.plan.chunks_of(k) if i < self.chunks}
            for steps in self.to_do(k):
                if (k, steps.start - 1) in self.cells:
                    needed |= {("state", k, before) for before in self.tasks if before.stop == steps.start}
                for neighbour, s in self.heard(k, steps) & self.cells:
                    needed |= {("boundary", neighbour, block) for block in self.tasks if s in block}
        return needed

    def expected_args(self, task: Task) -> tuple[list, set]:
        """The arguments before the flat tail, and the tail as a set."""
        if task.stage is StageName.GENERATE:
            return [self.spec, self.plan, task.index, ("memory", task.index - 1) if task.index else None], set()
        before = [("state", task.index, steps) for steps in self.tasks if steps.stop == task.steps.start]
        tail = {
            ("boundary", k, block)
            for k, s in self.heard(task.index, task.steps)
            for block in self.tasks[:-1]
            if s in block
        }
        if task.steps.start == 0:
            tail |= {("chunk", i) for i in self.plan.chunks_of(task.index)}
        return [self.spec, self.plan, task.index, task.steps, before[0] if before else None], tail


class Simulation:
    """Runs videos with slots for each stage, ends tasks in a random order, and checks every claim at every turn."""

    def __init__(self, videos: list[Video], lookahead_frames: int, slots: dict[StageName, int], rng: random.Random):
        self.scheduler = Scheduler(SchedulerParams(lookahead_frames))
        self.videos: dict[str, Video] = {}
        self.lookahead_frames, self.slots, self.rng = lookahead_frames, slots, rng
        self.running: list[Task] = []
        self.done: Counter[tuple] = Counter()
        self.peak_handles = 0
        for video in videos:
            self.submit(video)

    def submit(self, video: Video):
        self.videos[video.spec.video_id] = video
        how = (video.num_steps, video.coupling, video.steps_per_task)
        self.scheduler.submit(video.spec, video.plan, *how, video.resume())

    def change_one(self):
        """Another prompt for some video, from a frame on whose chunk is neither done nor running."""
        video = self.rng.choice([v for v in self.videos.values() if len(v.out) < len(v.windows)])
        free = video.chunks + any(
            task.stage is StageName.GENERATE and task.video_id == video.spec.video_id for task in self.running
        )
        assert self.scheduler.next_chunk(video.spec.video_id) == free
        first = video.plan.chunks[free - 1].start + 1 if free else 1
        if first < video.spec.num_frames:
            frame = self.rng.randrange(first, video.spec.num_frames)
            kept = tuple(cue for cue in video.spec.cues if cue.from_frame < frame)
            video.spec = replace(video.spec, cues=(*kept, Cue(frame, f"prompt {self.rng.random()}")))
            self.scheduler.change(video.spec.video_id, video.spec)

    def fill(self):
        """Takes tasks until every slot is used or nothing may run; each one has to be the one that the rules name."""
        for stage in self.rng.sample(list(StageName), 2):
            while sum(task.stage is stage for task in self.running) < self.slots[stage]:
                expected = self.expected(stage)
                task = self.scheduler.next(stage)
                assert (task and (task.video_id, task.index, task.steps)) == expected
                if task is None:
                    break
                self.check_args(task)
                if stage is StageName.REFINE and task.index == self.videos[task.video_id].opened:
                    self.videos[task.video_id].opened += 1
                self.running.append(task)

    def expected(self, stage: StageName):
        """First video, lowest window: the independent reading of the rules."""
        busy = {(task.video_id, task.index) for task in self.running if task.stage is stage}
        for video_id, video in self.videos.items():
            if stage is StageName.GENERATE:
                if (video_id, video.chunks) not in busy and video.may_generate(self.lookahead_frames):
                    return video_id, video.chunks, None
                continue
            for k in video.windows[len(video.out) :]:
                if (video_id, k) not in busy and video.may_refine(k):
                    return video_id, k, video.to_do(k)[0]
        return None

    def check_args(self, task: Task):
        args = [arg.what if isinstance(arg, Handle) else arg for arg in task.args]
        head, tail = self.videos[task.video_id].expected_args(task)
        assert args[: len(head)] == head
        assert len(args) == len(head) + len(tail) and set(args[len(head) :]) == tail
        chunks = [what for what in args[len(head) :] if what[0] == "chunk"]
        assert chunks == sorted(chunks)

    def end_one(self, chance_of_loss: float = 0.0):
        task = self.running.pop(self.rng.randrange(len(self.running)))
        if self.rng.random() < chance_of_loss:
            self.scheduler.lost(task)
        else:
            self.complete(task)

    def complete(self, task: Task):
        video = self.videos[task.video_id]
        carry, output = self.results(task, video)
        self.done[task.video_id, task.stage, task.index, task.steps] += 1
        segments = self.scheduler.done(task, carry, output)
        del carry, output
        if task.steps is None:
            video.chunks += 1
        else:
            video.cells |= {(task.index, s) for s in task.steps}
        assert all(handle.what[0] == "segment" for handle in segments)
        video.out += [handle.what[1] for handle in segments]

    def results(self, task: Task, video: Video):
        if task.stage is StageName.GENERATE:
            names = ("memory", task.index), ("chunk", task.index)
        elif task.steps.start < video.num_steps:
            names = ("state", task.index, task.steps), ("boundary", task.index, task.steps)
        else:
            names = None, ("segment", task.index)
        return [name and video.handle(*name) for name in names]

    def check_handles(self):
        """Exactly the needed handles are alive; those of running tasks are needed until the tasks are done."""
        held = 0
        for video in self.videos.values():
            video.watched = {name: ref for name, ref in video.watched.items() if ref() is not None}
            assert set(video.watched) == video.needed()
            held += len(video.watched)
        self.peak_handles = max(self.peak_handles, held)

    def run(self, chance_of_loss: float = 0.0, chance_of_change: float = 0.0):
        while not self.scheduler.finished:
            if self.rng.random() < chance_of_change:
                self.change_one()
            self.fill()
            assert self.running, "deadlock: nothing runs and nothing is ready"
            self.end_one(chance_of_loss)
            self.check_handles()
        assert not self.running
        return self


def make_video(
    video_id="a", num_frames=80, num_steps=3, coupling=Coupling.CAUSAL, steps_per_task=1, params=None, resumed=0
):
    spec, plan = PromptSpec(video_id, "a red circle", num_frames=num_frames), Plan(num_frames, params or PlanParams())
    if coupling is Coupling.SYMMETRIC:
        resumed = 0
    return Video(spec, plan, num_steps, coupling, steps_per_task, resumed % len(plan.windows))


@st.composite
def simulations(draw: st.DrawFn, max_frames: int = 400, max_videos: int = 3, resumed: int = 0) -> Simulation:
    """Up to `max_videos` of them, each gone on with at some window up to `resumed`."""
    # Sizes with several chunks under a window, with chunks longer than windows, and with both out of step.
    params = draw(
        st.sampled_from([PlanParams(), PlanParams(16, 8, 24, 12), PlanParams(20, 3, 12, 5), PlanParams(9, 2, 31, 4)])
    )
    videos = [
        make_video(
            f"video {i}",
            draw(st.integers(1, max_frames)),
            draw(st.integers(1, 7)),
            draw(st.sampled_from(Coupling)),
            draw(st.integers(1, 8)),
            params,
            draw(st.integers(0, resumed)),
        )
        for i in range(draw(st.integers(1, max_videos)))
    ]
    needed = max(
        sum(len(v.plan.chunks[i]) for i in v.plan.chunks_of(k)) for v in videos for k in range(len(v.plan.windows))
    )
    slots = {stage: draw(st.integers(1, 5)) for stage in StageName}
    seed = draw(st.integers(0, 2**32))  # not st.randoms(): drawing every turn from hypothesis takes five times as long
    return Simulation(videos, needed + draw(st.integers(0, 60)), slots, random.Random(seed))


@EXAMPLES
@given(simulations(), st.sampled_from([0.0, 0.0, 0.3]))
def test_any_order_of_completion_runs_every_cell_once_and_gives_the_segments_in_order(simulation, chance_of_loss):
    simulation.run(chance_of_loss)
    for video in simulation.videos.values():
        assert video.out == list(video.windows)
        assert video.chunks == len(video.plan.chunks)
        assert video.cells == {(k, s) for k in video.windows for s in range(video.num_steps + 1)}
        assert video.watched == {}
    assert set(simulation.done.values()) == {1}


@EXAMPLES
@given(simulations(max_frames=200, resumed=9), st.sampled_from([0.0, 0.3]), st.sampled_from([0.0, 0.2]))
def test_resumed_videos_run_the_rest_once_and_tasks_carry_the_latest_prompts(
    simulation, chance_of_loss, chance_of_change
):
    simulation.check_handles()
    simulation.run(chance_of_loss, chance_of_change)
    for video in simulation.videos.values():
        assert video.out == list(video.windows) and video.chunks == len(video.plan.chunks)
        assert video.cells == {(k, s) for k in video.windows for s in range(video.num_steps + 1)}
        assert video.watched == {}
        ran = [key for key in simulation.done if key[0] == video.spec.video_id]
        assert len(ran) == len(video.plan.chunks) - min(video.plan.chunks_of(video.resumed)) + len(video.tasks) * (
            len(video.windows) - video.resumed
        )
    assert set(simulation.done.values()) == {1}


@EXAMPLES
@given(simulations(max_frames=150), st.integers(0, 60), st.sampled_from(["cancel", "failed"]), st.booleans())
def test_a_video_that_fails_or_is_cancelled_ends_alone_and_late_reports_change_nothing(simulation, turns, how, again):
    for _ in range(turns):
        simulation.fill()
        simulation.end_one()
        if simulation.scheduler.finished:
            return
    simulation.fill()
    rng, victim = simulation.rng, simulation.rng.choice(simulation.running).video_id
    stale = [task for task in simulation.running if task.video_id == victim]
    simulation.running = [task for task in simulation.running if task.video_id != victim]
    if how == "cancel":
        simulation.scheduler.cancel(victim)
    else:
        simulation.scheduler.failed(stale[0])
    video = simulation.videos.pop(victim)
    if again:  # the same id, submitted again: its tasks look like the stale ones
        video = Video(video.spec, video.plan, video.num_steps, video.coupling, video.steps_per_task)
        simulation.submit(video)
        simulation.done = Counter({key: 1 for key in simulation.done if key[0] != victim})
    for task in stale:
        assert simulation.scheduler.done(task, None, None) == []
        rng.choice([simulation.scheduler.failed, simulation.scheduler.lost])(task)
        if simulation.scheduler.finished:
            break
        simulation.fill()
        simulation.end_one()
        simulation.check_handles()
    del stale
    simulation.run()
    simulation.check_handles()
    for video in simulation.videos.values():
        assert video.out == list(video.windows) and video.watched == {}
    assert set(simulation.done.values()) <= {1}


def test_an_ended_video_leaves_no_handle_behind():
    simulation = Simulation([make_video(num_steps=4, coupling=Coupling.SYMMETRIC)], 48, FOUR, random.Random(0))
    for _ in range(20):
        simulation.fill()
        simulation.end_one()
    (video,) = simulation.videos.values()
    assert any(handle() is not None for handle in video.watched.values())
    simulation.running.clear()
    simulation.scheduler.cancel("a")
    assert all(handle() is None for handle in video.watched.values())


def test_a_lost_task_comes_again_with_the_very_same_arguments():
    simulation = Simulation([make_video(num_steps=4, steps_per_task=2)], 48, ONE, random.Random(0))
    while not simulation.scheduler.finished:
        simulation.fill()
        for task in simulation.running:
            simulation.scheduler.lost(task)
            again = simulation.scheduler.next(task.stage)
            assert again == task and again is not task
            assert len(again.args) == len(task.args) and all(a is b for a, b in zip(again.args, task.args, strict=True))
            assert simulation.scheduler.done(task, None, None) == []  # the worker that was thought dead: too late
            simulation.running[simulation.running.index(task)] = again
        del task, again
        simulation.end_one()


@pytest.mark.parametrize("coupling", Coupling)
@pytest.mark.parametrize("slots", [1, 4])
def test_memory_does_not_grow_with_the_length_of_the_video(coupling, slots):
    def peak(num_frames):
        video = make_video(num_frames=num_frames, num_steps=5, coupling=coupling)
        simulation = Simulation([video], 48, dict.fromkeys(StageName, slots), FirstInFirstOut())
        return simulation.run().peak_handles

    assert peak(320) == peak(1280)


class FirstInFirstOut(random.Random):
    """Ends the oldest task first, as workers that are all equally fast."""

    def randrange(self, *_):
        return 0


def test_without_a_refiner_the_base_model_stops_at_the_bound():
    simulation = Simulation(
        [make_video(num_frames=400)], 48, {StageName.GENERATE: 5, StageName.REFINE: 0}, random.Random(0)
    )
    simulation.fill()
    while simulation.running:
        simulation.end_one()
        simulation.fill()
    assert simulation.videos["a"].chunks == 5  # 16 + 4 * 8 = 48 frames


@pytest.mark.parametrize(
    ("coupling", "chunks", "cells"),
    [(Coupling.CAUSAL, 2, {0: 5}), (Coupling.SYMMETRIC, 10, {0: 5, 1: 4, 2: 3, 3: 2, 4: 1})],
)
def test_the_first_segment_is_out_after_so_many_chunks_and_cells(coupling, chunks, cells):
    simulation = Simulation([make_video(num_frames=400, num_steps=4, coupling=coupling)], 48, ONE, random.Random(0))
    scheduler, (video,) = simulation.scheduler, simulation.videos.values()
    while not video.out:  # the loop of pipelines/runners/local.py
        simulation.complete(scheduler.next(StageName.REFINE) or scheduler.next(StageName.GENERATE))
    assert video.chunks == chunks
    assert Counter(window for window, _ in video.cells) == cells


@pytest.mark.parametrize(
    ("coupling", "steps_per_task", "steps"),
    [
        (Coupling.CAUSAL, 1, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]),
        (Coupling.CAUSAL, 2, [(0, 2), (2, 4), (4, 5), (5, 6)]),
        (Coupling.CAUSAL, 5, [(0, 5), (5, 6)]),
        (Coupling.CAUSAL, 9, [(0, 5), (5, 6)]),
        (Coupling.SYMMETRIC, 3, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]),
    ],
)
def test_a_window_runs_in_aligned_blocks_of_cells_and_decoding_is_a_task_of_its_own(coupling, steps_per_task, steps):
    video = make_video(num_frames=20, num_steps=5, coupling=coupling, steps_per_task=steps_per_task)
    simulation = Simulation([video], 48, ONE, random.Random(0)).run()
    spans = [Span(*span) for span in steps]
    assert [key[3] for key in simulation.done if key[1] is StageName.REFINE] == spans
    assert task_blocks(5, steps_per_task, coupling) == tuple(spans)


def test_a_block_needs_up_to_two_boundaries_of_the_window_before():
    video = make_video(num_frames=40, num_steps=5, steps_per_task=2)
    simulation = Simulation([video], 48, ONE, random.Random(0))
    boundaries = {}
    while not simulation.scheduler.finished:
        simulation.fill()
        for task in simulation.running:
            heard = [arg.what for arg in task.args[5:] if isinstance(arg, Handle) and arg.what[0] == "boundary"]
            if task.stage is StageName.REFINE and task.index == 1:
                boundaries[task.steps] = [what[1:] for what in heard]
        simulation.end_one()
    assert boundaries == {
        Span(0, 2): [(0, Span(0, 2))],
        Span(2, 4): [(0, Span(0, 2)), (0, Span(2, 4))],
        Span(4, 5): [(0, Span(2, 4))],
        Span(5, 6): [(0, Span(4, 5))],
    }


def test_a_video_that_is_resumed_at_its_beginning_is_the_one_that_is_submitted():
    plan = Plan(80, PlanParams())
    for coupling in Coupling:
        runs = []
        for resume in (None, Resume(0, 0)):
            simulation = Simulation([], 48, ONE, random.Random(0))
            video = simulation.videos["a"] = make_video(coupling=coupling)
            simulation.scheduler.submit(video.spec, plan, 3, coupling, resume=resume)
            runs.append(list(simulation.run().done))
        assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "another"}, "prompt: too late to change the chunk from frame 0, which has been handed out"),
        (
            {"cues": (Cue(24, "another"),)},
            "prompt: too late to change the chunk from frame 24, which has been handed out",
        ),
        (
            {"cues": (Cue(17, "another"),)},
            "prompt: too late to change the chunk from frame 24, which has been handed out",
        ),
        ({"seed": 1}, "video_id='a': it is running, and only its prompts can change"),
        ({"num_frames": 40}, "video_id='a': it is running, and only its prompts can change"),
        ({"settings": (("refiner.eta", 1),)}, "video_id='a': it is running, and only its prompts can change"),
        ({"video_id": "b"}, "video_id='a': it is running, and only its prompts can change"),
    ],
)
def test_what_was_handed_out_and_all_but_prompts_cannot_be_changed(changes, message):
    simulation = Simulation([make_video()], 48, ONE, random.Random(0))
    (video,) = simulation.videos.values()
    for _ in range(2):
        simulation.complete(simulation.scheduler.next(StageName.GENERATE))
    running = simulation.scheduler.next(StageName.GENERATE)
    assert simulation.scheduler.next_chunk("a") == 3
    with pytest.raises(ValueError) as refusal:
        simulation.scheduler.change("a", replace(video.spec, **changes))
    assert str(refusal.value) == message
    simulation.scheduler.change("a", replace(video.spec, cues=(Cue(25, "another"),)))
    simulation.scheduler.lost(running)
    assert simulation.scheduler.next_chunk("a") == 2
    assert simulation.scheduler.next(StageName.GENERATE).args[0].cues == (Cue(25, "another"),)


def test_of_a_video_that_is_not_running_nothing_can_be_asked():
    scheduler = Scheduler(SchedulerParams())
    for ask in (scheduler.next_chunk, lambda name: scheduler.change(name, PromptSpec(name, "x"))):
        with pytest.raises(ValueError, match="^video_id='b': no video with this id is running$"):
            ask("b")


def test_a_task_is_known_by_what_it_does_not_by_what_it_carries():
    task = Task("a", StageName.REFINE, 1, Span(0, 1), (object(),))
    assert (
        task == Task("a", StageName.REFINE, 1, Span(0, 1), ())
        and len({task, Task("a", StageName.REFINE, 1, Span(0, 1), ())}) == 1
    )
    assert task != Task("a", StageName.REFINE, 1, Span(1, 2), task.args)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_steps": -1}, "num_steps=-1"),
        ({"num_steps": 2.0}, "num_steps=2.0"),
        ({"steps_per_task": 0}, "steps_per_task=0"),
        ({"video_id": "a"}, "video_id='a': a video with this id is running"),
        ({"params": PlanParams(window_frames=100)}, "lookahead_frames=48 is too small"),
    ],
)
def test_a_video_that_cannot_run_is_refused_and_nothing_of_it_stays(wrong, message):
    simulation = Simulation([make_video("a")], 48, ONE, random.Random(0))
    video = make_video(**{"video_id": "b"} | {key: wrong[key] for key in wrong if key in ("video_id", "params")})
    steps = {"num_steps": 3, "steps_per_task": 1} | {key: wrong[key] for key in wrong if "steps" in key}
    with pytest.raises(ValueError, match=message):
        simulation.scheduler.submit(video.spec, video.plan, coupling=Coupling.CAUSAL, **steps)
    simulation.run()
    assert simulation.videos["a"].out == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("lookahead_frames", [0, -1, 4.5, "48", True])
def test_a_bound_that_is_no_number_of_frames_is_refused(lookahead_frames):
    with pytest.raises(ValueError, match=f"lookahead_frames={lookahead_frames!r}"):
        SchedulerParams(lookahead_frames)
