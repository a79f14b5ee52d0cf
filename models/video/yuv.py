"""RGB to the YUV of H.264, in integers, and the pixels of any video to RGB.

Shapes: h w rows and columns, c = 3 channels (red, green, blue).
"""

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation
from jaxtyping import Int32, UInt8, UInt16

from longtake.models.video.colour import BT2020_CONSTANT

# BT.709 to limited-range Y Cb Cr in units of 2^-16: the luma weights times 219, the chroma weights times 224, over 255.
# Each row is rounded so that white is exactly 235 and every grey exactly 128.
_YCBCR = np.array([[11966, 40254, 4064], [-6596, -22188, 28784], [28784, -26145, -2639]], dtype=np.int32)
_OFFSET = np.array([16, 128, 128], dtype=np.int32) * 65536 + 32768
_SWSCALE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_NEAREST = {3: _UNSPECIFIED, BT2020_CONSTANT: 9}  # swscale refuses a reserved number, and constant luminance


def rgb_to_yuv420p(rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h*3//2 w"]:
    """BT.709, limited range: the Y plane, then Cb, then Cr at half the rows and columns. h and w must be even.

    Chroma is sited as H.264 defines for untagged video: on the even columns, midway between two rows.
    """
    planes = rgb.astype(np.int32)
    red, green, blue = planes[..., 0], planes[..., 1], planes[..., 2]
    luma, cb, cr = (r * red + g * green + b * blue for r, g, b in _YCBCR.tolist())
    y = (luma + _OFFSET[0]) >> 16
    u, v = (((_halve(chroma) + 4) >> 3) + _OFFSET[1] >> 16 for chroma in (cb, cr))
    return np.concatenate([y.ravel(), u.ravel(), v.ravel()]).astype(np.uint8).reshape(-1, rgb.shape[1])


def _halve(x: Int32[np.ndarray, "h w"]) -> Int32[np.ndarray, "h2 w2"]:
    """Eight times the mean: weights 1 1 over two rows, 1 2 1 around each even column."""
    rows = x[0::2] + x[1::2]
    left = np.concatenate([rows[:, :1], rows[:, 1:-1:2]], axis=1)
    eightfold: np.ndarray = left + 2 * rows[:, 0::2] + rows[:, 1::2]
    return eightfold


def pixels_of(
    frame: VideoFrame, format: str, width: int | None = None, height: int | None = None
) -> UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]:
    """A frame of any format as one of RGB, such as rgb24, rgba or rgb48le; scaled to width x height."""
    frame.colorspace = _NEAREST.get(frame.colorspace, frame.colorspace)
    untagged_hd = frame.colorspace == _UNSPECIFIED and frame.height >= 720
    pixels: np.ndarray = frame.to_ndarray(
        format=format,
        width=width,
        height=height,
        src_colorspace=Colorspace.ITU709 if untagged_hd else None,  # as players assume; FFmpeg would take BT.601
        interpolation=_SWSCALE,
        threads=1,
    )
    return pixels
