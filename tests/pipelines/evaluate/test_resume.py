import time
from dataclasses import replace

import pytest

from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.evaluate.command import EvaluationSummary
from longtake.pipelines.evaluate.results import SCHEMA, failed_row, known_columns
from longtake.pipelines.evaluate.resume import resume

VIDEOS = [Listed(f"{name}.mp4", f"/{name}.mp4", prompt="a ring", version="9 bytes, 1") for name in "abc"]


def done(video):
    return {**known_columns(video), "status": "done"}


def test_what_is_measured_stays():
    work = resume(VIDEOS, [done(VIDEOS[0])])
    assert work.left == VIDEOS[1:] and work.num_there == 1 and not work.outdated and not work.notes


@pytest.mark.report("B1", "C11")
@pytest.mark.parametrize(
    "changed", [{"version": "9 bytes, 2"}, {"prompt": "a circle"}, {"seed": 3}, {"borders": (8,)}, {"reason": "gone"}]
)
def test_a_video_that_changed_since_its_row_was_made_is_measured_again_and_said(changed):
    before = replace(VIDEOS[1], **changed)
    rows = [done(VIDEOS[0]), done(before), done(VIDEOS[2])]
    work = resume(VIDEOS, rows)
    assert work.left == [VIDEOS[1]] and work.outdated == {before.digest} and work.num_there == 2
    assert work.notes == ["1 video (b.mp4) changed since their rows were made (file, prompt or seed): measured again"]


@pytest.mark.report("B2")
def test_a_video_that_failed_before_counts_as_failed_until_it_is_retried():
    rows = [failed_row(VIDEOS[0], "broken"), done(VIDEOS[1])]
    kept, again = resume(VIDEOS, rows), resume(VIDEOS, rows, retry_failed=True)
    assert kept.left == [VIDEOS[2]] and (kept.num_there, kept.num_failed_before) == (1, 1)
    assert again.left == [VIDEOS[0], VIDEOS[2]] and again.num_failed_before == 0
    assert again.outdated == {VIDEOS[0].digest}


def test_a_row_that_the_bulk_job_failed_to_make_is_written_anew_and_becomes_a_video_once_it_is_made():
    lost = Listed("(not made) b", "", id="b", reason="it broke", made=False)
    rows = [done(VIDEOS[0]), failed_row(lost, "it broke")]
    still = resume([VIDEOS[0], lost], rows)
    assert still.not_made == [lost] and still.left == [] and len(still.outdated) == 1 and not still.notes
    made = resume([VIDEOS[0], replace(VIDEOS[1], id="b")], rows)
    assert made.left == [replace(VIDEOS[1], id="b")] and len(made.outdated) == 1 and not made.notes


def test_rows_of_videos_that_are_gone_stay_and_are_said():
    work = resume(VIDEOS[:1], [done(video) for video in VIDEOS])
    assert not work.outdated and work.num_there == 1
    assert work.notes == [
        "2 videos (b.mp4, c.mp4) no longer listed: their rows stay in the parquet files, but are not on the page"
    ]


@pytest.mark.report("B2", "C21")
def test_the_summary_counts_what_was_measured_failed_now_failed_before_and_passed_over():
    def row(status, notes=None):
        return {**dict.fromkeys(SCHEMA.names), "status": status, "notes": notes}

    notes = ("its frame rate varies: at 30 fps; it is cut short", "its frame rate varies: at 25 fps")
    rows = [*(row("done", note) for note in notes), row("done"), row("failed"), row("failed"), row("not made")]
    outcome = EvaluationSummary(rows, there=1, failed_before=1, passed_over=["2 files skipped"])
    assert outcome.lines() == [
        "2 videos measured now, 1 measured before, 1 failed now, "
        "1 failed before (retry_failed=true measures them again), 1 not made by the bulk job",
        "2 with notes, on the page and in the column notes: 2 x its frame rate varies, 1 x it is cut short",
        "2 files skipped",
    ]


def test_many_rows_that_changed_are_found_in_one_reading():
    videos = [replace(VIDEOS[0], path=f"{number}.mp4") for number in range(8_000)]
    rows = [{**done(video), "made_from": "before"} for video in videos]
    lost = [{**row, "path": f"lost {row['path']}", "status": "not made"} for row in rows]
    began = time.process_time()
    work = resume(videos, [*rows, *lost])
    assert len(work.left) == 8_000 and "8000 videos" in work.notes[0]
    assert time.process_time() - began < 2  # a search for each row in those that were not made takes 15 s
