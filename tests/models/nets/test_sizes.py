"""Legal sizes: what networks take, and the nearest values for what they do not."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.nets.sizes import SideRule, frame_sizes

UNET = {"up_block_types": ["UpBlock3D"] * 4}
VAE = {"block_out_channels": [128, 256, 512, 512]}
PLAIN, VID2VID = (frame_sizes(name, UNET, VAE) for name in ("UNet3DConditionModel", "Vid2VidUNet"))


@pytest.mark.parametrize("height", [528, 592, 656, 720, 784])
def test_the_published_heights_are_legal(height):
    assert not VID2VID.broken(height, 1280)


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (720, 1280), (1024, 576), (704, 720), (8, 8)])
def test_a_plain_unet_takes_every_multiple_of_8(width, height):
    assert not PLAIN.broken(height, width)


def test_the_nearest_legal_sizes_are_named():
    assert VID2VID.broken(1280, 720) == {
        "height": "must be a multiple of 64 plus 16, such as 1232 or 1296",
        "width": "must be a multiple of 64, such as 704 or 768",
    }
    assert VID2VID.broken(2, 1280) == {"height": "must be a multiple of 64 plus 16, such as 16"}
    assert PLAIN.broken(100, 7) == {
        "height": "must be a multiple of 8, such as 96 or 104",
        "width": "must be a multiple of 8, such as 8",
    }


def test_frames_are_even_even_if_latents_are_pixels():
    pixels = {"block_out_channels": [8]}
    assert frame_sizes("UNet3DConditionModel", UNET, pixels).width == SideRule(2)
    assert frame_sizes("Vid2VidUNet", UNET, pixels).height == SideRule(8, 2)
    one_level = {"up_block_types": ["UpBlock3D"]}
    assert frame_sizes("Vid2VidUNet", one_level, VAE).height == SideRule(8)


@given(st.integers(-100, 3000), st.integers(1, 128), st.integers(0, 127))
def test_near_are_the_legal_values_around_a_side(side, multiple, remainder):
    rule = SideRule(multiple, remainder % multiple)
    legal = [n for n in range(1, 3500) if n % multiple == remainder % multiple]
    below, above = [n for n in legal if n <= side][-1:], [n for n in legal if n >= max(side, 1)][:1]
    assert rule.near(side) == sorted({*below, *above})


def test_sizes_are_known_without_torch():
    code = "import sys, longtake.models.nets.sizes; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
