"""Receipts become a list of timed tasks, and a chart of them."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import ImageColor

from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import StageName
from longtake.pipelines.dev.timeline import COLORS, TimedTask, draw_timeline, timed_tasks
from tests.pipelines.runners.test_ray_runner import conf_of, running


@pytest.fixture(scope="module")
def runs(ray_cluster):
    """The same two videos of 40 frames, in the published order and as they come."""
    specs = [PromptSpec(name, "a red circle", num_frames=40) for name in "ab"]
    with running(conf_of("ray.refiner.num_actors=2")) as runner:
        return timed_tasks(runner, specs, in_order=True), timed_tasks(runner, specs)


@pytest.mark.xdist_group("ray")
def test_every_call_is_there_once_and_an_actor_makes_one_at_a_time(runs):
    for some in runs:
        generated = [(task.video, task.index) for task in some if task.stage == StageName.GENERATE.value]
        assert sorted(generated) == [(video, chunk) for video in "ab" for chunk in range(4)]
        assert {(task.video, task.index) for task in some} - set(generated) <= set(generated)
        assert {task.actor for task in some} <= {"base 1", "refiner 1", "refiner 2"}
        for actor in {task.actor for task in some}:
            own = [task for task in some if task.actor == actor]
            assert all(a.began_s <= a.ended_s <= b.began_s for a, b in pairwise(own)), actor
    assert min(task.began_s for task in runs[0]) == 0


@pytest.mark.xdist_group("ray")
def test_in_order_no_window_begins_before_the_last_chunk_has_ended(runs):
    chunks = [task for task in runs[0] if task.stage == StageName.GENERATE.value]
    windows = [task for task in runs[0] if task.stage == StageName.REFINE.value]
    assert max(task.ended_s for task in chunks) <= min(task.began_s for task in windows)


def _task(actor: str, video: str, began_s: float, ended_s: float) -> TimedTask:
    return TimedTask("refine", actor, video, 0, began_s, ended_s, 0.0)


def test_the_chart_has_a_lane_per_actor_and_a_colour_per_video():
    first = [_task("base 1", "a", 0, 5), _task("refiner 1", "b", 5, 10)]
    figure = draw_timeline({"one": first, "two": [_task("refiner 1", "a", 0, 2)]})
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[::-1, :, :3]  # upwards, as matplotlib counts
    one, two = figure.axes
    assert [label.get_text() for label in one.get_yticklabels()] == ["base 1", "refiner 1"]
    a, b = (ImageColor.getrgb(color) for color in COLORS[:2])
    for chart, lane, at_s, color in (
        (one, 0, 2.2, a),
        (one, 0, 7.2, None),
        (one, 1, 2.2, None),
        (one, 1, 7.2, b),
        (two, 0, 1.2, a),
        (two, 0, 7.2, None),
    ):
        x, y = chart.transData.transform((at_s, lane))
        assert tuple(image[int(y), int(x)]) == (color or (255, 255, 255)), (lane, at_s)
    assert [text.get_text() for text in (*one.texts, *two.texts)] == ["0", "0", "0"]


def test_a_run_without_tasks_is_refused():
    with pytest.raises(ValueError, match=r"runs \['empty'\]"):
        draw_timeline({"empty": []})
