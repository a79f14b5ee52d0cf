"""Conf: the Params of every part. The values come from a YAML file in conf/ and from overrides.

    refiner:                          longtake generate ... refiner.num_inference_steps=8
      num_inference_steps: 12   <---- the override wins over the file, the file over the default

Every Params class stands beside the class that it configures and checks its own ranges.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from longtake.models.domain.plan import PlanParams
from longtake.models.domain.scheduler import SchedulerParams
from longtake.models.stages.params import BaseParams, RefinerParams
from longtake.pipelines.config.cluster import ClusterParams
from longtake.pipelines.config.loader import amend, compose
from longtake.pipelines.config.paths import CONF

DEFAULT_CONFIG = CONF / "tiny.yaml"
DEFAULT_FPS = 8
VIDEO_SECTIONS = ("base", "plan", "refiner", "video")  # what may differ from video to video in one job


@dataclass(frozen=True, slots=True)
class VideoParams:
    """What a written file is like."""

    fps: int | None = None  # None: those of the video that is enhanced; DEFAULT_FPS for a new one

    def __post_init__(self) -> None:
        if self.fps is not None and not 1 <= self.fps <= 240:
            raise ValueError(f"fps={self.fps} must be between 1 and 240")


@dataclass(frozen=True, slots=True)
class Conf:
    """Everything that can be set, one field a part. `bundle` is a directory, or the name of one in models/bundles."""

    bundle: str = "tiny"
    device: str = "cpu"  # or cuda: where the networks run
    dtype: str = "float32"  # or bfloat16, float16: in what they compute
    num_threads: int = 1  # of a CPU, for each stage: its convolutions are rounded differently with another number
    plan: PlanParams = field(default_factory=PlanParams)
    base: BaseParams = field(default_factory=BaseParams)
    refiner: RefinerParams = field(default_factory=RefinerParams)
    scheduler: SchedulerParams = field(default_factory=SchedulerParams)
    video: VideoParams = field(default_factory=VideoParams)
    ray: ClusterParams = field(default_factory=ClusterParams)

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"device={self.device} must be cpu or cuda")
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"dtype={self.dtype} must be float32, bfloat16 or float16")
        if self.num_threads < 1:
            raise ValueError(f"num_threads={self.num_threads} must be at least 1")
        if self.base.anchor_frame >= self.plan.chunk_frames:
            which = f"base.anchor_frame={self.base.anchor_frame} must be below plan.chunk_frames"
            raise ValueError(f"{which}={self.plan.chunk_frames}: it is a frame of the first chunk")
        for name in ("base", "refiner"):
            num_gpus = getattr(self.ray, name).num_gpus
            if self.device == "cpu" and num_gpus:
                raise ValueError(f"ray.{name}.num_gpus={num_gpus:g} with device=cpu: they would idle; say device=cuda")

    @property
    def fps(self) -> int:
        """Frames a second of a new video."""
        return self.video.fps or DEFAULT_FPS


def load(path: str | Path = DEFAULT_CONFIG, overrides: Sequence[str] = ()) -> Conf:
    """The configuration of one file with overrides `section.key=value` on top. Raises ValueError."""
    return compose(Conf, path, overrides)


def for_video(conf: Conf, settings: Sequence[str]) -> Conf:
    """The configuration of one video. Raises ValueError for a setting that is none, or that all videos share."""
    for setting in settings:
        section = setting.partition(".")[0]
        if section not in VIDEO_SECTIONS:
            raise ValueError(f"{setting} cannot differ from video to video: only {', '.join(VIDEO_SECTIONS)} can")
    return amend(conf, settings) if settings else conf
