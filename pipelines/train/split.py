"""The split of the videos into training and held-out ones, made once, in work/videos.jsonl.

The side of a video follows from its name and the seed. The file never changes: steps draw clips by their place in it.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.files.store import Store
from longtake.pipelines.train.clips import ClipFolder, clip_file, encode_clips
from longtake.pipelines.train.settings import CutParams

logger = logging.getLogger(__name__)
VIDEOS = "videos.jsonl"


@dataclass(frozen=True, slots=True)
class Cutting:
    """Settings for the clips of a training."""

    folder: Path  # `work`
    bundle: str
    clips: CutParams
    seed: int
    held_out: float  # share of the videos, at least one
    device: str


def prepare(cutting: Cutting, videos: Sequence[Listed]) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]]]:
    """Files with their numbers of clips: for training, and held out. Missing files are made.

    Raises ValueError when fewer than two videos give clips, with the reason of one that does not.
    """
    store = Store(cutting.folder)
    if not store.exists(VIDEOS):
        rows = _sided(cutting, _cut(cutting, videos))
        store.put(VIDEOS, "".join(json.dumps(row) + "\n" for row in rows).encode())
    rows = [json.loads(line) for line in store.get(VIDEOS).decode().splitlines()]
    usable = [row for row in rows if row["clips"]]
    train, held_out = (
        [(cutting.folder / "clips" / row["file"], row["clips"]) for row in usable if row["held_out"] is side]
        for side in (False, True)
    )
    return train, held_out


def _cut(cutting: Cutting, videos: Sequence[Listed]) -> list[dict[str, Any]]:
    """A row for every video; clips of an earlier attempt are kept."""
    folder = cutting.folder / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [video for video in videos if not clip_file(folder, video).exists()]
    reasons = {}
    if missing:
        about = (cutting.bundle, folder, cutting.clips, cutting.seed, cutting.device)
        done = encode_clips(missing, *about)
        for row in tqdm(done, total=len(missing), desc="videos", unit="video", disable=None):
            if row["reason"]:
                reasons[row["path"]] = row["reason"]
                logger.warning("no clips from %s: %s", row["path"], row["reason"])
    rows = []
    for video in videos:
        file = clip_file(folder, video)
        count = ClipFolder.count(file) if file.exists() else 0
        rows.append({"path": video.path, "file": file.name, "clips": count, "reason": reasons.get(video.path)})
    return rows


def _sided(cutting: Cutting, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    usable = [row for row in rows if row["clips"]]
    if len(usable) < 2:
        reason = next((f"; {row['path']}: {row['reason']}" for row in rows if row["reason"]), "")
        raise ValueError(f"manifest has {len(usable)} usable videos, but at least 2 are needed{reason}")
    place = {row["path"]: _place(cutting.seed, row["path"]) for row in usable}
    held = {path for path, where in place.items() if where < cutting.held_out}
    ranked = sorted(place, key=lambda path: place[path])
    held = (held | {ranked[0]}) - {ranked[-1]}  # one at least on either side
    return [{**row, "held_out": row["path"] in held} for row in rows]


def _place(seed: int, path: str) -> float:
    """A number in 0..1 that follows from seed and path."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{path}".encode()).digest()[:8]) / 2**64
