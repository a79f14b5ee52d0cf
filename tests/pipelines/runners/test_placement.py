"""The reasons for resources that are not granted, each in words that agree with the numbers."""

import pytest

from longtake.pipelines.runners.placement import Machine, Share, why_not


def machine(name, cpu, free=None, gpu=0.0, free_gpu=None):
    total = {"CPU": cpu, "memory": 1e9} | ({"GPU": gpu} if gpu else {})
    return Machine(name, total, {"CPU": cpu if free is None else free} | {"GPU": gpu if free_gpu is None else free_gpu})


def share(pool, cpu=1.0, gpu=0.0):
    return Share(pool, {name: value for name, value in (("CPU", cpu), ("GPU", gpu)) if value})


TWO = [machine("m1", 2.0), machine("m2", 2.0)]
CASES = [
    (
        [share("base", 3.0)],
        "PACK",
        TWO,
        "an actor needs 3 CPUs (ray.base.num_cpus=3), and the largest machine, m1, has 2 CPUs",
    ),
    (
        [share("base"), share("refiner"), share("refiner")],
        "STRICT_PACK",
        TWO,
        "ray.strategy=STRICT_PACK needs one machine with 3 CPUs, and the largest one, m1, has 2 CPUs",
    ),
    ([share("base", 2.0)] * 3, "PACK", TWO, "the cluster is too small: 6 CPUs needed, 4 in all on 2 machines"),
    (
        [share("base", 1.5)] * 2 + [share("refiner", 1.0)],
        "SPREAD",
        TWO,
        "cannot be divided among these machines (m1: 2 CPUs",
    ),
    (
        [share("base", 1.0, 1.0)],
        "PACK",
        TWO,
        "an actor needs 1 CPU and 1 GPU (ray.base.num_cpus=1, ray.base.num_gpus=1), and no machine has a GPU",
    ),
    (
        [share("base", 1.0, 2.0)],
        "PACK",
        [machine("m1", 8.0, gpu=1.0)],
        "needs 1 CPU and 2 GPUs (ray.base.num_cpus=1, ray.base.num_gpus=2), and the largest machine, m1, has 1 GPU",
    ),
    (
        [share("base", 8.0, 1.0)],
        "PACK",
        [machine("cpus", 16.0), machine("gpus", 4.0, gpu=4.0)],
        "and no machine has all of that; the largest, gpus, has 4 CPUs and 4 GPUs",
    ),
    ([share("refiner", 0.0, 1.0)] * 6, "PACK", [machine("m", 8.0, gpu=4.0)], "6 GPUs needed, 4 in all on 1 machine"),
    (
        [share("refiner", 0.0, 0.5)] * 3,
        "PACK",
        [machine("m", 8.0, gpu=2.0, free_gpu=0.5)],
        "others use it: 1.5 GPUs needed, 0.5 of 2 free on 1 machine",
    ),
    (
        [share("base"), share("refiner")],
        "PACK",
        [machine("m", 4.0, free=0.0)],
        "others use it: 2 CPUs needed, 0 of 4 free on 1 machine",
    ),
    (
        [share("base", 2.0)],
        "PACK",
        [machine("m1", 2.0, free=1.0), machine("m2", 2.0, free=1.0)],
        "others use it: 2 CPUs needed, 2 of 4 free",
    ),
    ([share("base"), share("refiner")], "STRICT_PACK", TWO, "2 CPUs are free, but Ray has not granted them yet"),
    ([share("base", 0.1)] * 3, "PACK", [machine("m", 0.3)], "are free, but Ray has not granted them yet"),
    ([share("base")], "PACK", [], "no machine that is alive"),
]


@pytest.mark.report("B7")
@pytest.mark.parametrize(("shares", "strategy", "machines", "says"), CASES)
def test_the_reason_is_what_has_to_change(shares, strategy, machines, says):
    assert says in why_not(shares, strategy, machines)


@pytest.mark.report("B7")
def test_no_reason_speaks_of_nothing_missing():
    assert not any("0 missing" in why_not(*case[:3]) for case in CASES)


def test_two_shares_that_fill_two_machines_are_no_obstacle():
    assert "not granted" in why_not([share("base", 2.0), share("refiner", 2.0)], "SPREAD", TWO)
