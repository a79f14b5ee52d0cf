"""Plain continuation from the last frame, without CAM and APM, as any text-to-video model can do it untrained.

    chunks    |-------------------------------|
                                              |x------------------------------|      x: the last frame again, pinned

At every step the pinned frame's prediction is replaced by the frame that is known: the replacement method of Video
Diffusion Models (Ho et al., arXiv 2204.03458, section 3.1; RePaint, arXiv 2201.09865, without its jumps back). Its
noisy latent is then the known one with the frame's noise. The other frames see it through the temporal layers alone.
The known frame is its latent: it does not go through the VAE again, which favours this method over a real one.
Shapes: t frames, c channels, h w latent rows and columns.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from longtake.models.baselines.text import TextModel
from longtake.models.domain.span import Span


def last_frame(model: TextModel, num_frames: int, chunk_frames: int) -> Float[Tensor, "t c h w"]:
    """Latents; each chunk after the first adds all of its frames but one."""
    span = Span(0, chunk_frames)
    latents = model.sample(model.noise(span), span)
    while len(latents) < num_frames:
        span = Span(len(latents) - 1, len(latents) - 1 + chunk_frames)
        latents = torch.cat([latents, _continued(model, latents[-1:], span)[1:]])
    return latents[:num_frames]


def borders(num_frames: int, chunk_frames: int) -> tuple[int, ...]:
    """Frames at which chunks begin."""
    return tuple(range(chunk_frames, num_frames, chunk_frames - 1))


def _continued(model: TextModel, known: Float[Tensor, "1 c h w"], span: Span) -> Float[Tensor, "t c h w"]:
    noise = model.noise(span)
    start = torch.cat([model.noised(known, noise[:1]), noise[1:]])
    return model.sample(start, span, lambda x, step: torch.cat([known, model.x0(x, step)[1:]]))
