from dataclasses import replace

import numpy as np
import pytest
import torch

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import Cue, PromptSpec
from longtake.models.stages.bundle import load_bundle
from longtake.models.stages.params import BaseParams, base_size

SPEC = PromptSpec("v", "a large red circle moves right over a plain navy background", "", 30, 5)
PLAN = Plan(30, PlanParams())
PARAMS = BaseParams(
    num_inference_steps=2,
    guidance_scale=2.5,
    continuation_guidance_scale=1.0,
    guidance_rescale=0.7,
    guidance_stop=0.5,
    anchor_frame=8,
)


@pytest.fixture(scope="module")
def bundle(random_bundle):
    return load_bundle(random_bundle)


def chain(model, count, spec=SPEC):
    memory, chunks = None, []
    for index in range(count):
        memory, chunk = model.advance(spec, PLAN, index, memory)
        chunks.append(chunk)
    return memory, chunks


def test_chunks_have_the_frames_of_the_plan_and_the_memory_has_the_last_eight(bundle):
    memory, chunks = chain(bundle.base_model(PARAMS), 2)
    assert [chunk.span for chunk in chunks] == list(PLAN.chunks[:2])
    assert [chunk.frames.shape for chunk in chunks] == [(16, 32, 32, 3), (8, 32, 32, 3)]
    assert memory.last.shape == (8, 3, 32, 32) and memory.last.dtype == np.float32
    assert np.array_equal(((memory.last + 1) * 127.5).round().astype(np.uint8), chunks[1].frames.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("anchor_frame", [0, 11])
def test_the_anchor_is_one_frame_of_the_first_chunk_for_ever(bundle, anchor_frame):
    model = bundle.base_model(replace(PARAMS, anchor_frame=anchor_frame))
    first, _ = model.advance(SPEC, PLAN, 0, None)
    memory, chunks = chain(model, 3)
    assert np.array_equal(memory.anchor, first.anchor)
    shown = ((memory.anchor + 1) * 127.5).round().astype(np.uint8)
    assert np.array_equal(shown, chunks[0].frames[anchor_frame].transpose(2, 0, 1))


def test_a_call_is_a_pure_function_of_its_arguments(bundle):
    one = bundle.base_model(PARAMS)
    memory, _ = one.advance(SPEC, PLAN, 0, None)
    expected = one.advance(SPEC, PLAN, 1, memory)[1].frames
    other = replace(SPEC, prompt="a small blue ring bounces")
    one.advance(other, PLAN, 0, None)  # fills the caches with another video
    one.advance(other, PLAN, 1, memory)
    fresh = bundle.base_model(PARAMS)
    assert np.array_equal(expected, one.advance(SPEC, PLAN, 1, memory)[1].frames)
    assert np.array_equal(expected, fresh.advance(SPEC, PLAN, 1, memory)[1].frames)


def test_a_prompt_is_encoded_once_a_video(bundle):
    seen, encoder = [], bundle.parts["text_encoder"]
    hook = encoder.register_forward_hook(lambda *_: seen.append(1))
    chain(bundle.base_model(PARAMS), 3)
    hook.remove()
    assert len(seen) == 1


def frames_after(bundle, memory, spec=SPEC, **params):
    return bundle.base_model(replace(PARAMS, **params)).advance(spec, PLAN, 1, memory)[1].frames


def test_each_memory_changes_the_next_chunk_and_can_be_left_out(bundle):
    memory, _ = bundle.base_model(PARAMS).advance(SPEC, PLAN, 0, None)
    both = frames_after(bundle, memory)
    other_last = replace(memory, last=memory.last[::-1].copy())
    other_anchor = replace(memory, anchor=memory.anchor[:, ::-1].copy())
    assert not np.array_equal(both, frames_after(bundle, other_last))
    assert not np.array_equal(both, frames_after(bundle, other_anchor))
    assert np.array_equal(frames_after(bundle, memory, cam=False), frames_after(bundle, other_last, cam=False))
    assert np.array_equal(frames_after(bundle, memory, apm=False), frames_after(bundle, other_anchor, apm=False))


def test_the_seed_the_prompt_and_the_negative_prompt_change_the_frames(bundle):
    frames = [
        bundle.base_model(PARAMS).advance(spec, PLAN, 0, None)[1].frames
        for spec in (
            SPEC,
            replace(SPEC, seed=6),
            replace(SPEC, prompt="a small blue ring bounces"),
            replace(SPEC, negative_prompt="a small blue ring bounces"),
        )
    ]
    assert all(not np.array_equal(frames[0], other) for other in frames[1:])


def test_a_chunk_has_the_prompt_at_its_first_new_frame(bundle):
    model, later = bundle.base_model(PARAMS), "a small blue ring bounces"
    memory, _ = model.advance(SPEC, PLAN, 0, None)
    expected = [
        model.advance(replace(SPEC, prompt=prompt), PLAN, 1, memory)[1].frames for prompt in (SPEC.prompt, later)
    ]
    assert not np.array_equal(*expected)
    for from_frame, which in ((1, 1), (16, 1), (17, 0)):  # chunk 1 begins at 16
        cued = replace(SPEC, cues=(Cue(from_frame, later),))
        assert np.array_equal(model.advance(cued, PLAN, 1, memory)[1].frames, expected[which])
        assert np.array_equal(model.advance(cued, PLAN, 0, None)[0].last, memory.last)


def test_an_anchor_weight_of_its_own_takes_a_third_prediction(bundle):
    memory, _ = bundle.base_model(PARAMS).advance(SPEC, PLAN, 0, None)
    one, strong = (frames_after(bundle, memory, anchor_guidance_scale=scale) for scale in (4.0, 7.5))
    assert not np.array_equal(one, strong)
    other = replace(memory, anchor=memory.anchor[:, ::-1].copy())
    params = {"anchor_guidance_scale": 0.0, "guidance_rescale": 0.0, "guidance_stop": 1.0}
    none = [frames_after(bundle, m, **params) for m in (memory, other)]
    assert np.array_equal(*none)  # a weight of 0 takes the anchor out again


def test_what_continues_has_a_guidance_of_its_own(bundle):
    memory, first = bundle.base_model(PARAMS).advance(SPEC, PLAN, 0, None)

    def continued(begins, continues, spec=SPEC):
        return frames_after(bundle, memory, spec, guidance_scale=begins, continuation_guidance_scale=continues)

    assert np.array_equal(continued(2.5, 1.0), continued(4.0, 1.0))
    assert not np.array_equal(continued(2.5, 1.0), continued(2.5, 4.0))
    against = replace(SPEC, negative_prompt="a small blue ring bounces")
    assert np.array_equal(continued(2.5, 1.0, against), continued(1.0, 2.5, against))
    begun = bundle.base_model(replace(PARAMS, continuation_guidance_scale=4.0)).advance(SPEC, PLAN, 0, None)[1]
    assert np.array_equal(begun.frames, first.frames)


def test_guidance_stops_after_its_part_of_the_steps(bundle):
    memory, _ = bundle.base_model(PARAMS).advance(SPEC, PLAN, 0, None)
    for what, scales in ((None, {}), (memory, {"anchor_guidance_scale": 3.0, "continuation_guidance_scale": 2.0})):

        def frames(stop, what=what, scales=scales):
            params = replace(PARAMS, guidance_scale=4.0, guidance_stop=stop, num_inference_steps=3, **scales)
            return bundle.base_model(params).advance(SPEC, PLAN, int(what is not None), what)[1].frames

        stops = {stop: frames(stop) for stop in (0.0, 0.3, 0.5, 1.0)}  # 0, 1, 2 and 3 of 3 steps
        assert len({one.tobytes() for one in stops.values()}) == 4
        assert np.array_equal(stops[0.5], frames(0.66))
        unguided = replace(PARAMS, guidance_scale=1.0, num_inference_steps=3)
        plain = bundle.base_model(unguided).advance(SPEC, PLAN, int(what is not None), what)[1].frames
        assert np.abs(stops[0.0].astype(int) - plain).max() <= 1  # keys of one row or the last of several: other bits


def test_unguided_steps_ask_the_network_once(bundle):
    sizes, unet = [], bundle.parts["unet"]
    hook = unet.conv_in.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    bundle.base_model(replace(PARAMS, guidance_stop=0.5)).advance(SPEC, PLAN, 0, None)
    hook.remove()
    assert sizes == [2 * 16, 16]


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "dpmpp_2m_sde"])
def test_without_guidance_and_with_any_sampler_it_runs(bundle, sampler):
    params = BaseParams(num_inference_steps=2, guidance_scale=1.0, sampler=sampler, eta=0.5)
    _, chunks = chain(bundle.base_model(params), 2)
    assert chunks[1].frames.std() > 0


