"""All metrics of one video, with everything that several of them need done once.

    frames ──► 720x720 ──► flow of each pair ──► warp error, OFS, MAWE, flow_std, drift_motion, seam_flow
       ├─────► differences ──► flicker, stagnation, seam_ratio            scuts, drift of colour and sharpness
       └─────► CLIP embeddings ──► clip_score, clip_anchor, drift_embedding

Shapes: t frames, h w rows and columns, n = t - 1 pairs of consecutive frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from longtake.models.metrics import change, drift, seams, warp
from longtake.models.metrics.clip import Clip, anchor_scores, clip_scores
from longtake.models.metrics.flow import Flow
from longtake.models.metrics.scuts import scuts

Figure = float | int | str | None


@dataclass(frozen=True)
class Measured:
    """`values` by the names of their columns, None where there is nothing to say; `curves` over the video."""

    values: dict[str, Figure]
    curves: dict[str, Float[np.ndarray, " n"]]


def measure(
    frames: UInt8[np.ndarray, "t h w 3"],
    fps: float,
    flow: Flow,
    *,
    size: int = 720,
    prompt: str | None = None,
    borders: Sequence[int] = (),
    clip: Clip | None = None,
) -> Measured:
    """All metrics of RGB frames.

    `size` is the side, in pixels, at which flow is measured; `borders` are frames at which pieces of the video begin.
    Raises ValueError for less than two frames: nothing moves in one.
    """
    if len(frames) < 2:
        raise ValueError(f"num_frames={len(frames)}: metrics of motion need at least 2")
    pairs = warps(frames, flow, size)
    lengths = np.array([pair.length for pair in pairs])
    errors = np.array([pair.error for pair in pairs])
    squared = np.array([pair.squared_length for pair in pairs])
    differences = change.frame_differences(frames)
    sharp = drift.sharpness(frames)
    values: dict[str, Figure] = {
        "num_frames": len(frames),
        "fps": fps,
        "width": frames.shape[2],
        "height": frames.shape[1],
        "flow": flow.name,
        "scuts": scuts(frames, fps),
        "ofs": float(lengths.mean()),
        "ofs_squared": float(squared.mean()),
        "warp_error": float(errors.mean()),
        "mawe_v1": warp.mawe_v1(errors, lengths),
        "mawe_cvpr": warp.mawe_cvpr(errors, squared),
        "mawe_code": warp.mawe_code(errors, lengths),
        "flow_std": change.flow_std(lengths),
        "temporal_flicker": change.temporal_flicker(differences),
        "stagnation": change.stagnation(differences),
        "drift_color": drift.drift(drift.color_statistics(frames)),
        "drift_sharpness": drift.drift(sharp),
        "drift_motion": drift.drift(lengths),
    }
    curves = {"difference": differences, "flow": lengths, "warp_error": errors, "sharpness": sharp}
    values |= _seams(frames, differences, lengths, borders)
    seen, curve = _seen(frames, prompt, clip)
    return Measured(values | seen, curves | curve)


def warps(frames: UInt8[np.ndarray, "t h w 3"], flow: Flow, size: int) -> list[warp.Warped]:
    """Every pair of consecutive frames, measured at size x size (bilinear, as the published code resizes)."""
    large = (cv2.resize(frame, (size, size), interpolation=cv2.INTER_LINEAR) for frame in frames)
    before: Any = next(large)
    pairs = []
    for after in large:
        pairs.append(warp.warp_pair(before, after, flow.between(before, after)))
        before = after
    return pairs


def _seams(
    frames: UInt8[np.ndarray, "t h w 3"],
    differences: Float[np.ndarray, " n"],
    lengths: Float[np.ndarray, " n"],
    borders: Sequence[int],
) -> dict[str, Figure]:
    names = ("seam_ratio", "seam_flow", "seam_feature")
    inside = {border for border in borders if 0 < border < len(frames)}
    if not inside or len(inside) == len(differences):
        return dict.fromkeys(names)
    curves = (differences, seams.flow_jumps(lengths), seams.feature_differences(frames))
    ratios = (seams.over_rest(curve, sorted(inside)) for curve in curves)
    return {name: None if np.isnan(ratio) else ratio for name, ratio in zip(names, ratios, strict=True)}


def _seen(
    frames: UInt8[np.ndarray, "t h w 3"], prompt: str | None, clip: Clip | None
) -> tuple[dict[str, Figure], dict[str, Float[np.ndarray, " t"]]]:
    values: dict[str, Figure] = dict.fromkeys(("clip_score", "clip_anchor", "drift_embedding"))
    if clip is None:
        return values, {}
    embeds = clip.images(frames)
    values |= {"clip_anchor": float(anchor_scores(embeds).mean()), "drift_embedding": drift.drift_embedding(embeds)}
    if prompt is None:
        return values, {}
    scores = clip_scores(embeds, clip.text(prompt))
    return values | {"clip_score": float(scores.mean())}, {"clip_score": scores}
