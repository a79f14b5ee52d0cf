"""Clips as the base model draws them: noised somewhat, then denoised by it (SDEdit, arXiv 2108.01073).

What is redrawn keeps a clip's shades and places and has the base model's artefacts. At work CAM and APM see nothing
else.
Shapes: b clips, t frames, c channels, h w latent rows and columns.
"""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import UNet3DConditionModel
from jaxtyping import Float
from torch import Tensor

from models.base import BaseParams
from models.nets.conditioned import denoise, video_context
from models.sampling import NoiseSchedule, add_noise, ddim, guide, to_x0
from models.training.captions import Captioner
from models.training.diffusion import TINY_SCHEDULE

BEGINS = range(3, 7)  # of 8 steps, the first that is run: before it little of the shades is left, at 7 nothing changes


@torch.no_grad()
def redraw(
    unet: UNet3DConditionModel,
    captioner: Captioner,
    latents: Float[Tensor, "b t c h w"],
    captions: Sequence[str],
    begin: int,
    rng: np.random.Generator,
) -> Float[Tensor, "b t c h w"]:
    """Chunks without memory, sampled as BaseParams has it by default, but from step `begin` on."""
    params, schedule = BaseParams(), NoiseSchedule.from_config(TINY_SCHEDULE)
    timesteps = schedule.timesteps(params.num_inference_steps)
    text = captioner([*[""] * len(captions), *captions])
    context = video_context(unet, None, text, None)
    noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
    x = add_noise(schedule, latents.float(), noise, timesteps[begin])
    for step in range(begin, len(timesteps)):
        batch = torch.cat([x, x]).transpose(1, 2).to(unet.device)
        output = denoise(unet, batch, torch.tensor(timesteps[step]), context).float().cpu().transpose(1, 2)
        pairs = torch.stack(output.chunk(2), dim=1)  # the contrast is that of a chunk: one at a time
        guided = [guide(pair, params.guidance_scale, None, params.guidance_rescale) for pair in pairs]
        x0 = to_x0(schedule, torch.stack(guided), x, timesteps[step])
        x, _ = ddim(schedule, timesteps, step, x, x0, None, noise)
    return x
