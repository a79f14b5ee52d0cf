"""The layers of diffusers' 3D UNet, walked from outside: its sub-modules do the arithmetic.

Two things are gained over its own forward pass. Keys and values of the text come from a cache instead of from text that
is repeated for every frame; and nothing is installed on a module, so two calls cannot see each other.

Shapes: b batch, t frames, h w rows and columns, c channels, n m tokens, e heads, d channels of a head.
"""

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

KeysValues = tuple[Float[Tensor, "kb e m d"], Float[Tensor, "kb e m d"]]  # kb is b, or 1 for all of them


def without_dropout(net: nn.Module) -> None:
    """Set every dropout of `net` to 0 for training: diffusers' TemporalConvLayer has 0.1 built in."""
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def attention(q: Float[Tensor, "b e n d"], k: Float[Tensor, "b e m d"], v: Float[Tensor, "b e m d"]) -> Tensor:
    """Softmax attention with scale 1/sqrt(d); the result has q's shape."""
    # The fused kernel is as fast forwards as the plain form and needs no memory for the scores, but on CPU its backward
    # pass is slow: a training step of the tiny UNet (bf16 autocast, 1 core) takes 2.3 s with it and 1.7 s without.
    if q.device.type != "cpu" or not any(x.requires_grad for x in (q, k, v)):
        return F.scaled_dot_product_attention(q, k, v)
    q_, k_, v_ = (x.flatten(0, 1) for x in (q, k, v))
    unread = q_.new_empty(1)  # beta = 0: baddbmm is a bmm that scales on the way
    scores = torch.baddbmm(unread, q_, k_.transpose(1, 2), beta=0, alpha=q.shape[-1] ** -0.5)
    return torch.bmm(scores.softmax(-1).to(v_.dtype), v_).view(q.shape)


def keys_values(layer: Any, context: Float[Tensor, "b m c"]) -> KeysValues:
    """The keys and values of `layer` (a diffusers Attention) for `context`."""
    k, v = (rearrange(to(context), "b m (e d) -> b e m d", e=layer.heads) for to in (layer.to_k, layer.to_v))
    return k, v


def attend(layer: Any, x: Float[Tensor, "b n c"], kv: KeysValues | None = None) -> Float[Tensor, "b n c"]:
    """diffusers' Attention: x reads `kv` (a batch of 1 serves all of x), or itself if `kv` is None."""
    q = rearrange(layer.to_q(x), "b n (e d) -> b e n d", e=layer.heads)
    k, v = keys_values(layer, x) if kv is None else (y.expand(x.shape[0], -1, -1, -1) for y in kv)
    y = rearrange(attention(q, k, v), "b e n d -> b n (e d)")
    for module in layer.to_out:
        y = module(y)
    return y


def transform(
    layer: Any, x: Float[Tensor, "bt n c"], frames: int = 1, kv: KeysValues | None = None
) -> Float[Tensor, "bt n c"]:
    """diffusers' BasicTransformerBlock. The frames of a video are one long query of the cross attention: one text."""
    x = attend(layer.attn1, layer.norm1(x)) + x
    q: Tensor = rearrange(layer.norm2(x), "(b t) n c -> b (t n) c", t=frames)
    x = rearrange(attend(layer.attn2, q, kv), "b (t n) c -> (b t) n c", t=frames) + x
    y: Tensor = layer.ff(layer.norm3(x))
    return x + y


def spatial(net: Any, x: Float[Tensor, "bt c h w"], frames: int, kvs: list[KeysValues]) -> Float[Tensor, "bt c h w"]:
    """diffusers' Transformer2DModel: each frame attends to itself and to the text, `kvs` by layer."""
    y = net.proj_in(rearrange(net.norm(x), "bt c h w -> bt (h w) c"))
    for layer, kv in zip(net.transformer_blocks, kvs, strict=True):
        y = transform(layer, y, frames, kv)
    out: Tensor = net.proj_out(y)
    return x + rearrange(out, "bt (h w) c -> bt c h w", h=x.shape[2])


