"""The videos of a list that are to be measured, given the rows that an evaluation has.

1. A row describes a video as it was: its file, prompt, seed and borders (`made_from`). If one of them has changed, the
   video is measured again.
2. A row that failed stays, and counts as failed, until its file changes or `retry_failed` is set.
3. A row that a bulk job failed to make is not a video: it is rewritten from the list.
4. A row whose video is no longer listed stays in the parquet files, and is not on the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.evaluate.results import FAILED, NOT_MADE, MetricRow


@dataclass(frozen=True, slots=True)
class EvaluationWork:
    """The work of a run."""

    left: list[Listed]  # to be measured
    not_made: list[Listed]
    outdated: set[str]  # the `made_from` of rows to remove
    num_there: int  # measured by an earlier run
    num_failed_before: int
    notes: list[str]  # a line each


def resume(videos: Sequence[Listed], rows: Sequence[MetricRow], retry_failed: bool = False) -> EvaluationWork:
    """`rows` have path, status and made_from."""
    listed, paths = {video.digest for video in videos}, {video.path for video in videos}
    not_made = [row for row in rows if row["status"] == NOT_MADE]
    measured = [row for row in rows if row["status"] != NOT_MADE]
    current = [row for row in measured if row["made_from"] in listed]
    again = [row for row in current if retry_failed and row["status"] == FAILED]
    changed = [row for row in measured if row["made_from"] not in listed and row["path"] in paths]
    gone = [row for row in measured if row["path"] not in paths]
    kept = {row["made_from"] for row in current} - {row["made_from"] for row in again}
    failed = sum(row["status"] == FAILED and row["made_from"] in kept for row in current)
    notes = []
    if changed:
        notes.append(f"{_videos(changed)} changed since their rows were made (file, prompt or seed): measured again")
    if gone:
        notes.append(f"{_videos(gone)} no longer listed: their rows stay in the parquet files, but are not on the page")
    return EvaluationWork(
        left=[video for video in videos if video.made and video.digest not in kept],
        not_made=[video for video in videos if not video.made],
        outdated={row["made_from"] for row in (*changed, *again, *not_made)},
        num_there=len(kept) - failed,
        num_failed_before=failed,
        notes=notes,
    )


def _videos(rows: Sequence[MetricRow]) -> str:
    """The number of videos, and the first few by name."""
    names = ", ".join(row["path"] for row in rows[:3])
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return f"{len(rows)} {'video' if len(rows) == 1 else 'videos'} ({names}{more})"
