"""A video that exists is continued."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.resume import Resume
from longtake.models.domain.scheduler import StageName
from longtake.models.domain.span import Span
from longtake.models.domain.state import Clip, Segment
from longtake.models.video.mp4 import Mp4Encoder
from longtake.models.video.reader import VideoReader
from longtake.pipelines.config.conf import load
from longtake.pipelines.runners.existing_video import (
    ExistingVideo,
    clip_of,
    extension_of,
    for_extension,
    joined,
    resume_from,
)
from longtake.pipelines.runners.stages import build_bundle, build_generator

PROMPT = "a large red circle moves right over a plain navy background"
FAST = ["base.num_inference_steps=2", "refiner.num_inference_steps=2", "refiner.height=32", "refiner.width=32"]


@pytest.fixture(scope="module")
def conf(random_bundle):
    return for_extension(load(overrides=[f"bundle={random_bundle}", *FAST]))


@pytest.fixture(scope="module")
def bundle(conf):
    return build_bundle(conf)


def write(path, num_frames, height=32, width=32):
    rng = np.random.default_rng(0)
    frames = np.kron(rng.integers(0, 256, (num_frames, height // 4, width // 4, 3), np.uint8), np.ones((4, 4, 1))[None])
    path.write_bytes(Mp4Encoder(12, width, height).encode(frames.astype(np.uint8)))
    return path


def frames_of(segments):
    return np.concatenate([segment.frames for segment in segments])


@pytest.mark.parametrize("old", [32, 40])
def test_with_what_the_models_knew_the_frames_are_those_of_one_longer_video(conf, bundle, old):
    spec, kept = PromptSpec("v", PROMPT, num_frames=old + 20, seed=3), {}

    def keep(task, output):
        kept[task.stage, task.index, task.steps] = task.args, output

    whole = list(build_generator(conf, bundle).stream(spec, keep))
    extension = Extension(old, 20, conf.plan)
    assert extension.plan == Plan(old + 20, conf.plan)
    chunks = [key[1] for key in kept if key[0] is StageName.GENERATE and extension.plan.chunks[key[1]].stop <= old]
    wanted = extension.plan.chunks_of(extension.window)
    memory = kept[StageName.GENERATE, chunks[-1] + 1, None][0][3]
    before = extension.window - 1
    resume = Resume(
        extension.window,
        wanted[0],
        memory,
        {
            steps: output
            for (stage, index, steps), (_, output) in kept.items()
            if stage is StageName.REFINE and index == before and steps.stop <= conf.refiner.num_inference_steps
        },
        tuple(kept[StageName.GENERATE, index, None][1] for index in wanted if index in chunks),
    )
    seen = []
    rest = list(build_generator(conf, bundle).stream(spec, lambda task, _: seen.append(task), None, resume))
    assert np.array_equal(frames_of(rest), frames_of(whole[extension.window :]))
    made = [task.index for task in seen if task.stage is StageName.GENERATE]
    assert made == list(range(chunks[-1] + 1, len(extension.plan.chunks)))


@pytest.mark.parametrize(("old", "height", "width"), [(32, 32, 32), (10, 32, 32), (27, 48, 64)])
def test_it_keeps_its_own_frames_and_shape_and_exactly_the_new_frames_follow(
    conf, bundle, tmp_path, old, height, width
):
    source = write(tmp_path / "in.mp4", old, height, width)
    conf = replace(conf, base=replace(conf.base, anchor_frame=8))
    with VideoReader(source) as reader:
        extension = extension_of(source, reader, 13, conf)
        spec = PromptSpec("v", PROMPT, num_frames=extension.plan.num_frames)
        segments = list(ExistingVideo(reader, extension, conf).stream(spec, build_generator(conf, bundle)))
        assert np.array_equal(frames_of(segments)[:old], np.stack(list(reader.frames())))
    assert [frame for segment in segments for frame in segment.span] == list(range(old + 13))
    assert frames_of(segments).shape == (old + 13, height, width, 3)


def test_the_clip_is_the_end_of_the_video_and_its_anchor(tmp_path):
    conf = load()
    for old in (30, 10):
        source = write(tmp_path / "in.mp4", old)
        with VideoReader(source) as reader:
            frames = np.stack(list(reader.frames()))
            extension = extension_of(source, reader, 8, conf)
            clip = clip_of(reader, extension, 5)
        assert clip.span.stop == extension.end
        assert clip.span.start <= extension.plan.windows[extension.window].start
        assert np.array_equal(clip.frames, frames[[extension.place(number) for number in clip.span]])
        assert np.array_equal(clip.anchor, frames[5])


def test_no_more_of_a_long_video_is_in_memory_than_the_clip(tmp_path):
    source = write(tmp_path / "in.mp4", 200, 128, 128)
    with VideoReader(source) as reader:
        extension = extension_of(source, reader, 8, load())
        tracemalloc.start()
        clip = clip_of(reader, extension, 0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1.5 * clip.frames.nbytes < 0.3 * 200 * 128 * 128 * 3


def test_the_new_frames_join_the_videos_own(conf, bundle, tmp_path):
    """The refiner's left neighbour is the video, at every step: its frames stay, up to a random cut."""
    source = write(tmp_path / "in.mp4", 40)
    with VideoReader(source) as reader:
        extension = extension_of(source, reader, 8, conf)
        clip = clip_of(reader, extension, 0)
    window, steps = extension.window - 1, Span(0, conf.refiner.num_steps)
    spec = PromptSpec("v", PROMPT, num_frames=extension.plan.num_frames)
    _, boundary = bundle.refiner(conf.refiner).advance(spec, extension.plan, window, steps, None, clip)
    held = Span(extension.plan.windows[extension.window].start, extension.end)
    assert boundary.window == window and len(boundary.last) == len(held)
    black = replace(clip, frames=np.zeros_like(clip.frames))
    _, other = bundle.refiner(conf.refiner).advance(spec, extension.plan, window, steps, None, black)
    assert not np.array_equal(boundary.last, other.last)


