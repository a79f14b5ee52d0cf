"""Our networks at the published sizes have the tensors of the published checkpoints: every name and shape, no other."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet3DConditionModel

from models.convert.names import published_name, refiner_name
from models.nets.apm import Apm
from models.nets.cam import Cam

KEYS = Path(__file__).parents[3] / "shared" / "checkpoint_keys"
needs_keys = pytest.mark.skipif(not KEYS.exists(), reason="the lists are not beside this checkout (../shared)")


@pytest.fixture(scope="module")
def unet() -> UNet3DConditionModel:
    with torch.device("meta"):
        return UNet3DConditionModel(attention_head_dim=64, cross_attention_dim=1024)


@needs_keys
def test_unet_cam_and_apm_together_are_the_streaming_checkpoint(unet):
    with torch.device("meta"):
        parts = {"unet": unet, "cam": Cam(), "apm": Apm.from_unet(unet)}
    ours = [
        (published_name(part, key), list(tensor.shape))
        for part, net in parts.items()
        for key, tensor in net.state_dict().items()
    ]
    theirs = json.loads((KEYS / "streaming_t2v.json").read_text())
    prefixes = ("base_model.", "unet.", "resampler.")
    assert len(ours) == len(dict(ours)) == 1703 + 682 + 4
    assert dict(ours) == {key: shape for key, shape in theirs.items() if key.startswith(prefixes)}


@needs_keys
def test_the_unet_takes_every_tensor_of_the_refiner(unet):
    theirs = json.loads((KEYS / "refiner.json").read_text())
    mapped = {refiner_name(key): shape for key, shape in theirs.items()}
    assert len(mapped) == len(theirs) == 1480
    for name, tensor in unet.state_dict().items():
        shape = mapped.pop(name)
        conv = ("proj_" in name and "temp_attentions" in name) or name.startswith("transformer_in.proj_")
        assert (shape[:2] if conv and len(shape) == 3 else shape) == list(tensor.shape), name
    assert not mapped


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("time_embed.2.bias", "time_embedding.linear_2.bias"),
        ("input_blocks.4.0.in_layers.2.weight", "down_blocks.1.resnets.0.conv1.weight"),
        ("input_blocks.5.2.proj_in.weight", "down_blocks.1.temp_attentions.1.proj_in.weight"),
        ("input_blocks.6.op.bias", "down_blocks.1.downsamplers.0.conv.bias"),
        ("middle_block.3.temopral_conv.conv2.3.weight", "mid_block.temp_convs.1.conv2.3.weight"),
        ("output_blocks.5.3.conv.weight", "up_blocks.1.upsamplers.0.conv.weight"),
        ("output_blocks.11.0.skip_connection.weight", "up_blocks.3.resnets.2.conv_shortcut.weight"),
        ("out.2.weight", "conv_out.weight"),
    ],
)
def test_names_of_the_refiner(theirs, ours):
    assert refiner_name(theirs) == ours


@pytest.mark.parametrize("key", ["", "conv_in.weight", "input_blocks.12.0.x", "input_blocks.3.0.x", "middle_block.4.x"])
def test_a_name_that_is_none_of_the_refiners_is_refused(key):
    with pytest.raises(ValueError, match="is no tensor of the published refiner"):
        refiner_name(key)


def test_a_part_that_is_none_is_refused():
    with pytest.raises(ValueError, match="part='vae' must be one of unet, cam, apm"):
        published_name("vae", "conv_in.weight")  # type: ignore[arg-type]
