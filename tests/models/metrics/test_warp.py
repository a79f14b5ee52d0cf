import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from longtake.models.diffusion.noise import rng_for
from longtake.models.metrics.warp import mawe_code, mawe_cvpr, mawe_v1, splat, warp_pair
from tests.support.clips import texture, translating
from tests.support.places import SHARED

GOLDEN = SHARED / "golden" / "mawe.safetensors"


def constant(dx, dy, size=64):
    return np.full((size, size, 2), (dx, dy), np.float32)


def test_the_published_code_gives_the_same_figures():
    if not GOLDEN.exists():
        pytest.skip(f"golden vectors are absent: {GOLDEN.name}")
    golden = load_file(GOLDEN)
    video = golden["in.video_uint8"].transpose(0, 2, 3, 1)
    flows = golden["in.flow"].transpose(0, 2, 3, 1)
    pairs = []
    for i, flow in enumerate(flows):
        source = splat(flow)
        known = source >= 0
        warped = np.where(known[..., None], video[i].reshape(-1, 3)[source], 0)
        assert np.array_equal(warped, golden["out.warped"][i].transpose(1, 2, 0))
        assert np.array_equal(~known, golden["out.unknown_mask"][i].astype(bool))
        pairs.append(warp_pair(video[i], video[i + 1], flow))
    errors, lengths = np.array([p.error for p in pairs]), np.array([p.length for p in pairs])
    np.testing.assert_allclose(errors, golden["out.warp_error"], rtol=1e-6)
    np.testing.assert_allclose(lengths, golden["out.flow_magnitude"], rtol=1e-6)
    np.testing.assert_allclose(mawe_code(errors, lengths), golden["out.mawe"][0], rtol=1e-6)


@given(dx=st.integers(-40, 40), dy=st.integers(-40, 40))
def test_a_picture_that_moves_as_its_flow_says_has_no_warp_error(dx, dy):
    left, right = translating(2, dx, dy, size=64)
    warped = warp_pair(left, right, constant(dx, dy))
    assert warped.error == 0
    assert warped.length == pytest.approx(math.hypot(dx, dy))
    assert warped.squared_length == pytest.approx(dx * dx + dy * dy)


def test_the_error_is_the_mean_square_of_what_the_flow_leaves():
    left = texture(64) // 2
    assert warp_pair(left, left + 10, constant(0, 0)).error == pytest.approx(100)


def test_pixels_that_none_reaches_do_not_count():
    left, right = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)
    right[:, :5] = 255  # came in from outside
    assert warp_pair(left, right, constant(5, 0)).error == 0
    assert warp_pair(left, right, constant(64, 0)).error == 0  # nothing is known at all


def test_half_a_pixel_is_rounded_to_even_and_the_last_to_come_stays():
    flow = np.zeros((1, 4, 2), np.float32)
    flow[0, :, 0] = [2.5, 0.5, 0, -1]  # 0 -> 2, 1 -> 1, 2 -> 2, 3 -> 2
    assert splat(flow).tolist() == [[-1, 1, 3, -1]]


@given(seed=st.integers(0, 1000), spread=st.floats(0, 20))
def test_every_pixel_that_is_known_comes_from_one_that_goes_there(seed, spread):
    flow = (rng_for(seed, "flow", 0, 0).standard_normal((9, 13, 2)) * spread).astype(np.float32)
    source = splat(flow)
    for y, x in np.argwhere(source >= 0):
        from_y, from_x = divmod(source[y, x], 13)
        assert (from_x + np.rint(flow[from_y, from_x, 0]), from_y + np.rint(flow[from_y, from_x, 1])) == (x, y)


def test_the_three_forms_weigh_motion_each_in_its_way():
    errors, lengths, squared = np.array([10.0, 30.0]), np.array([1.0, 4.0]), np.array([1.0, 20.0])
    assert mawe_v1(errors, lengths) == pytest.approx(20 / (9.5 * 2.5))
    assert mawe_cvpr(errors, squared) == pytest.approx(20 / 10.5)
    assert mawe_code(errors, lengths) == pytest.approx((10 / 9.5 + 30 / 38) / 2)


def test_a_still_video_is_infinitely_bad_and_never_nan():
    for form in (mawe_v1, mawe_cvpr, mawe_code):
        assert form(np.array([0.0, 3.0]), np.zeros(2)) == math.inf
    assert mawe_code(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == math.inf  # one pair that stands still is enough
