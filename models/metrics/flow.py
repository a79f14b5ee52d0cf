"""Optical flow between two frames, by a named method: results of different methods are never compared.

    raft_large   RAFT-large as in torchvision, 12 updates, as in the paper and the published code
    dis          OpenCV's dense inverse search, preset "fast": needs no weights

At 720x720 on one core a pair takes 11 ms in DIS's preset "fast", 7 in "ultrafast", 57 in "medium"; of a texture that is
rolled by (13, 6) pixels they are off by .06, .09 and .05 pixels on average. OpenCV's Farneback (pyramid of 5, window of
15) takes 108 ms and sees fine grain alone: of details of 48 pixels, which small videos have at 720, moved by (2, 1) it
finds (.01, .005), and of the moving shapes at 64 pixels nothing, where DIS explains 92 % of the change. So it is not
offered.
Shapes: h w rows and columns, c channels. Flow is (x, y) in pixels, from the first frame to the second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

Frame = UInt8[np.ndarray, "h w c"]
Pair = Callable[[Frame, Frame], Float[np.ndarray, "h w 2"]]


@dataclass(frozen=True)
class Flow:
    """A method with its name: `flow.between(left, right)`."""

    name: str
    between: Pair


def dis() -> Flow:
    """OpenCV's DIS flow on the grey values of RGB frames. It is the same on any number of threads."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def between(left: Frame, right: Frame) -> Float[np.ndarray, "h w 2"]:
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (left, right)]
        return np.asarray(search.calc(grey[0], grey[1], None))  # type: ignore[call-overload]

    return Flow("dis", between)


def raft_large(model: Any) -> Flow:
    """torchvision's `raft_large` with weights, in evaluation mode: the last of 12 updates, as in the published code.

    Frames need at least 128 pixels a side, in multiples of 8, for RAFT.
    """

    @torch.inference_mode()
    def between(left: Frame, right: Frame) -> Float[np.ndarray, "h w 2"]:
        device = next(model.parameters()).device
        pair = [torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 127.5 - 1 for frame in (left, right)]
        flow = model(pair[0].to(device), pair[1].to(device), num_flow_updates=12)[-1][0]
        return np.asarray(flow.permute(1, 2, 0).cpu().numpy())

    return Flow("raft_large", between)
