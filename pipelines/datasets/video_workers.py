"""Ray Data over listed videos: a worker object in each of several processes, one video a call."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from longtake.pipelines.datasets.video_list import Listed


def map_videos(
    videos: Sequence[Listed],
    build: Callable[..., Callable[[Listed], Mapping[str, Any]]],
    args: tuple[Any, ...],
    num_blocks: int,
    max_errored_blocks: int = 0,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """The row that `build(*args)(video)` returns for each video, in order of completion, on the cluster in use.

    Each worker process calls `build` once. `options` are those of `ray.data.Dataset.map_batches`: CPUs, GPUs, workers.
    """
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    items = ray.data.from_items([{"item": video.as_text()} for video in videos], override_num_blocks=num_blocks)
    items.context.enable_progress_bars = False
    items.context.max_errored_blocks = max_errored_blocks
    rows = items.map_batches(
        _Worker, fn_constructor_args=(build, args), batch_size=1, batch_format="numpy", num_cpus=1, **options
    )
    for row in rows.iter_rows():
        yield json.loads(row["row"])


class _Worker:
    """A worker object as Ray Data calls it. Rows travel as JSON: their columns may differ from video to video."""

    def __init__(self, build: Callable[..., Callable[[Listed], Mapping[str, Any]]], args: tuple[Any, ...]) -> None:
        self._work = build(*args)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        return {"row": [json.dumps(self._work(Listed.of_text(item))) for item in batch["item"]]}
