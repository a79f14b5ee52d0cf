import numpy as np
import pytest

from longtake.models.toy_world.render import render
from longtake.models.toy_world.world import sample_scene
from tests.support.clips import scuts


def video(*seeds, length=30):
    clips = [
        render([sample_scene(np.random.default_rng(seed), style="plain")], np.arange(length), 64)[0] for seed in seeds
    ]
    frames = np.concatenate([clip.permute(0, 2, 3, 1).numpy() for clip in clips])
    return (frames * 255).round().astype(np.uint8)


def test_one_scene_has_no_cut():
    assert scuts(video(1, length=80)) == 0


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_change_of_scene_is_a_cut(count):
    assert scuts(video(*range(count))) == count - 1


def test_very_short_videos_have_none():
    assert scuts(video(1, length=1)) == 0 and scuts(video(1, 2, length=2)) == 0