def test_threads_of_the_caller_do_not_leak_gradients(bundle):
    memory, _ = bundle.base_model(PARAMS).advance(SPEC, PLAN, 0, None)
    assert isinstance(memory.last, np.ndarray)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_inference_steps", 0),
        ("guidance_scale", 0.5),
        ("continuation_guidance_scale", 0.5),
        ("anchor_guidance_scale", -1.0),
        ("anchor_frame", -1),
        ("guidance_rescale", 1.5),
        ("guidance_stop", 1.5),
        ("eta", -0.1),
        ("sampler", "euler"),
    ],
)
def test_params_out_of_range_are_named(field, value):
    with pytest.raises(ValueError, match=field):
        BaseParams(**{field: value})


WIDE = replace(PARAMS, height=40, width=64)


@pytest.mark.parametrize("memories", [{}, {"cam": False}, {"apm": False}])
def test_frames_that_are_not_square_go_through_cam_and_apm(bundle, memories):
    memory, chunks = chain(bundle.base_model(replace(WIDE, **memories)), 2)
    assert [chunk.frames.shape for chunk in chunks] == [(16, 40, 64, 3), (8, 40, 64, 3)]
    assert memory.last.shape == (8, 3, 40, 64) and memory.anchor.shape == (3, 40, 64)


