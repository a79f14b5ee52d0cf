"""Rows of prompts with their ids and requests."""

import json
import shutil
from dataclasses import asdict
from datetime import date
from hashlib import sha256

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from longtake.models.video.fit import Fit
from longtake.pipelines.bulk.checked_rows import RowChecker
from longtake.pipelines.bulk.settings import load_bulk
from longtake.pipelines.bulk.video import BulkVideo
from longtake.pipelines.config.conf import load
from longtake.pipelines.config.provenance import recorded_settings, video_settings
from longtake.pipelines.datasets.prompt_rows import PromptRow
from longtake.pipelines.datasets.request_columns import request_hash
from longtake.pipelines.runners.bundle_limits import settled
from tests.support.videos import levels, video

PROMPT = "a large red circle moves right over a plain navy background"


def read(folder, rows, *overrides):
    (folder / "p.jsonl").write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return list(checker(f"prompts={folder}/p.jsonl", *overrides).read())


def checker(*overrides):
    return RowChecker(load_bulk(overrides=["prompts=p", "out=o", *overrides]), "ab" * 32)


LISTS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8)


@pytest.mark.report("B1")
@settings(max_examples=30)
@given(LISTS, st.randoms(use_true_random=False))
def test_ids_of_rows_without_one_do_not_depend_on_the_order(tmp_path_factory, prompts, rng):
    folder = tmp_path_factory.mktemp("rows")
    rows = [{"prompt": prompt} for prompt in prompts]
    before = read(folder, rows)
    rng.shuffle(rows)
    after = read(folder, rows)
    assert len({row.record.id for row in before}) == len(rows)
    assert {(row.record.id, row.request) for row in before} == {(row.record.id, row.request) for row in after}


def test_equal_rows_are_numbered_and_have_seeds_of_their_own(tmp_path):
    one, two, three = read(tmp_path, [{"prompt": "a"}] * 3)
    assert (two.record.id, three.record.id) == (f"{one.record.id}-2", f"{one.record.id}-3")
    assert len({row.record.seed for row in (one, two, three)}) == 3


@pytest.mark.report("B1")
def test_a_request_is_all_that_its_frames_depend_on(tmp_path):
    same = {"id": "x", "prompt": "a", "num_frames": 16, "seed": 1}
    changes = [{"prompt": "b"}, {"num_frames": 17}, {"seed": 2}, {"negative_prompt": "c"}, {"refiner.strength": 0.5}]
    changes += [{"prompt": [{"from_frame": 0, "prompt": "a"}, {"from_frame": 8, "prompt": "b"}]}, {"caption": "free"}]
    requests = [read(tmp_path, [{**same, **change}])[0].request for change in ({}, *changes)]
    assert len(set(requests)) == 7 and requests[-1] == requests[0]
    assert read(tmp_path, [same], "refiner.strength=0.5")[0].request == requests[5]


@pytest.mark.report("B14")
def test_an_invalid_row_is_recorded_under_its_own_id(tmp_path):
    rows = [{"id": "x", "prompt": "a", "num_frames": 0}, {"id": "a\n", "prompt": "a"}, {"prompt": ""}, "no JSON"]
    own, control, unnamed, unread = (row.record for row in read(tmp_path, rows))
    assert (own.id, unread.id) == ("x", "p.jsonl:4")
    assert own.reason == "num_frames=0: a video has at least 1 frame"
    assert control.id.startswith("p-") and unnamed.id.startswith("p-") and control.id != unnamed.id
    assert all(row.status == "failed" and row.request_sha256 for row in (own, control, unnamed, unread))


@pytest.mark.report("B14", "C10")
def test_a_row_with_a_value_that_is_none_keeps_its_id(tmp_path):
    pq.write_table(pa.table({"id": ["x"], "prompt": ["a"], "seed": [date(2026, 1, 2)]}), tmp_path / "p.parquet")
    (row,) = checker(f"prompts={tmp_path}/p.parquet").read()
    assert (row.record.id, row.record.prompt, row.spec) == ("x", "a", None)
    assert row.record.reason == "seed=2026-01-02 is neither text nor a number, but of type date"


@pytest.mark.report("B14")
def test_a_second_row_with_the_same_id_does_not_shadow_the_first(tmp_path):
    rows = read(tmp_path, [{"id": "x", "prompt": "a"}, {"id": "x", "prompt": "b"}, {"id": "x", "prompt": "b"}])
    assert rows[0].record.id == "x" and rows[0].spec is not None
    assert [row.record.reason for row in rows[1:]] == ["id='x': an earlier row has the same id; ids must be unique"] * 2
    assert len({row.record.id for row in rows}) == 3


@pytest.mark.report("B13")
@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (PROMPT, None),
        ("a huge red circle, a dog, a dog", "huge dog"),
        ([{"from_frame": 0, "prompt": "a dog"}, {"from_frame": 8, "prompt": "a large cat!"}], "dog cat"),
    ],
)
def test_words_that_the_bundle_does_not_know_are_in_the_record(prompt, words):
    rows = checker("num_frames=16")
    video = rows.begin(rows.check(PromptRow("p.jsonl:1", {"prompt": prompt}, None)), 7)
    assert isinstance(video, BulkVideo) and (video.row.unknown_words, video.row.ordinal) == (words, 7)


