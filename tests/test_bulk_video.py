"""What a bulk job knows of a video in work; handles are plain objects here."""

from dataclasses import replace

import pytest

from models.plan import Plan, PlanParams
from models.prompt import Cue, PromptSpec
from models.scheduler import Stage
from pipelines.bulk_params import load_bulk
from pipelines.bulk_video import Slot, begin, failed_row
from pipelines.manifest import read_cues
from pipelines.prompts import Row


@pytest.fixture
def video():
    """Of 26 frames: two segments, four chunks in its preview."""
    conf = load_bulk(overrides=["prompts=p.txt", "out=out", "previews=true", "thumbnails=true"])
    spec = PromptSpec("take", "a red circle", num_frames=26, seed=1, cues=(Cue(16, "a blue circle"),))
    plan = Plan(26, PlanParams())
    assert (len(plan.segments), len(plan.chunks)) == (2, 4)
    return begin(spec, plan, Row("p.txt:4", 3, {}, None), conf, conf, "ab" * 32)


def slots():
    """As they may come: the stages work at the same time."""
    previews = [Slot("preview", i) for i in range(4)]
    return [*previews[:3], Slot("video", 1), previews[3], Slot("video", 0)]


def encode_all(video):
    for slot in slots():
        errand = video.encode(slot, f"piece of {slot}")
        if errand is not None:
            video.encoded(slot, f"thumbnail of {slot.file}", f"{slot.file}{slot.index}", seconds=0.25)


def test_its_commit_has_the_fragments_of_the_video_in_order_and_then_those_of_the_preview(video):
    assert not video.is_asked
    encode_all(video)
    assert video.is_asked and video.is_encoded
    video.seconds[Stage.REFINE] = 2.0
    errand = video.commit(retries=2)
    row, num_fragments, thumbnail, *fragments = errand.args
    assert (errand.method, errand.video_id, num_fragments, thumbnail) == ("commit", "take", 2, "thumbnail of video")
    assert fragments == ["video0", "video1", "preview0", "preview1", "preview2", "preview3"]
    assert (row.status, row.encode_s, row.refine_s, row.attempts) == ("done", 1.5, 2.0, 3)
    assert read_cues(row.cues) == (Cue(16, "a blue circle"),)
    replace(row, sha256="0", size_bytes=1).check()


def test_pieces_that_come_again_are_encoded_only_where_their_fragments_are_lost(video):
    for slot in slots():
        assert video.encode(slot, "piece") is not None and video.encode(slot, "piece") is None
    video.encoded(Slot("video", 0), None, "kept", seconds=1)
    video.begin_anew(keep=True)
    assert not video.is_asked and video.encode(Slot("video", 0), "piece") is None
    assert video.encode(Slot("video", 1), "piece").args[2] == 1
    video.begin_anew(keep=False)
    assert video.encode(Slot("video", 0), "piece") is not None
    assert video.retries == 2 and not video.is_encoded


def test_one_that_failed_has_a_reason_and_no_files(video):
    row = failed_row(video.row, "the toy does not like it")
    assert (row.path, row.preview, row.thumbnail, row.reason) == (None, None, None, "the toy does not like it")
    row.check()
