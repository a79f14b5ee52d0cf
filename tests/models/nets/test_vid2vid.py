"""MS-Vid2Vid-XL's network: ours computes what the published one does, from the published tensors."""

import json

import pytest
import torch
from diffusers import UNet3DConditionModel

from longtake.models.convert.names import refiner_name
from longtake.models.nets.conditioned import denoise, video_context
from longtake.models.nets.vid2vid import Vid2VidUNet
from tests.support.places import SHARED
from tests.support.published_refiner import PublishedRefiner
from tests.support.tiny_nets import TEXT_DIM, TEXT_TOKENS, randn, randomise

WIDTHS, HEAD, GROUPS = (8, 16, 24, 24), 4, 4
CONFIG = {
    "block_out_channels": WIDTHS,
    "attention_head_dim": HEAD,
    "norm_num_groups": GROUPS,
    "cross_attention_dim": TEXT_DIM,
}
KEYS = SHARED / "checkpoint_keys" / "refiner.json"
T = 599
LEGAL = [(2, 8), (10, 8), (18, 24)]


@pytest.fixture(scope="module")
def published() -> PublishedRefiner:
    net = PublishedRefiner(WIDTHS, TEXT_DIM, HEAD, GROUPS).eval()
    randomise(net, seed=2)
    return net


@pytest.fixture(scope="module")
def tensors(published):
    """The published tensors under the names of diffusers."""
    named = {refiner_name(key): tensor for key, tensor in published.state_dict().items()}
    return {name: t.squeeze(-1) if "proj_" in name and t.ndim == 3 else t for name, t in named.items()}


@pytest.fixture(scope="module")
def ours(tensors) -> Vid2VidUNet:
    net = Vid2VidUNet(**CONFIG).eval()
    net.load_state_dict(tensors)
    return net


def text():
    return randn(2, TEXT_TOKENS, TEXT_DIM, seed=5)


@pytest.mark.parametrize("size", LEGAL)
@torch.no_grad()
def test_it_is_the_published_network(published, ours, size):
    x = randn(2, 4, 3, *size)
    expected = published(x, T, text())
    assert expected.std() > 0.1
    torch.testing.assert_close(ours(x, T, text()).sample, expected, atol=1e-5, rtol=1e-5)
    out = denoise(ours, x, torch.tensor(T), video_context(ours, None, text(), None))
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_same_tensors_in_a_plain_unet_compute_something_else(published, tensors):
    plain = UNet3DConditionModel(**CONFIG).eval()
    plain.load_state_dict(tensors)
    x = randn(2, 4, 3, 10, 8)
    assert not torch.allclose(plain(x, T, text()).sample, published(x, T, text()), atol=1e-2)


@pytest.mark.skipif(not KEYS.exists(), reason="absent: checkpoint_keys/refiner.json")
def test_the_reference_has_the_published_tensors():
    with torch.device("meta"):
        full = PublishedRefiner((320, 640, 1280, 1280), 1024, 64, 32).state_dict()
    assert {name: list(tensor.shape) for name, tensor in full.items()} == json.loads(KEYS.read_text())


@torch.no_grad()
def test_saved_and_loaded_it_is_the_same_network(ours, tmp_path):
    ours.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["_class_name"] == "Vid2VidUNet"
    x = randn(2, 4, 3, 10, 8)
    loaded, empty = Vid2VidUNet.from_pretrained(tmp_path).eval(), Vid2VidUNet.from_config(ours.config).eval()
    empty.load_state_dict(ours.state_dict())
    for net in (loaded, empty):
        assert torch.equal(net(x, T, text()).sample, ours(x, T, text()).sample)


def test_latents_that_it_cannot_take_are_refused_with_the_nearest_ones(ours):
    context = video_context(ours, None, text(), None)

    def refused(message, *size):
        with pytest.raises(ValueError, match=message):
            denoise(ours, randn(2, 4, 3, *size), torch.tensor(T), context)

    refused("latents are 160x88: their height must be a multiple of 8 plus 2, such as 154 or 162", 160, 88)
    refused("latents are 90x90: their width must be a multiple of 8, such as 88 or 96", 90, 90)
