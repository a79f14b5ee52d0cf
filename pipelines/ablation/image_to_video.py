"""Image-to-video pipelines of diffusers, made autoregressive as the paper does: each call continues the last frame.

    call 0     |-----------------|                      from the first frame of `full`
    call 1                      x|-----------------|    from the last frame; the frame that repeats it (x) is dropped

Stable Video Diffusion sees no text. SparseCtrl (on AnimateDiff) is given the last frame as condition of frame 0.
Shapes: t frames, h w rows and columns.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from longtake.models.diffusion.noise import rng_for
from longtake.models.domain.prompt import PromptSpec
from longtake.models.stages.video_pipeline import call_pipeline
from longtake.models.stages.video_pipeline import load_pipeline as loaded
from longtake.pipelines.ablation.settings import CALL, DiffusersParams, check_folder

Frames = UInt8[np.ndarray, "t h w 3"]
Arguments = Mapping[str, Any]


def _svd(spec: PromptSpec, image: Image.Image) -> Arguments:
    return {"image": image}


def _i2vgen_xl(spec: PromptSpec, image: Image.Image) -> Arguments:
    return {"prompt": spec.prompt, "negative_prompt": spec.negative_prompt, "image": image}


def _sparse_ctrl(spec: PromptSpec, image: Image.Image) -> Arguments:
    texts = {"prompt": spec.prompt, "negative_prompt": spec.negative_prompt}
    return {**texts, "conditioning_frames": [image], "controlnet_frame_indices": [0]}


# variant -> arguments of a call
ARGUMENTS: dict[str, Callable[[PromptSpec, Image.Image], Arguments]] = {
    "svd": _svd,
    "i2vgen-xl": _i2vgen_xl,
    "sparse-ctrl": _sparse_ctrl,
}


@cache  # a process loads it once
def load_pipeline(variant: str, folder: str, device: str, dtype: str, allow_pickle: bool = False) -> Any:
    """The pipeline in `folder`. Raises ValueError as `check_folder` does."""
    check_folder(variant, folder)
    return loaded(Path(folder), device, getattr(torch, dtype), allow_pickle)


def continued(
    variant: str, pipeline: Any, params: DiffusersParams, spec: PromptSpec, first: UInt8[np.ndarray, "h w 3"]
) -> tuple[Frames, tuple[int, ...]]:
    """The video, and the frames at which calls begin. Raises ValueError for a pipeline that makes single frames."""
    frames: list[Image.Image] = []
    borders: list[int] = []
    image = Image.fromarray(first)
    while len(frames) < spec.num_frames:
        output = _call(variant, pipeline, params, spec, image, len(borders))
        if len(output) < 2:
            raise ValueError(f"{variant} made {len(output)} frames in a call: a continuation needs at least 2")
        borders.append(len(frames))
        frames += output[1:] if frames else output
        image = frames[-1]
    return np.stack([np.asarray(frame.convert("RGB")) for frame in frames[: spec.num_frames]]), tuple(borders[1:])


def _call(
    variant: str, pipeline: Any, params: DiffusersParams, spec: PromptSpec, image: Image.Image, number: int
) -> Sequence[Image.Image]:
    seed = int(rng_for(spec.seed, f"diffusers/{variant}", 0, number).integers(2**62))
    sizes = {name: getattr(params, name) for name in CALL}
    chosen = {name: value for name, value in sizes.items() if value is not None}
    arguments = ARGUMENTS[variant](spec, image)
    return call_pipeline(pipeline, {**arguments, **chosen}, seed)
