"""Ray Data over listed videos: a worker object in each of several processes, one video a call.

A video that kills its worker (its decoder crashes, memory runs out) affects no other: each is a block of its own, a
worker has one at a time, and after ATTEMPTS the video is given up while the others go on.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from longtake.pipelines.datasets.video_list import Listed

ATTEMPTS = 3
DIED = f"its worker died in {ATTEMPTS} attempts: the file crashes the decoder, or memory is short"


def map_videos(
    videos: Sequence[Listed],
    build: Callable[..., Callable[[Listed], Mapping[str, Any]]],
    args: tuple[Any, ...],
    num_workers: int,
    num_gpus: int = 0,
) -> Iterator[tuple[Listed, dict[str, Any] | str]]:
    """Each video with the row that `build(*args)(video)` returns, or the reason why there is none, in order of
    completion, on the cluster in use.

    Each of up to `num_workers` processes, which have a CPU and `num_gpus` each, calls `build` once. Videos whose worker
    DIED come last.
    """
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    items = ray.data.from_items(
        [{"number": number, "item": video.as_text()} for number, video in enumerate(videos)],
        override_num_blocks=len(videos),
    )
    items.context.enable_progress_bars = False
    items.context.max_errored_blocks = -1
    rows = items.map_batches(
        _Worker,
        fn_constructor_args=(build, args),
        batch_size=1,
        batch_format="numpy",
        num_cpus=1,
        num_gpus=num_gpus,
        ray_remote_args_fn=_attempts,
        # The pool grows while videos wait.
        compute=ray.data.ActorPoolStrategy(
            min_size=1, max_size=max(1, min(num_workers, len(videos))), max_tasks_in_flight_per_actor=1
        ),
    )
    lost = dict(enumerate(videos))
    for row in rows.iter_rows():
        yield lost.pop(int(row["number"])), json.loads(row["row"])
    for video in lost.values():
        yield video, DIED


def _attempts() -> dict[str, int]:
    """ATTEMPTS per video; workers restart without limit, because Ray's pool would wait forever for a dead one."""
    return {"max_restarts": -1, "max_task_retries": ATTEMPTS - 1}


class _Worker:
    """A worker object as Ray Data calls it. Rows travel as JSON: their columns may differ from video to video.

    It raises nothing: Ray Data would drop the video, as if its worker had died.
    """

    def __init__(self, build: Callable[..., Callable[[Listed], Mapping[str, Any]]], args: tuple[Any, ...]) -> None:
        self._build = partial(build, *args)
        self._work: Callable[[Listed], Mapping[str, Any]] | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {"number": batch["number"], "row": [self._row(item) for item in batch["item"]]}

    def _row(self, item: str) -> str:
        try:
            self._work = self._work or self._build()
            return json.dumps(self._work(Listed.of_text(item)))
        except Exception as error:  # each library has its own
            return json.dumps(f"its worker failed: {type(error).__name__}: {' '.join(str(error).split())}"[:500])
