"""The shipped weights: they load, are small, and give the requested video, the same one every time."""

import numpy as np
import pytest
import torch

from longtake.models.stages.bundle import load_bundle
from longtake.models.toy_world.probe import probe
from longtake.models.video.mp4 import decode
from longtake.pipelines.__main__ import main
from longtake.pipelines.api import load
from longtake.pipelines.config.paths import BUNDLES

PROMPT = "a large red circle moves right over a plain navy background"
FEW_STEPS = ("base.num_inference_steps=2", "refiner.num_inference_steps=2")


def test_the_bundle_is_small_and_has_every_part():
    size = sum(file.stat().st_size for file in (BUNDLES / "tiny").rglob("*") if file.is_file())
    assert size <= 25e6
    assert {"unet", "cam", "apm", "image_encoder", "vae", "refiner"} <= set(load_bundle(BUNDLES / "tiny").parts)


@pytest.mark.parametrize("num_frames", [1, 25])
def test_a_command_gives_exactly_the_frames_asked_for_and_the_same_bytes_twice(tmp_path, num_frames):
    files = [tmp_path / name for name in ("one.mp4", "two.mp4")]
    for file in files:
        assert main(["generate", PROMPT, "--num-frames", str(num_frames), "--out", str(file), *FEW_STEPS]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(list(decode(files[0]))) == num_frames


def test_the_threads_of_the_process_do_not_enter_those_of_the_configuration_do_the_work(threads):
    longtake, seen = load("tiny", overrides=FEW_STEPS), []
    longtake.bundle.parts["unet"].conv_in.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    frames = []
    for count in (1, 2):
        threads(count)
        frames.append(np.concatenate([one.frames for one in longtake.stream(PROMPT, num_frames=24)]))
        assert torch.get_num_threads() == count
    assert np.array_equal(*frames) and set(seen) == {1}


def test_a_video_shows_what_its_prompt_says(tmp_path):
    out, low = tmp_path / "take.mp4", tmp_path / "low.mp4"
    # A prompt that these weights get right; docs/results/tiny.md has the success rate.
    prompt = "a large orange circle moves left over a plain olive background"
    argv = ["generate", prompt, "--num-frames", "24", "--seed", "7", "--out", str(out), "--preview", str(low)]
    assert main(argv) == 0
    frames = np.stack(list(decode(out)))
    assert frames.shape == (24, 128, 128, 3) and np.stack(list(decode(low))).shape == (24, 64, 64, 3)
    reading = probe(frames[:16])
    assert (reading.color, reading.motion, reading.background) == ("orange", "moves left", "olive")


def test_a_video_that_exists_is_enhanced_whatever_its_size(tmp_path):
    low, out = tmp_path / "low.mp4", tmp_path / "out.mp4"
    assert main(["generate", PROMPT, "--num-frames", "10", "--out", str(low), *FEW_STEPS]) == 0
    sizes = ("refiner.height=64", "refiner.width=96")
    assert main(["enhance", str(low), "--prompt", PROMPT, "--out", str(out), FEW_STEPS[1], *sizes]) == 0
    assert np.stack(list(decode(out))).shape == (10, 64, 96, 3)


def test_words_that_the_bundle_does_not_know_are_named(tmp_path, capsys):
    argv = ["generate", "a big red circle moves right", "--num-frames", "1", "--out", str(tmp_path / "x.mp4")]
    assert main([*argv, *FEW_STEPS]) == 0
    assert "does not know these words: big" in capsys.readouterr().err


def test_a_prompt_that_is_too_long_is_refused_with_its_length(tmp_path, capsys):
    argv = ["generate", "red " * 30, "--num-frames", "1", "--out", str(tmp_path / "x.mp4")]
    assert main(argv) == 2
    assert "has 30 tokens: this bundle takes at most 22" in capsys.readouterr().err
