"""Pools in a Ray cluster, with actors that are started and ended as outside of the tests."""

import time

import pytest
import ray
from ray.exceptions import RayActorError

from longtake.pipelines.config.cluster import ClusterParams, PoolParams
from longtake.pipelines.runners.ray_cluster import pools
from tests.support.ray_toys import ToyFactory

pytestmark = pytest.mark.xdist_group("ray")


def free_cpus():
    return ray.available_resources().get("CPU", 0)


def test_pools_hold_their_cpus_while_they_are_open_and_their_actors_end_with_them(own_actors):
    before = free_cpus()
    params = ClusterParams(base=PoolParams(num_cpus=2), refiner=PoolParams(num_actors=2))
    with pools(params, {stage: ToyFactory(stage) for stage in ("base", "refiner")}) as ready:
        assert {name: len(pool.actors) for name, pool in ready.items()} == {"base": 1, "refiner": 2}
        actors = [actor for pool in ready.values() for actor in pool.actors]
        assert len(set(ray.get([actor.prove.remote() for actor in actors]))) == 3
        assert free_cpus() == before - 4
    for actor in actors:
        with pytest.raises(RayActorError):
            ray.get(actor.prove.remote())
    until = time.monotonic() + 30
    while free_cpus() < before:
        assert time.monotonic() < until, "the CPUs do not come back"
        time.sleep(0.1)
