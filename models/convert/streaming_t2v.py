"""StreamingT2V's checkpoint, streaming_t2v.ckpt, as parts of a bundle.

The base UNet, the text encoder and the VAE were built from ModelScope's folder, so its configs say what the shapes do
not (heads, groups of a norm). The sizes of CAM, APM and the image encoder follow from the shapes.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from longtake.models.convert import names
from longtake.models.convert.placement import Part, Shape, Take, shape_of
from longtake.models.nets.apm import Apm
from longtake.models.nets.cam import Cam

FROM_BASE = ("unet", "text_encoder", "vae")  # their configs are those of the folder of ModelScope
HEAD_WIDTH = 80  # of open_clip's ViT-H-14
TOWER = "image_encoder.model.visual."
_UNUSED = {
    r"image_encoder\.model\.(positional_embedding|text_projection|logit_scale|token_embedding\.weight"
    r"|ln_final\.(weight|bias))": "the text side of the image encoder, which nothing reads",
    r".*\.position_ids": "the numbers 0, 1, 2 ...: the network makes them itself",
}
# What the published system does (shared facts: METHOD.md, B3), as settings.
DEFAULTS: dict[str, Any] = {
    "base.num_inference_steps": 50,
    "base.sampler": "ddim",
    "base.eta": 1.0,
    "base.guidance_scale": 9.0,  # of a first chunk that no opener makes
    "base.continuation_guidance_scale": 7.5,
    "base.guidance_rescale": 0.0,
    "base.guidance_stop": 1.0,
    "base.anchor_frame": 0,
    "base.height": 256,
    "base.width": 256,
    "opener.num_inference_steps": 50,
    "opener.sampler": "dpmpp_2m",
    "opener.guidance_scale": 9.0,
    "plan.chunk_frames": 16,
    "plan.condition_frames": 8,
    "video.fps": 8,
}


def streaming_parts(shapes: Mapping[str, Shape], configs: Mapping[str, Mapping[str, Any]]) -> list[Part]:
    """The parts of a bundle; `configs` are those of FROM_BASE. Raises ValueError for a shape that no network has."""
    with torch.device("meta"):
        unet = UNet3DConditionModel.from_config(configs["unet"])
        nets: dict[names.Part, Any] = {
            "unet": unet,
            "cam": _cam(unet, shapes),
            "apm": _apm(unet, shapes),
            "image_encoder": CLIPVisionModelWithProjection(_vision_config(shapes)),
            "text_encoder": CLIPTextModel(CLIPTextConfig.from_dict(dict(configs["text_encoder"]))),
            "vae": AutoencoderKL.from_config(configs["vae"]),
        }
    return [_part(name, net) for name, net in nets.items()]


def left_out(shapes: Mapping[str, Shape]) -> dict[str, str]:
    """The tensors that no part takes, each with the reason."""
    reasons = {name: reason for name in shapes for rule, reason in _UNUSED.items() if re.fullmatch(rule, name)}
    return dict(sorted(reasons.items()))


def _part(name: names.Part, net: nn.Module) -> Part:
    library = "longtake" if name in ("cam", "apm") else "diffusers" if name in ("unet", "vae") else "transformers"
    takes = {key: _take(name, key, tuple(tensor.shape)) for key, tensor in net.state_dict().items()}
    return Part(name, (library, type(net).__name__), config_of(net), takes)


def _take(part: names.Part, key: str, shape: Shape) -> Take:
    stacked = re.search(r"self_attn\.([qkv])_proj\.", key) if part == "image_encoder" else None
    third = "qkv".index(stacked[1]) if stacked else None
    transposed = part == "image_encoder" and key == "visual_projection.weight"
    return Take(names.published_name(part, key), shape, third, transposed)


def config_of(net: Any) -> dict[str, Any]:
    """The content of config.json, as the library of the network writes it."""
    if hasattr(net, "to_json_string"):  # diffusers
        return dict(json.loads(net.to_json_string()))
    return {**json.loads(net.config.to_json_string()), "architectures": [type(net).__name__]}


def _cam(unet: Any, shapes: Mapping[str, Shape]) -> Cam:
    encoder = "unet.controlnet_cond_embedding."
    first = shape_of(shapes, f"{encoder}conv_in.weight", 4)
    halvings = sum(1 for name in shapes if re.fullmatch(rf"{re.escape(encoder)}blocks\.\d+\.weight", name)) // 2
    widths = [shape_of(shapes, f"{encoder}blocks.{2 * i + 1}.weight", 4)[0] for i in range(halvings)]
    cam: Cam = Cam.from_unet(unet, first[1], (first[0], *widths), merger_head_dim=unet.config.attention_head_dim)
    return cam


def _apm(unet: Any, shapes: Mapping[str, Shape]) -> Apm:
    hidden, embed = shape_of(shapes, "resampler.context_embedding.0.weight", 2)
    mixer = "base_model.mid_block.attentions.0.transformer_blocks.0.attn2.conv.weight"
    text_tokens, tokens, _ = shape_of(shapes, mixer, 3)
    apm: Apm = Apm.from_unet(unet, embed, hidden, num_tokens=tokens - text_tokens, text_tokens=text_tokens)
    return apm


def _vision_config(shapes: Mapping[str, Shape]) -> CLIPVisionConfig:
    """open_clip's tower: exact GELU, and layer norms with its eps."""
    width, channels, patch, _ = shape_of(shapes, f"{TOWER}conv1.weight", 4)
    places, _ = shape_of(shapes, f"{TOWER}positional_embedding", 2)
    layers = sum(
        1 for name in shapes if re.fullmatch(rf"{re.escape(TOWER)}transformer\.resblocks\.\d+\.ln_1\.weight", name)
    )
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=shape_of(shapes, f"{TOWER}transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        projection_dim=shape_of(shapes, f"{TOWER}proj", 2)[1],
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // HEAD_WIDTH),
        num_channels=channels,
        image_size=math.isqrt(max(0, places - 1)) * patch,
        patch_size=patch,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
    )
