"""Noise is a function of its address: of nothing else, and of all of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.models.diffusion.noise import cut_for, noise_for, rng_for
from longtake.models.domain.span import Span

SHAPE = (4, 6, 5)
PINNED = [1.0218107, 0.6199804, -0.3202114, -0.4135254]
PINNED_CUTS = [5, 4, 1, 0, 2, 6, 0, 1]


@given(start=st.integers(0, 500), size=st.integers(1, 12), shift=st.integers(0, 11), step=st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_a_frame_has_the_same_noise_in_every_window_that_holds_it(start, size, shift, step):
    left, right = Span(start, start + size), Span(start + shift, start + shift + size)
    a = noise_for(3, "refine", step, left, SHAPE)
    b = noise_for(3, "refine", step, right, SHAPE)
    shared = max(0, size - shift)
    assert a.dtype == np.float32 and a.shape == (size, *SHAPE)
    assert np.array_equal(a[size - shared :], b[:shared])


def test_every_part_of_the_address_changes_the_noise():
    addresses = [(0, "refine", 0, 0), (1, "refine", 0, 0), (0, "base", 0, 0), (0, "refine", 1, 0), (0, "refine", 0, 1)]
    draws = [noise_for(seed, purpose, step, Span(f, f + 1), (256,))[0] for seed, purpose, step, f in addresses]
    for i, a in enumerate(draws):
        for b in draws[:i]:
            # 256 numbers: the standard deviation of the correlation of independent ones is 1/16
            assert abs(np.corrcoef(a, b)[0, 1]) < 0.3


def test_step_and_frame_are_not_exchangeable():
    assert not np.array_equal(rng_for(0, "p", 2, 5).random(8), rng_for(0, "p", 5, 2).random(8))


def test_noise_is_standard_normal_across_frames_and_pixels():
    noise = noise_for(7, "refine", 4, Span(0, 64), (4, 16, 16)).astype(np.float64)  # 65,536 numbers
    assert abs(noise.mean()) < 4 / 256
    assert abs(noise.std() - 1) < 4 / 256 / np.sqrt(2)
    assert abs((noise**3).mean()) < 4 * np.sqrt(15) / 256
    assert abs((noise**4).mean() - 3) < 4 * np.sqrt(96) / 256
    assert np.abs(noise.mean(axis=(1, 2, 3))).max() < 5 / 32  # no frame stands out
    neighbours = (noise[1:] * noise[:-1]).mean(axis=(1, 2, 3))
    assert np.abs(neighbours).max() < 5 / 32  # and none looks like the next


def test_the_numbers_are_these_on_every_machine():
    expected = np.array(PINNED, np.float32)
    assert np.array_equal(noise_for(7, "refine", 3, Span(11, 12), (4,))[0], expected)
    assert [cut_for(7, boundary, 3, 8) for boundary in range(8)] == PINNED_CUTS


def test_the_number_of_threads_does_not_enter(threads):
    draws = []
    for num in (1, 2):
        threads(num)
        draws.append(noise_for(1, "refine", 2, Span(3, 9), (4, 64, 64)))
    assert np.array_equal(*draws)


def test_overlap_frame_f_comes_from_the_left_with_probability_1_minus_f_over_overlap_plus_1():
    overlap, num = 8, 9000
    cuts = np.array([cut_for(5, boundary, step, overlap) for boundary in range(300) for step in range(30)])
    assert set(cuts) == set(range(overlap + 1))
    for f in range(1, overlap + 1):
        p = 1 - f / (overlap + 1)
        assert abs((cuts >= f).mean() - p) < 4 * np.sqrt(p * (1 - p) / num)


def test_cuts_of_neighbouring_boundaries_and_steps_are_independent():
    cuts = np.array([[cut_for(5, boundary, step, 8) for step in range(60)] for boundary in range(60)], float)
    for a, b in ((cuts[1:], cuts[:-1]), (cuts[:, 1:], cuts[:, :-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / 60


def test_an_empty_span_has_no_noise_and_an_overlap_of_0_has_one_cut():
    assert noise_for(0, "p", 0, Span(4, 4), SHAPE).shape == (0, *SHAPE)
    assert cut_for(0, 0, 0, 0) == 0


@pytest.mark.parametrize(("step", "index"), [(-1, 0), (0, -1)])
def test_addresses_below_zero_are_refused(step, index):
    with pytest.raises(ValueError, match=f"step={step}, index={index}"):
        rng_for(0, "p", step, index)
