"""The work of a command that writes one video: its runner on a cluster, and its recording.

Imports are in the functions, as in commands.py.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longtake.models.domain.extension import Extension
    from longtake.models.domain.plan import Plan
    from longtake.models.video.sound import Sound
    from longtake.pipelines.cli.video_recorder import OutputPaths, Stream
    from longtake.pipelines.config.conf import Conf
    from longtake.pipelines.runners.ray_runner import RayRunner

logger = logging.getLogger(__name__)


@contextmanager
def ray_runner(conf: "Conf") -> "Iterator[RayRunner]":
    """A runner on the cluster, with actors of its own."""
    from longtake.pipelines.runners.ray_cluster import connect
    from longtake.pipelines.runners.ray_runner import running
    from longtake.pipelines.runners.stages import stage_factories

    connect(conf.ray)
    with running(conf, stage_factories(conf)) as runner:
        yield runner


def record_video(
    stream: "Stream",
    plan: "Plan",
    conf: "Conf",
    fps: float | Fraction,
    places: "OutputPaths",
    source: str,
    costs: tuple[int, int],
    sound: "Sound | None" = None,
    extension: "Extension | None" = None,
) -> None:
    """Writes the video of a stream to its files, and shows the progress meanwhile."""
    from longtake.pipelines.cli.video_progress import VideoProgress
    from longtake.pipelines.cli.video_recorder import record
    from longtake.pipelines.terminal.progress import doing

    progress = VideoProgress(plan, conf.refiner.num_steps, source, costs, extension)
    num_frames = plan.num_frames if extension is None else extension.num_old + extension.num_new
    with doing(progress.status):
        report = record(stream, num_frames, fps, places, progress.observe, sound)
    for note in report.notes:
        logger.warning("%s: %s", places.out, note)
    print(f"{places.out}: {report}")
    for path in (places.preview, places.contact_sheet):
        if path is not None:
            print(path)
