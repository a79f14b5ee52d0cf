"""Equality of the Ray runner and the local runner, also while actors die."""

from dataclasses import replace

import numpy as np
import pytest

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import Cue, PromptSpec
from longtake.models.domain.resume import Resume
from longtake.models.domain.scheduler import Coupling, StageName, task_blocks
from longtake.models.domain.state import Chunk
from longtake.models.video.reader import VideoReader
from longtake.pipelines.__main__ import main
from longtake.pipelines.api import load
from longtake.pipelines.config.cluster import ClusterParams
from longtake.pipelines.config.conf import load as load_conf
from longtake.pipelines.runners import ray_runner as distributed
from longtake.pipelines.runners.existing_video import ExistingVideo, extension_of, for_extension
from longtake.pipelines.runners.ray_cluster import connect
from longtake.pipelines.runners.ray_runner import SegmentFinal, TaskDone, VideoFailed
from longtake.pipelines.runners.stages import stage_factories
from tests.pipelines.runners.test_local import NUM_STEPS, frames_of, make_runner
from tests.support.ray_toys import ToyFactory, toy_factories
from tests.support.toy import ToyBundle
from tests.support.videos import noise, video

pytestmark = pytest.mark.xdist_group("ray")


def conf_of(*overrides):
    return load_conf(
        overrides=[
            f"refiner.num_inference_steps={NUM_STEPS}",
            "ray.max_attempts=12",
            "ray.start_timeout_s=60",
            *overrides,
        ]
    )


def running(conf, base=None, refiner=None):
    """A runner whose pools hold toys, or the given factories."""
    return distributed.running(conf, {"base": base or ToyFactory("base"), "refiner": refiner or ToyFactory("refiner")})


def run_all(runner, specs, leaves=None):
    """Events of many videos until all have ended; the viewer of the video `leaves` goes after its first segment."""
    import ray

    plans = {spec.video_id: runner.submit(spec) for spec in specs}
    segments, failed, done = {spec.video_id: {} for spec in specs}, {}, []
    while any(len(segments[name]) < len(plan.segments) and name not in failed for name, plan in plans.items()):
        runner.hand_out()
        for outcome in runner._calls.wait(5):
            for event in runner.take_in(outcome):
                if isinstance(event, SegmentFinal):
                    segments[event.video_id][event.index] = ray.get(event.segment)
                elif isinstance(event, VideoFailed):
                    failed[event.video_id] = event.reason
                elif isinstance(event, TaskDone):
                    done.append(event)
        if segments.get(leaves) and leaves in plans:
            runner.cancel(leaves)
            del plans[leaves]
    for spec in specs:
        runner.cancel(spec.video_id)
    return {name: [some[i] for i in sorted(some)] for name, some in segments.items()}, failed, done


def spec_of(name, num_frames=80, prompt="a red circle"):
    return PromptSpec(name, prompt, num_frames=num_frames)


@pytest.fixture(scope="module")
def four(ray_cluster):
    """Toy pools of 2 base and 4 refiner actors; the coupling comes with each video."""
    with running(conf_of("ray.refiner.num_actors=4", "ray.base.num_actors=2")) as runner:
        yield runner


def local(num_frames, coupling):
    return frames_of(make_runner(coupling).stream(spec_of("a", num_frames)))


@pytest.mark.parametrize("coupling", Coupling)
@pytest.mark.parametrize("num_frames", [1, 40, 200])
def test_one_video_is_the_local_one_bit_for_bit(four, coupling, num_frames):
    spec = PromptSpec("a", "a red circle", num_frames=num_frames, settings=(("refiner.coupling", coupling.value),))
    np.testing.assert_array_equal(frames_of(four.stream(spec)), local(num_frames, coupling))


CUES = (Cue(20, "a blue ring"), Cue(41, "a large green square"), Cue(100, "a red circle"))


@pytest.mark.parametrize("coupling", Coupling)
def test_a_video_whose_prompt_changes_is_the_local_one_bit_for_bit(four, coupling):
    settings = (("refiner.coupling", coupling.value),)
    spec = PromptSpec("a", "a red circle", num_frames=120, settings=settings, cues=CUES)
    frames = frames_of(four.stream(spec))
    np.testing.assert_array_equal(frames, frames_of(make_runner(coupling).stream(spec)))
    assert not np.array_equal(frames, local(120, coupling))


class Watcher:
    """Collects the events of one video and the references in them."""

    def __init__(self, runner):
        self.runner, self.segments, self.memories, self.boundaries = runner, {}, {}, {}

    def turn(self):
        import ray

        self.runner.hand_out()
        for event in self.runner.events():
            assert not isinstance(event, VideoFailed), event
            if isinstance(event, SegmentFinal):
                self.segments[event.index] = ray.get(event.segment)
            elif event.task.steps is None:
                self.memories[event.task.index] = event.carry
            else:
                self.boundaries[event.task.index, event.task.steps] = event.output

    def until(self, num_segments):
        while len(self.segments) < num_segments:
            self.turn()
        return frames_of(self.segments[i] for i in sorted(self.segments))