def test_a_video_that_ends_black_may_be_continued(conf, bundle, tmp_path):
    (tmp_path / "in.mp4").write_bytes(Mp4Encoder(12, 32, 32).encode(np.zeros((32, 32, 32, 3), np.uint8)))
    with VideoReader(tmp_path / "in.mp4") as reader:
        extension = extension_of("in.mp4", reader, 8, conf)
        resume = resume_from(extension, clip_of(reader, extension, 0))
    spec = PromptSpec("v", PROMPT, num_frames=extension.plan.num_frames)
    assert list(build_generator(conf, bundle).stream(spec, None, extension.plan, resume))


@given(st.integers(8, 120), st.integers(1, 60))
def test_segments_of_the_models_continue_those_of_the_video_itself(old, new):
    """They have its own frames up to its end, without an odd row, and new ones in the same size."""
    extension = Extension(old, new, PlanParams())
    frames = np.random.default_rng(0).integers(1, 256, (old, 3, 2, 3), np.uint8)
    span = Span(min(extension.chunks[0].start, extension.end - 8), extension.end)
    clip = Clip(span, frames[[extension.place(number) for number in span]], frames[0])
    pieces = [Segment(extension.shown(own), frames[extension.shown(own).frames, :2]) for own in extension.own_segments]
    for span in extension.plan.segments[extension.window :]:
        segment = Segment(span, np.zeros((len(span), 2, 2, 3), np.uint8))
        pieces.append(joined(segment, extension, clip if span.start < extension.end else None, (2, 2)))
    assert [frame for piece in pieces for frame in piece.span] == list(range(old + new))
    whole = np.concatenate([piece.frames for piece in pieces])
    assert np.array_equal(whole[:old], frames[:, :2]) and not whole[old:].any()


def test_a_video_that_is_too_short_is_named(conf, tmp_path):
    source = write(tmp_path / "in.mp4", 7)
    for anchor_frame, least in ((0, 8), (11, 12)):
        anchored = replace(conf, base=replace(conf.base, anchor_frame=anchor_frame))
        says = f"^{source}: it has 7 frames, .* at least {least}"
        with VideoReader(source) as reader, pytest.raises(ValueError, match=says):
            extension_of(source, reader, 8, anchored)


def test_without_a_refiner_nothing_joins_new_frames_to_the_old(random_bundle):
    with pytest.raises(ValueError, match=r"^refiner\.enabled=false: to extend a video"):
        for_extension(load(overrides=[f"bundle={random_bundle}", "refiner.enabled=false"]))
