"""Randomized blending of neighbouring windows (StreamingT2V, arXiv 2403.14773, streaming refinement).

        left window    | . . . . . . . L L L L L L L L |
        right window                   | R R R R R R R R . . . . . . . |
        both go on with                  L L L R R R R R                    cut = 3

Predictions of x0 are blended: then both windows composite the same arrays, their overlapping frames stay equal
bit for bit, and the history of a multistep sampler has one value per frame.
Shapes: t frames of a window, o frames of the overlap, c channels, h w latent rows and columns.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def blend(before: Float[Tensor, "o c h w"], x: Float[Tensor, "o c h w"], cut: int) -> Float[Tensor, "o c h w"]:
    """The first `cut` frames from the window before, the rest from this one; bits are copied, nothing is averaged."""
    if not 0 <= cut <= len(x):
        raise ValueError(f"cut={cut} must be in 0..{len(x)}, the frames of the overlap")
    return torch.cat([before[:cut], x[cut:]])


def composite(
    x0: Float[Tensor, "t c h w"],
    left_last: Float[Tensor, "o c h w"] | None,
    right_first: Float[Tensor, "o c h w"] | None,
    cut_left: int,
    cut_right: int,
) -> Float[Tensor, "t c h w"]:
    """The window's prediction with those of its neighbours on the overlaps.

    None is a neighbour that is not there or not listened to; its cut is not used.
    """
    if left_last is not None:
        overlap = len(left_last)
        x0 = torch.cat([blend(left_last, x0[:overlap], cut_left), x0[overlap:]])
    if right_first is not None:
        start = len(x0) - len(right_first)
        x0 = torch.cat([x0[:start], blend(x0[start:], right_first, cut_right)])
    return x0