@pytest.mark.report("B2")
def test_a_prompt_that_is_too_long_fails_without_an_actor():
    rows = checker()
    row = rows.begin(rows.check(PromptRow("p.txt:1", {"prompt": "circle " * 60}, None)), 0)
    assert row.status == "failed" and "this bundle takes at most 22" in row.reason
    row.check()


def test_a_picture_is_part_of_the_request_and_of_the_record(tmp_path):
    for name, mode in (("a.png", "RGB"), ("same.png", "RGB"), ("b.png", "LA")):
        Image.new(mode, (4, 4)).save(tmp_path / name)
    same = {"id": "x", "prompt": "a", "num_frames": 16, "seed": 1}
    names = [{}, {"image": "a.png"}, {"image": str(tmp_path / "same.png")}, {"image": "b.png"}]
    plain, a, copy, b = (read(tmp_path, [{**same, **name}])[0] for name in names)
    assert a.request == copy.request and len({plain.request, a.request, b.request}) == 3
    assert a.record.image == str(tmp_path / "a.png") and plain.record.image_sha256 is None
    assert a.record.image_sha256 == sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert (a.record.image_notes, b.record.image_notes) == (None, "it is transparent: white shows through")
    assert a.record.unused_columns is None


def test_a_picture_that_cannot_be_read_or_used_makes_the_row_invalid(tmp_path):
    (row,) = read(tmp_path, [{"id": "x", "prompt": "a", "image": "none.png"}])
    assert row.spec is None and row.record.id == "x"
    assert row.record.reason == f"image={tmp_path}/none.png: it cannot be read (No such file or directory)"
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (row,) = read(tmp_path, [{"id": "x", "prompt": "a", "image": "a.png", "base.cam": False}])
    assert row.record.reason.startswith("image cannot be used: base.cam=false switches CAM off")


def test_chunks_of_another_picture_are_not_read(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    rows, videos = checker("num_frames=16"), []
    for more in ({}, {"image": "a.png"}):
        row = PromptRow("p.jsonl:1", {"id": "x", "prompt": "a", "seed": 1, **more}, None, file=f"{tmp_path}/p.jsonl")
        videos.append(rows.begin(rows.check(row), 0))
    assert videos[0].chunk_path(0) != videos[1].chunk_path(0)
    assert videos[0].picture() is None and videos[1].picture().frame.shape == (4, 4, 3)


@pytest.fixture
def clip(tmp_path):
    """12 frames of 48x32 at 24 frames per second, with sound."""
    (tmp_path / "a.mkv").write_bytes(video(levels(12), sound=("aac", 44100)).getvalue())
    return tmp_path / "a.mkv"


def test_a_video_that_is_continued_is_part_of_the_request_and_of_the_record(clip, tmp_path):
    same = {"id": "x", "prompt": PROMPT, "num_frames": 16, "seed": 1}
    rows = checker(f"prompts={tmp_path}/p.jsonl")
    plain, row = (read(tmp_path, [{**same, **more}])[0] for more in ({}, {"video": "a.mkv"}))
    video = rows.begin(row, 7)
    assert isinstance(video, BulkVideo) and (video.row.num_frames, video.row.extends_frames) == (28, 12)
    assert (video.row.fps, video.row.width, video.row.height, video.num_frames) == (24.0, 48, 32, 16)
    assert (video.row.extends, video.row.extends_sha256) == (str(clip), sha256(clip.read_bytes()).hexdigest())
    assert "its sound ends with it: the 16 new frames are silent" in video.row.extends_notes
    assert "stretched to 48x32" in video.row.extends_notes
    settings = json.loads(row.record.settings)
    assert (settings["refiner.coupling"], settings["refiner.fit"], settings["video.fps"]) == ("causal", "stretch", None)
    assert request_hash(asdict(video.row)) == row.record.request_sha256 != plain.record.request_sha256
    clip.write_bytes(clip.read_bytes() + b"1")
    assert read(tmp_path, [{**same, "video": "a.mkv"}])[0].request != row.request
    failed = rows.begin(row, 7)
    assert failed.reason.startswith(f"video={clip}: it changed") and failed.request_sha256 == row.record.request_sha256


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"image": "a.png"}, "image='a.png' and video='a.mkv': a row begins with a picture or continues a video"),
        ({"video": "none.mkv"}, "/none.mkv: No such file or directory"),
        ({"refiner.coupling": "causal"}, "refiner.coupling=causal has no effect in a row with a video"),
        ({"refiner.fit": "cover"}, "refiner.fit=cover has no effect in a row with a video"),
        ({"prompt": [{"from_frame": 0, "prompt": "a"}, {"from_frame": 8, "prompt": "b"}]}, "has one prompt"),
    ],
)
def test_a_row_that_cannot_continue_a_video_is_invalid(clip, tmp_path, more, says):
    (row,) = read(tmp_path, [{"id": "x", "prompt": PROMPT, "video": "a.mkv", **more}])
    assert row.spec is None and row.record.id == "x" and says in row.record.reason


