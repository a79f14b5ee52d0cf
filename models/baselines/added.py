"""CAM without attention: the condition's features are added to the frames that they belong to (an ablation).

    CAM     frame i of the chunk <- attention over the features of all condition frames
    added   frame i of the chunk <- the feature of condition frame i, if there is one: nothing else

The paper trains a variant whose condition is added to the skips (SCuts .284 against .03). Here nothing is trained for
it: the bundle's own values and output projections are used, so the added features have the scale that the UNet knows,
and only the attention, that is the choice of frames, is removed. The result is a lower bound of a trained variant.
Shapes: b batch, t frames, f condition frames, c channels, e heads, h w rows and columns.
"""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from longtake.models.nets.cam import Cam, Merger
from longtake.models.nets.layers import keys_values


class Added(nn.Module):
    """Stands in for a Merger, with its weights."""

    def __init__(self, merger: Merger) -> None:
        super().__init__()
        self.merger = merger

    def forward(
        self, x: Float[Tensor, "bt c h w"], feature: Float[Tensor, "bf c h w"], frames: int, condition_frames: int
    ) -> Float[Tensor, "bt c h w"]:
        net = self.merger.temporal_transformer
        _, values = keys_values(net.attention, rearrange(feature, "(b f) c h w -> (b h w) f c", f=condition_frames))
        y = rearrange(values, "b e f d -> b f (e d)")
        for module in net.attention.to_out:
            y = module(y)
        y = F.pad(net.proj_out(y), (0, 0, 0, frames - condition_frames))  # later frames have no condition of their own
        return x + rearrange(y, "(b h w) t c -> (b t) c h w", h=x.shape[2], w=x.shape[3])


def added(cam: Cam) -> Cam:
    """A Cam that shares the weights of `cam` and adds instead of attending."""
    with torch.device("meta"):  # the skeleton alone: every part is replaced by one of `cam`
        other: Any = Cam.from_config(cam.config)
    whole: Any = cam
    other.unet = whole.unet
    other.cross_attention_merger_down_blocks = nn.ModuleList(
        Added(merger) for merger in whole.cross_attention_merger_down_blocks
    )
    other.cross_attention_merger_mid_block = Added(whole.cross_attention_merger_mid_block)
    adding: Cam = other.eval()
    return adding
