"""A resumed video, and one whose prompt changes on the way, has the frames of an undisturbed one."""

import pickle
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import Cue, PromptSpec, chunk_prompt
from longtake.models.domain.resume import Resume
from longtake.models.domain.scheduler import Coupling, Scheduler, SchedulerParams, StageName, task_blocks
from longtake.models.domain.span import Span
from longtake.models.stages.bundle import load_bundle
from longtake.models.stages.params import BaseParams, RefinerParams
from tests.pipelines.runners.test_local import NUM_STEPS, ToyBase, ToyRefiner, frames_of, make_runner

TOYS = {StageName.GENERATE: ToyBase(), StageName.REFINE: ToyRefiner()}
CUES = (Cue(20, "a blue ring"), Cue(41, "a large green square"), Cue(60, "a red circle"))


@dataclass
class Life:
    """Runs one video with the Scheduler; its tasks are done in a random order and are sometimes lost."""

    stages: dict
    num_steps: int
    coupling: Coupling = Coupling.CAUSAL
    steps_per_task: int = 1

    def run(self, spec, seed=0, resume=None, change=lambda scheduler, turn: None):
        """Its segments; `kept` has every Memory and Boundary, as an endpoint would keep them."""
        rng, plan, self.kept = random.Random(seed), Plan(spec.num_frames, PlanParams()), {}
        scheduler, running, segments = Scheduler(SchedulerParams()), [], []
        scheduler.submit(spec, plan, self.num_steps, self.coupling, self.steps_per_task, resume)
        turn = 0
        while not scheduler.finished:
            change(scheduler, turn)
            for stage in StageName:
                while task := scheduler.next(stage):
                    running.append(task)
            task = running.pop(rng.randrange(len(running)))
            if rng.random() < 0.2:
                scheduler.lost(task)
                continue
            carry, output = self.stages[task.stage].advance(*pickle.loads(pickle.dumps(task.args)))
            if task.steps is None:
                self.kept[task.index] = carry
            else:
                self.kept[task.index, task.steps] = output
            segments += scheduler.done(task, carry, output)
            turn += 1
        return segments

    def resume_at(self, plan, window):
        """The part of `kept` that a run from `window` on needs."""
        if window == 0:
            return Resume(0, 0)
        chunk = plan.chunks_of(window)[0]
        blocks = task_blocks(self.num_steps, self.steps_per_task, self.coupling)[:-1]
        boundaries = {steps: self.kept[window - 1, steps] for steps in blocks}
        return Resume(window, chunk, self.kept[chunk - 1] if chunk else None, boundaries)


def spec_of(num_frames=100, cues=CUES):
    return PromptSpec("a", "a red circle", num_frames=num_frames, seed=3, cues=cues)


def assert_equal(segments, expected):
    assert [segment.span for segment in segments] == [segment.span for segment in expected]
    np.testing.assert_array_equal(frames_of(segments), frames_of(expected))


@pytest.mark.parametrize("steps_per_task", [1, 3, NUM_STEPS])
def test_from_any_window_on_a_causal_video_has_the_segments_of_the_whole_one(steps_per_task):
    life, plan = Life(TOYS, NUM_STEPS, steps_per_task=steps_per_task), Plan(100, PlanParams())
    whole = life.run(spec_of())
    assert len(whole) == len(plan.windows) == 6
    resumes = [life.resume_at(plan, window) for window in range(6)]
    for window, resume in enumerate(resumes):
        assert_equal(life.run(spec_of(), window, resume), whole[window:])
    assert_equal(list(make_runner(steps_per_task=steps_per_task).stream(spec_of())), whole)


def test_a_longer_video_goes_on_from_the_one_but_last_window_of_a_shorter_one():
    life, source = Life(TOYS, NUM_STEPS), spec_of(50, (Cue(20, "a blue ring"),))
    longer = replace(source, num_frames=100, cues=(*source.cues, Cue(50, "a large green square")))
    short = life.run(source)
    rest = life.run(longer, 1, life.resume_at(Plan(50, PlanParams()), 2))
    assert_equal([*short[:2], *rest], life.run(longer, 2))


