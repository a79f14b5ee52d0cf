from dataclasses import asdict

import numpy as np
import pytest

from longtake.models.toy_world.probe import probe
from longtake.models.toy_world.render import render
from longtake.models.toy_world.world import sample_scene


def video(scene, first=0, size=64):
    frames = render([scene], np.arange(first, first + 16), size)[0].permute(0, 2, 3, 1).numpy()
    return (frames * 255).round().astype(np.uint8)


@pytest.mark.parametrize(("size", "first"), [(64, 0), (64, 37), (128, 5)])
def test_ground_truth_is_read_right(size, first):
    scenes = [sample_scene(np.random.default_rng(i)) for i in range(30)]
    readings = [asdict_of(probe(video(scene, first, size))) for scene in scenes]
    for name in ("size", "color", "shape", "motion", "background"):
        right = np.mean(
            [reading[name] == getattr(scene, name) for reading, scene in zip(readings, scenes, strict=True)]
        )
        assert right >= 0.95, f"{name} is right in {right:.0%}"


def asdict_of(reading):
    return asdict(reading)


def test_a_still_video_has_no_motion():
    scene = sample_scene(np.random.default_rng(1), motion="moves left")
    still = np.repeat(video(scene)[:1], 16, axis=0)
    reading = probe(still)
    assert reading.motion is None and reading.color == scene.color and reading.shape == scene.shape


def test_a_video_played_backwards_moves_the_other_way():
    scene = sample_scene(np.random.default_rng(2), motion="moves up")
    assert probe(video(scene)[::-1]).motion == "moves down"


def test_an_empty_stage_has_a_background_and_nothing_else():
    frames = np.full((16, 64, 64, 3), (20, 25, 90), np.uint8)
    reading = probe(frames)
    assert (reading.color, reading.shape, reading.motion, reading.size) == (None, None, None, None)
    assert reading.background == "navy"