@pytest.mark.parametrize("coupling", Coupling)
@pytest.mark.parametrize("loses", [False, True])
def test_a_prompt_that_is_changed_on_the_way_is_a_cue_from_the_start(four, coupling, loses):
    asked = PromptSpec("a", "too early", num_frames=400, settings=(("refiner.coupling", coupling.value),), cues=CUES)
    plan, watcher = four.submit(asked), Watcher(four)
    assert four.change_prompt("a", "a red circle") == 0  # nothing runs yet
    while len(watcher.memories) < 9:
        watcher.turn()
    if loses:  # after a restart it still changes nothing that was handed out before
        assert four.restart("a", "a machine died") == []
    frames = [four.change_prompt("a", "a small ring")]
    assert frames[0] in [chunk.start for chunk in plan.chunks] and frames[0] >= plan.chunks[9].start
    assert four.change_prompt("a", "a large blue ring") == frames[0]  # the same chunk: the later one counts
    while len(watcher.segments) < 9:
        watcher.turn()
    frames.append(four.change_prompt("a", "x"))
    assert frames[1] > frames[0]
    spec = four.spec("a")
    added = (Cue(frames[0], "a large blue ring"), Cue(frames[1], "x"))
    cues = {cue.from_frame: cue for cue in (*CUES, *added)}
    assert (spec.prompt, spec.cues) == ("a red circle", tuple(cues[frame] for frame in sorted(cues)))
    live = watcher.until(len(plan.segments))
    with pytest.raises(ValueError, match="prompt='y': too late"):
        four.change_prompt("a", "y")
    four.cancel("a")
    np.testing.assert_array_equal(live, frames_of(make_runner(coupling).stream(spec)))


def test_only_a_prompt_of_a_video_in_work_can_be_changed(four):
    for ask in (four.spec, lambda name: four.change_prompt(name, "x")):
        with pytest.raises(ValueError, match="^video_id='b': this video is not running$"):
            ask("b")
    four.submit(spec_of("a"), reached=7)
    with pytest.raises(ValueError, match="^prompt=' ': must not be empty or blank$"):
        four.change_prompt("a", " ")
    assert four.spec("a") == spec_of("a")
    assert four.change_prompt("a", "x") == Plan(80, PlanParams()).chunks[7].start
    four.cancel("a")


def test_the_run_on_past_the_end_has_no_prompt_of_its_own(four):
    four.submit(spec_of("a", 25), reached=2)  # the chunk from 24 has frame 24, those after it none
    assert four.change_prompt("a", "x") == 24
    four.cancel("a")
    four.submit(spec_of("a", 25), reached=3)
    with pytest.raises(ValueError, match="too late"):
        four.change_prompt("a", "x")
    four.cancel("a")


def test_a_causal_video_goes_on_at_any_window_and_begins_anew_from_there(four):
    settings = (("refiner.coupling", "causal"), ("refiner.steps_per_task", 3))
    spec = PromptSpec("a", "a red circle", num_frames=120, settings=settings, cues=CUES)
    plan, watcher = four.submit(spec), Watcher(four)
    whole = watcher.until(len(plan.segments))
    four.cancel("a")
    blocks = task_blocks(NUM_STEPS, 3, Coupling.CAUSAL)[:-1]
    for window in range(1, len(plan.windows)):
        chunk = plan.chunks_of(window)[0]
        boundaries = {steps: watcher.boundaries[window - 1, steps] for steps in blocks}
        four.submit(spec, resume=Resume(window, chunk, watcher.memories[chunk - 1], boundaries))
        rest = Watcher(four)
        while not rest.segments:
            rest.turn()
        assert min(rest.segments) == window and min(rest.memories) == chunk
        if window == 2:
            rest.segments.clear()
            assert four.restart("a", "a machine died") == []
        frames = rest.until(len(plan.windows) - window)
        four.cancel("a")
        np.testing.assert_array_equal(frames, whole[plan.segments[window].start :])


LENGTHS = {"a": 80, "b": 17, "c": 120, "d": 40, "e": 64}


def many(coupling):
    settings = (("refiner.coupling", coupling.value),)
    return [PromptSpec(name, "a red circle", num_frames=count, settings=settings) for name, count in LENGTHS.items()]


def assert_local(segments, coupling):
    for name, pieces in segments.items():
        np.testing.assert_array_equal(frames_of(pieces), local(LENGTHS[name], coupling))


