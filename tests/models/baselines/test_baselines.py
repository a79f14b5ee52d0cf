"""The training-free methods, on untrained networks: properties that hold for any weights."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.baselines.added import Added, added
from longtake.models.baselines.co_denoising import co_denoising
from longtake.models.baselines.free_noise import free_noise, pyramid, rescheduled
from longtake.models.baselines.last_frame import borders, last_frame
from longtake.models.baselines.text import TextModel
from longtake.models.baselines.windows import sliding
from longtake.models.diffusion.sampling import NoiseSchedule
from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import Cue, PromptSpec
from longtake.models.domain.span import Span
from longtake.models.nets.cam import Merger
from longtake.models.stages.bundle import load_bundle
from longtake.models.stages.params import BaseParams

SPEC = PromptSpec("v", "a large red circle moves right over a plain navy background", "", 24, 5)
CHUNK = 4  # frames; the networks take any number


@pytest.fixture(scope="module")
def bundle(random_bundle):
    return load_bundle(random_bundle)


def text_model(bundle, spec=SPEC, **params):
    schedule = NoiseSchedule.from_config(bundle.parts["scheduler"])
    return TextModel(bundle.base_nets(), schedule, BaseParams(**{"num_inference_steps": 2} | params), spec)


@given(st.integers(1, 60), st.integers(1, 20), st.data())
def test_sliding_windows_hold_every_frame_and_end_with_the_video(more, size, data):
    stride = data.draw(st.integers(1, size))
    num_frames = size + more - 1
    windows = sliding(num_frames, size, stride)
    assert {frame for window in windows for frame in window} == set(range(num_frames))
    assert all(len(window) == size for window in windows) and windows[-1].stop == num_frames
    assert all(0 < b.start - a.start <= stride for a, b in pairwise(windows))


@pytest.mark.parametrize(("num_frames", "stride"), [(7, 4), (16, 0), (16, 9)])
def test_windows_that_would_leave_frames_out_are_refused(num_frames, stride):
    with pytest.raises(ValueError, match="frames"):
        sliding(num_frames, 8, stride)


def test_the_text_alone_gives_the_first_chunk_of_the_base_model_bit_for_bit(bundle):
    params = BaseParams(num_inference_steps=2)
    _, chunk = bundle.base_model(params).advance(SPEC, Plan(16, PlanParams()), 0, None)
    model, span = text_model(bundle), Span(0, 16)
    assert np.array_equal(model.decode(model.sample(model.noise(span), span)), chunk.frames[:16])


@pytest.mark.parametrize("baseline", [co_denoising, free_noise, last_frame])
def test_a_baseline_makes_as_many_frames_as_are_asked_for_and_the_same_ones_again(bundle, baseline):
    made = [baseline(text_model(bundle), num_frames, CHUNK) for num_frames in (3, 9, 9)]
    assert [len(latents) for latents in made] == [3, 9, 9]
    assert torch.equal(made[1], made[2]) and made[1].isfinite().all()
    other = baseline(text_model(bundle, replace(SPEC, seed=6)), 9, CHUNK)
    assert not torch.equal(made[1], other)


@pytest.mark.parametrize("baseline", [co_denoising, free_noise, last_frame])
def test_a_baseline_makes_frames_of_the_base_models_size(bundle, baseline):
    model = text_model(bundle, height=24, width=40)
    assert model.decode(baseline(model, 6, CHUNK)).shape == (6, 24, 40, 3)


@pytest.mark.parametrize("baseline", [co_denoising, free_noise, last_frame])
def test_for_one_chunk_a_baseline_is_the_base_model(bundle, baseline):
    model, span = text_model(bundle), Span(0, CHUNK)
    plain = model.sample(model.noise(span), span)
    torch.testing.assert_close(baseline(model, CHUNK, CHUNK), plain, atol=1e-4, rtol=1e-4)


def test_baselines_are_different_methods(bundle):
    made = [baseline(text_model(bundle), 8, CHUNK) for baseline in (co_denoising, free_noise, last_frame)]
    assert not any(torch.allclose(a, b, atol=1e-3) for a, b in ((made[0], made[1]), (made[1], made[2])))


def test_co_denoising_takes_the_mean_of_the_windows_that_hold_a_frame(bundle):
    model, span = text_model(bundle, num_inference_steps=1), Span(0, 12)
    x = model.noise(span)
    left, right = model.x0(x[:8], 0), model.x0(x[4:], 0)
    mean = torch.cat([left[:4], (left[4:] + right[:4]) / 2, right[4:]])
    expected = model.sample(x, span, lambda x, step: mean)
    torch.testing.assert_close(co_denoising(model, 12, 8), expected)


@given(st.integers(1, 90), st.integers(1, 16), st.data())
def test_rescheduled_noise_is_that_of_the_first_chunk_shuffled_within_blocks(num_frames, chunk, data):
    stride = data.draw(st.integers(1, chunk))
    places = rescheduled(num_frames, chunk, stride, np.random.default_rng)
    assert len(places) == num_frames and places[:chunk] == list(range(min(chunk, num_frames)))
    for start in range(chunk, num_frames - stride + 1, stride):
        assert sorted(places[start : start + stride]) == sorted(places[start - chunk : start - chunk + stride])


def test_a_window_counts_most_in_its_middle():
    assert pyramid(4).tolist() == [1, 2, 2, 1] and pyramid(5).tolist() == [1, 2, 3, 2, 1]


def test_each_chunk_begins_with_the_frame_that_it_continues(bundle):
    model, span = text_model(bundle), Span(3, 7)
    seen = []

    class Watched:
        def __getattr__(self, name):
            return getattr(model, name)

        def sample(self, start, span, predict=None):
            latents = model.sample(start, span, predict)
            seen.append(latents)
            return latents

    whole = last_frame(Watched(), 7, CHUNK)
    assert len(seen) == 2 and len(whole) == span.stop
    torch.testing.assert_close(seen[1][0], seen[0][-1])
    assert torch.equal(whole[CHUNK:], seen[1][1:])
    assert borders(30, 8) == (8, 15, 22, 29)


def test_the_continuation_depends_on_the_frame_that_it_continues(bundle):
    model, other = text_model(bundle), text_model(bundle, replace(SPEC, prompt="a small blue ring bounces"))
    from longtake.models.baselines.last_frame import _continued

    known, span = model.noise(Span(0, 1)), Span(3, 7)
    assert not torch.equal(_continued(model, known, span)[1:], _continued(model, known * 0, span)[1:])
    assert not torch.equal(_continued(model, known, span)[1:], _continued(other, known, span)[1:])


def test_a_prompt_that_changes_is_refused(bundle):
    with pytest.raises(ValueError, match="one prompt"):
        text_model(bundle, replace(SPEC, cues=(Cue(8, "a small blue ring bounces"),)))


def test_an_added_condition_reaches_the_frames_that_it_belongs_to_and_no_other():
    torch.manual_seed(0)
    merger = Merger(16, 8, 4)
    torch.nn.init.normal_(merger.temporal_transformer.proj_out.weight)
    x, feature = torch.randn(2 * 6, 16, 4, 4), torch.randn(2 * 3, 16, 4, 4)
    changed = (Added(merger)(x, feature, 6, 3) != x).flatten(1).any(1).view(2, 6)
    assert changed.tolist() == [[True] * 3 + [False] * 3] * 2


def test_with_one_condition_frame_attention_has_no_choice_and_adding_is_the_same():
    torch.manual_seed(0)
    merger = Merger(16, 8, 4)
    torch.nn.init.normal_(merger.temporal_transformer.proj_out.weight)
    x, feature = torch.randn(6, 16, 4, 4), torch.randn(1, 16, 4, 4)
    attended, plus = merger(x, feature, 6, 1), Added(merger)(x, feature, 6, 1)
    torch.testing.assert_close(attended[0], plus[0])
    assert torch.equal(plus[1:], x[1:])


def test_a_cam_that_adds_shares_the_weights_and_gives_another_chunk(bundle):
    cam = bundle.parts["cam"]
    other = added(cam)
    assert other.unet is cam.unet and not any(parameter.is_meta for parameter in other.parameters())
    params, plan = BaseParams(num_inference_steps=2), Plan(24, PlanParams())
    memory, _ = bundle.base_model(params).advance(SPEC, plan, 0, None)
    adding = replace(bundle, parts={**bundle.parts, "cam": other})
    frames = [one.base_model(params).advance(SPEC, plan, 1, memory)[1].frames for one in (bundle, adding)]
    assert not np.array_equal(*frames)
    assert isinstance(cam.cross_attention_merger_mid_block, Merger)  # the bundle's own is as it was
