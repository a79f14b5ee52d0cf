"""Gen-L-Video's temporal co-denoising (Wang et al., arXiv 2305.18264, section 4).

    windows   |-----------------------|                     each of a length that the model knows, `STRIDE` apart
                    |-----------------------|
    x0        a frame's prediction is the mean of those of the windows that hold it, at every step

The paper minimises the weighted squared distance of the long video to the denoised windows, which is solved
by the weighted mean; the weights here are equal. x0 is averaged instead of x_(t-1): for a first-order sampler
that is the same, since its step is linear in x0, and a multistep one keeps one history per frame.
Shapes: t frames, c channels, h w latent rows and columns.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from longtake.models.baselines.text import TextModel
from longtake.models.baselines.windows import sliding
from longtake.models.domain.span import Span

STRIDE = 4  # frames between windows: that of FreeNoise, so that both see a frame in equally many contexts


def co_denoising(model: TextModel, num_frames: int, chunk_frames: int) -> Float[Tensor, "t c h w"]:
    """Latents of at least one chunk, all frames denoised together."""
    span = Span(0, max(num_frames, chunk_frames))
    windows = sliding(len(span), chunk_frames, min(STRIDE, chunk_frames))

    def predict(x: Float[Tensor, "t c h w"], step: int) -> Float[Tensor, "t c h w"]:
        total, count = torch.zeros_like(x), torch.zeros(len(x), 1, 1, 1)
        for window in windows:
            total[window.frames] += model.x0(x[window.frames], step)
            count[window.frames] += 1
        return total / count

    return model.sample(model.noise(span), span, predict)[:num_frames]
