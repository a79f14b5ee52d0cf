"""The image encoder's way in: frames to the pixels that CLIP's vision model was trained on."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(images: Float[Tensor, "b 3 h w"], size: int) -> Float[Tensor, "b 3 {size} {size}"]:
    """Images in [-1, 1] to CLIP's normalised pixels.

    Bicubic with align_corners=True, as the published code does it (its anti-alias blur is the identity at 256 to 224).
    It resizes to a square whatever the shape, so an anchor that is not square is squeezed; nothing is cut.
    """
    if images.shape[-2:] != (size, size):
        images = interpolate(images, size=(size, size), mode="bicubic", align_corners=True)
    mean, std = (
        torch.tensor(v, device=images.device, dtype=images.dtype)[:, None, None] for v in (CLIP_MEAN, CLIP_STD)
    )
    return ((images + 1) / 2 - mean) / std


def embed_images(image_encoder: Any, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
    """CLIP's projected embedding of images in [-1, 1]."""
    return embed_pixels(image_encoder, clip_pixels(images, image_encoder.config.image_size))


def embed_pixels(image_encoder: Any, pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b e"]:
    """CLIP's projected embedding of what `clip_pixels` returned."""
    embeds: Tensor = image_encoder(pixels.to(image_encoder.device, image_encoder.dtype)).image_embeds
    return embeds.float()
