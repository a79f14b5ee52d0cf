"""The Ray cluster: joins or starts one, reserves resources for the pools, starts their actors."""

import logging
import os
import signal
import threading
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

logger = logging.getLogger(__name__)
WAIT_QUIETLY_S = 10.0
POOL = "LONGTAKE_POOL"  # in an actor's environment: the name of its pool, for people who look at processes
Factories = Mapping[str, Callable[[], Callee]]  # base, refiner, writer -> builds the object in its actors


def connect(params: ClusterParams) -> None:
    """Joins the named cluster, or starts one here. Raises ValueError when there is none at that address."""
    if ray.is_initialized():
        return
    address = params.address or os.environ.get("RAY_ADDRESS")
    # Workers run at nice 15 by default: any other process of the machine would take precedence.
    os.environ.setdefault("RAY_worker_niceness", "0")
    with own_signals():
        _init(params, address)


def _init(params: ClusterParams, address: str | None) -> None:
    try:
        if address:
            ray.init(address, log_to_driver=False)
        else:
            own = sum(pool.num_actors * pool.num_cpus for pool in (params.base, params.refiner, params.writer))
            # A cluster of our own: its count of CPUs is a budget, which the pools may fill but Ray would not exceed.
            num_cpus = max(os.cpu_count() or 1, int(-(-own // 1)))
            ray.init("local", num_cpus=num_cpus, include_dashboard=False, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = " ".join(str(error).split())[:300]
        raise ValueError(f"ray.address={address}: no Ray cluster answers there ({first})") from None


@contextmanager
def own_signals() -> Iterator[None]:
    """Restores our handlers of SIGTERM and SIGINT afterwards.

    Ray takes SIGTERM and aborts the process, which could not react to `ray job stop`. Ray Train takes SIGINT and keeps
    it afterwards: the next Ctrl-C would be lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        logger.warning("%s; waiting for it", _too_small(params, bundles))
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
