"""All metrics of one video, with everything that several of them need done once, frame by frame.

    frame ──► 720x720 ──► flow from the one before ──► warp error, OFS, MAWE, flow_std, drift_motion, seam_flow
      ├─────► difference to the one before ──► flicker, stagnation, seam_ratio      scuts, drift of colour and sharpness
      └─────► CLIP embedding ──► clip_score, clip_anchor, drift_embedding

Only a few numbers of each frame are kept, the last frame itself, and a few frames at CLIP's input size. So memory does
not depend on the length of a video.
Shapes: h w rows and columns, n = t - 1 pairs of consecutive frames, of t.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from longtake.models.metrics import change, drift, seams, warp
from longtake.models.metrics.clip import Clip, Embedder, anchor_scores, clip_scores
from longtake.models.metrics.flow import Flow
from longtake.models.metrics.scuts import CutCounter

Figure = float | int | str | None
Frame = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Measured:
    """`values` by the names of their columns, None where there is nothing to say; `curves` over the video."""

    values: dict[str, Figure]
    curves: dict[str, Float[np.ndarray, " n"]]


def measure(
    frames: Iterable[Frame],
    fps: float,
    flow: Flow,
    *,
    size: int = 720,
    prompt: str | None = None,
    borders: Sequence[int] = (),
    clip: Clip | None = None,
) -> Measured:
    """All metrics of RGB frames of one size: an array of them, or a generator, of which one frame is held at a time.

    `size` is the side, in pixels, at which flow is measured; `borders` are frames at which pieces of the video begin.
    Raises ValueError for less than two frames: nothing moves in one.
    """
    # Features are needed only at borders, but whether a border lies inside the video is known only at its end.
    tally = _Tally(flow, size, with_features=bool(borders))
    cuts, seen = CutCounter(fps), None if clip is None else Embedder(clip)
    shape: tuple[int, ...] = ()
    for frame in frames:
        tally.add(frame)
        cuts.add(frame)
        if seen is not None:
            seen.add(frame)
        shape = frame.shape
    count = len(tally.sharpness)
    if count < 2:
        raise ValueError(f"num_frames={count}: metrics of motion need at least 2")
    about: dict[str, Figure] = {
        "num_frames": count,
        "fps": fps,
        "width": shape[1],
        "height": shape[0],
        "flow": flow.name,
        "scuts": cuts.finish(),
    }
    values, curves = tally.finish(borders)
    likeness, curve = _likeness(seen, prompt, clip)
    return Measured(about | values | likeness, curves | curve)


@dataclass
class _Tally:
    """The numbers of the frames so far, and those of each pair of consecutive ones."""

    flow: Flow
    size: int
    with_features: bool
    colors: list[Float[np.ndarray, " 6"]] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    features: list[float] = field(default_factory=list)
    warps: list[warp.Warped] = field(default_factory=list)
    _last: tuple[Frame, Frame, seams.Features] | None = None  # the frame, the frame at `size`, and its features

    def add(self, frame: Frame) -> None:
        # Bilinear, as the published code resizes.
        large = np.asarray(cv2.resize(frame, (self.size, self.size), interpolation=cv2.INTER_LINEAR))
        drawn: seams.Features = seams.features(frame) if self.with_features else []
        if self._last is not None:
            before, large_before, drawn_before = self._last
            self.differences.append(change.frame_difference(before, frame))
            self.warps.append(warp.warp_pair(large_before, large, self.flow.between(large_before, large)))
            if self.with_features:
                self.features.append(seams.feature_difference(drawn_before, drawn))
        self.colors.append(drift.frame_colors(frame))
        self.sharpness.append(drift.frame_sharpness(frame))
        self._last = frame, large, drawn

    def finish(self, borders: Sequence[int]) -> tuple[dict[str, Figure], dict[str, Float[np.ndarray, " n"]]]:
        """The metrics of all frames, and the curves."""
        lengths = np.array([pair.length for pair in self.warps])
        errors = np.array([pair.error for pair in self.warps])
        squared = np.array([pair.squared_length for pair in self.warps])
        differences, sharp = np.array(self.differences), np.array(self.sharpness, np.float32)
        drawn = np.array(self.features, np.float32)
        values: dict[str, Figure] = {
            "ofs": float(lengths.mean()),
            "ofs_squared": float(squared.mean()),
            "warp_error": float(errors.mean()),
            "mawe_v1": warp.mawe_v1(errors, lengths),
            "mawe_cvpr": warp.mawe_cvpr(errors, squared),
            "mawe_code": warp.mawe_code(errors, lengths),
            "flow_std": change.flow_std(lengths),
            "temporal_flicker": change.temporal_flicker(differences),
            "stagnation": change.stagnation(differences),
            "drift_color": drift.drift(np.stack(self.colors)),
            "drift_sharpness": drift.drift(sharp),
            "drift_motion": drift.drift(lengths),
        }
        seen = {"seam_ratio": differences, "seam_flow": seams.flow_jumps(lengths), "seam_feature": drawn}
        curves = {"difference": differences, "flow": lengths, "warp_error": errors, "sharpness": sharp}
        return values | {name: _seam(curve, borders) for name, curve in seen.items()}, curves


def _seam(curve: Float[np.ndarray, " n"], borders: Sequence[int]) -> float | None:
    """The curve at the borders divided by the curve elsewhere; None if there is nothing at one of the two."""
    inside = sorted({border for border in borders if 0 < border <= len(curve)})
    if not inside or len(inside) == len(curve):
        return None
    ratio = seams.over_rest(curve, inside)
    return None if np.isnan(ratio) else ratio


def _likeness(
    seen: Embedder | None, prompt: str | None, clip: Clip | None
) -> tuple[dict[str, Figure], dict[str, Float[np.ndarray, " t"]]]:
    values: dict[str, Figure] = dict.fromkeys(("clip_score", "clip_anchor", "drift_embedding"))
    if seen is None or clip is None:
        return values, {}
    embeds = seen.finish()
    values |= {"clip_anchor": float(anchor_scores(embeds).mean()), "drift_embedding": drift.drift_embedding(embeds)}
    if prompt is None:
        return values, {}
    scores = clip_scores(embeds, clip.text(prompt))
    return values | {"clip_score": float(scores.mean())}, {"clip_score": scores}
