"""The Python API and the command line on real networks with untrained weights."""

import os

import numpy as np
import pytest

from longtake.models.domain.prompt import Cue
from longtake.models.video.mp4 import decode
from longtake.pipelines.__main__ import main
from longtake.pipelines.api import Longtake, load, write_mp4
from tests.support.places import REPORTS

PROMPT = "a large red circle moves right over a plain navy background"
FAST = ["base.num_inference_steps=2", "refiner.num_inference_steps=2", "refiner.height=32", "refiner.width=32"]


@pytest.fixture(scope="module")
def longtake(random_bundle) -> Longtake:
    return load(random_bundle, overrides=FAST)


def test_a_stream_gives_exactly_the_frames_asked_for_in_order(longtake):
    segments = list(longtake.stream(PROMPT, num_frames=26))
    assert [i for segment in segments for i in segment.span] == list(range(26))
    assert {segment.frames.shape[1:] for segment in segments} == {(32, 32, 3)}


def test_the_command_line_writes_the_very_frames_of_the_stream(longtake, random_bundle, tmp_path, capsys):
    write_mp4(longtake.stream(PROMPT, num_frames=20, seed=3), tmp_path / "api.mp4")
    argv = ["generate", PROMPT, "--num-frames", "20", "--seed", "3", "--bundle", str(random_bundle)]
    assert main([*argv, "--out", str(tmp_path / "cli.mp4"), *FAST]) == 0
    assert (tmp_path / "api.mp4").read_bytes() == (tmp_path / "cli.mp4").read_bytes()
    assert capsys.readouterr().err == ""


def test_cues_of_the_command_line_are_those_of_the_stream(longtake, random_bundle, tmp_path, capsys):
    later = "a small blue ring bounces"
    write_mp4(longtake.stream(PROMPT, num_frames=30, cues=[Cue(16, later), Cue(20, PROMPT)]), tmp_path / "api.mp4")
    write_mp4(longtake.stream(PROMPT, num_frames=30), tmp_path / "plain.mp4")
    argv = [
        "generate",
        PROMPT,
        "--num-frames",
        "30",
        "--bundle",
        str(random_bundle),
        "--out",
        str(tmp_path / "cli.mp4"),
    ]
    assert main([*argv, "--prompt-at", "20", PROMPT, "--prompt-at", "16", later, *FAST]) == 0
    api, cli, plain = ((tmp_path / f"{name}.mp4").read_bytes() for name in ("api", "cli", "plain"))
    assert api == cli != plain
    assert capsys.readouterr().err == ""


def test_every_cue_is_checked_before_anything_runs(longtake):
    with pytest.raises(ValueError, match="tokens: this bundle takes at most 22"):
        longtake.stream(PROMPT, cues=[Cue(16, "a ring"), Cue(40, "a ring " * 20)])
    with pytest.raises(ValueError, match="from_frame=80: the video ends before it, at 80"):
        longtake.stream(PROMPT, cues=[Cue(80, "a ring")])


def test_a_video_that_exists_is_refined_whole(longtake, tmp_path):
    source = tmp_path / "in.mp4"
    write_mp4(longtake.stream(PROMPT, num_frames=18), source)
    write_mp4(longtake.enhance(source, PROMPT), tmp_path / "out.mp4")
    assert np.stack(list(decode(tmp_path / "out.mp4"))).shape == (18, 32, 32, 3)


def test_a_video_is_closed_when_its_stream_is_left(longtake, tmp_path):
    def is_open():
        return any(str(source) == os.readlink(f"/proc/self/fd/{name}") for name in descriptors())

    def descriptors():
        return [name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")]

    source = tmp_path / "in.mp4"
    write_mp4(longtake.stream(PROMPT, num_frames=100), source)
    stream = longtake.enhance(source, PROMPT)
    next(stream)
    assert is_open()
    stream.close()
    assert not is_open()


@pytest.mark.report("C6")
def test_what_reading_a_video_changes_is_logged(longtake, caplog):
    longtake.enhance(REPORTS / "sticker.webm", PROMPT)
    assert caplog.messages == [f"{REPORTS / 'sticker.webm'}: it is transparent: white shows through"]


@pytest.mark.parametrize(
    ("prompt", "settings", "says"),
    [
        (PROMPT + " and so on" * 20, [], "tokens: this bundle takes at most 22"),
        (PROMPT, ["refiner.height=100"], "refiner.height=100 must be a multiple of 8, such as 96 or 104"),
        (PROMPT, ["base.num_inference_steps=5000"], "5000"),
    ],
)
def test_what_the_bundle_cannot_do_is_refused_in_one_line(random_bundle, tmp_path, capsys, prompt, settings, says):
    argv = ["generate", prompt, "--bundle", str(random_bundle), "--out", str(tmp_path / "take.mp4")]
    assert main([*argv, *settings]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("bundle", ["nowhere", "conf"])
def test_a_bundle_that_is_none_is_refused_in_one_line(tmp_path, capsys, monkeypatch, bundle):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    assert main(["generate", PROMPT, "--bundle", bundle, "--out", "take.mp4"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"bundle={bundle} is n" in err
