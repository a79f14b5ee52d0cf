"""The Ray cluster: joins or starts one, reserves resources for the pools, starts their actors."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from longtake.actors.pool import Pool
from longtake.actors.worker import Callee, WorkerActor
from longtake.pipelines.config.cluster import ClusterParams, PoolParams
from longtake.pipelines.runners.machines import watched_machines
from longtake.pipelines.runners.placement import Machine, Share, why_not
from longtake.pipelines.runners.ray_start import check_answers, temp_folder, why_no_answer, why_no_start
from longtake.pipelines.terminal.exit_codes import Refused
from longtake.pipelines.terminal.progress import doing, duration
from longtake.pipelines.terminal.signals import own_signals

logger = logging.getLogger(__name__)
WAIT_QUIETLY_S = 10.0
POOL = "LONGTAKE_POOL"  # in an actor's environment: the name of its pool, for people who look at processes
Factories = Mapping[str, Callable[[], Callee]]  # base, refiner, writer -> builds the object in its actors


def connect(params: ClusterParams) -> None:
    """Joins the cluster at the address, or starts one here. Raises Refused, naming the cause, if that fails."""
    if ray.is_initialized():
        return
    # Workers run at nice 15 by default: any other process of the machine would take precedence.
    os.environ.setdefault("RAY_worker_niceness", "0")
    setting = "ray.address" if params.address else "RAY_ADDRESS"
    address = params.address or os.environ.get("RAY_ADDRESS")
    if not address:
        return _start_cluster(params)
    with doing(f"waiting for Ray at {address}"), own_signals():
        check_answers(address, setting)
        try:
            ray.init(address, log_to_driver=False)
        except Exception as error:  # ConnectionError, RuntimeError, ValueError, and others of gRPC
            raise Refused(why_no_answer(address, setting, error)) from None


def _start_cluster(params: ClusterParams) -> None:
    num_reserved = sum(pool.num_actors * pool.num_cpus for pool in (params.base, params.refiner, params.writer))
    # The number of CPUs is a budget: with fewer than the pools reserve, Ray would not start their actors.
    num_cpus = max(os.cpu_count() or 1, int(-(-num_reserved // 1)))
    shared_bytes = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else 0
    # Ray warns that its token authentication is on, as it should be, and of a small /dev/shm in terms of its options.
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        _start(params.start_timeout_s, temp_folder(os.environ), {"num_cpus": num_cpus, **options})
    finally:
        logging.getLogger("ray").setLevel(logging.WARNING)
    store_bytes = ray.cluster_resources().get("object_store_memory", 0)  # type: ignore[no-untyped-call]
    if shared_bytes < store_bytes:  # then Ray takes a folder on disk
        logger.warning(
            "/dev/shm has %.1f GB free and Ray's object store takes %.1f GB: it is on disk, so frames pass between "
            "actors more slowly. In Docker, start the container with --shm-size=%dg",
            *(shared_bytes / 1e9, store_bytes / 1e9, -(-store_bytes * 1.1 // 2**30)),
        )


def _start(timeout_s: float, folder: Path, options: dict[str, Any]) -> None:
    """Starts Ray; again while there is time, since it gives up after 30 s, which a busy machine may need."""
    until = time.monotonic() + timeout_s
    while True:
        with doing("starting Ray"), own_signals():
            try:
                ray.init("local", _temp_dir=str(folder), **options)
                return
            except (Exception, SystemExit) as error:  # Ray raises a bare Exception when it took too long
                with suppress(Exception):
                    ray.shutdown()
                if "timed out" not in str(error) or time.monotonic() > until:
                    raise Refused(why_no_start(error, folder, timeout_s)) from None
        logger.warning("Ray did not start within its 30 s; trying again")


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
            start = partial(_start_actor, name, factory, wants, group if _bundle(wants) else None, bundle)
            started[name] = Pool(name, start, wants.num_actors)
            bundle += wants.num_actors if _bundle(wants) else 0
        for pool in started.values():
            pool.begin_to_prove()
        with doing(partial(_loading, started)):
            for pool in started.values():
                pool.prove(params.start_timeout_s)
        with watched_machines():
            yield started
    finally:
        for pool in started.values():
            pool.close()
        if group is not None:
            remove_placement_group(group)


def _loading(pools: Mapping[str, Pool], seconds: float) -> str:
    """The status while the actors build their stages."""
    ready = ", ".join(f"{name} {pool.num_proven}/{len(pool.actors)}" for name, pool in pools.items())
    return f"loading the models ({ready}), {duration(seconds)}"


def _start_actor(
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
    pools: dict[str, PoolParams] = {name: getattr(params, name) for name in names}
    shares = [Share(name, _bundle(wants)) for name, wants in pools.items() for _ in range(wants.num_actors)]
    shares = [share for share in shares if share.wants]
    if not shares:
        return None
    group: PlacementGroup = placement_group([dict(share.wants) for share in shares], strategy=params.strategy)
    reserved = group.ready()
    until = time.monotonic() + params.start_timeout_s
    why = ""
    with doing("waiting for the resources of the actors"):
        # Another job may end, or the cluster grow.
        while not ray.wait([reserved], timeout=max(0.0, min(WAIT_QUIETLY_S, until - time.monotonic())))[0]:
            before, why = why, why_not(shares, params.strategy, _machines())
            if time.monotonic() >= until:
                remove_placement_group(group)
                raise RuntimeError(f"no actors within ray.start_timeout_s={params.start_timeout_s:g}: {why}")
            if why != before:
                logger.warning("waiting for resources: %s", why)
    return group


def _machines() -> list[Machine]:
    """The machines that are alive."""
    free = ray._private.state.available_resources_per_node()  # type: ignore[no-untyped-call]
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Machine(node["NodeManagerHostname"], node["Resources"], free.get(node["NodeID"], {})) for node in nodes]


def _bundle(wants: PoolParams) -> dict[str, float]:
    return {name: count for name, count in (("CPU", wants.num_cpus), ("GPU", wants.num_gpus)) if count}