@pytest.mark.parametrize("num_refiners", [1, 2])
def test_it_does_not_depend_on_the_number_of_refiners(ray_cluster, num_refiners):
    with running(conf_of(f"ray.refiner.num_actors={num_refiners}")) as runner:
        for coupling in Coupling:
            alone = PromptSpec("a", "a red circle", num_frames=120, settings=(("refiner.coupling", coupling.value),))
            np.testing.assert_array_equal(frames_of(runner.stream(alone)), local(120, coupling))
            segments, failed, _ = run_all(runner, many(coupling))
            assert not failed
            assert_local(segments, coupling)


@pytest.mark.parametrize("coupling", Coupling)
def test_many_videos_side_by_side_are_each_the_local_one(four, coupling):
    segments, failed, done = run_all(four, many(coupling))
    assert not failed and segments.keys() == LENGTHS.keys()
    assert_local(segments, coupling)
    workers = {event.receipt.worker for event in done if event.task.stage is StageName.REFINE}
    assert len(workers) == 4


# Both couplings: `make chaos`.
@pytest.mark.parametrize("coupling", [Coupling.CAUSAL, pytest.param(Coupling.SYMMETRIC, marks=pytest.mark.chaos)])
def test_frames_are_the_same_while_actors_die_in_15_percent_of_calls_a_video_fails_and_a_viewer_leaves(
    ray_cluster, coupling
):
    conf = conf_of("ray.refiner.num_actors=3", f"refiner.coupling={coupling.value}")
    wrong, left = spec_of("wrong", 40, "no"), spec_of("left", 800)
    with running(conf, ToyFactory("base", kill=0.15, fail_prompt="no"), ToyFactory("refiner", kill=0.15)) as runner:
        segments, failed, done = run_all(runner, [spec_of("a"), wrong, left, spec_of("e", 64)], leaves="left")
        assert not runner._videos and not runner.waiting_frames
    assert failed == {"wrong": "prompt='no': the toy does not like it"}
    assert_local({name: segments[name] for name in ("a", "e")}, coupling)
    assert len({event.receipt.worker for event in done}) > 4  # some died: their successors are other processes


def test_a_stage_that_raises_ends_its_own_video_with_the_reason(ray_cluster):
    with running(conf_of(), ToyFactory("base", fail_prompt="no")) as runner:
        segments, failed, _ = run_all(runner, [spec_of("a"), spec_of("b", prompt="no"), spec_of("c", 40)])
    assert failed == {"b": "prompt='no': the toy does not like it"}
    np.testing.assert_array_equal(frames_of(segments["a"]), local(80, Coupling.SYMMETRIC))
    np.testing.assert_array_equal(frames_of(segments["c"]), local(40, Coupling.SYMMETRIC))


def test_a_viewer_who_leaves_frees_the_actors_and_the_next_one_is_served(four):
    stream = four.stream(spec_of("a", 800))
    next(stream)
    stream.close()
    assert not four._videos and not four.waiting_frames
    np.testing.assert_array_equal(frames_of(four.stream(spec_of("a"))), local(80, Coupling.SYMMETRIC))


def test_a_cluster_that_is_too_small_says_what_is_missing(ray_cluster):
    conf = conf_of("ray.refiner.num_actors=40", "ray.start_timeout_s=1")
    message = "the cluster is too small: 41 CPUs needed, 32 in all on 1 machine; .*ray.refiner.num_actors"
    with pytest.raises(RuntimeError, match=message), running(conf):
        pass


@pytest.mark.parametrize("coupling", Coupling)
def test_refinement_begins_before_generation_ends_and_a_slow_refiner_stops_the_base_model(ray_cluster, coupling):
    conf, waiting = conf_of(f"refiner.coupling={coupling.value}", "scheduler.lookahead_frames=32"), []
    with running(conf, ToyFactory("base", seconds=0.01), ToyFactory("refiner", seconds=0.05)) as runner:
        done = []
        take_in = runner.take_in

        def watched(outcome):
            events = take_in(outcome)
            done.extend(event for event in events if isinstance(event, TaskDone))
            waiting.append(sum(runner.waiting_frames.values()))
            return events

        runner.take_in = watched
        list(runner.stream(spec_of("a", 200)))
    began = min(event.receipt.began_s for event in done if event.task.stage is StageName.REFINE)
    generated = [event.receipt.ended_s for event in done if event.task.stage is StageName.GENERATE]
    assert began < max(generated)
    assert max(waiting) == 32  # the base model went as far as it may, no further
    # the base model alone would need a fifth of the time: it was held back to the refiner's pace
    assert max(generated) - min(generated) > 5 * 0.01 * len(generated)


