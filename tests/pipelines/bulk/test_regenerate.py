"""Videos made again from rows of a manifest."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from PIL import Image

from longtake.models.domain.prompt import Cue
from longtake.pipelines.__main__ import main
from longtake.pipelines.api import Longtake, write_mp4
from longtake.pipelines.bulk.regenerate import find, picture_for, remake, video_for
from longtake.pipelines.config.conf import VideoParams, load
from longtake.pipelines.config.provenance import hash_of, video_settings
from longtake.pipelines.datasets.continued_videos import find_video, sha256_of
from longtake.pipelines.datasets.manifest import Manifest, VideoRow
from longtake.pipelines.datasets.pictures import read_picture
from longtake.pipelines.datasets.request_columns import cues_text, request_hash
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.existing_video import for_extension
from tests.support.videos import levels, video

PROMPT, CUES = "a large red circle moves right", (Cue(16, "a small blue ring bounces"),)
FAST = ["base.num_inference_steps=2", "refiner.num_inference_steps=2", "refiner.height=32", "refiner.width=32"]


@pytest.fixture(scope="module")
def made(random_bundle, tmp_path_factory):
    """A job's folder, and the row of its one video, whose prompt changes."""
    folder = tmp_path_factory.mktemp("job")
    conf = load(overrides=[f"bundle={random_bundle}", *FAST])
    write_mp4(Longtake(conf).stream(PROMPT, 20, 7, "a ring", cues=CUES), folder / "a.mp4")
    video = (folder / "a.mp4").read_bytes()
    row = VideoRow(
        id="a",
        prompt=PROMPT,
        cues=cues_text(CUES),
        negative_prompt="a ring",
        status="done",
        source="prompts.jsonl:1",
        ordinal=0,
        path="a.mp4",
        sha256=sha256(video).hexdigest(),
        size_bytes=len(video),
        num_frames=20,
        fps=8.0,
        width=32,
        height=32,
        seed=7,
        bundle=str(random_bundle),
        bundle_sha256=hash_of(random_bundle),
        settings=json.dumps(video_settings(conf)),
        generate_s=1.0,
        refine_s=1.0,
        encode_s=1.0,
        finished_at=datetime.now(UTC),
    )
    row = replace(row, request_sha256=request_hash(asdict(row)))
    Manifest(Store(folder)).record(row)
    return folder, row


def test_a_video_whose_prompt_changed_is_made_again_with_the_same_bytes(made, tmp_path):
    folder, row = made
    found, conf = find(str(folder), "a")
    assert found == replace(row, request_sha256=found.request_sha256)
    assert remake(found, conf, tmp_path / "again.mp4")
    assert (tmp_path / "again.mp4").read_bytes() == (folder / "a.mp4").read_bytes()


def test_without_its_cues_it_would_be_another_video(made, tmp_path):
    folder, row = made
    assert not remake(replace(row, cues=None), find(str(folder), "a")[1], tmp_path / "other.mp4")


def test_a_video_that_failed_or_has_other_weights_cannot_be_made_again(made):
    folder, row = made
    unknown = {"sha256": None, "path": None}
    manifest = Manifest(Store(folder))
    manifest.record(replace(row, id="b", status="failed", reason="no", **unknown))
    manifest.record(replace(row, id="c", bundle_sha256="0" * 64))
    with pytest.raises(ValueError, match=r"id='b': its video was never made \(no\)"):
        find(str(folder), "b")
    with pytest.raises(ValueError, match="the video was made with 0000"):
        find(str(folder), "c")


@pytest.mark.report("B11")
@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("nothing here", r"^manifest=/.*nothing here: no bulk job has written there$"),
        ("foo://bucket", r"^manifest=foo://bucket: it cannot be read \(Protocol not known: foo\)$"),
    ],
)
def test_a_place_without_a_manifest_is_named(place, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=says):
        find(place, "a")


def test_a_video_that_begins_with_a_picture_needs_the_same_one(made, tmp_path):
    folder, row = made
    photo, moved = tmp_path / "photo.png", tmp_path / "moved.png"
    Image.radial_gradient("L").convert("RGB").save(photo)
    picture, named = read_picture(str(photo))
    _, conf = find(str(folder), "a")
    write_mp4(Longtake(conf).stream(PROMPT, 20, 7, "a ring", cues=CUES, image=picture), tmp_path / "a.mp4")
    digest = sha256((tmp_path / "a.mp4").read_bytes()).hexdigest()
    pictured = replace(row, image=str(photo), image_sha256=named.sha256, sha256=digest)
    assert digest != row.sha256
    assert remake(pictured, conf, tmp_path / "again.mp4", picture_for(pictured))
    photo.rename(moved)
    with pytest.raises(ValueError, match=f"^image={photo}: it cannot be read"):
        picture_for(pictured)
    assert picture_for(pictured, str(moved)).frame.shape == (256, 256, 3)
    Image.new("RGB", (4, 4)).save(photo)
    with pytest.raises(ValueError, match=f"^image={photo}: it is another picture"):
        picture_for(pictured)
    with pytest.raises(ValueError, match="the video id='a' does not begin with a picture"):
        picture_for(row, str(moved))


def test_a_video_that_continues_another_needs_the_same_one(made, tmp_path):
    folder, row = made
    source, moved, again = tmp_path / "in.mp4", tmp_path / "moved.mp4", tmp_path / "again.mp4"
    source.write_bytes(video(levels(20, 32, 32), "mp4", sound=("aac", 44100)).getvalue())
    url = str(source)
    conf = replace(find(str(folder), "a")[1], video=VideoParams())
    argv = ["extend", url, "--prompt", PROMPT, "--num-frames", "9", "--seed", "7", "--out", str(tmp_path / "a.mp4")]
    assert main([*argv, "--bundle", row.bundle, *FAST]) == 0
    digest = sha256((tmp_path / "a.mp4").read_bytes()).hexdigest()
    about = {"extends": url, "extends_version": find_video(url).version, "extends_sha256": sha256_of(url)}
    continued = replace(row, cues=None, negative_prompt="", sha256=digest, num_frames=29, extends_frames=20, **about)
    assert remake(continued, for_extension(conf), again, None, video_for(continued))
    source.rename(moved)
    with pytest.raises(ValueError, match=f"^video={source}: .*No such file"):
        video_for(continued)
    assert video_for(continued, str(moved)).num_frames == 20
    source.write_bytes((tmp_path / "a.mp4").read_bytes())
    with pytest.raises(ValueError, match=f"^video={source}: it is another video"):
        video_for(continued)
    with pytest.raises(ValueError, match="the video id='a' does not continue one"):
        video_for(row, str(moved))
