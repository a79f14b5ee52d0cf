from dataclasses import replace

import numpy as np

from longtake.models.toy_world.render import render
from longtake.models.toy_world.world import sample_scene
from longtake.pipelines.dev.attributes import PROBED, attributes


def test_a_rendered_scene_shows_what_its_caption_says():
    scene = sample_scene(np.random.default_rng(0))
    frames = (render([scene], np.arange(40), 64)[0].permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    right = attributes(scene.caption(), frames)
    assert set(right) == {f"{name}_{end}" for name in PROBED for end in ("start", "end")}
    assert all(right.values())
    wrong = attributes(replace(scene, color="green" if scene.color != "green" else "red").caption(), frames)
    assert not wrong["color_start"] and not wrong["color_end"] and wrong["background_end"]


def test_a_prompt_of_another_world_has_no_attributes():
    assert attributes("a street in the rain", np.zeros((20, 8, 8, 3), np.uint8)) == {}
