"""Conf: the Params of every part. The values come from a YAML file in conf/ and from overrides.

    refiner:                          longtake generate ... refiner.num_inference_steps=8
      num_inference_steps: 12   <---- the override wins over the file, the file over the default

Every Params class stands beside the class that it configures and checks its own ranges.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.base import BaseParams
from models.plan import PlanParams
from models.refiner import RefinerParams
from models.scheduler import SchedulerParams
from pipelines.compose import compose

DEFAULT_CONFIG = Path(__file__).parent.parent / "conf" / "tiny.yaml"
DEFAULT_FPS = 8


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
    plan: PlanParams = field(default_factory=PlanParams)
    base: BaseParams = field(default_factory=BaseParams)
    refiner: RefinerParams = field(default_factory=RefinerParams)
    scheduler: SchedulerParams = field(default_factory=SchedulerParams)
    video: VideoParams = field(default_factory=VideoParams)


def load(path: str | Path = DEFAULT_CONFIG, overrides: Sequence[str] = ()) -> Conf:
    """The configuration of one file with overrides `section.key=value` on top. Raises ValueError."""
    return compose(Conf, path, overrides)