def test_chunks_are_observed_for_the_preview_and_cells_without_their_frames(four):
    seen = []
    list(four.stream(spec_of("a", 40), lambda task, output: seen.append((task.stage, output))))
    spans = [output.span for stage, output in seen if stage is StageName.GENERATE]
    assert spans == list(Plan(40, PlanParams()).chunks)
    assert all(output is None for stage, output in seen if stage is StageName.REFINE)
    assert isinstance(seen[0][1], Chunk)


def test_real_networks_give_the_local_frames_bit_for_bit(ray_cluster, random_bundle, threads, tmp_path):
    threads(2)  # as a user's process may have
    sizes = ["base.width=64", "refiner.height=32", "refiner.width=48", "refiner.fit=contain"]
    overrides = [f"bundle={random_bundle}", *sizes, "refiner.num_inference_steps=2"]
    conf = load_conf(overrides=[*overrides, "ray.refiner.num_actors=2"])
    with distributed.running(conf, stage_factories(conf)) as runner:
        for coupling in Coupling:
            longtake = load(random_bundle, overrides=[*overrides[1:], f"refiner.coupling={coupling.value}"])
            expected = frames_of(longtake.stream("a red circle", num_frames=40, seed=3))
            spec = PromptSpec(
                "a", "a red circle", num_frames=40, seed=3, settings=(("refiner.coupling", coupling.value),)
            )
            np.testing.assert_array_equal(frames_of(runner.stream(spec)), expected)
        if len(sizes) == 1:
            return
        source = tmp_path / "in.mkv"  # a video is continued, once is enough
        source.write_bytes(video(noise(37, 48, 64)).getvalue())
        expected = frames_of(longtake.extend(source, "a red circle", num_frames=20, seed=3))
        own = for_extension(conf)
        settings = (("refiner.coupling", "causal"), ("refiner.fit", "stretch"))
        with VideoReader(source) as reader:
            extension = extension_of(source, reader, 20, own)
            spec = replace(spec, num_frames=extension.plan.num_frames, settings=settings)
            stream = ExistingVideo(reader, extension, own).stream(spec, runner, share=ray_cluster.put)
            np.testing.assert_array_equal(frames_of(stream), expected)


def test_an_opener_gives_the_local_frames_bit_for_bit(ray_cluster, random_bundle, random_opener):
    small = ["refiner.height=32", "refiner.width=32", "refiner.num_inference_steps=1", "base.num_inference_steps=1"]
    overrides = [*small, f"opener.model={random_opener}", "opener.num_inference_steps=2"]
    conf = load_conf(overrides=[f"bundle={random_bundle}", *overrides])
    local, plain = (load(random_bundle, overrides=some) for some in (overrides, small))
    expected = frames_of(local.stream("a red circle", num_frames=20, seed=3))
    with distributed.running(conf, stage_factories(conf)) as runner:
        spec = PromptSpec("a", "a red circle", num_frames=20, seed=3)
        np.testing.assert_array_equal(frames_of(runner.stream(spec)), expected)
    assert not np.array_equal(frames_of(plain.stream("a red circle", num_frames=20, seed=3)), expected)


def test_the_command_line_writes_the_same_file_with_either_runner(ray_cluster, tmp_path, monkeypatch):
    """On toys: the test before this one covers networks in actors."""
    monkeypatch.setattr("longtake.pipelines.runners.stages.build_bundle", lambda conf: ToyBundle())
    monkeypatch.setattr("longtake.pipelines.runners.stages.stage_factories", toy_factories)
    settings = ["refiner.height=64", "refiner.width=64", "refiner.num_inference_steps=2"]
    for runner in ("local", "ray"):
        out = ["--out", f"{tmp_path}/{runner}.mp4", "--preview", f"{tmp_path}/{runner}-low.mp4", "--num-frames", "20"]
        assert main(["generate", "a red circle", "--seed", "7", "--runner", runner, *out, *settings]) == 0
    assert (tmp_path / "ray.mp4").read_bytes() == (tmp_path / "local.mp4").read_bytes()
    assert (tmp_path / "ray-low.mp4").read_bytes() == (tmp_path / "local-low.mp4").read_bytes()
    for runner in ("local", "ray"):
        argv = ["--prompt", "a red circle", "--num-frames", "20", "--seed", "7", "--runner", runner]
        out = ["--out", f"{tmp_path}/{runner}-longer.mp4"]
        assert main(["extend", f"{tmp_path}/local.mp4", *argv, *out, *settings]) == 0
    assert (tmp_path / "ray-longer.mp4").read_bytes() == (tmp_path / "local-longer.mp4").read_bytes()


def test_an_address_without_a_cluster_is_refused(monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(ValueError, match="ray.address=127.0.0.1:9: no Ray cluster answers there"):
        connect(ClusterParams(address="127.0.0.1:9"))
