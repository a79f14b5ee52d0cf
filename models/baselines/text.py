"""The base model with its text alone, no CAM and no APM, for the training-free baselines.

Text, guidance, sampler, steps and noise are those of `BaseModel`, so a difference between two videos of one seed is the
method's. Shapes: t frames, c channels, h w latent rows and columns, H W pixel ones, r rows of guidance.
"""

from collections.abc import Callable

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from torch import Tensor

from longtake.models.diffusion.noise import noise_for, rng_for
from longtake.models.diffusion.sampling import NoiseSchedule, add_noise, guide, rows, sampler_for, to_x0
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.span import Span
from longtake.models.nets.conditioned import denoise, video_context
from longtake.models.nets.latents import decode_latents
from longtake.models.nets.layers import Pass
from longtake.models.nets.text import null_and_prompt
from longtake.models.stages.base import BaseNets
from longtake.models.stages.params import BaseParams
from longtake.models.video.frames import to_uint8

Predict = Callable[[Float[Tensor, "t c h w"], int], Float[Tensor, "t c h w"]]  # (x, step) -> x0


class TextModel:
    """The base model for one prompt."""

    def __init__(self, nets: BaseNets, schedule: NoiseSchedule, params: BaseParams, spec: PromptSpec) -> None:
        """Raises ValueError for a prompt that changes (these methods take only one), and for an illegal size."""
        if spec.cues:
            raise ValueError(f"cues={spec.cues}: a baseline takes one prompt for the whole video")
        self._nets, self._schedule, self._params, self._spec = nets, schedule, params, spec
        self._shape = nets.latent_shape(params)
        self._sampler = sampler_for(params.sampler, params.eta)
        self._timesteps = schedule.timesteps(params.num_inference_steps)
        texts = null_and_prompt(nets.tokenizer, nets.text_encoder, spec.negative_prompt, spec.prompt)
        texts = texts[2 - rows(params.guidance_scale) :].to(nets.unet.device, nets.unet.dtype)
        self._context = video_context(nets.unet, None, texts, None)
        self._guided_steps = params.guided_steps(len(self._timesteps))

    @torch.inference_mode()
    def x0(
        self, x: Float[Tensor, "t c h w"], step: int, passes: Callable[..., Pass] = Pass
    ) -> Float[Tensor, "t c h w"]:
        """The prediction, guided in the first steps, for frames in one call of the UNet."""
        unet, timestep = self._nets.unet, self._timesteps[step]
        is_guided = step < self._guided_steps
        context, scale = (self._context, self._params.guidance_scale) if is_guided else (self._context.last(), 1.0)
        batch = repeat(x, "t c h w -> r c t h w", r=context.batch).to(unet.device, unet.dtype)
        output = denoise(unet, batch, torch.tensor(round(timestep)), context, passes=passes)
        outputs = rearrange(output.float().cpu(), "r c t h w -> r t c h w")
        guided = guide(outputs, scale, None, self._params.guidance_rescale)
        return to_x0(self._schedule, guided, x, timestep)

    def sample(
        self, start: Float[Tensor, "t c h w"], span: Span, predict: Predict | None = None
    ) -> Float[Tensor, "t c h w"]:
        """Latents of the frames `span`, from `start` on; `predict` is `x0`, or the variant of a baseline."""
        predict = predict or self.x0
        x, history = start, None
        for step in range(len(self._timesteps)):
            noise = self.noise(span, "base", step)
            x, history = self._sampler(self._schedule, self._timesteps, step, x, predict(x, step), history, noise)
        return x

    def noise(self, span: Span, purpose: str = "base-start", step: int = 0) -> Float[Tensor, "t c h w"]:
        """The noise of the frames: by default the start of sampling, the same as the base model's."""
        return torch.from_numpy(noise_for(self._spec.seed, purpose, step, span, self._shape))

    def noised(self, z: Float[Tensor, "t c h w"], noise: Float[Tensor, "t c h w"]) -> Float[Tensor, "t c h w"]:
        """Latents at the noise level where sampling starts."""
        return add_noise(self._schedule, z, noise, self._timesteps[0])

    def rng(self, purpose: str, index: int) -> np.random.Generator:
        """Random numbers of the video, apart from its noise."""
        return rng_for(self._spec.seed, purpose, 0, index)

    @torch.inference_mode()
    def decode(self, latents: Float[Tensor, "t c h w"]) -> UInt8[np.ndarray, "t H W 3"]:
        """RGB frames."""
        return to_uint8(decode_latents(self._nets.vae, latents))


Baseline = Callable[[TextModel, int, int], Float[Tensor, "t c h w"]]  # (model, num_frames, chunk_frames) -> latents
