"""The published file at full size, on the meta device: every tensor has a place, or a reason for none."""

import json

import pytest

from longtake.models.convert.placement import check_places
from longtake.models.convert.streaming_t2v import left_out, streaming_parts
from tests.support.places import SHARED

KEYS = SHARED / "checkpoint_keys" / "streaming_t2v.json"
pytestmark = pytest.mark.skipif(not KEYS.exists(), reason="absent: checkpoint_keys/streaming_t2v.json")
TEXT = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}
VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
CONFIGS = {
    "unet": {"attention_head_dim": 64, "cross_attention_dim": 1024, "sample_size": 32},
    "text_encoder": {**TEXT, "hidden_act": "gelu"},
    "vae": {**VAE, "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4},
}


@pytest.fixture(scope="module")
def shapes():
    return {name: tuple(shape) for name, shape in json.loads(KEYS.read_text()).items()}


@pytest.fixture(scope="module")
def parts(shapes):
    return {part.name: part for part in streaming_parts(shapes, CONFIGS)}


def test_all_tensors_are_placed_but_six_of_the_image_encoders_text_side(shapes, parts):
    unused = left_out(shapes)
    check_places(parts.values(), shapes, unused)
    sources = {take.source for part in parts.values() for take in part.tensors.values()}
    assert len(unused) == 6 and len(sources) == 3407 - 6 and not sources & unused.keys()
    assert list(parts) == ["unet", "cam", "apm", "image_encoder", "text_encoder", "vae"]


def test_the_configs_are_the_published_ones(parts):
    vision, cam, apm = (parts[name].config for name in ("image_encoder", "cam", "apm"))
    sizes = {"hidden_size": 1280, "num_attention_heads": 16, "num_hidden_layers": 32, "intermediate_size": 5120}
    sizes |= {"patch_size": 14, "image_size": 224, "projection_dim": 1024}
    assert {key: vision[key] for key in sizes} == sizes
    assert vision["hidden_act"] == "gelu" and vision["layer_norm_eps"] == 1e-5
    assert list(cam["conditioning_embedding_out_channels"]) == [32, 96, 256, 512] and cam["merger_head_dim"] == 64
    assert (apm["text_tokens"], apm["num_tokens"], apm["hidden_dim"], len(apm["layers"])) == (77, 16, 1280, 16)


@pytest.mark.parametrize(
    "name", ["unet.conv_in.weight", "base_model.mid_block.attentions.0.transformer_blocks.0.attn2.alpha"]
)
def test_a_tensor_that_is_gone_or_of_another_shape_is_named(shapes, parts, name):
    with pytest.raises(ValueError, match=f"^{name} is missing$"):
        check_places(parts.values(), {key: shape for key, shape in shapes.items() if key != name}, left_out(shapes))
    with pytest.raises(ValueError, match=rf"^{name} is \(7,\), expected "):
        check_places(parts.values(), {**shapes, name: (7,)}, left_out(shapes))
