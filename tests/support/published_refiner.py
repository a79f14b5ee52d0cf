"""MS-Vid2Vid-XL's network in plain torch, at any width, with the published names of its tensors.

Written from a description of the published code, without diffusers and without our networks: a reference for them.
x is (b t) c h w from layer to layer; `t` frames.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, width: int, context_width: int, head: int):
        super().__init__()
        self.head = head
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context_width, width, bias=False)
        self.to_v = nn.Linear(context_width, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            each.unflatten(-1, (-1, self.head)).transpose(1, 2)
            for each in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        weights = (q @ k.transpose(-1, -2) / math.sqrt(self.head)).softmax(-1)
        return self.to_out((weights @ v).transpose(1, 2).flatten(2))


class Geglu(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.proj = nn.Linear(width, 8 * width)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class Layer(nn.Module):
    def __init__(self, width: int, context_width: int, head: int):
        super().__init__()
        self.attn1, self.attn2 = Attention(width, width, head), Attention(width, context_width, head)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.ff = nn.Module()
        self.ff.net = nn.Sequential(Geglu(width), nn.Dropout(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        y = self.norm1(x)
        x = self.attn1(y, y) + x
        y = self.norm2(x)
        x = self.attn2(y, y if context is None else context) + x
        return self.ff.net(self.norm3(x)) + x


class Spatial(nn.Module):
    """Each frame attends to itself and to the text."""

    def __init__(self, width: int, text_width: int, head: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Linear(width, width), nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([Layer(width, text_width, head)])

    def forward(self, x: Tensor, emb: Tensor, text: Tensor, t: int) -> Tensor:
        y = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        y = self.transformer_blocks[0](y, text.repeat_interleave(t, dim=0))
        return x + self.proj_out(y).transpose(1, 2).unflatten(2, x.shape[-2:])


class Temporal(nn.Module):
    """Each place attends to itself over the frames, twice."""

    def __init__(self, width: int, inner: int, head: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Conv1d(width, inner, 1), nn.Conv1d(inner, width, 1)
        self.transformer_blocks = nn.ModuleList([Layer(inner, inner, head)])

    def forward(self, x: Tensor, emb: Tensor, text: Tensor, t: int) -> Tensor:
        y = self.norm(x.unflatten(0, (-1, t)).transpose(1, 2))  # b c t h w
        b, c, _, h, w = y.shape
        y = self.proj_in(y.permute(0, 3, 4, 1, 2).reshape(b * h * w, c, t))
        y = self.transformer_blocks[0](y.transpose(1, 2), None).transpose(1, 2)
        y = self.proj_out(y).view(b, h, w, c, t)
        return x + y.permute(0, 4, 3, 1, 2).flatten(0, 1)


class TemporalConv(nn.Module):
    def __init__(self, width: int, groups: int):
        super().__init__()
        for i in range(1, 5):
            dropout = [nn.Dropout()] if i > 1 else []
            conv = nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0))
            setattr(self, f"conv{i}", nn.Sequential(nn.GroupNorm(groups, width), nn.SiLU(), *dropout, conv))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv4(self.conv3(self.conv2(self.conv1(x))))


class Residual(nn.Module):
    def __init__(self, width_in: int, width: int, emb_width: int, groups: int):
        super().__init__()
        conv = nn.Conv2d(width_in, width, 3, padding=1)
        self.in_layers = nn.Sequential(nn.GroupNorm(groups, width_in), nn.SiLU(), conv)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_width, width))
        conv = nn.Conv2d(width, width, 3, padding=1)
        self.out_layers = nn.Sequential(nn.GroupNorm(groups, width), nn.SiLU(), nn.Dropout(), conv)
        self.skip_connection = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()
        self.temopral_conv = TemporalConv(width, groups)  # the spelling there

    def forward(self, x: Tensor, emb: Tensor, text: Tensor, t: int) -> Tensor:
        y = self.in_layers(x) + self.emb_layers(emb).repeat_interleave(t, dim=0)[..., None, None]
        y = self.skip_connection(x) + self.out_layers(y)
        return self.temopral_conv(y.unflatten(0, (-1, t)).transpose(1, 2)).transpose(1, 2).flatten(0, 1)


class Down(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=(2, 1))

    def forward(self, x: Tensor, *_: object) -> Tensor:
        return self.op(x)


class Up(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, *_: object) -> Tensor:
        x = x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
        return self.conv(x[:, :, 1:-1])


class PublishedRefiner(nn.Module):
    def __init__(self, widths: tuple[int, ...], text_width: int, head: int, groups: int):
        super().__init__()
        self.width = first = widths[0]
        emb = 4 * first

        def block(width_in: int, width: int, has_attention: bool) -> list[nn.Module]:
            attention = [Spatial(width, text_width, head, groups), Temporal(width, width, head, groups)]
            return [Residual(width_in, width, emb, groups), *(attention if has_attention else [])]

        self.time_embed = nn.Sequential(nn.Linear(first, emb), nn.SiLU(), nn.Linear(emb, emb))
        start = [nn.Conv2d(4, first, 3, padding=1), Temporal(first, 8 * head, head, groups)]
        inputs, skips, last = [nn.ModuleList(start)], [first], len(widths) - 1
        for i, width in enumerate(widths):
            for j in range(2):
                inputs.append(nn.ModuleList(block(widths[max(i - 1, 0)] if j == 0 else width, width, i < last)))
            inputs += [] if i == last else [Down(width)]
            skips += [width] * (2 if i == last else 3)
        self.input_blocks = nn.ModuleList(inputs)
        middle = [*block(widths[-1], widths[-1], True), *block(widths[-1], widths[-1], False)]
        self.middle_block, outputs, width_in = nn.ModuleList(middle), [], widths[-1]
        for i, width in enumerate(reversed(widths)):
            for j in range(3):
                up = [Up(width)] if j == 2 and i < last else []
                outputs.append(nn.ModuleList([*block(width_in + skips.pop(), width, i > 0), *up]))
                width_in = width
        self.output_blocks = nn.ModuleList(outputs)
        self.out = nn.Sequential(nn.GroupNorm(groups, first), nn.SiLU(), nn.Conv2d(first, 4, 3, padding=1))

    def forward(self, x: Tensor, timestep: int, text: Tensor) -> Tensor:
        """x is b c t h w."""
        b, _, t, _, _ = x.shape
        angles = timestep * 10000 ** (-torch.arange(self.width // 2) / (self.width // 2))
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()]).expand(b, -1))
        (conv, temporal), *inputs = self.input_blocks
        x = temporal(conv(x.transpose(1, 2).flatten(0, 1)), emb, text, t)
        skips = [x]
        for layers in inputs:
            for layer in [layers] if isinstance(layers, Down) else layers:
                x = layer(x, emb, text, t)
            skips.append(x)
        for layer in self.middle_block:
            x = layer(x, emb, text, t)
        for layers in self.output_blocks:
            x = torch.cat([x, skips.pop()], dim=1)
            for layer in layers:
                x = layer(x, emb, text, t)
        return self.out(x).unflatten(0, (b, t)).transpose(1, 2)
