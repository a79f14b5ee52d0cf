"""A video that exists is continued."""

from dataclasses import replace

import numpy as np
import pytest

from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.resume import Resume
from longtake.models.domain.scheduler import StageName
from longtake.models.video.mp4 import Mp4Encoder
from longtake.models.video.reader import VideoReader
from longtake.pipelines.config.conf import load
from longtake.pipelines.runners.existing_video import ExistingVideo, extension_of, for_extension
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
        segments = list(ExistingVideo(reader, extension, conf, bundle).stream(spec))
        assert np.array_equal(frames_of(segments)[:old], np.stack(list(reader.frames())))
    assert [frame for segment in segments for frame in segment.span] == list(range(old + 13))
    assert frames_of(segments).shape == (old + 13, height, width, 3)


def test_the_memory_is_of_the_video(conf, bundle, tmp_path):
    source = write(tmp_path / "in.mp4", 30)
    with VideoReader(source) as reader:
        frames = np.stack(list(reader.frames()))
        resume = ExistingVideo(reader, extension_of(source, reader, 8, conf), conf, bundle).resume()
    as_pixels = ((np.moveaxis(resume.memory.last, 1, -1) + 1) * 127.5).round().astype(np.uint8)
    assert np.array_equal(as_pixels, frames[-8:])
    anchor = ((np.moveaxis(resume.memory.anchor, 0, -1) + 1) * 127.5).round().astype(np.uint8)
    assert np.array_equal(anchor, frames[conf.base.anchor_frame])
    assert np.array_equal(np.concatenate([chunk.frames for chunk in resume.chunks])[-14:], frames[-14:])


def test_the_new_frames_join_the_videos_own(conf, bundle, tmp_path):
    """The refiner's left neighbour is the video, at every step: its frames stay, up to a random cut."""
    source = write(tmp_path / "in.mp4", 40)
    with VideoReader(source) as reader:
        existing = ExistingVideo(reader, extension_of(source, reader, 8, conf), conf, bundle)
        resume = existing.resume()
        frames = np.stack(list(reader.frames()))
    assert [steps.start for steps in resume.boundaries] == list(range(conf.refiner.num_inference_steps))
    for held in resume.boundaries.values():
        assert held.window == resume.window - 1
        assert np.array_equal(held.frames, frames[existing.extension.held.frames])


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
