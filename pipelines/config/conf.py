"""The configuration: the Params of every part, from the bundle, a YAML file in conf/ and overrides.

    refiner:                          longtake generate ... refiner.num_inference_steps=8
      num_inference_steps: 12   <---- an override wins over the file, that over the bundle, the bundle over the class

Every Params class checks its own ranges.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from longtake.models.domain.checks import FieldError, exact
from longtake.models.domain.plan import PlanParams
from longtake.models.domain.prompt import Settings, Value
from longtake.models.domain.scheduler import SchedulerParams
from longtake.models.stages.params import BUNDLE, BaseParams, OpenerParams, RefinerParams
from longtake.pipelines.config.bundle_file import NAME, PLACES, read_bundle_file
from longtake.pipelines.config.cluster import ClusterParams
from longtake.pipelines.config.hub import is_hub_id
from longtake.pipelines.config.loader import amend, compose, parse_value
from longtake.pipelines.config.model_folders import model_folder
from longtake.pipelines.config.paths import CONF

C = TypeVar("C", bound="Conf")
DEFAULT_CONFIG = CONF / "tiny.yaml"
DEFAULT_FPS = 8
VIDEO_SECTIONS = ("base", "plan", "refiner", "video", "opener")  # may differ between the videos of a job
SHARED = ("refiner.enabled", *PLACES)  # of these, those that may not


@dataclass(frozen=True, slots=True)
class VideoParams:
    """The format of a written file."""

    fps: int | None = None  # None: DEFAULT_FPS for a new video; its own, whatever the bundle's, for an enhanced one

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
    opener: OpenerParams = field(default_factory=OpenerParams)
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
        if self.opener.model is None:
            for f in fields(OpenerParams):
                if (value := getattr(self.opener, f.name)) != f.default:
                    raise FieldError(f"opener.{f.name}", f"={value} has no effect without opener.model=FOLDER")
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


def load(
    path: str | Path | None = None, overrides: Sequence[str] = (), settings: Settings = (), enhances: bool = False
) -> Conf:
    """The configuration from the bundle's defaults, one file, typed settings, and overrides `section.key=value` on top.

    `enhances`: the video exists, and has its own rate. Raises ValueError.
    """
    beneath = partial(bundle_defaults, Conf, without=("video",) if enhances else ())
    return compose(Conf, path or DEFAULT_CONFIG, overrides, settings, beneath)


def bundle_defaults(cls: type, given: Mapping[Any, Any], without: Collection[str] = ()) -> dict[str, Any]:
    """The defaults of the bundle that `given` names, for the sections of `cls`; none for a bundle that is not there.

    A refiner or an opener from elsewhere brings its own: those of the bundle are for the bundle's. Raises ValueError
    naming the file, key, value and rule.
    """
    own, defaults = _folder(given, "bundle", given.get("bundle", "tiny")), dict[str, Any]()
    if own is not None:
        defaults = checked_defaults(own)
        if (own / "opener" / "model_index.json").is_file():
            defaults = {"opener.model": BUNDLE, **defaults}
        else:  # a copy of the bundle may be without it
            defaults = {key: value for key, value in defaults.items() if not key.startswith("opener.")}
    for section in ("opener", "refiner"):
        model = _model_of(given, section)
        if model == BUNDLE:
            folder = own and own / section
        else:
            defaults = {key: value for key, value in defaults.items() if not key.startswith(f"{section}.")}
            folder = _folder(given, f"{section}.model", model)
        inner = checked_defaults(folder) if folder else {}
        defaults = {key: value for key, value in inner.items() if key.startswith(f"{section}.")} | defaults
    sections = {f.name for f in fields(cls)} - set(without)
    return {key: value for key, value in defaults.items() if key.split(".")[0] in sections}


def _folder(given: Mapping[Any, Any], field: str, place: object) -> Path | None:
    """The folder of a model; None for one that is not there, which is refused where it is read."""
    try:
        allows = parse_value(Conf, "allow_pickle", given.get("allow_pickle", False)) is True
        return model_folder(field, place, allows) if isinstance(place, str) else None
    except ValueError:
        if isinstance(place, str) and is_hub_id(place):
            raise  # to ask the hub again would take as long
        return None


def _model_of(given: Mapping[Any, Any], section: str) -> object:
    """The folder that a section names, BUNDLE for the bundle's, or None for none."""
    chosen = given.get(section)
    model = chosen.get("model", BUNDLE) if isinstance(chosen, Mapping) else BUNDLE
    model = parse_value(Conf, f"{section}.model", model) if isinstance(model, str) else model
    return BUNDLE if model is None and section == "refiner" else model


def checked_defaults(folder: Path) -> dict[str, Any]:
    """The defaults in the bundle.json of a folder. Raises ValueError naming the file, key, value and rule."""
    defaults = read_bundle_file(folder).get("defaults", {})
    # The opener's are checked as if there was one: it may lie elsewhere.
    assumed = {"opener.model": BUNDLE} if any(key.startswith("opener.") for key in defaults) else {}
    try:
        amend(Conf(), tuple({**assumed, **defaults}.items()))
    except ValueError as error:
        raise ValueError(f"{folder / NAME}: {error}") from None
    return dict(defaults)


def bundle_folder(conf: Conf) -> Path:
    """The folder of the bundle. Raises ValueError for one that is not there."""
    return model_folder("bundle", conf.bundle, conf.allow_pickle)


def refiner_folder(conf: Conf) -> Path | None:
    """The folder of a refiner from elsewhere; None for the bundle's. Raises ValueError for one that is not there."""
    model = conf.refiner.model
    return None if model in (None, BUNDLE) else model_folder("refiner.model", model, conf.allow_pickle)


def opener_folder(conf: Conf) -> Path:
    """The folder of the opener of a configuration that has one. Raises ValueError for one that is not there."""
    model = conf.opener.model
    assert model is not None, "there is an opener"
    if model != BUNDLE:
        return model_folder("opener.model", model, conf.allow_pickle)
    folder = bundle_folder(conf) / "opener"
    if not folder.is_dir():
        raise ValueError(f"opener.model={model}: bundle={conf.bundle} has no folder opener/")
    return folder


def for_video(conf: C, settings: Settings) -> C:
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
