"""The values that pass between stages: NumPy only, so that they cross processes bit for bit.

Shapes: t frames of the piece, f condition frames, s denoising steps, o overlap frames, c channels, h w rows and columns
(of pixels in Chunk, Segment and Memory, of latents in WindowState and Boundary).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from longtake.models.domain.span import Span


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Low-resolution RGB frames from one call of the base model: only the new ones."""

    span: Span
    frames: UInt8[np.ndarray, "t h w c"]

    def __post_init__(self) -> None:
        assert len(self.frames) == len(self.span), f"{len(self.frames)} frames for {self.span}"


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Final RGB frames, as a viewer receives them."""

    span: Span
    frames: UInt8[np.ndarray, "t h w c"]

    def __post_init__(self) -> None:
        assert len(self.frames) == len(self.span), f"{len(self.frames)} frames for {self.span}"


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """The state of the base model between chunks, RGB in [-1, 1].

    Float, not uint8: rounding at every chunk would add up over a long video.
    """

    anchor: Float32[np.ndarray, "c h w"]  # a frame of the first chunk, for APM: long-term memory
    last: Float32[np.ndarray, "f c h w"]  # the last frames of the chunk before, for CAM: short-term memory


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture that a video begins with, of any size: in place of the memory of chunk 0."""

    frame: UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, slots=True, eq=False)
class WindowState:
    """The state of one window between its tasks."""

    x: Float32[np.ndarray, "t c h w"]  # noisy latents
    history: Float32[np.ndarray, "t c h w"] | None  # of a multistep sampler; None before its first step
    x0: Float32[np.ndarray, "t c h w"]  # the window's own prediction of the last step that was run, not yet blended


@dataclass(frozen=True, slots=True, eq=False)
class Boundary:
    """A window's x0-predictions on the frames that it shares with its neighbours, one for each of `steps`.

    8 overlap frames x 4x90x160 float32 = 1.8 MB a side and step: it may travel with its task.
    """

    window: int
    steps: Span
    first: (
        Float32[np.ndarray, "s o c h w"] | None
    )  # for the window before; None in causal coupling, which does not use it
    last: Float32[np.ndarray, "s o c h w"]  # for the window after

    def __post_init__(self) -> None:
        assert len(self.last) == len(self.steps), f"{len(self.last)} predictions for steps {self.steps}"
        assert self.first is None or len(self.first) == len(self.steps), f"first is not for steps {self.steps}"


@dataclass(frozen=True, slots=True, eq=False)
class HeldFrames:
    """Frames that exist, of any size, from where a window starts: in place of the Boundaries of the window before.

    They are its neighbour's predictions at every step. Those before the last overlap with them stay as they are.
    """

    window: int  # the one before
    frames: UInt8[np.ndarray, "t h w 3"]
