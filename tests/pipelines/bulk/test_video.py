"""A bulk job's record of a video in progress; handles are plain objects here."""

import json
from dataclasses import replace
from fractions import Fraction

import pytest

from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import Cue, PromptSpec
from longtake.models.domain.scheduler import StageName
from longtake.models.metrics.quality import GateFigures, seed_of
from longtake.pipelines.bulk.continuation import Continuation
from longtake.pipelines.bulk.settings import load_bulk
from longtake.pipelines.bulk.video import Slot, begin, failed_row, requested_row
from longtake.pipelines.datasets.continued_videos import NamedVideo
from longtake.pipelines.datasets.prompt_rows import PromptRow
from longtake.pipelines.datasets.request_columns import read_cues


@pytest.fixture
def video():
    """26 frames: two segments, four chunks in its preview."""
    conf = load_bulk(overrides=["prompts=p.txt", "out=out", "previews=true", "thumbnails=true"])
    spec = PromptSpec("take", "a red circle", num_frames=26, seed=1, cues=(Cue(16, "a blue circle"),))
    plan = Plan(26, PlanParams())
    assert (len(plan.segments), len(plan.chunks)) == (2, 4)
    row = requested_row(PromptRow("p.txt:4", {}, None), spec, conf, conf, "ab" * 32, "{}")
    return begin(replace(row, ordinal=3), spec, conf, conf)


def slots():
    """In a possible order: the stages work at the same time."""
    previews = [Slot("preview", i) for i in range(4)]
    return [*previews[:3], Slot("video", 1), previews[3], Slot("video", 0)]


def encode_all(video):
    for slot in slots():
        job = video.encode(slot, f"piece of {slot}")
        if job is not None:
            video.encoded(slot, f"thumbnail of {slot.file}", f"{slot.file}{slot.index}", seconds=0.25)


def test_its_commit_has_the_fragments_of_the_video_in_order_and_then_those_of_the_preview(video):
    assert not video.is_generated
    encode_all(video)
    assert video.is_generated and video.is_encoded
    video.seconds[StageName.REFINE] = 2.0
    job = video.commit(retries=2, flagged=None)
    row, part, num_fragments, thumbnail, *fragments = job.args
    assert (job.method, job.video_id, num_fragments, thumbnail) == ("commit", "take", 2, "thumbnail of video")
    assert part is None
    assert fragments == ["video0", "video1", "preview0", "preview1", "preview2", "preview3"]
    assert (row.status, row.encode_s, row.refine_s, row.attempts) == ("done", 1.5, 2.0, 3)
    assert read_cues(row.cues) == (Cue(16, "a blue circle"),)
    replace(row, sha256="0", size_bytes=1).check()


def test_pieces_that_come_again_are_encoded_only_where_their_fragments_are_lost(video):
    for slot in slots():
        assert video.encode(slot, "piece") is not None and video.encode(slot, "piece") is None
    video.encoded(Slot("video", 0), None, "kept", seconds=1)
    video.begin_again(keep=True)
    assert not video.is_generated and video.encode(Slot("video", 0), "piece") is None
    assert video.encode(Slot("video", 1), "piece").args[2] == 1
    video.begin_again(keep=False)
    assert video.encode(Slot("video", 0), "piece") is not None
    assert not video.is_encoded


def test_a_video_that_was_rejected_begins_again_with_a_seed_of_its_own_and_what_was_said_of_the_first(video):
    video.add_measurement(GateFigures(16, 0, 0.5, 0.0), "measured")
    video.add_measurement(GateFigures(24, 1, 0.25, 0.0), "measured")
    video.seconds[StageName.GENERATE] = 2.0
    video.rejected = video.seeds_tried("too many cuts")
    again = video.reseeded(retries=1)
    assert again.spec == replace(video.spec, seed=seed_of(1, 1)) and again.spec.seed != 1
    assert (again.row.seed, again.row.asked_seed, again.retries) == (seed_of(1, 1), 1, 1)
    assert again.figures is None and not again.requested
    encode_all(again)
    row = again.commit(retries=0, flagged=None).args[0]
    first = {"seed": 1, "num_frames": 24, "scuts": 1, "motion": 0.25, "drift": 0.0, "reason": "too many cuts"}
    assert json.loads(row.quality) == [first, {"seed": seed_of(1, 1), "reason": None}]
    assert (row.attempts, row.generate_s, row.flagged) == (2, 2.0, None)


def test_begun_anew_a_video_keeps_the_figures_of_all_its_frames_until_it_has_them_again(video):
    whole = GateFigures(26, 0, 0.5, 0.1)
    video.add_measurement(whole, "all of it")
    video.begin_again(keep=True)
    video.add_measurement(GateFigures(16, 0, 0.5, 0.0), "the beginning")
    assert (video.figures, video.measured) == (whole, "the beginning")


def test_one_that_failed_has_a_reason_and_no_files(video):
    row = failed_row(video.row, "the toy does not like it")
    assert (row.path, row.preview, row.thumbnail, row.reason) == (None, None, None, "the toy does not like it")
    row.check()


@pytest.mark.parametrize(("old", "num_own"), [(8, 0), (60, 3)])
def test_a_continuation_has_fragments_of_the_video_and_then_of_the_models(old, num_own):
    conf = load_bulk(overrides=["prompts=p.txt", "out=out", "previews=true", "thumbnails=true"])
    extension = Extension(old, 20, PlanParams())
    part = Continuation("a", NamedVideo("in.mp4", "v"), extension, 0, (32, 32), Fraction(12), has_sound=False)
    spec = PromptSpec("a", "a red circle", num_frames=extension.plan.num_frames)
    row = requested_row(PromptRow("p.txt:1", {}, None), spec, conf, conf, "ab" * 32, "{}", part.video)
    video = begin(row, spec, conf, conf, part)
    video.clip = "clip"
    own = [job.args for job in iter(video.encode_own, None)]
    assert own == [(part, index, index == 0) for index in range(num_own)]
    made = [
        video.encode_segment(index, "segment").args for index in range(extension.window, len(extension.plan.segments))
    ]
    assert [args[2] for args in made] == list(range(num_own, video.num_fragments))
    assert made[0][4:] == (num_own == 0, part, "clip") and made[-1][4:] == (False, part, None)
    assert video.is_generated and (video.num_frames, video.row.preview) == (20, None)
    video.begin_again(keep=False)
    assert len(list(iter(video.encode_own, None))) == num_own and not video.is_generated
