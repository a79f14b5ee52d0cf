"""Frames outside a network are uint8 RGB arrays; inside one they are float tensors in [-1, 1].

Shapes: t frames, h w rows and columns, c = 3 channels (red, green, blue).
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from longtake.models.video.fit import Fit, Size, covering, inside
from longtake.models.video.frame_checks import BadFrames


def check_finite(images: Float[Tensor, "t c h w"]) -> None:
    """Raises BadFrames for images or latents with NaN or infinite values, which `to_uint8` would turn into pixels."""
    bad = int((~torch.isfinite(images)).flatten(1).any(1).sum())
    if bad:
        raise BadFrames(f"frames: {bad} of {len(images)} contain NaN or infinite values")


def to_float(frames: UInt8[np.ndarray, "t h w c"]) -> Float[Tensor, "t c h w"]:
    """0..255 becomes -1..1 in float32."""
    # np.array copies: torch must neither alias nor warn about a read-only array, such as one out of an object store.
    channels_first = torch.from_numpy(np.array(frames.transpose(0, 3, 1, 2), order="C"))
    return channels_first.float() / 127.5 - 1.0


def to_uint8(images: Float[Tensor, "t c h w"]) -> UInt8[np.ndarray, "t h w c"]:
    """-1..1 becomes 0..255, rounded to the nearest; values outside are clipped."""
    scaled = ((images.detach().float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).cpu().numpy())


def upscale(frames: UInt8[np.ndarray, "t h0 w0 c"], height: int, width: int) -> Float[Tensor, "t c h w"]:
    """Bilinear resize to height x width, in [-1, 1]; pixel centres stay where they are (align_corners=False).

    A side that shrinks is low-pass filtered first, so that an enhanced full-HD video does not alias.
    """
    if height < 1 or width < 1:
        raise ValueError(f"height={height}, width={width}: both must be at least 1 pixel")
    images = to_float(frames)
    if images.shape[-2:] == (height, width):
        return images
    shrinks = height < images.shape[-2] or width < images.shape[-1]
    return interpolate(images, size=(height, width), mode="bilinear", align_corners=False, antialias=shrinks)


def fit_frames(frames: UInt8[np.ndarray, "t h0 w0 c"], height: int, width: int, fit: Fit) -> Float[Tensor, "t c h w"]:
    """Frames at height x width, in [-1, 1]: stretched, or scaled to fill it and cut to its middle.

    For contain, height and width are `picture_size`: it has the shape of the frames, and only what a legal size rounds
    off is cut. `add_bars` adds the rest after decoding.
    """
    size = (height, width) if fit is Fit.STRETCH else covering((frames.shape[1], frames.shape[2]), (height, width))
    images = upscale(frames, *size)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return images[..., top : top + height, left : left + width]


def add_bars(frames: UInt8[np.ndarray, "t h0 w0 c"], height: int, width: int) -> UInt8[np.ndarray, "t h w c"]:
    """The frames in the middle of black ones of height x width, which must not be smaller."""
    t, h, w, c = frames.shape
    if (h, w) == (height, width):
        return frames
    framed = np.zeros((t, height, width, c), np.uint8)
    top, left = (height - h) // 2, (width - w) // 2
    framed[:, top : top + h, left : left + w] = frames
    return framed


def middle(frame: UInt8[np.ndarray, "h0 w0 c"], shape: Size) -> UInt8[np.ndarray, "h w c"]:
    """The largest part of a frame that has the shape of `shape`, from its middle, unscaled."""
    size = inside(shape, (frame.shape[0], frame.shape[1]))
    top, left = (frame.shape[0] - size[0]) // 2, (frame.shape[1] - size[1]) // 2
    return frame[top : top + size[0], left : left + size[1]]
