"""Blending copies bits: each overlap frame comes from one window, and both windows agree on which."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.models.diffusion.blending import blend, composite


def frames(label: float, num: int) -> torch.Tensor:
    """Frames whose values encode their window and number."""
    return (label + torch.arange(num) / 100).reshape(num, 1, 1, 1).expand(num, 2, 2, 1).clone()


@given(overlap=st.integers(1, 12), data=st.data())
@settings(max_examples=40, deadline=None)
def test_two_windows_composite_the_same_overlap_bit_for_bit(overlap, data):
    size = data.draw(st.integers(2 * overlap, 3 * overlap + 4))
    cut = data.draw(st.integers(0, overlap))
    rng = np.random.default_rng(overlap)
    left, right = (torch.from_numpy(rng.standard_normal((size, 2, 3, 3), np.float32)) for _ in range(2))
    from_left = composite(left, None, right[:overlap], 0, cut)
    from_right = composite(right, left[size - overlap :], None, cut, 0)
    assert torch.equal(from_left[size - overlap :], from_right[:overlap])
    assert torch.equal(from_left[: size - overlap], left[: size - overlap])
    assert torch.equal(from_right[overlap:], right[overlap:])
    assert torch.equal(from_right[:cut], left[size - overlap :][:cut])
    assert torch.equal(from_right[cut:overlap], right[cut:overlap])


def test_both_seams_of_a_window_have_their_own_cut():
    x0 = composite(frames(2, 8), frames(1, 3), frames(3, 3), 1, 2)
    assert x0[:, 0, 0, 0].floor().tolist() == [1, 2, 2, 2, 2, 2, 2, 3]


def test_a_window_without_neighbours_is_left_as_it_is():
    x0 = frames(1, 5)
    assert torch.equal(composite(x0, None, None, 0, 0), x0)


def test_arguments_are_not_changed():
    x0, left = frames(2, 6), frames(1, 3)
    before = x0.clone()
    composite(x0, left, left, 3, 0)
    assert torch.equal(x0, before)


@pytest.mark.parametrize("cut", [-1, 4])
def test_a_cut_outside_the_overlap_is_refused(cut):
    with pytest.raises(ValueError, match=rf"cut={cut} must be in 0\.\.3"):
        blend(frames(1, 3), frames(2, 3), cut)
