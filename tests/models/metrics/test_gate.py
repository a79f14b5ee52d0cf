"""Metrics of a video that are taken chunk by chunk are those of the whole."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.metrics.change import frame_differences
from longtake.models.metrics.drift import color_statistics
from longtake.models.metrics.gate import measure
from tests.support.clips import scuts


def texture(num_frames, seed=0, size=32):
    """A texture that moves by a pixel per frame."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 255, (size, size + num_frames, 3), np.uint8)
    return np.stack([picture[:, i : i + size] for i in range(num_frames)])


def fold(chunks):
    measured = None
    for chunk in chunks:
        measured = measure(measured, chunk)
    return measured


def bright(frames):
    return (frames // 4 + 190).astype(np.uint8)


def with_cut(num_frames=64, at=40):
    """Dark up to the frame `at`, bright from there on."""
    flat = texture(num_frames) // 8
    return np.concatenate([flat[:at], bright(flat[at:])])


@given(st.lists(st.integers(1, 63), max_size=6, unique=True))
def test_cuts_found_chunk_by_chunk_are_those_of_the_whole_video(borders):
    video = with_cut()
    figures = fold(np.split(video, sorted(borders))).figures
    assert (figures.num_frames, figures.scuts) == (64, scuts(video)) and figures.scuts == 1


def test_a_cut_at_a_chunks_border_is_found_within_that_chunk():
    video = with_cut(48, at=24)
    before = fold([video[:16], video[16:24]])
    assert before.figures.scuts == 0 and measure(before, video[24:32]).figures.scuts == 1


def test_motion_is_that_of_the_stillest_chunk_its_first_step_included():
    video = texture(32)
    frozen = np.concatenate([video[:16], np.repeat(video[15:16], 8, 0), video[16:24]])
    moving = frame_differences(video[:16]).mean()
    assert fold([frozen[:16]]).figures.motion == pytest.approx(moving)
    assert fold([frozen[:16], frozen[16:24]]).figures.motion == 0
    assert fold([frozen[:16], frozen[16:24], frozen[24:]]).figures.motion == 0
    assert fold([video[:1]]).figures.motion is None
    step = fold([video[:16], bright(video[15:16])]).figures.motion
    whole = frame_differences(np.concatenate([video[15:16], bright(video[15:16])]))
    assert step == pytest.approx(min(moving, whole.mean()))


def test_drift_is_the_distance_of_the_colours_of_the_chunk_farthest_from_the_first():
    video = texture(16)
    assert fold([video[:8], video[:8]]).figures.drift == 0
    there_and_back = fold([video[:8], bright(video[:8]), video[:8]]).figures.drift
    first, other = (color_statistics(one).mean(0) for one in (video[:8], bright(video[:8])))
    assert there_and_back == pytest.approx(np.linalg.norm(other - first)) and there_and_back > 0.5


@given(st.lists(st.sampled_from(["moves", "stands", "jumps", "bright"]), min_size=2, max_size=6))
def test_a_figure_never_gets_better(kinds):
    kind = {
        "moves": texture(8),
        "stands": np.repeat(texture(1), 8, 0),
        "jumps": texture(8, seed=1),
        "bright": bright(texture(8)),
    }
    measured, all_figures = None, []
    for name in kinds:
        measured = measure(measured, kind[name])
        all_figures.append(measured.figures)
    for before, after in pairwise(all_figures):
        assert after.scuts >= before.scuts and after.drift >= before.drift and after.motion <= before.motion


def test_measuring_changes_nothing_and_survives_the_way_to_another_process():
    video = with_cut()
    before = fold([video[:16], video[16:36]])
    packed = pickle.dumps(before)
    there = [measure(pickle.loads(packed), video[36:]).figures for _ in range(2)]
    assert [measure(before, video[36:]).figures for _ in range(2)] == there


def test_what_has_to_be_remembered_does_not_grow():
    sizes, measured = [], None
    for _ in range(40):
        measured = measure(measured, texture(8))
        sizes.append(len(pickle.dumps(measured)))
    assert max(sizes[3:]) < sizes[3] + 200
