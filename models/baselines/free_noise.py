"""FreeNoise (Qiu et al., arXiv 2310.15169): one pass over the whole video, with noise that repeats and local attention.

    noise     |0 1 2 3 4 5 ... 15|2 0 3 1 6 4 7 5 ...       noise rescheduling: after the first chunk, each block of
                                                            `STRIDE` frames is the one a chunk before, in another order
    attention |---- window ----|                            temporal attention within windows of a chunk, `STRIDE`
                  |---- window ----|                        apart; a frame's result is their mean, weighted by how near
                                                            it is to each window's middle (1 2 3 ... 3 2 1)

As in diffusers' free_noise_utils (shuffle_context, pyramid). The temporal convolutions, which are local anyway,
and the group normalisations see all frames. One prompt, so no motion injection.
Shapes: b videos, t frames, c channels, h w latent rows and columns.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from longtake.models.baselines.text import TextModel
from longtake.models.baselines.windows import sliding
from longtake.models.domain.span import Span
from longtake.models.nets.layers import KeysValues, Pass, attend

STRIDE = 4  # frames: the published one


def free_noise(model: TextModel, num_frames: int, chunk_frames: int) -> Float[Tensor, "t c h w"]:
    """Latents of at least one chunk."""
    span = Span(0, max(num_frames, chunk_frames))
    stride = min(STRIDE, chunk_frames)
    places = rescheduled(len(span), chunk_frames, stride, partial(model.rng, "free-noise"))
    start = model.noise(Span(0, chunk_frames))[places]
    passes = partial(FusedPass, windows=sliding(len(span), chunk_frames, stride))
    return model.sample(start, span, lambda x, step: model.x0(x, step, passes))[:num_frames]


def rescheduled(
    num_frames: int, chunk_frames: int, stride: int, rng: Callable[[int], np.random.Generator]
) -> list[int]:
    """The index into the first chunk's noise for each frame; `rng` takes the first frame of a block."""
    places = list(range(chunk_frames))
    while len(places) < num_frames:
        block = places[len(places) - chunk_frames :][:stride]
        places += [block[i] for i in rng(len(places)).permutation(len(block))]
    return places[:num_frames]


def pyramid(size: int) -> Float[Tensor, " t"]:
    """Weights of a window's frames: the nearer to its middle, the more."""
    ramp = torch.arange(1, size + 1, dtype=torch.float32)
    return torch.minimum(ramp, ramp.flip(0))


class FusedPass(Pass):
    """A pass whose temporal transformers attend within windows and fuse their outputs."""

    def __init__(self, emb: Tensor, frames: int, kvs: Mapping[str, KeysValues], windows: Sequence[Span]) -> None:
        super().__init__(emb, frames, kvs)
        self.windows = windows

    def temporal(self, net: Any, x: Tensor) -> Tensor:
        b, h, w = x.shape[0] // self.frames, x.shape[2], x.shape[3]
        y = net.norm(rearrange(x, "(b t) c h w -> b c t h w", t=self.frames))
        y = net.proj_in(rearrange(y, "b c t h w -> (b h w) t c"))
        for layer in net.transformer_blocks:
            y = self._fused(layer, y)
            y = y + layer.ff(layer.norm3(y))
        out: Tensor = net.proj_out(y)
        return x + rearrange(out, "(b h w) t c -> (b t) c h w", b=b, h=h, w=w)

    def _fused(self, layer: Any, x: Tensor) -> Tensor:
        """Both attentions of a block (in a temporal one each is over the frames), window by window."""
        total, sums = torch.zeros_like(x), torch.zeros(x.shape[1], 1, device=x.device, dtype=x.dtype)
        for window in self.windows:
            weights = pyramid(len(window)).to(x)[:, None]
            y = x[:, window.frames]
            y = attend(layer.attn1, layer.norm1(y)) + y
            y = attend(layer.attn2, layer.norm2(y)) + y
            total[:, window.frames] += weights * y
            sums[window.frames] += weights
        return total / sums
