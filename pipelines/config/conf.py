"""The configuration: the Params of every part, from a YAML file in conf/ and overrides.

    refiner:                          longtake generate ... refiner.num_inference_steps=8
      num_inference_steps: 12   <---- the override wins over the file, the file over the default

Every Params class checks its own ranges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from longtake.models.domain.checks import FieldError, exact
from longtake.models.domain.plan import PlanParams
from longtake.models.domain.prompt import Settings, Value
from longtake.models.domain.scheduler import SchedulerParams
from longtake.models.stages.params import BaseParams, RefinerParams
from longtake.pipelines.config.cluster import ClusterParams
from longtake.pipelines.config.loader import amend, compose, parse_value
from longtake.pipelines.config.paths import CONF

DEFAULT_CONFIG = CONF / "tiny.yaml"
DEFAULT_FPS = 8
VIDEO_SECTIONS = ("base", "plan", "refiner", "video")  # may differ between the videos of a job
SHARED = ("refiner.enabled", "refiner.model")  # of these, those that may not


@dataclass(frozen=True, slots=True)
class VideoParams:
    """The format of a written file."""

    fps: int | None = None  # None: DEFAULT_FPS for a new video; its own for one that is enhanced

    def __post_init__(self) -> None:
        if self.fps is not None and not 1 <= self.fps <= 240:
            raise ValueError(f"fps={self.fps} must be between 1 and 240")


@dataclass(frozen=True, slots=True)
class Conf:
    """All settings, one field for each part. `bundle` is a folder, the name of one in models/bundles, or a hub id."""

    bundle: str = "tiny"
    device: str = "cpu"  # of the networks; or cuda
    dtype: str = "float32"  # of the networks; or bfloat16, float16
    allow_pickle: bool = False  # read tensors from .bin files as well, where a part has no .safetensors
    num_threads: int = 1  # CPU threads of each stage; another number rounds its convolutions differently
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
        if self.device == "cuda" and self.num_threads != 1:
            raise ValueError(f"num_threads={self.num_threads} has no effect with device=cuda")
        if self.base.anchor_frame >= self.plan.chunk_frames:
            limit = f"plan.chunk_frames={self.plan.chunk_frames}"
            rule = f" must be below {limit}: it is a frame of the first chunk"
            raise FieldError("base.anchor_frame", f"={self.base.anchor_frame}{rule}")
        if not self.refiner.enabled:  # windows are the refiner's: the plan has none of its own
            object.__setattr__(self, "plan", self.plan.unrefined)
        for name in ("base", "refiner"):
            num_gpus = getattr(self.ray, name).num_gpus
            if self.device == "cpu" and num_gpus:
                rule = "with device=cpu: they would idle; set device=cuda"
                raise FieldError(f"ray.{name}.num_gpus", f"={num_gpus:g} {rule}")

    @property
    def fps(self) -> int:
        """Frames per second of a new video."""
        return self.video.fps or DEFAULT_FPS


def load(path: str | Path | None = None, overrides: Sequence[str] = (), settings: Settings = ()) -> Conf:
    """The configuration from one file, typed settings, and overrides `section.key=value` on top. Raises ValueError."""
    return compose(Conf, path or DEFAULT_CONFIG, overrides, settings)


def for_video(conf: Conf, settings: Settings) -> Conf:
    """The configuration of one video. Raises FieldError for an unknown or invalid setting, or one that all share."""
    for key, value in settings:
        if key.partition(".")[0] not in VIDEO_SECTIONS:
            rule = f"cannot differ from video to video: only {', '.join(VIDEO_SECTIONS)} can"
            raise FieldError(key, f"={value} {rule}")
        if key in SHARED:
            raise FieldError(key, f"={value} cannot differ from video to video: it decides what is loaded")
    return amend(conf, settings) if settings else conf


def settings_from_columns(columns: Mapping[str, object]) -> Settings:
    """The settings of a row of a table, whose columns are dotted keys.

    A text is read as the value of its key. A number such as 30.0 becomes a whole one, which every key accepts: a column
    of whole numbers with a gap holds floats. Raises FieldError for a text that is no value of its key.
    """
    return tuple((key, _plain_value(key, value)) for key, value in columns.items())


def _plain_value(key: str, value: object) -> Value:
    if isinstance(value, str):
        return parse_value(Conf, key, value)
    value = exact(value)
    if isinstance(value, list | tuple):
        return tuple(_plain_value(f"{key}[{i}]", item) for i, item in enumerate(value))
    if value is None or isinstance(value, bool | int | float):
        return value
    raise FieldError.of(key, value, "must be a plain value")
