"""MS-Vid2Vid-XL's network: diffusers' UNet3DConditionModel with other rows at the edges of its levels.

    rows going down    90 -> 46 -> 24 -> 13      the convolution is padded by 2 rows, not 1
    rows going up      90 <- 46 <- 24 <- 13      of twice the rows, the first and the last are dropped

Columns are those of diffusers' network, and so are all names and shapes of tensors.
"""

from functools import wraps
from typing import Any

import torch.nn.functional as F
from diffusers import UNet3DConditionModel
from jaxtyping import Float
from torch import Tensor, nn


class CroppedUpsample(nn.Module):
    """Twice the rows and columns, without the first and the last row, through `conv`."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv

    def forward(self, x: Float[Tensor, "b c h w"], size: object = None) -> Float[Tensor, "b c2 h2 w2"]:
        """`size` is what diffusers asks of its own layer; it follows from x here."""
        y: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest")[..., 1:-1, :])
        return y


class Vid2VidUNet(UNet3DConditionModel):
    """The enhancer's UNet. `sizes.latent_sizes` has the latents that it takes."""

    # diffusers reads the keys of a config off the signature; what it wraps is Any to mypy.
    @wraps(UNet3DConditionModel.__init__)  # type: ignore[misc]
    def __init__(self, *args: Any, **config: Any) -> None:
        super().__init__(*args, **config)
        for block in self.down_blocks:
            for layer in block.downsamplers or ():
                layer.padding = layer.conv.padding = (2, 1)
        for block in self.up_blocks:
            if block.upsamplers:
                block.upsamplers = nn.ModuleList(CroppedUpsample(layer.conv) for layer in block.upsamplers)
