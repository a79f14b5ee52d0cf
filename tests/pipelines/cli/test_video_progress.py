"""The progress of one video in words."""

from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.scheduler import StageName, Task
from longtake.models.domain.span import Span
from longtake.pipelines.cli.video_progress import VideoProgress


def test_chunks_and_cells_are_counted_and_there_is_one_time_left():
    plan = Plan(24, PlanParams())
    progress = VideoProgress(plan, num_steps=4)
    assert progress.status(0.0).text == "base model 0/2 chunks, refiner 0/5 cells, 0/1 segments final"
    progress.observe(Task("v", StageName.GENERATE, 0, None, ()), None)
    progress.observe(Task("v", StageName.REFINE, 0, Span(0, 3), ()), None)
    assert progress.status(8.0).text == "base model 1/2 chunks, refiner 3/5 cells, 0/1 segments final, 6 s left"
    progress.observe(Task("v", StageName.GENERATE, 1, None, ()), None)
    progress.observe(Task("v", StageName.REFINE, 0, Span(4, 5), ()), None)
    assert "1/1 segments final" in progress.status(9.0).text


def test_the_time_left_counts_computed_pixels():
    progress = VideoProgress(Plan(24, PlanParams()), num_steps=4, costs=(10, 1))
    progress.observe(Task("v", StageName.GENERATE, 0, None, ()), None)
    assert progress.status(10.0).text.endswith("15 s left")  # 10 of 25


def test_of_a_video_that_is_continued_only_new_chunks_and_windows_count():
    extension = Extension(40, 8, PlanParams())  # windows 2 is new, and of its chunks the last one
    progress = VideoProgress(extension.plan, num_steps=4, extension=extension)
    new = extension.plan.chunk_at(extension.end)
    for index in (new - 1, new):
        progress.observe(Task("v", StageName.GENERATE, index, None, ()), None)
    for index in (extension.window - 1, extension.window):
        progress.observe(Task("v", StageName.REFINE, index, Span(0, 4), ()), None)
    left = len(extension.plan.chunks) - new
    assert progress.status(0.0).text.startswith(f"base model 1/{left} chunks, refiner 4/5 cells, 0/1 segments final")
