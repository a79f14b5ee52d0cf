"""Small networks in files as the published system has them: its names and layouts, random weights."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from longtake.models.convert.names import Part, published_name
from longtake.models.nets.apm import Apm
from longtake.models.nets.cam import Cam
from longtake.models.nets.vid2vid import Vid2VidUNet
from tests.support.tiny_nets import randomise, tiny_unet

TEXT_DIM, TEXT_TOKENS, IMAGE_DIM = 24, 12, 10
LIBRARIES = {"unet": "diffusers", "vae": "diffusers", "scheduler": "diffusers"}


class OpenClipVision(nn.Module):
    """The vision tower as open_clip computes it: norms first in each block, the class token normed and projected."""

    def __init__(self, image_size: int = 28, patch: int = 14, width: int = 160, layers: int = 2, dim: int = IMAGE_DIM):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn((image_size // patch) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(ResidualBlock(width, heads=width // 80) for _ in range(layers))
        self.proj = nn.Parameter(torch.randn(width, dim))

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1) + self.positional_embedding
        x = self.ln_pre(x)
        for block in self.transformer.resblocks:
            x = block(x)
        return self.ln_post(x[:, 0]) @ self.proj


class ResidualBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential()
        for name, layer in {
            "c_fc": nn.Linear(width, 2 * width),
            "gelu": nn.GELU(),
            "c_proj": nn.Linear(2 * width, width),
        }.items():
            self.mlp.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


@dataclass(frozen=True, eq=False)
class StreamingNets:
    """The networks of streaming_t2v.ckpt."""

    unet: Any
    cam: Any
    apm: Any
    text_encoder: Any
    vae: Any
    image_encoder: OpenClipVision

    def tensors(self) -> dict[str, Tensor]:
        """By their published names, with those that nothing reads."""
        parts: list[Part] = ["unet", "cam", "apm", "text_encoder", "vae"]
        named = {
            published_name(part, key): value
            for part in parts
            for key, value in getattr(self, part).state_dict().items()
        }
        vision = {f"image_encoder.model.visual.{key}": value for key, value in self.image_encoder.state_dict().items()}
        unused = {
            f"image_encoder.model.{key}": torch.ones(2) for key in ("logit_scale", "ln_final.weight", "text_projection")
        }
        return {**named, **vision, **unused, "text_encoder.text_model.embeddings.position_ids": torch.arange(3.0)}


def streaming_nets() -> StreamingNets:
    torch.manual_seed(0)
    unet = tiny_unet(cross_attention_dim=TEXT_DIM, sample_size=4)
    cam = Cam.from_unet(unet, conditioning_embedding_out_channels=(4, 6, 8), merger_head_dim=8).eval()
    apm = Apm.from_unet(unet, IMAGE_DIM, hidden_dim=14, num_tokens=3, text_tokens=TEXT_TOKENS).eval()
    nets = StreamingNets(unet, cam, apm, tiny_text_encoder(), tiny_vae(), OpenClipVision().eval())
    for i, net in enumerate((cam, apm, nets.text_encoder, nets.vae, nets.image_encoder)):
        randomise(net, seed=i)
    return nets


def tiny_text_encoder(width: int = TEXT_DIM) -> Any:
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2, "num_attention_heads": 2}
    marks = {"vocab_size": 8, "bos_token_id": 6, "eos_token_id": 7, "pad_token_id": 7}
    return CLIPTextModel(
        CLIPTextConfig(**sizes, **marks, max_position_embeddings=TEXT_TOKENS, hidden_act="gelu")
    ).eval()


def tiny_vae() -> Any:
    widths = (8, 8, 8)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    return AutoencoderKL(**blocks, block_out_channels=widths, norm_num_groups=4, layers_per_block=1).eval()


def tiny_tokenizer() -> Any:
    vocab = {
        token: i
        for i, token in enumerate(["a", "b", "c", "a</w>", "b</w>", "c</w>", "<|startoftext|>", "<|endoftext|>"])
    }
    return CLIPTokenizer(vocab=vocab, merges=[], bos_token="<|startoftext|>", eos_token="<|endoftext|>")


def write_pipeline(folder: Path, nets: StreamingNets) -> Path:
    """A text-to-video folder as diffusers writes it, of networks of the same sizes with other weights."""
    parts = {"unet": nets.unet, "vae": nets.vae, "text_encoder": nets.text_encoder, "tokenizer": tiny_tokenizer()}
    parts["scheduler"] = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
    index: dict[str, Any] = {"_class_name": "TextToVideoSDPipeline"}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
        index[name] = [LIBRARIES.get(name, "transformers"), type(part).__name__]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def vid2vid_net() -> Any:
    torch.manual_seed(1)
    net = Vid2VidUNet(block_out_channels=(32, 64, 96, 96), attention_head_dim=8, cross_attention_dim=TEXT_DIM).eval()
    randomise(net)
    return net


def vid2vid_tensors(net: Any) -> dict[str, Tensor]:
    """By their published names; proj_in and proj_out of temporal transformers are convolutions there."""
    named = {}
    for key, value in net.state_dict().items():
        temporal = "temp_attentions" in key or key.startswith("transformer_in")
        is_conv = temporal and re.search(r"proj_(in|out)\.weight$", key)
        named[vid2vid_name(key)] = value[..., None] if is_conv else value
    return named


_RENAMED = (
    (r"time_embedding\.linear_1", "time_embed.0"),
    (r"time_embedding\.linear_2", "time_embed.2"),
    (r"conv_in", "input_blocks.0.0"),
    (r"transformer_in", "input_blocks.0.1"),
    (r"conv_norm_out", "out.0"),
    (r"conv_out", "out.2"),
)
_ROLES = {"resnets": 0, "temp_convs": 0, "attentions": 1, "temp_attentions": 2}
_RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
           "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}  # fmt: skip


def vid2vid_name(key: str) -> str:
    """The way back from our names: written on its own, so that a mistake of one is not one of the other."""
    for ours, theirs in _RENAMED:
        if match := re.match(rf"{ours}\.", key):
            return f"{theirs}.{key[match.end() :]}"
    if match := re.match(r"down_blocks\.(\d)\.downsamplers\.0\.conv\.(.+)", key):
        return f"input_blocks.{3 * int(match[1]) + 3}.op.{match[2]}"
    if match := re.match(r"up_blocks\.(\d)\.upsamplers\.0\.conv\.(.+)", key):
        level = int(match[1])
        return f"output_blocks.{3 * level + 2}.{1 if level == 0 else 3}.conv.{match[2]}"
    match = re.match(r"(down_blocks|up_blocks|mid_block)\.(?:(\d)\.)?(\w+)\.(\d)\.(.+)", key)
    assert match, key
    side, level, kind, layer, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    if kind == "resnets":
        name, _, tail = rest.partition(".")
        rest = f"{_RESNET[name]}.{tail}"
    elif kind == "temp_convs":
        rest = f"temopral_conv.{rest}"
    if side == "mid_block":
        place = {"attentions": 1, "temp_attentions": 2}.get(kind, 3 * layer)
        return f"middle_block.{place}.{rest}"
    block = f"input_blocks.{3 * level + 1 + layer}" if side == "down_blocks" else f"output_blocks.{3 * level + layer}"
    return f"{block}.{_ROLES[kind]}.{rest}"
