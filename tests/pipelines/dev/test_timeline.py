"""Receipts become a list of works, and a picture of them."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import ImageColor

from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import Stage
from longtake.pipelines.dev.timeline import AXIS, COLORS, LANE, LEFT, RIGHT, TITLE, Work, draw_timeline, works
from tests.pipelines.runners.test_ray_runner import conf_of, running


@pytest.fixture(scope="module")
def runs(ray_cluster):
    """The same two videos of 40 frames, in the published order and as they come."""
    specs = [PromptSpec(name, "a red circle", num_frames=40) for name in "ab"]
    with running(conf_of("ray.refiner.num_actors=2")) as runner:
        return works(runner, specs, in_order=True), works(runner, specs)


@pytest.mark.xdist_group("ray")
def test_every_call_is_there_once_and_an_actor_makes_one_at_a_time(runs):
    for some in runs:
        generated = [(work.video, work.index) for work in some if work.stage == Stage.GENERATE.value]
        assert sorted(generated) == [(video, chunk) for video in "ab" for chunk in range(4)]
        assert {(work.video, work.index) for work in some} - set(generated) <= set(generated)
        assert {work.actor for work in some} <= {"base 1", "refiner 1", "refiner 2"}
        for actor in {work.actor for work in some}:
            own = [work for work in some if work.actor == actor]
            assert all(a.began_s <= a.ended_s <= b.began_s for a, b in pairwise(own)), actor
    assert min(work.began_s for work in runs[0]) == 0


@pytest.mark.xdist_group("ray")
def test_in_order_no_window_begins_before_the_last_chunk_has_ended(runs):
    chunks = [work for work in runs[0] if work.stage == Stage.GENERATE.value]
    windows = [work for work in runs[0] if work.stage == Stage.REFINE.value]
    assert max(work.ended_s for work in chunks) <= min(work.began_s for work in windows)


def _work(actor: str, video: str, began_s: float, ended_s: float) -> Work:
    return Work("refine", actor, video, 0, began_s, ended_s, 0.0)


def test_the_picture_has_a_lane_an_actor_and_a_colour_a_video():
    first = [_work("base 1", "a", 0, 5), _work("refiner 1", "b", 5, 10)]
    image = np.asarray(draw_timeline({"one": first, "two": [_work("refiner 1", "a", 0, 2)]}, width=1000))
    assert image.shape == (2 * TITLE + 3 * LANE + AXIS, 1000, 3)
    a, b = (ImageColor.getrgb(color) for color in COLORS[:2])
    second = (1000 - LEFT - RIGHT) / 10  # pixels
    for lane_top, at_s, color in (
        (TITLE, 2.2, a),
        (TITLE, 7.2, None),
        (TITLE + LANE, 2.2, None),
        (TITLE + LANE, 7.2, b),
        (2 * TITLE + 2 * LANE, 1.2, a),
        (2 * TITLE + 2 * LANE, 7.2, None),
    ):
        pixel = tuple(image[lane_top + 5, int(LEFT + at_s * second)])
        assert pixel == (color or (255, 255, 255)), (lane_top, at_s)


def test_a_run_without_work_is_no_picture():
    with pytest.raises(ValueError, match=r"runs \['empty'\]"):
        draw_timeline({"empty": []})
