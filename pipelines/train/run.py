"""Shared by all trainings: the MLflow run of a work folder, and the first weights of new networks.

An interrupted training continues the same run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    """The tracker of the leading worker; the trackers of the others record nothing. `about` are the run's params."""
    if group.leads:
        with job_run(params, Store(folder), "tracking.json", "train", about) as tracker:
            yield tracker
    else:
        with open_tracker(TrackingParams(enabled=False), folder, "train") as tracker:
            yield tracker


@contextmanager
def first_weights(seed: int, stage: str) -> Iterator[None]:
    """Seeds torch's own generator, for new networks, by seed and stage: the same in every worker."""
    with torch.random.fork_rng():
        torch.manual_seed(int(rng_for(seed, f"first-weights-{stage}", 0, 0).integers(2**63)))
        yield
