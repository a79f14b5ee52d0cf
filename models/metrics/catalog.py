"""The catalog of metrics: unit, range, better direction, meaning and source of each."""

from dataclasses import dataclass
from enum import StrEnum


class Better(StrEnum):
    """The better direction."""

    LOWER = "lower"
    HIGHER = "higher"
    NEITHER = "-"  # a description, not a judgement


@dataclass(frozen=True, slots=True)
class Entry:
    """One column of an evaluation."""

    name: str
    title: str
    unit: str
    span: str  # the values that it can have
    better: Better
    meaning: str
    source: str


PAPER = "StreamingT2V (arXiv 2403.14773)"
OURS = "Longtake"
INF = "0 to ∞"

CATALOG = (
    Entry(
        "scuts", "scene cuts", "cuts", "0, 1, ...", Better.LOWER,
        "cuts that PySceneDetect's AdaptiveDetector finds with its defaults", f"{PAPER}, section 5.2",
    ),
    Entry(
        "mawe_v1", "MAWE, paper's first version", "grey levels² / pixel", INF, Better.LOWER,
        "mean warp error over 9.5 times the mean flow length", f"{PAPER}, first version",
    ),
    Entry(
        "mawe_cvpr", "MAWE, CVPR version", "(grey levels / pixel)²", INF, Better.LOWER,
        "mean warp error over the mean squared flow length", f"{PAPER}, CVPR 2025",
    ),
    Entry(
        "mawe_code", "MAWE, published code", "grey levels² / pixel", INF, Better.LOWER,
        "mean over pairs of warp error over 9.5 times flow length", "mawe.py of the published code",
    ),
    Entry(
        "warp_error", "warp error", "grey levels²", "0 to 65025", Better.LOWER,
        "mean squared difference of a frame and the one before, moved along the flow, where the flow reaches",
        f"{PAPER}, section 5.2",
    ),
    Entry("ofs", "motion", "pixels at the size of flow", INF, Better.NEITHER, "mean length of the flow", PAPER),
    Entry(
        "ofs_squared", "motion, squared", "pixels²", INF, Better.NEITHER, "mean squared length of the flow", PAPER,
    ),
    Entry(
        "flow_std", "unevenness of motion", "pixels", INF, Better.LOWER,
        "standard deviation over time of the flow's mean length", f"{PAPER}, ablation of the enhancement",
    ),
    Entry(
        "seam_ratio", "seams in the picture", "ratio", INF, Better.LOWER,
        "frame difference at borders of chunks and windows over that elsewhere; 1 is invisible", OURS,
    ),
    Entry(
        "seam_flow", "seams in the motion", "ratio", INF, Better.LOWER,
        "jump of the flow length at borders over that elsewhere; 1 is invisible", OURS,
    ),
    Entry(
        "seam_feature", "seams in lines and corners", "ratio", INF, Better.LOWER,
        "difference after local contrast normalisation at borders over that elsewhere; 1 is invisible", OURS,
    ),
    Entry(
        "temporal_flicker", "temporal flicker", "share", "0 to 1", Better.HIGHER,
        "1 - mean frame difference; motion counts as flicker", "VBench (arXiv 2311.17982)",
    ),
    Entry(
        "stagnation", "stagnation", "share of frames", "0 to 1", Better.LOWER,
        "frames that differ by less than half a grey level from the one before", OURS,
    ),
    Entry(
        "clip_score", "CLIP score", "100 cosine", "-100 to 100", Better.HIGHER,
        "likeness of frames and prompt, mean over frames; of one CLIP model, not to be compared with another's",
        f"{PAPER}, section 5.2",
    ),
    Entry(
        "clip_anchor", "likeness to the first frame", "100 cosine", "-100 to 100", Better.HIGHER,
        "CLIP likeness of the later frames and the first", f"{PAPER}, ablation of APM (there: of faces)",
    ),
    Entry(
        "drift_color", "drift of colour", "brightness, 0-1", "0 to √3", Better.LOWER,
        "distance of channel means and deviations, first 15 % and last 15 % of the video", OURS,
    ),
    Entry(
        "drift_sharpness", "drift of sharpness", "brightness, 0-1", "0 to 4", Better.LOWER,
        "difference of the mean absolute Laplacian at both ends", OURS,
    ),
    Entry(
        "drift_embedding", "drift of the content", "1 - cosine", "0 to 2", Better.LOWER,
        "distance of the mean CLIP embeddings at both ends", OURS,
    ),
    Entry(
        "drift_motion", "drift of motion", "pixels", INF, Better.LOWER,
        "difference of the mean flow length at both ends", OURS,
    ),
)  # fmt: skip
BY_NAME = {entry.name: entry for entry in CATALOG}
