"""Our networks at the published sizes have the tensors of the published checkpoints: every name and shape, no other."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from longtake.models.convert.names import Part, published_name, refiner_name
from longtake.models.nets.apm import Apm
from longtake.models.nets.cam import Cam
from longtake.models.nets.vid2vid import Vid2VidUNet
from tests.support.places import SHARED

KEYS = SHARED / "checkpoint_keys"
needs_keys = pytest.mark.skipif(not KEYS.exists(), reason="absent: checkpoint_keys, the published key tables")


@pytest.fixture(scope="module")
def unet() -> UNet3DConditionModel:
    with torch.device("meta"):
        return UNet3DConditionModel(attention_head_dim=64, cross_attention_dim=1024)


@pytest.fixture(scope="module")
def refiner() -> Vid2VidUNet:
    with torch.device("meta"):
        return Vid2VidUNet(attention_head_dim=64, cross_attention_dim=1024)


def published(*prefixes: str) -> dict[str, list[int]]:
    keys = json.loads((KEYS / "streaming_t2v.json").read_text())
    return {key: shape for key, shape in keys.items() if key.startswith(prefixes)}


def shapes_of(part: Part, net: nn.Module) -> dict[str, list[int]]:
    return {published_name(part, key): list(tensor.shape) for key, tensor in net.state_dict().items()}


@needs_keys
def test_unet_cam_and_apm_together_are_the_streaming_checkpoint(unet):
    with torch.device("meta"):
        parts: dict[Part, nn.Module] = {"unet": unet, "cam": Cam(), "apm": Apm.from_unet(unet)}
    ours = [shapes_of(part, net) for part, net in parts.items()]
    together = {key: shape for each in ours for key, shape in each.items()}
    assert len(together) == sum(map(len, ours)) == 1703 + 682 + 4
    assert together == published("base_model.", "unet.", "resampler.")


@needs_keys
def test_text_encoder_and_vae_are_the_streaming_checkpoints():
    with torch.device("meta"):
        text = CLIPTextModel(
            CLIPTextConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16)
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
    assert shapes_of("text_encoder", text) == published("text_encoder.")
    assert shapes_of("vae", vae) == published("vae.")


@needs_keys
def test_the_image_encoder_takes_every_tensor_of_the_streaming_checkpoints_vision_tower():
    sizes = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}
    with torch.device("meta"):
        net = CLIPVisionModelWithProjection(CLIPVisionConfig(patch_size=14, projection_dim=1024, **sizes))
    theirs = published("image_encoder.")
    text_tower = {key for key in theirs if not key.startswith("image_encoder.model.visual.")}
    assert len(text_tower) == 6 and len(theirs) == 398
    left = {key: shape for key, shape in theirs.items() if key not in text_tower}
    stacked: dict[str, list[str]] = {}
    for key in net.state_dict():
        stacked.setdefault(published_name("image_encoder", key), []).append(key)
    for name, keys in stacked.items():
        shape, *others = ([*net.state_dict()[key].shape] for key in keys)
        assert all(other == shape for other in others) and len(keys) == (3 if ".attn.in_proj_" in name else 1)
        shape = shape[::-1] if name.endswith("visual.proj") else [len(keys) * shape[0], *shape[1:]]
        assert left.pop(name) == shape, name
    assert not left


@needs_keys
def test_the_refiner_takes_every_tensor_of_the_published_one(refiner):
    theirs = json.loads((KEYS / "refiner.json").read_text())
    mapped = {refiner_name(key): shape for key, shape in theirs.items()}
    assert len(mapped) == len(theirs) == 1480
    for name, tensor in refiner.state_dict().items():
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
    with pytest.raises(ValueError, match="is not a tensor of the published refiner"):
        refiner_name(key)


def test_a_part_that_is_none_is_refused():
    with pytest.raises(ValueError, match="part='clip' must be one of unet, cam, apm, image_encoder, text_encoder, vae"):
        published_name("clip", "conv_in.weight")  # type: ignore[arg-type]


def test_a_name_that_is_none_of_the_image_encoders_is_refused():
    rule = "key='vision_model.encoder.layers.0.x' is not a tensor of the published image"
    with pytest.raises(ValueError, match=rule):
        published_name("image_encoder", "vision_model.encoder.layers.0.x")