@pytest.mark.parametrize(
    ("num_frames", "more", "says"),
    [
        (8, {}, "it has 8 frames, and to be continued it needs at least 9"),
        (0, {}, "cannot be read as a video"),
        (12, {"video.fps": 12}, None),
    ],
)
def test_a_video_is_decoded_when_it_is_made(tmp_path, num_frames, more, says):
    (tmp_path / "a.mkv").write_bytes(video(levels(num_frames)).getvalue() if num_frames else b"no video")
    (row,) = read(tmp_path, [{"id": "x", "prompt": PROMPT, "video": "a.mkv", **more}])
    begun = checker(f"prompts={tmp_path}/p.jsonl").begin(row, 0)
    if says is None:
        assert begun.row.fps == 12
    else:
        assert says in begun.reason and begun.reason.startswith(f"video={tmp_path}/a.mkv: ")


def test_without_a_refiner_no_video_is_continued(clip, tmp_path):
    own_size = ("refiner.height=64", "refiner.width=64")
    (row,) = read(tmp_path, [{"prompt": PROMPT, "video": "a.mkv"}], "refiner.enabled=false", *own_size)
    assert row.spec is None and "refiner.enabled=false: to extend a video" in row.record.reason


def test_a_row_may_have_a_size_and_a_fit_of_its_own_and_they_are_a_part_of_its_request(tmp_path):
    same = {"id": "x", "prompt": PROMPT}
    changes = [{}, {"base.width": 128}, {"base.width": 128, "base.height": 64}, {"refiner.width": 256}]
    changes += [{"refiner.width": 256, "refiner.fit": fit} for fit in ("contain", "stretch")]
    rows = [read(tmp_path, [{**same, **change}])[0] for change in changes]
    assert len({row.request for row in rows}) == len(rows)
    assert rows[1].own.base.width == 128 and json.loads(rows[1].record.settings)["base.width"] == 128
    assert [row.record.width for row in rows] == [128, 128, 128, 256, 256, 256]
    assert [row.own.refiner.fit for row in rows[3:]] == list(Fit)


def test_the_record_of_square_frames_in_square_ones_is_as_it_was_before_other_shapes(tmp_path):
    """So a job from before them goes on."""
    (row,) = read(tmp_path, [{"id": "x", "prompt": PROMPT}])
    assert not {"base.height", "base.width", "refiner.fit"} & json.loads(row.record.settings).keys()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"base.width": 100}, "base.width=100 must be a multiple of 8, such as 96 or 104"),
        ({"base.height": -16}, "base.height=-16: must be even and at least 2"),
        ({"refiner.fit": "fill"}, "refiner.fit=fill must be one of cover, contain, stretch"),
    ],
)
def test_a_size_that_cannot_be_fails_its_row(tmp_path, setting, says):
    (row,) = read(tmp_path, [{"prompt": PROMPT, **setting}])
    assert row.spec is None and says in row.record.reason


def test_without_a_refiner_the_size_of_the_base_models_frames_is_that_of_the_video():
    conf = settled(load_bulk(overrides=["prompts=p", "out=o", "refiner.enabled=false"]))
    rows = RowChecker(conf, "ab" * 32)

    def check(**columns):
        return rows.check(PromptRow("p.jsonl:1", {"prompt": PROMPT, **columns}, None))

    row = check(**{"base.height": 48})
    assert (row.record.width, row.record.height, row.record.reason) == (64, 48, None)
    again = load(settings=recorded_settings(json.loads(row.record.settings)))
    assert json.loads(row.record.settings) == json.loads(json.dumps(video_settings(settled(again))))
    assert check(**{"base.height": 48, "refiner.height": 48}).record.reason is None
    row = check(**{"base.height": 48, "refiner.height": 64})
    assert row.record.reason.startswith("refiner.height=64 has no effect with refiner.enabled=false: ")


def test_a_row_asks_for_the_same_when_its_models_lie_elsewhere(random_opener, copy_of_random_bundle, tmp_path):
    def row(refiner, opener):
        (found,) = read(tmp_path, [{"id": "x", "prompt": PROMPT}], f"refiner.model={refiner}", f"opener.model={opener}")
        return found

    before, opener = row(copy_of_random_bundle, random_opener), shutil.copytree(random_opener, tmp_path / "opener")
    after = row(copy_of_random_bundle.rename(tmp_path / "refiner"), opener)
    assert after.request == before.request and after.record.settings != before.record.settings
    videos = [checker("num_frames=16").begin(one, 0) for one in (before, after)]
    assert videos[0].chunk_path(0) == videos[1].chunk_path(0)
    (plain,) = read(tmp_path, [{"id": "x", "prompt": PROMPT}])
    assert plain.request != before.request