def temporal(net: Any, x: Float[Tensor, "bt c h w"], frames: int) -> Float[Tensor, "bt c h w"]:
    """diffusers' TransformerTemporalModel: each pixel attends to itself over the frames."""
    b, h, w = x.shape[0] // frames, x.shape[2], x.shape[3]
    y = net.norm(rearrange(x, "(b t) c h w -> b c t h w", t=frames))
    y = net.proj_in(rearrange(y, "b c t h w -> (b h w) t c"))
    for layer in net.transformer_blocks:
        y = transform(layer, y)
    out: Tensor = net.proj_out(y)
    return x + rearrange(out, "(b h w) t c -> (b t) c h w", b=b, h=h, w=w)


def temporal_conv(layer: Any, x: Float[Tensor, "bt c h w"], frames: int) -> Float[Tensor, "bt c h w"]:
    """diffusers' TemporalConvLayer. Its convolutions over time are done as those of images of frames by places.

    On one core that takes a quarter (48 channels, 24 frames of 16x16) to seven eighths (96, 16 of 4x4) of the time.
    """
    video = y = rearrange(x, "(b t) c h w -> b c t (h w)", t=frames)
    for module in chain(layer.conv1, layer.conv2, layer.conv3, layer.conv4):
        is_conv = isinstance(module, nn.Conv3d)
        y = F.conv2d(y, module.weight[..., 0], module.bias, padding=(1, 0)) if is_conv else module(y)
    return rearrange(video + y, "b c t (h w) -> (b t) c h w", h=x.shape[2])


def cross_attentions(net: nn.Module) -> dict[str, Any]:
    """The layers that read the text, by name, in the order of the network: `attn2` of every spatial transformer."""
    return {
        name: module
        for name, module in net.named_modules()
        if name.endswith(".attn2") and "attentions" in name.split(".") and "temp_attentions" not in name.split(".")
    }


class Pass:
    """One forward pass over the layers of a 3D UNet: the values that stay the same on the way through.

    `emb` is the time embedding of each frame (b*t rows), `kvs` the keys and values of the text by layer name.
    """

    def __init__(self, emb: Float[Tensor, "bt c"], frames: int, kvs: Mapping[str, KeysValues]):
        self.emb, self.frames, self.kvs = emb, frames, kvs

    def resnet(self, block: Any, j: int, x: Tensor) -> Tensor:
        return temporal_conv(block.temp_convs[j], block.resnets[j](x, self.emb), self.frames)

    def temporal(self, net: Any, x: Tensor) -> Tensor:
        """A temporal transformer over all frames. A subclass may let frames attend otherwise."""
        return temporal(net, x, self.frames)

    def attention(self, block: Any, name: str, j: int, x: Tensor) -> Tensor:
        """The j-th spatial and temporal transformer of a block that has them."""
        if not hasattr(block, "attentions"):
            return x
        net = block.attentions[j]
        names = [f"{name}.attentions.{j}.transformer_blocks.{k}.attn2" for k in range(len(net.transformer_blocks))]
        x = spatial(net, x, self.frames, [self.kvs[n] for n in names])
        return self.temporal(block.temp_attentions[j], x)

    def down(self, block: Any, name: str, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for j in range(len(block.resnets)):
            x = self.attention(block, name, j, self.resnet(block, j, x))
            skips.append(x)
        for downsample in block.downsamplers or ():
            x = downsample(x)
            skips.append(x)
        return x, skips

    def mid(self, block: Any, name: str, x: Tensor) -> Tensor:
        x = self.resnet(block, 0, x)
        for j in range(len(block.attentions)):
            x = self.resnet(block, j + 1, self.attention(block, name, j, x))
        return x

    def up(self, block: Any, name: str, x: Tensor, skips: list[Tensor]) -> Tensor:
        """Takes the skips it uses off the end of the list. Its output has the size of the next one."""
        for j in range(len(block.resnets)):
            x = torch.cat([x, skips.pop()], dim=1)
            x = self.attention(block, name, j, self.resnet(block, j, x))
        for upsample in block.upsamplers or ():
            x = upsample(x, skips[-1].shape[-2:])  # an odd number of rows was rounded up on the way down
        return x