def test_both_memories_change_the_next_chunk_of_such_frames(bundle):
    memory, _ = bundle.base_model(WIDE).advance(SPEC, PLAN, 0, None)
    both = frames_after(bundle, memory, height=40, width=64)
    for other in (
        replace(memory, last=memory.last[::-1].copy()),
        replace(memory, anchor=memory.anchor[:, ::-1].copy()),
    ):
        assert not np.array_equal(both, frames_after(bundle, other, height=40, width=64))


def test_the_size_of_the_unet_may_be_named_without_a_change(bundle):
    _, own = chain(bundle.base_model(PARAMS), 1)
    _, named = chain(bundle.base_model(replace(PARAMS, height=32)), 1)
    assert np.array_equal(own[0].frames, named[0].frames)


def test_a_size_beyond_the_networks_is_named(bundle):
    with pytest.raises(ValueError, match="base.width=44 must be a multiple of 8, such as 40 or 48"):
        bundle.base_model(replace(PARAMS, width=44))


@pytest.mark.parametrize(
    ("sample_size", "given", "size"),
    [
        (8, {}, (64, 64)),
        ((8, 16), {}, (64, 128)),
        ([8, 16], {"height": 96}, (96, 128)),
        (None, {"height": 32, "width": 48}, (32, 48)),
    ],
)
def test_a_side_that_is_not_given_is_the_unets(sample_size, given, size):
    assert base_size(BaseParams(**given), sample_size, 8) == size


@pytest.mark.parametrize(("given", "missing"), [({}, "height"), ({"height": 32}, "width"), ({"width": 32}, "height")])
def test_a_unet_without_a_size_needs_both_sides(given, missing):
    with pytest.raises(ValueError, match=f"base.{missing} is missing: the UNet of this bundle has no size"):
        base_size(BaseParams(**given), None, 8)


@pytest.mark.parametrize("side", [0, 1, 33, -2])
def test_a_side_that_no_video_can_have_is_refused(side):
    with pytest.raises(ValueError, match="width=.*must be even and at least 2"):
        BaseParams(width=side)
