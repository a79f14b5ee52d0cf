"""The refiner's networks, behind the interface of models/stages/refiner.py."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from torch import Tensor

from longtake.models.diffusion.sampling import guide, rows
from longtake.models.nets.conditioned import Context, denoise, video_context
from longtake.models.nets.latents import decode_latents, encode_images
from longtake.models.nets.sizes import frame_sizes
from longtake.models.nets.text import null_and_prompt
from longtake.models.stages.params import RefinerParams, check_size
from longtake.models.video.frames import to_uint8


class BundleRefinerNets:
    """VAE, text encoder and UNet of a bundle. Holds weights, and the keys and values of the latest prompts."""

    def __init__(
        self, unet: UNet3DConditionModel, vae: AutoencoderKL, tokenizer: Any, text_encoder: Any, params: RefinerParams
    ) -> None:
        """Raises ValueError if the networks cannot take frames of the size in `params`."""
        self._unet, self._vae, self._params = unet, vae, params
        self._tokenizer, self._text_encoder = tokenizer, text_encoder
        self._context = lru_cache(maxsize=8)(self._new_context)
        self.sizes = frame_sizes(type(unet).__name__, unet.config, vae.config)
        check_size("refiner", params.size, self.sizes)

    def encode(self, images: Float[Tensor, "t 3 H W"], /) -> Float[Tensor, "t c h w"]:
        return encode_images(self._vae, images)

    def decode(self, latents: Float[Tensor, "t c h w"], /) -> UInt8[np.ndarray, "t H W 3"]:
        return to_uint8(decode_latents(self._vae, latents))

    def predict(
        self, x: Float[Tensor, "t c h w"], timestep: int, prompt: str, negative_prompt: str, /
    ) -> Float[Tensor, "t c h w"]:
        unet, params = self._unet, self._params
        batch = repeat(x, "t c h w -> b c t h w", b=rows(params.guidance_scale)).to(unet.device, unet.dtype)
        context = self._context(prompt, negative_prompt)
        output = denoise(unet, batch, torch.tensor(timestep), context).float().cpu()
        return guide(rearrange(output, "b c t h w -> b t c h w"), params.guidance_scale, None, params.guidance_rescale)

    def _new_context(self, prompt: str, negative_prompt: str) -> Context:
        text = null_and_prompt(self._tokenizer, self._text_encoder, negative_prompt, prompt)
        text = text[2 - rows(self._params.guidance_scale) :]
        return video_context(self._unet, None, text.to(self._unet.device, self._unet.dtype), None)
