"""Settings of an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from longtake.pipelines.config.cluster import ClusterParams
from longtake.pipelines.config.loader import compose
from longtake.pipelines.config.paths import CONF
from longtake.pipelines.tracking.settings import TrackingParams

FLOWS = ("auto", "raft_large", "dis")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConf:
    """Settings of `longtake evaluate`, each of which it takes as key=value."""

    manifest: str  # folder of a bulk job, a videofolder, a table with a column path, or a folder or glob of videos
    out: str  # folder on any fsspec path
    flow: str = "auto"  # raft_large (needs torchvision and its weights), dis, or auto: the better one that is installed
    size: int = 720  # pixels a side at which flow is measured; the paper has 720
    clip: str | None = "tiny"  # a bundle, or a folder with a transformers CLIP; null: no CLIP metrics
    allow_pickle: bool = False  # read tensors from .bin files as well, where CLIP has no .safetensors
    num_workers: int | None = None  # videos measured at a time; null: one per CPU
    retry_failed: bool = False  # measure videos again that failed in an earlier run
    ray: ClusterParams = field(default_factory=ClusterParams)
    tracking: TrackingParams = field(default_factory=TrackingParams)

    def __post_init__(self) -> None:
        if self.flow not in FLOWS:
            raise ValueError(f"flow={self.flow} must be one of {', '.join(FLOWS)}")
        if not 64 <= self.size <= 4096:
            raise ValueError(f"size={self.size} must be between 64 and 4096 pixels")
        if self.num_workers is not None and self.num_workers < 1:
            raise ValueError(f"num_workers={self.num_workers} must be at least 1, or null")


DEFAULT_CONFIG = CONF / "evaluate.yaml"


def load_evaluate(path: str | Path | None = None, overrides: Sequence[str] = ()) -> EvaluateConf:
    """The settings of an evaluation. Raises ValueError naming key, value and rule."""
    return compose(EvaluateConf, path or DEFAULT_CONFIG, overrides)


def measurement_settings(conf: EvaluateConf, flow: str, clip_sha256: str | None = None) -> dict[str, object]:
    """The settings, and the networks, that metrics depend on beside the videos; a restart must have the same."""
    own = {"flow": flow, "size": conf.size, "clip": conf.clip, "manifest": conf.manifest}
    return own if clip_sha256 is None else {**own, "clip_sha256": clip_sha256}


def compared(*settings: Mapping[str, object]) -> list[str]:
    """The names of the settings by which metrics are compared: CLIP by its weights where they are known, not by its
    place."""
    known = all(values.get("clip_sha256") for values in settings)
    return ["flow", "size", "clip_sha256" if known else "clip"]
