"""What trainings share around their stages: the MLflow run of a work folder, and the first weights of new networks.

What was interrupted goes on with the same run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from longtake.models.diffusion.noise import rng_for
from longtake.pipelines.files.store import Store
from longtake.pipelines.tracking.job_run import job_run, open_tracker
from longtake.pipelines.tracking.settings import TrackingParams
from longtake.pipelines.tracking.tracker import Tracker
from longtake.pipelines.train.worker_group import WorkerGroup


@contextmanager
def tracked(params: TrackingParams, folder: Path, group: WorkerGroup, about: Mapping[str, object]) -> Iterator[Tracker]:
    """The tracker of the leading worker; those of the others record nothing. `about` are the run's params."""
    if group.leads:
        with job_run(params, Store(folder), "tracking.json", "train", about) as tracker:
            yield tracker
    else:
        with open_tracker(replace(params, enabled=False), folder, "train") as tracker:
            yield tracker


@contextmanager
def first_weights(seed: int, stage: str) -> Iterator[None]:
    """What torch draws by itself, new networks, follows from the seed and the stage: in every worker the same."""
    with torch.random.fork_rng():
        torch.manual_seed(int(rng_for(seed, f"first-weights-{stage}", 0, 0).integers(2**63)))
        yield
