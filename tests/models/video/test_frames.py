import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.video.fit import Fit, picture_size
from longtake.models.video.frames import add_bars, fit_frames, to_float, to_uint8, upscale

RNG = np.random.default_rng(0)


def _frames(t: int, h: int, w: int) -> np.ndarray:
    return RNG.integers(0, 256, (t, h, w, 3), dtype=np.uint8)


def test_every_value_survives_the_way_to_float_and_back():
    frames = np.arange(256 * 3, dtype=np.uint16).astype(np.uint8).reshape(1, 16, 16, 3)
    images = to_float(frames)
    assert images.shape == (1, 3, 16, 16) and images.dtype == torch.float32
    assert images.min() == -1 and images.max() == 1
    assert np.array_equal(to_uint8(images), frames)


def test_what_is_outside_is_clipped_and_what_is_between_goes_to_the_nearest():
    images = torch.tensor([-9.0, -1.0, 0.0, 0.0059, 1.0, 9.0]).reshape(1, 1, 1, 6).expand(1, 3, 1, 6)
    assert to_uint8(images)[0, 0, :, 0].tolist() == [0, 0, 128, 128, 255, 255]


def test_a_read_only_array_is_read_and_not_shared():
    frames = _frames(2, 4, 4)
    before = frames.copy()
    frames.flags.writeable = False
    to_float(frames).zero_()
    assert np.array_equal(frames, before)


def test_bfloat16_and_gradients_are_no_obstacle():
    images = torch.zeros(1, 3, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    assert to_uint8(images).tolist() == np.full((1, 2, 2, 3), 128).tolist()


def test_upscale_keeps_the_size_it_has():
    frames = _frames(2, 8, 12)
    assert torch.equal(upscale(frames, 8, 12), to_float(frames))


def test_upscale_is_bilinear_between_pixel_centres():
    frames = np.zeros((1, 1, 2, 3), np.uint8)
    frames[0, 0, 1] = 255
    assert upscale(frames, 1, 4)[0, 0, 0].tolist() == [-1.0, -0.5, 0.5, 1.0]


def test_upscale_of_a_shrinking_side_averages_instead_of_picking():
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 255
    small = upscale(stripes, 128, 16)
    assert small.shape == (1, 3, 128, 16)
    assert small[..., 2:-2].abs().max() < 0.15  # grey, not black or white


@given(
    t=st.integers(1, 3), h=st.integers(1, 9), w=st.integers(1, 9), height=st.integers(1, 20), width=st.integers(1, 20)
)
def test_upscale_stays_in_range_at_every_size(t, h, w, height, width):
    images = upscale(_frames(t, h, w), height, width)
    assert images.shape == (t, 3, height, width)
    assert images.abs().max() <= 1 + 1e-5


def test_upscale_names_an_impossible_size():
    with pytest.raises(ValueError, match="height=0, width=8"):
        upscale(_frames(1, 4, 4), 0, 8)


SIDE = st.integers(1, 12)


@given(h=SIDE, w=SIDE, height=SIDE, width=SIDE, fit=st.sampled_from(Fit))
def test_frames_fit_into_every_size(h, w, height, width, fit):
    images = fit_frames(_frames(2, h, w), height, width, fit)
    assert images.shape == (2, 3, height, width)
    assert images.abs().max() <= 1 + 1e-5


@given(h=SIDE, w=SIDE, factor=st.integers(1, 4), fit=st.sampled_from(Fit))
def test_frames_of_the_same_shape_are_enlarged_bit_for_bit_as_ever(h, w, factor, fit):
    frames = _frames(1, h, w)
    assert torch.equal(fit_frames(frames, h * factor, w * factor, fit), upscale(frames, h * factor, w * factor))


@given(t=st.integers(1, 2), half=st.integers(1, 6), side=st.integers(1, 6), upright=st.booleans())
def test_cover_keeps_the_middle(t, half, side, upright):
    """A frame longer than the picture by `half` pixels at either end loses exactly these."""
    frames = _frames(t, side + 2 * half, side)
    kept = to_float(frames)[:, :, half : half + side]
    if upright:
        assert torch.equal(fit_frames(frames, side, side, Fit.COVER), kept)
    else:
        turned = np.ascontiguousarray(frames.swapaxes(1, 2))
        assert torch.equal(fit_frames(turned, side, side, Fit.COVER), kept.transpose(-1, -2))


@given(h=SIDE, w=SIDE, top=st.integers(0, 4), left=st.integers(0, 4))
def test_bars_are_black_around_the_middle(h, w, top, left):
    frames = np.maximum(_frames(2, h, w), 1)
    framed = add_bars(frames, h + 2 * top, w + 2 * left)
    assert framed.shape == (2, h + 2 * top, w + 2 * left, 3)
    assert np.array_equal(framed[:, top : top + h, left : left + w], frames)
    assert (framed > 0).sum() == frames.size


def test_contain_loses_nothing_where_its_size_is_legal():
    frames = _frames(1, 4, 8)
    height, width = picture_size((4, 8), (16, 16), Fit.CONTAIN, lambda *side: side)
    assert (height, width) == (8, 16)
    assert torch.equal(fit_frames(frames, height, width, Fit.CONTAIN), upscale(frames, 8, 16))
