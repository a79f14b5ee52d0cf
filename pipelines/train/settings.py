"""Settings of `longtake train`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from longtake.models.stages.params import BaseParams
from longtake.models.training.params import MemoryParams
from longtake.pipelines.config.cluster import ClusterParams
from longtake.pipelines.config.conf import bundle_defaults
from longtake.pipelines.config.loader import compose
from longtake.pipelines.config.paths import CONF
from longtake.pipelines.tracking.settings import TrackingParams

DEFAULT_CONFIG = CONF / "train.yaml"
NEEDED = ("unet", "vae", "image_encoder", "tokenizer", "text_encoder", "scheduler")  # of a bundle


@dataclass(frozen=True, slots=True)
class CutParams:
    """The cutting of clips out of videos."""

    stride: int = 1  # frames of the video from one frame of a clip to the next
    per_video: int = 16  # clips at most, spread over the video; a clip has 32 frames
    latent_noise: float = 0.15  # at most, on the latents that condition and anchor are decoded from

    def __post_init__(self) -> None:
        for name in ("stride", "per_video"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not 0 <= self.latent_noise <= 1:
            raise ValueError(f"latent_noise={self.latent_noise} must be in 0..1")


@dataclass(frozen=True, slots=True)
class Cutting:
    """Settings for the clips of a training."""

    folder: Path  # `work`
    bundle: str
    clips: CutParams
    seed: int
    held_out: float  # share of the videos, at least one
    device: str
    base: BaseParams  # its size
    allow_pickle: bool = False

    @property
    def clip_folder(self) -> Path:
        return self.folder / "clips"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConf:
    """Settings of `longtake train`, each of which it takes as key=value."""

    manifest: str  # captioned videos: a videofolder, a table with columns path and prompt, or a folder of a bulk job
    out: str  # the new bundle: a folder
    memory: MemoryParams
    bundle: str = "tiny"  # its base model gets the memory; training starts from its CAM and APM, if it has them
    fresh: bool = False  # true: start from new CAM and APM
    work: str = "runs/train"  # clips, checkpoints, log, sheets: a folder shared by all machines of the cluster
    seed: int = 0
    held_out: float = 0.1  # share of the videos, at least one, for the gates; never trained on
    workers: int = 1  # of Ray Train: a CPU each, or with device=cuda a GPU
    device: str = "cpu"  # or cuda
    allow_pickle: bool = False  # read tensors from .bin files as well, where a part has no .safetensors
    max_failures: int = 3  # restarts of all workers from the last checkpoint after one of them died
    clips: CutParams = field(default_factory=CutParams)
    base: BaseParams = field(default_factory=BaseParams)  # the size of the clips, and the sampling of the sheets
    ray: ClusterParams = field(default_factory=ClusterParams)
    tracking: TrackingParams = field(default_factory=TrackingParams)

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"device={self.device} must be cpu or cuda")
        for name, least in (("workers", 1), ("max_failures", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out={self.held_out} must be between 0 and 1")
        for name in ("work", "out"):
            if "://" in getattr(self, name):
                raise ValueError(f"{name}={getattr(self, name)} must be a folder shared by all machines, not a URL")
        out = Path(self.out).resolve()
        if out == self.folder or out in self.folder.parents:
            raise ValueError(f"out={self.out} contains work={self.work} and is replaced at the end: choose another")

    @property
    def folder(self) -> Path:
        """`work`, independent of the working directory."""
        return Path(self.work).resolve()


def load_train(path: str | Path | None = None, overrides: Sequence[str] = ()) -> TrainConf:
    """The settings of a training. Raises ValueError naming key, value and rule."""
    return compose(TrainConf, path or DEFAULT_CONFIG, overrides, (), partial(bundle_defaults, TrainConf))
