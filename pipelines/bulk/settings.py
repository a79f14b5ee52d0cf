"""Settings of a bulk job, beyond the configuration of its videos."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from longtake import __version__
from longtake.models.metrics.quality import QualityParams
from longtake.pipelines.config.conf import DEFAULT_CONFIG, Conf, bundle_defaults
from longtake.pipelines.config.loader import compose, flatten
from longtake.pipelines.config.provenance import comparable, video_settings
from longtake.pipelines.tracking.settings import TrackingParams

SHARD_SIZE = 1000


class Format(StrEnum):
    """The layout of the output."""

    MP4 = "mp4"  # videos/<shard>/<name>.mp4
    WEBDATASET = "webdataset"  # shards/000000.tar
    VIDEOFOLDER = "videofolder"  # as mp4, and videos/metadata.parquet


class Changed(StrEnum):
    """The fate of finished videos whose rows ask for something else now, or are gone."""

    REFUSE = "refuse"  # refuse the job, naming them
    REMAKE = "remake"  # the former are made again, the latter deleted
    KEEP = "keep"  # they stay as they are


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkConf(Conf):
    """Conf and the job's own settings; `longtake bulk` takes all of them as key=value."""

    prompts: str  # file, folder or glob on any fsspec path: .parquet, .jsonl, .csv, .txt
    out: str  # folder on any fsspec path
    format: Format = Format.MP4
    num_frames: int = 80  # of rows without one
    negative_prompt: str = ""  # of rows without one
    seed: int = 0  # rows without a seed get one that follows from this and their ids
    previews: bool = False  # also keep the low-resolution videos
    thumbnails: bool = False  # also keep the first frames, as .jpg
    checkpoint_chunks: bool = False  # save the chunks of unfinished videos, so that a resumed job continues inside them
    retry_failed: bool = False  # make videos again that failed in an earlier run
    changed: Changed = Changed.REFUSE  # finished videos whose rows changed or are gone: refuse the job, remake or keep
    in_flight: int = 4  # maximum number of videos in progress
    waiting_segments: int = 16  # final segments that may wait to be encoded; with more, no task is started
    shard_size: int = SHARD_SIZE  # videos in a tar file of format=webdataset
    drain_s: float = 20.0  # time for committing finished videos after SIGTERM or Ctrl-C
    quality: QualityParams = field(default_factory=QualityParams)
    tracking: TrackingParams = field(default_factory=TrackingParams)

    def __post_init__(self) -> None:
        Conf.__post_init__(self)
        for name in ("num_frames", "in_flight", "waiting_segments", "shard_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed} must be at least 0 and less than 2**63")
        if self.drain_s < 0:
            raise ValueError(f"drain_s={self.drain_s} must be at least 0")
        if self.shard_size != SHARD_SIZE and self.format is not Format.WEBDATASET:
            raise ValueError(
                f"shard_size={self.shard_size} has no effect with format={self.format}: only a webdataset has shards"
            )
        if self.previews and self.format is Format.WEBDATASET:
            raise ValueError("previews=true: a webdataset holds only videos; choose format=mp4 or videofolder")


def load_bulk(path: str | Path | None = None, overrides: Sequence[str] = ()) -> BulkConf:
    """The settings of a bulk job. Raises ValueError naming key, value and rule."""
    return compose(BulkConf, path or DEFAULT_CONFIG, overrides, (), partial(bundle_defaults, BulkConf))


def job_settings(conf: BulkConf, bundle_sha256: str) -> dict[str, Any]:
    """Settings that a resumed job must share: the finished videos were made with them."""
    names = ("format", "num_frames", "negative_prompt", "seed", "previews", "thumbnails", "shard_size")
    own = {name: getattr(conf, name) for name in names}
    about = {"longtake": __version__, "bundle": conf.bundle, "bundle_sha256": bundle_sha256, "prompts": conf.prompts}
    flat = flatten(conf.quality, "quality.") if conf.quality != QualityParams() else {}
    return {**about, **own, **flat, **video_settings(conf)}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Settings that changed, as `key=then (now: value)`. The paths of models and of the prompts may change, and so may
    the version: weights and rows are compared by their contents."""
    free, then, today = {"longtake", "bundle", "prompts"}, comparable(before), comparable(now)
    keys = [key for key in {**then, **today} if key not in free and then.get(key) != today.get(key)]
    return [f"{key}={before.get(key)} (now: {now.get(key)})" for key in keys]
