"""Metrics of a video while it is made: a fold over its chunks, in memory that does not grow with them.

    scuts     cuts, as in the whole video; each is detected two frames late. 0.., lower is better
    motion    mean absolute difference of consecutive frames, of the stillest chunk. 0-1, higher is livelier
    drift     Euclidean distance between the mean colour statistics (mean and standard deviation of each channel, 0-1)
              of a chunk and of the first one, of the chunk farthest away. 0.., lower is better

motion and drift are ours. None needs optical flow. A chunk's differences begin with that to the frame before it.
Shapes: t frames, h w rows and columns, c channels.
"""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from longtake.models.metrics.change import frame_differences
from longtake.models.metrics.drift import color_statistics
from longtake.models.metrics.quality import GateFigures
from longtake.models.metrics.scuts import CutCounter


@dataclass(frozen=True, slots=True, eq=False)
class GateState:
    """The metrics after some chunks, and the state for the next one."""

    figures: GateFigures
    cuts: CutCounter
    last: UInt8[np.ndarray, "1 h w c"]
    first_colors: Float[np.ndarray, " 6"]


def measure(before: GateState | None, frames: UInt8[np.ndarray, "t h w c"]) -> GateState:
    """The measurement `before` with at least one further frame; `before` is None at the start, and is not changed."""
    cuts = CutCounter() if before is None else deepcopy(before.cuts)
    for frame in frames:
        cuts.add(frame)
    known = before.figures if before is not None else GateFigures(0, 0, None, 0.0)
    joined = frames if before is None else np.concatenate([before.last, frames])
    colors = color_statistics(frames).mean(0)
    first_colors = colors if before is None else before.first_colors
    figures = GateFigures(
        num_frames=known.num_frames + len(frames),
        scuts=cuts.num_cuts,
        motion=_least(known.motion, frame_differences(joined)),
        drift=max(known.drift, float(np.linalg.norm(colors - first_colors))),
    )
    return GateState(figures, cuts, frames[-1:].copy(), first_colors)


def _least(motion: float | None, differences: Float[np.ndarray, " n"]) -> float | None:
    if not len(differences):
        return motion
    mean = float(differences.mean())
    return mean if motion is None else min(motion, mean)
