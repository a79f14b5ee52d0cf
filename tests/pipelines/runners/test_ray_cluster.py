"""Pools in a Ray cluster, with actors that are started and ended as outside the tests."""

import os
import subprocess
import sys

import pytest
import ray
from ray.exceptions import RayActorError
from ray.util import placement_group_table

from longtake.pipelines.config.cluster import ClusterParams, PoolParams
from longtake.pipelines.runners.ray_cluster import pools
from tests.support.places import ROOT
from tests.support.ray_toys import ToyFactory

pytestmark = pytest.mark.xdist_group("ray")


def reservations():
    """Resources of each placement group that exists."""
    return {name: one["bundles"] for name, one in placement_group_table().items() if one["state"] == "CREATED"}


def test_pools_reserve_their_cpus_while_they_are_open_and_their_actors_end_with_them(own_actors):
    before = set(reservations())
    params = ClusterParams(base=PoolParams(num_cpus=2), refiner=PoolParams(num_actors=2))
    with pools(params, {stage: ToyFactory(stage) for stage in ("base", "refiner")}) as ready:
        actors = [actor for pool in ready.values() for actor in pool.actors]
        assert len(set(ray.get([actor.prove.remote() for actor in actors]))) == 3
        [(group, bundles)] = [(name, bundles) for name, bundles in reservations().items() if name not in before]
        assert bundles == {0: {"CPU": 2.0}, 1: {"CPU": 1.0}, 2: {"CPU": 1.0}}
    assert group not in reservations()
    for actor in actors:
        with pytest.raises(RayActorError):
            ray.get(actor.prove.remote())


def test_toys_and_writers_load_no_torch():
    """Torch costs an actor six seconds, and the tests start more than a hundred."""
    script = (
        "import sys, tests.support.engine_toys, longtake.actors.worker, longtake.pipelines.bulk.writer, "
        "longtake.pipelines.serve.library.take_writer; print('torch' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