def test_chunks_that_exist_are_not_made_again_and_the_memory_is_for_the_one_after_them():
    life, made, plan = Life(TOYS, NUM_STEPS), {}, Plan(100, PlanParams())
    stages = {**TOYS, StageName.GENERATE: Kept(made)}
    whole = replace(life, stages=stages).run(spec_of())
    life.run(spec_of())
    chunks, resume = dict(made), life.resume_at(plan, 2)
    for count in range(1, 4):
        made.clear()
        existing = tuple(chunks[resume.chunk + i] for i in range(count))
        after = replace(resume, chunks=existing, memory=life.kept[resume.chunk + count - 1])
        assert_equal(replace(life, stages=stages).run(spec_of(), count, after), whole[2:])
        assert sorted(made) == list(range(resume.chunk + count, len(plan.chunks)))


class Kept(ToyBase):
    """Writes down its chunks."""

    def __init__(self, made):
        self.made = made

    def advance(self, spec, plan, index, memory):
        carry, self.made[index] = super().advance(spec, plan, index, memory)
        return carry, self.made[index]


def test_chunk_0_is_given_the_picture():
    scheduler = Scheduler(SchedulerParams())
    scheduler.submit(spec_of(), Plan(100, PlanParams()), 4, Coupling.SYMMETRIC, resume=Resume(0, 0, picture="picture"))
    assert scheduler.next(StageName.GENERATE).args[2:] == (0, "picture")


def test_what_exists_is_taken_from_its_clip_and_the_boundary_of_all_steps_is_one_task():
    scheduler, given = Scheduler(SchedulerParams()), "clip"
    scheduler.submit(spec_of(), Plan(100, PlanParams()), 4, Coupling.CAUSAL, 3, Resume(2, 3, clip="clip"))
    held = scheduler.next(StageName.REFINE)
    assert (held.index, held.args[2:]) == (1, (1, Span(0, 4), None, "clip"))
    for index, carry in ((3, "rest of the clip"), (4, "memory"), (5, "memory")):
        chunk = scheduler.next(StageName.GENERATE)
        assert chunk.args[2:] == (index, given)
        scheduler.done(chunk, carry, f"chunk {index}")
        given = carry
    assert scheduler.next(StageName.REFINE) is None
    scheduler.lost(held)
    again = scheduler.next(StageName.REFINE)
    assert again == held
    assert scheduler.done(again, None, "boundary") == []
    first = scheduler.next(StageName.REFINE)
    assert first.args[2:] == (2, Span(0, 3), None, "chunk 3", "chunk 4", "chunk 5", "boundary")
    scheduler.done(first, "state", "own")
    assert scheduler.next(StageName.REFINE).args[2:] == (2, Span(3, 4), "state", "boundary")


@pytest.fixture(scope="module")
def networks(random_bundle):
    bundle = load_bundle(random_bundle)
    refiner = RefinerParams(num_inference_steps=3, height=32, width=32, coupling=Coupling.CAUSAL)
    return {
        StageName.GENERATE: bundle.base_model(BaseParams(num_inference_steps=2)),
        StageName.REFINE: bundle.refiner(refiner),
    }


def test_from_any_window_on_networks_give_the_same_bits(networks):
    life, plan = Life(networks, 3, steps_per_task=2), Plan(50, PlanParams())
    cues = (Cue(20, "a small blue ring bounces"),)
    whole = life.run(spec_of(50, cues))
    resumes = [life.resume_at(plan, window) for window in range(3)]
    for window in (1, 2):
        assert_equal(life.run(spec_of(50, cues), window, resumes[window]), whole[window:])
    assert not np.array_equal(frames_of(whole)[24:], frames_of(life.run(spec_of(50, ())))[24:])


def test_a_symmetric_video_is_resumed_at_its_beginning():
    life = Life(TOYS, NUM_STEPS, Coupling.SYMMETRIC)
    assert_equal(life.run(spec_of(), 0, Resume(0, 0)), life.run(spec_of(), 1))


