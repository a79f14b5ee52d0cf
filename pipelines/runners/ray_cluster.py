"""The Ray cluster: joins or starts one, reserves resources for the pools, starts their actors."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from longtake.actors.pool import Pool
from longtake.actors.worker import Callee, WorkerActor
from longtake.pipelines.config.cluster import ClusterParams, PoolParams
from longtake.pipelines.terminal.signals import own_signals

logger = logging.getLogger(__name__)
WAIT_QUIETLY_S = 10.0
POOL = "LONGTAKE_POOL"  # in an actor's environment: the name of its pool, for people who look at processes
Factories = Mapping[str, Callable[[], Callee]]  # base, refiner, writer -> builds the object in its actors


def connect(params: ClusterParams) -> None:
    """Joins the cluster at the address, or starts one here. Raises ValueError if that fails."""
    if ray.is_initialized():
        return
    address = params.address or os.environ.get("RAY_ADDRESS")
    # Workers run at nice 15 by default: any other process of the machine would take precedence.
    os.environ.setdefault("RAY_worker_niceness", "0")
    with own_signals():
        try:
            if address:
                ray.init(address, log_to_driver=False)
            else:
                _start_cluster(params)
        except (ConnectionError, RuntimeError, ValueError) as error:
            first = " ".join(str(error).split())[:300]
            problem = f"ray.address={address}: no Ray cluster answers there" if address else "Ray cannot start here"
            raise ValueError(f"{problem} ({first})") from None


def _start_cluster(params: ClusterParams) -> None:
    num_reserved = sum(pool.num_actors * pool.num_cpus for pool in (params.base, params.refiner, params.writer))
    # The number of CPUs is a budget: with fewer than the pools reserve, Ray would not start their actors.
    num_cpus = max(os.cpu_count() or 1, int(-(-num_reserved // 1)))
    shared_bytes = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else None
    # Ray warns that its token authentication is on, as it should be, and of a small /dev/shm in terms of its options.
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init("local", num_cpus=num_cpus, **options)
    finally:
        logging.getLogger("ray").setLevel(logging.WARNING)
    store_bytes = ray.cluster_resources().get("object_store_memory", 0)  # type: ignore[no-untyped-call]
    if shared_bytes is not None and shared_bytes < store_bytes:  # then Ray takes a folder on disk
        logger.warning(
            "/dev/shm has %.1f GB free and Ray's object store takes %.1f GB: it is on disk, so frames pass between "
            "actors more slowly. In Docker, start the container with --shm-size=%dg",
            *(shared_bytes / 1e9, store_bytes / 1e9, -(-store_bytes * 1.1 // 2**30)),
        )


@contextmanager
def pools(params: ClusterParams, factories: Factories) -> Iterator[dict[str, Pool]]:
    """A proven pool for each of `factories`; the actors and their resources are released at the end.

    Raises RuntimeError when the cluster cannot hold them in time, with the resources it has and lacks, or when they
    cannot work, with the reason.
    """
    group = _reserve(params, factories)
    started: dict[str, Pool] = {}
    try:
        bundle = 0
        for name, factory in factories.items():
            wants: PoolParams = getattr(params, name)
            start = partial(_start, name, factory, wants, group if _bundle(wants) else None, bundle)
            started[name] = Pool(name, start, wants.num_actors)
            bundle += wants.num_actors if _bundle(wants) else 0
        for pool in started.values():  # all of them are building at the same time by now
            pool.prove(params.start_timeout_s)
        yield started
    finally:
        for pool in started.values():
            pool.close()
        if group is not None:
            remove_placement_group(group)


def _start(
    pool: str, factory: Callable[[], Callee], wants: PoolParams, group: PlacementGroup | None, first: int, index: int
) -> Any:
    place = PlacementGroupSchedulingStrategy(group, first + index) if group is not None else "DEFAULT"
    return WorkerActor.options(
        num_cpus=wants.num_cpus,
        num_gpus=wants.num_gpus,
        max_restarts=-1,
        max_task_retries=0,  # retries are ours: counted, and the same in every runner
        scheduling_strategy=place,
        # Libraries that count the machine's cores would use them all. A stage sets its own number of threads.
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", POOL: pool}},
    ).remote(factory)


def _reserve(params: ClusterParams, names: Factories) -> PlacementGroup | None:
    wanted = [_bundle(wants) for name in names for wants in [getattr(params, name)] for _ in range(wants.num_actors)]
    bundles = [bundle for bundle in wanted if bundle]
    if not bundles:
        return None
    group: PlacementGroup = placement_group(bundles, strategy=params.strategy)
    reserved = group.ready()
    ready, _ = ray.wait([reserved], timeout=min(WAIT_QUIETLY_S, params.start_timeout_s))
    if not ready:  # another job may end, or the cluster grow: keep waiting, but not in silence
        logger.warning("%s; waiting for more resources", _too_small(params, bundles))
        ready, _ = ray.wait([reserved], timeout=max(0.0, params.start_timeout_s - WAIT_QUIETLY_S))
    if ready:
        return group
    remove_placement_group(group)
    raise RuntimeError(_too_small(params, bundles))


def _bundle(wants: PoolParams) -> dict[str, float]:
    return {name: count for name, count in (("CPU", wants.num_cpus), ("GPU", wants.num_gpus)) if count}


def _too_small(params: ClusterParams, bundles: list[dict[str, float]]) -> str:
    there, free = ray.cluster_resources(), ray.available_resources()  # type: ignore[no-untyped-call]
    parts = []
    for name in ("CPU", "GPU"):
        needed = sum(bundle.get(name, 0.0) for bundle in bundles)
        if needed:
            missing = max(0.0, needed - free.get(name, 0.0))
            parts.append(
                f"{name}: {needed:g} needed, {there.get(name, 0.0):g} there, {free.get(name, 0.0):g} free, "
                f"{missing:g} missing"
            )
    machines = len(ray.nodes())  # type: ignore[no-untyped-call]
    return (
        f"the cluster cannot hold the actors (ray.start_timeout_s={params.start_timeout_s:g}, "
        f"ray.strategy={params.strategy}, {machines} machines; {'; '.join(parts)}): ask for fewer actors "
        "(ray.base.num_actors, ray.refiner.num_actors), or for less each (num_cpus, num_gpus)"
    )
