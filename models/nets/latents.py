"""Images to latents and back. Shapes: t frames, c latent channels, h w latent rows and columns, H W pixel ones."""

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from longtake.models.nets.sizes import vae_factor
from longtake.models.video.frames import check_finite

# Frames in one call of the decoder: bounds its memory; a frame's bits depend on it.
FRAMES_PER_CALL = 8


def factor(vae: AutoencoderKL) -> int:
    """Pixels of a frame's side for each latent."""
    return vae_factor(vae.config)


def encode_images(vae: AutoencoderKL, images: Float[Tensor, "t 3 H W"]) -> Float[Tensor, "t c h w"]:
    """Scaled latents of images in [-1, 1]: the mode of the posterior, nothing is drawn."""
    latents: Tensor = vae.encode(images.to(vae.device, vae.dtype)).latent_dist.mode() * vae.config.scaling_factor
    return latents.float().cpu()


def decode_latents(vae: AutoencoderKL, latents: Float[Tensor, "t c h w"]) -> Float[Tensor, "t 3 H W"]:
    """Images of scaled latents, clipped to [-1, 1].

    Raises BadFrames if the decoder gives NaN or infinity.
    """
    scaled = latents.to(vae.device, vae.dtype) / vae.config.scaling_factor
    images = [vae.decode(some).sample.float().cpu() for some in scaled.split(FRAMES_PER_CALL)]
    joined = torch.cat(images)
    check_finite(joined)
    return joined.clamp(-1, 1)