@pytest.mark.parametrize("coupling", Coupling)
@pytest.mark.parametrize("seed", range(4))
def test_a_prompt_that_is_changed_on_the_way_is_a_cue_from_the_start(coupling, seed):
    life, texts, specs = Life(TOYS, NUM_STEPS, coupling), iter(["a blue ring", "b", "a large green square"]), []

    def change(scheduler, turn):
        """Three times: at the first chunk that is neither done nor running."""
        specs.append(specs[-1] if specs else spec_of(160, ()))
        if turn in (5, 12, 13) and scheduler.next_chunk("a") < len(plan.chunks) and (text := next(texts, None)):
            cue = Cue(plan.chunks[scheduler.next_chunk("a")].start, text)
            kept = (cue for cue in specs[-1].cues if cue.from_frame < plan.chunks[scheduler.next_chunk("a")].start)
            specs.append(replace(specs[-1], cues=(*kept, cue)))
            scheduler.change("a", specs[-1])

    plan = Plan(160, PlanParams())
    live = life.run(spec_of(160, ()), seed, change=change)
    assert len(specs[-1].cues) >= 2
    shown = {chunk_prompt(specs[-1], plan, index) for index in range(len(plan.chunks))}
    assert shown == {"a red circle", *(cue.prompt for cue in specs[-1].cues)}
    assert_equal(life.run(specs[-1], seed + 1), live)
    assert_equal(list(make_runner(coupling).stream(specs[-1])), live)
    assert not np.array_equal(frames_of(live), frames_of(life.run(spec_of(160, ()))))


BLOCKS = task_blocks(4, 3, Coupling.CAUSAL)
HEARD = dict.fromkeys(BLOCKS[:-1], "boundary")


@pytest.mark.parametrize("window", [0, 1, 4])
def test_a_resume_that_fits_is_taken(window):
    resume = Resume(window, 2 * window - (window > 0), "memory", HEARD) if window else Resume(0, 0)
    assert resume.check(Plan(80, PlanParams()), BLOCKS, causal=True) is None


@pytest.mark.parametrize(
    ("resume", "causal", "reason"),
    [
        (Resume(5, 9, "memory", HEARD), True, "resume.window=5: the windows of this video are 0 to 4"),
        (Resume(-1, 0), True, "resume.window=-1: the windows of this video are 0 to 4"),
        (Resume(1, 1, "memory", HEARD), False, "resume.window=1: in symmetric coupling must be 0, because no "),
        (Resume(1, 2, "memory", HEARD), True, "resume.chunk=2: the first one that window 1 needs is 1"),
        (Resume(0, 1, "memory"), True, "resume.chunk=1: the first one that window 0 needs is 0"),
        (Resume(1, 1, None, HEARD), True, "resume.memory='none': all chunks but 0 continue one"),
        (Resume(0, 0, "memory"), True, "resume.memory='one': all chunks but 0 continue one"),
        (Resume(1, 1, "memory", HEARD, ("chunk",) * 4), True, "resume.chunks=4: window 1 has 3 chunks"),
        (Resume(0, 0, None, {}, ("chunk",)), True, "resume.memory='none': all chunks but 0 continue one"),
        (Resume(0, 0, clip="c"), True, "resume.clip='one': what exists ends after window 0"),
        (Resume(1, 1, "memory", clip="c"), True, "resume.memory='one': all chunks but 0 continue one"),
        (
            Resume(1, 1, None, HEARD, clip="c"),
            True,
            "resume.boundaries='[0, 3), [3, 4)': window 1 needs those of the t",
        ),
        (Resume(1, 1, "memory", HEARD, picture="p"), True, "resume.picture='one': only chunk 0 begins with a picture"),
        (
            Resume(1, 1, "memory"),
            True,
            "resume.boundaries='none': window 1 needs those of the tasks [0, 3), [3, 4)",
        ),
        (
            Resume(1, 1, "memory", {Span(0, 4): "boundary"}),
            True,
            "resume.boundaries='[0, 4)': window 1 needs those of the tasks [0, 3), [3, 4)",
        ),
        (
            Resume(1, 1, "memory", dict.fromkeys(BLOCKS, "boundary")),
            True,
            "resume.boundaries='[0, 3), [3, 4), [4, 5)': window 1 needs those of the tasks [0, 3), [3, 4)",
        ),
        (
            Resume(0, 0, None, HEARD),
            True,
            "resume.boundaries='[0, 3), [3, 4)': window 0 needs those of the tasks none",
        ),
    ],
)
def test_a_resume_that_does_not_fit_is_refused_and_nothing_of_it_stays(resume, causal, reason):
    scheduler, coupling = Scheduler(SchedulerParams()), Coupling.CAUSAL if causal else Coupling.SYMMETRIC
    with pytest.raises(ValueError) as refusal:
        scheduler.submit(spec_of(80), Plan(80, PlanParams()), 4, coupling, 3, resume)
    assert str(refusal.value).startswith(reason)
    assert scheduler.finished
