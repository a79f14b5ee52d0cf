"""What a bulk job is asked for, beyond the configuration of its videos."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from longtake import __version__
from longtake.models.metrics.quality import QualityParams
from longtake.pipelines.config.conf import DEFAULT_CONFIG, Conf
from longtake.pipelines.config.loader import compose, flatten
from longtake.pipelines.tracking.settings import TrackingParams


class Format(StrEnum):
    """The layout of the output."""

    MP4 = "mp4"  # videos/<shard>/<name>.mp4
    WEBDATASET = "webdataset"  # shards/000000.tar
    VIDEOFOLDER = "videofolder"  # as mp4, and videos/metadata.parquet


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkConf(Conf):
    """Conf and the job's own settings; `longtake bulk` takes all of them as key=value."""

    prompts: str  # file, folder or glob on any fsspec path: .parquet, .jsonl, .csv, .txt
    out: str  # folder on any fsspec path
    format: Format = Format.MP4
    num_frames: int = 80  # of rows that do not say
    negative_prompt: str = ""  # of rows that do not say
    seed: int = 0  # seeds of rows that have none follow from it and their ids
    previews: bool = False  # also keep the low-resolution videos
    thumbnails: bool = False  # also keep the first frames, as .jpg
    checkpoint_chunks: bool = False  # keep chunks of videos in work, so that a resumed job goes on inside them
    retry_failed: bool = False  # make the videos again that failed in an earlier run
    in_flight: int = 4  # videos in work at most
    waiting_segments: int = 16  # final segments that wait to be encoded; when there are more, no task is handed out
    shard_size: int = 1000  # videos in a tar file of format=webdataset
    drain_s: float = 20.0  # after SIGTERM or Ctrl-C: for committing what is whole
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
        if self.previews and self.format is Format.WEBDATASET:
            raise ValueError("previews=true: a webdataset holds the videos alone; take format=mp4 or videofolder")


def load_bulk(path: str | Path = DEFAULT_CONFIG, overrides: Sequence[str] = ()) -> BulkConf:
    """The settings of a bulk job. Raises ValueError naming key, value and rule."""
    return compose(BulkConf, path, overrides)


def video_settings(conf: Conf) -> dict[str, Any]:
    """Every setting that a video's bytes depend on, by dotted key."""
    sections = ("device", "dtype", "num_threads", "base.", "plan.", "refiner.", "video.")
    own = {f.name for f in fields(Conf)}
    flat = {key: value for key, value in flatten(conf).items() if key.split(".")[0] in own}
    return {key: value for key, value in sorted(flat.items()) if key.startswith(sections)}


def job_settings(conf: BulkConf, bundle_sha256: str) -> dict[str, Any]:
    """What has to be the same when a job is resumed: by these the finished videos were made."""
    names = ("format", "num_frames", "negative_prompt", "seed", "previews", "thumbnails", "shard_size")
    own = {name: getattr(conf, name) for name in names}
    about = {"longtake": __version__, "bundle": conf.bundle, "bundle_sha256": bundle_sha256, "prompts": conf.prompts}
    flat = flatten(conf.quality, "quality.") if conf.quality != QualityParams() else {}
    return {**about, **own, **flat, **video_settings(conf)}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Settings that changed, as `key=then (now: value)`. Where a bundle lies, and a version, may change."""
    free = {"longtake", "bundle"}
    keys = [key for key in {**before, **now} if key not in free and before.get(key) != now.get(key)]
    return [f"{key}={before.get(key)} (now: {now.get(key)})" for key in keys]


def hash_of(bundle: Path) -> str:
    """sha256 over the names and bytes of a bundle's files: what a manifest names weights by."""
    digest = sha256()
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        digest.update(json.dumps(path.relative_to(bundle).as_posix()).encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
