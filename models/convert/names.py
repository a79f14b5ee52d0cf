"""The names of the published tensors (github.com/Picsart-AI-Research/StreamingT2V, streaming_t2v.ckpt).

Tests check both rules against the full lists of names and shapes.
"""

import re
from typing import Literal, get_args

Part = Literal["unet", "cam", "apm", "image_encoder", "text_encoder", "vae"]

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_FIXED = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "input_blocks.0.1": "transformer_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    **{f"input_blocks.{3 * i + 3}.op": f"down_blocks.{i}.downsamplers.0.conv" for i in range(3)},
    "output_blocks.2.1.conv": "up_blocks.0.upsamplers.0.conv",
    "output_blocks.5.3.conv": "up_blocks.1.upsamplers.0.conv",
    "output_blocks.8.3.conv": "up_blocks.2.upsamplers.0.conv",
}
# The vision tower: the names of transformers, which are ours, on the left; open_clip's on the right.
_VISION = {
    "visual_projection.weight": "proj",
    "vision_model.embeddings.class_embedding": "class_embedding",
    "vision_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.embeddings.patch_embedding": "conv1",
    "vision_model.pre_layrnorm": "ln_pre",  # the spelling of transformers
    "vision_model.post_layernorm": "ln_post",
}
_VISION_LAYER = {
    **{f"self_attn.{each}_proj.{kind}": f"attn.in_proj_{kind}" for each in "qkv" for kind in ("weight", "bias")},
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_ROLES = ("resnets", "attentions", "temp_attentions")
_MIDDLE = (("resnets", 0), ("attentions", 0), ("temp_attentions", 0), ("resnets", 1))


def published_name(part: Part, key: str) -> str:
    """The name that tensor `key` of a part of our bundle has in StreamingT2V's checkpoint.

    image_encoder: q, k and v projections are the thirds of one tensor there, in this order, and `visual_projection` is
    transposed. Six tensors of its text tower are in the file that nothing reads.
    Raises ValueError for an unknown part, and for a name of a vision model that has no counterpart.
    """
    match part:
        case "unet":
            return f"base_model.{key}"
        case "cam":
            return key if key.startswith("unet.") else f"base_model.{key}"
        case "apm":
            return key if key.startswith("resampler.") else f"base_model.{key}"
        case "vae":
            return f"vae.{key}"
        case "text_encoder":
            return f"text_encoder.text_model.{key}"
        case "image_encoder":
            return f"image_encoder.model.visual.{_vision_name(key)}"
    raise ValueError(f"part={part!r} must be one of {', '.join(get_args(Part))}")


def _vision_name(key: str) -> str:
    match = re.fullmatch(r"vision_model\.encoder\.layers\.(\d+)\.(.+)", key)
    start = f"transformer.resblocks.{match[1]}." if match else ""
    names, rest = (_VISION_LAYER, match[2]) if match else (_VISION, key)
    for ours, theirs in names.items():
        if rest == ours or rest.startswith(ours + "."):
            return start + theirs + rest.removeprefix(ours)
    raise ValueError(f"key={key!r} is not a tensor of the published image encoder")


def refiner_name(key: str) -> str:
    """The name that tensor `key` of MS-Vid2Vid-XL's network has in diffusers' UNet3DConditionModel.

    proj_in and proj_out of temporal transformers are 1-wide convolutions there: the last axis of their weights goes.
    Raises ValueError for a name that the network does not have.
    """
    for theirs, ours in _FIXED.items():
        if key.startswith(theirs + "."):
            return ours + key.removeprefix(theirs)
    if match := re.fullmatch(r"(input|output)_blocks\.(\d+)\.([012])\.(.+)", key):
        side, n, role, rest = match[1], int(match[2]), int(match[3]), match[4]
        # Input blocks 1 2, 4 5, 7 8, 10 11 are layers, those between are downsamplers; output blocks are three a level.
        level, layer = divmod(n - 1 if side == "input" else n, 3)
        block = f"{'down' if side == 'input' else 'up'}_blocks.{level}"
        if level < 4 and not (side == "input" and layer == 2):
            return _in_block(block, _ROLES[role], layer, rest)
    if match := re.fullmatch(r"middle_block\.([0-3])\.(.+)", key):
        return _in_block("mid_block", *_MIDDLE[int(match[1])], match[2])
    raise ValueError(f"key={key!r} is not a tensor of the published refiner")


def _in_block(block: str, role: str, layer: int, rest: str) -> str:
    if role != "resnets":
        return f"{block}.{role}.{layer}.{rest}"
    if rest.startswith("temopral_conv."):  # the spelling there
        return f"{block}.temp_convs.{layer}.{rest.removeprefix('temopral_conv.')}"
    for theirs, ours in _RESNET.items():
        if rest.startswith(theirs + "."):
            return f"{block}.{role}.{layer}.{ours}{rest.removeprefix(theirs)}"
    raise ValueError(f"key={rest!r} is not a tensor of a residual block of the published refiner")
