"""Layout of a job's folder: the files of its videos, and chunks of those in progress.

job.json                                    the settings of the job
videos/<shard>/<name>.mp4                   or shards/<number>.tar, a webdataset
previews/<shard>/<name>.mp4, thumbnails/<shard>/<name>.jpg
.checkpoints/<name>/<request>/000000.npz    the base model's output, to resume from; gone when the video is finished
"""

from hashlib import sha256

from longtake.models.domain.prompt import PromptSpec
from longtake.pipelines.datasets.names import safe_name, shard_of

SETTINGS = "job.json"
CHUNKS = ".checkpoints"


def video_path(video_id: str) -> str:
    return f"videos/{shard_of(video_id)}/{safe_name(video_id)}.mp4"


def preview_path(video_id: str) -> str:
    return f"previews/{shard_of(video_id)}/{safe_name(video_id)}.mp4"


def thumbnail_path(video_id: str) -> str:
    return f"thumbnails/{shard_of(video_id)}/{safe_name(video_id)}.jpg"


def chunk_folder(video_id: str) -> str:
    return f"{CHUNKS}/{safe_name(video_id)}"


def chunk_path(spec: PromptSpec, settings: str, index: int, beginning: str | None = None) -> str:
    """The file of a chunk. Any change of the request, of the settings or of what it begins with leads to another
    folder."""
    asked = (spec, settings) if beginning is None else (spec, settings, beginning)
    request = sha256(repr(asked).encode()).hexdigest()[:16]
    return f"{chunk_folder(spec.video_id)}/{request}/{index:06}.npz"
