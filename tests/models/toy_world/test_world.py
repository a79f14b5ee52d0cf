import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.toy_world.render import object_mask, render
from longtake.models.toy_world.world import (
    ATTRIBUTES,
    BACKGROUNDS,
    COLORS,
    DIRECTIONS,
    WORDS,
    attributes_of,
    center,
    nearest_word,
    sample_scene,
)

GRAMMAR = re.compile(
    r"a ((small|large) )?(red|green|blue|yellow|magenta|cyan|orange|white) (circle|square|triangle|ring) "
    r"(moves left|moves right|moves up|moves down|bounces)"
    r"( over a ((plain|gradient|striped) )?(black|gray|navy|brown|olive|teal) background)?"
)


@given(st.integers(0, 2**32), st.sets(st.sampled_from(["size", "style", "background"])))
def test_captions_keep_to_the_grammar_and_to_the_words(seed, without):
    caption = sample_scene(np.random.default_rng(seed)).caption(frozenset(without))
    assert GRAMMAR.fullmatch(caption)
    assert set(caption.split()) <= set(WORDS)


@given(st.integers(0, 2**32))
def test_a_whole_caption_gives_its_words_back_and_no_other_text_does(seed):
    scene = sample_scene(np.random.default_rng(seed))
    assert attributes_of(scene.caption()) == {name: getattr(scene, name) for name in ATTRIBUTES}
    for text in (scene.caption(frozenset({"style"})), f"{scene.caption()} ", scene.caption().replace("over", "under")):
        with pytest.raises(ValueError, match="must be: a {size} {color}"):
            attributes_of(text)


def test_the_nearest_word_is_another_one_of_the_closest_colour():
    assert [nearest_word(BACKGROUNDS, word) for word in ("olive", "brown", "black")] == ["brown", "olive", "navy"]
    assert [nearest_word(COLORS, word) for word in ("yellow", "red")] == ["orange", "orange"]


def test_fixed_words_are_kept():
    scene = sample_scene(np.random.default_rng(0), color="cyan", motion="bounces")
    assert (scene.color, scene.motion) == ("cyan", "bounces")


@given(st.integers(0, 2**32), st.sampled_from(list(DIRECTIONS)))
def test_objects_start_where_they_come_from_and_move_their_way(seed, direction):
    scene = sample_scene(np.random.default_rng(seed), motion=f"moves {direction}")
    step = np.diff(center(scene, np.arange(2)), axis=0)[0]
    step = (step + 0.5) % 1 - 0.5
    axis = 0 if DIRECTIONS[direction][0] else 1
    assert np.sign(step[axis]) == DIRECTIONS[direction][axis] and abs(step[1 - axis]) < 1e-9
    assert (scene.start[axis] < 0.5) == (DIRECTIONS[direction][axis] > 0)


def test_a_bounce_comes_back_to_where_it_began():
    scene = sample_scene(np.random.default_rng(3), motion="bounces")
    path = center(scene, np.arange(33))
    assert np.allclose(path[0], path[16]) and np.allclose(path[0], path[32])
    assert np.ptp(path[:, 1]) > 0.3 and np.ptp(path[:, 0]) == 0


def test_frames_are_a_function_of_scene_number_and_size():
    scenes = [sample_scene(np.random.default_rng(i)) for i in range(4)]
    video = render(scenes, np.arange(10, 14), 32)
    alone = render(scenes[2:3], np.array([12]), 32)
    assert video.shape == (4, 4, 3, 32, 32) and 0 <= video.min() and video.max() <= 1
    assert torch.equal(video[2, 2], alone[0, 0])


def test_each_clip_may_have_frame_numbers_of_its_own():
    scenes = [sample_scene(np.random.default_rng(i)) for i in range(2)]
    both = render(scenes, np.array([[0, 1], [7, 8]]), 32)
    assert torch.equal(both[1], render(scenes[1:], np.array([7, 8]), 32)[0])


def test_an_object_that_leaves_on_one_side_enters_on_the_other():
    scene = sample_scene(np.random.default_rng(0), motion="moves right", style="plain", shape="square", size="large")
    cover = [
        (frame - torch.tensor(scene.background_rgb)[:, None, None]).abs().sum().item()
        for frame in render([scene], np.arange(60), 64)[0]
    ]
    assert np.ptp(cover) < 0.03 * np.mean(cover)


def test_a_square_has_the_area_of_a_circle_of_its_radius_and_a_triangle_less():
    area = {shape: object_mask(shape, 0.2, 128).mean().item() for shape in ATTRIBUTES["shape"]}
    assert abs(area["square"] / area["circle"] - 1) < 0.02
    assert abs(area["triangle"] / area["circle"] - 0.6) < 0.02
