"""The split of the videos into training and held-out ones, made once, in work/videos.jsonl.

The side of a video follows from its name and the seed. The file never changes: steps draw clips by their place in it.
A training whose list of videos has changed since is refused.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longtake.models.video.notes import count_kinds
from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.files.store import Store
from longtake.pipelines.terminal.progress import counts, doing
from longtake.pipelines.train.settings import Cutting

logger = logging.getLogger(__name__)
VIDEOS = "videos.jsonl"
NUM_SAID = 5  # reasons and notes that get a line each


def prepare(cutting: Cutting, videos: Sequence[Listed]) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]]]:
    """Files with their numbers of clips: for training, and held out. Missing files are made.

    Raises ValueError when fewer than two videos give clips, with the reason of one that does not.
    """
    store = Store(cutting.folder)
    if not store.exists(VIDEOS):
        rows = _sided(cutting, _cut(cutting, videos))
        store.put(VIDEOS, "".join(json.dumps(row) + "\n" for row in rows).encode())
    rows = _read(store)
    _report(rows)
    usable = [row for row in rows if row["clips"]]
    train, held_out = (
        [(cutting.clip_folder / row["file"], row["clips"]) for row in usable if row["held_out"] is side]
        for side in (False, True)
    )
    return train, held_out


def check_same(folder: Path, videos: Sequence[Listed]) -> None:
    """Raises ValueError naming videos that were changed, added or removed since the training in `folder` began."""
    store = Store(folder)
    if not store.exists(VIDEOS):
        return
    before = {(row["path"], row["made_from"]) for row in _read(store)}
    now = {(video.path, _made_from(video)) for video in videos}
    changed = sorted({path for path, _ in before ^ now})
    if changed:
        names = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        raise ValueError(
            f"manifest lists other videos than when the training in work={folder} began ({names}): choose another "
            f"work, or delete {folder / VIDEOS} to continue training with clips of the new list"
        )


def _read(store: Store) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.get(VIDEOS).decode().split("\n") if line]


def _made_from(video: Listed) -> str:
    """What clips depend on. Not the file's timestamp, which differs in a copy on another machine."""
    size = (video.version or "").partition(",")[0]
    return hashlib.sha256(json.dumps([video.path, video.prompt, size]).encode()).hexdigest()[:16]


def _report(rows: Sequence[dict[str, Any]]) -> None:
    """Says how many videos give clips, why others give none, and what was guessed or converted."""
    without = Counter(row["reason"] for row in rows if not row["clips"])
    noted = count_kinds(row["notes"] for row in rows)
    logger.info("%d of %d videos give clips; %s lists all", len(rows) - without.total(), len(rows), VIDEOS)
    for texts, what in ((without, "without clips"), (noted, "with a note")):
        for text, count in texts.most_common(NUM_SAID):
            logger.info("%d %s: %s", count, what, text)
        if len(texts) > NUM_SAID:
            logger.info("and %d more %s", sum(n for _, n in texts.most_common()[NUM_SAID:]), what)


def _cut(cutting: Cutting, videos: Sequence[Listed]) -> list[dict[str, Any]]:
    """A row for every video; clips of an earlier attempt are kept, files that it left incomplete are not."""
    # Not at the top: it imports torch and transformers, and checking a training needs neither.
    from longtake.pipelines.train.clips import ClipFolder, clip_file, encode_clips

    folder = cutting.clip_folder
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.part"):
        left.unlink()
    missing = [video for video in videos if not clip_file(folder, video).exists()]
    reasons: dict[Listed, str | None] = {}
    if missing:
        with doing(lambda seconds: counts(len(reasons), len(missing), "videos cut into clips", seconds)):
            for video, reason in encode_clips(missing, cutting):
                reasons[video] = reason
    rows = []
    for video in videos:
        file = clip_file(folder, video)
        count, notes = ClipFolder.about(file)
        own = {"path": video.path, "file": file.name, "clips": count, "reason": reasons.get(video)}
        rows.append({**own, "notes": notes, "made_from": _made_from(video)})
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
