"""Why a cluster does not grant the actors their resources, in words: a pure function of what its machines have."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Resources = Mapping[str, float]  # CPU, GPU -> amount
ROUND = 1e-6  # Ray counts in units of 1/10,000


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of the cluster that is alive."""

    name: str
    total: Resources
    free: Resources


@dataclass(frozen=True, slots=True)
class Share:
    """What one actor of a pool reserves."""

    pool: str
    wants: Resources


def why_not(shares: Sequence[Share], strategy: str, machines: Sequence[Machine]) -> str:
    """The reason, in terms of what has to change: the size of an actor, the cluster, the strategy, or only time."""
    fewer = "ask for fewer actors (ray.base.num_actors, ray.refiner.num_actors) or for less each (num_cpus, num_gpus)"
    if not machines:
        return "the cluster has no machine that is alive"
    for share in shares:
        if not any(_holds(machine.total, [share]) for machine in machines):
            return _too_large(share, machines)
    total = _sum(share.wants for share in shares)
    there = _sum(machine.total for machine in machines)
    lacking = [name for name in total if total[name] > there.get(name, 0.0) + ROUND]
    if lacking:
        needs = "; ".join(f"{_amount(name, total[name])} needed, {there.get(name, 0.0):g} in all" for name in lacking)
        return f"the cluster is too small: {needs} on {_machines(machines)}; {fewer}"
    if strategy == "STRICT_PACK" and not any(_holds(machine.total, shares) for machine in machines):
        name, largest = _largest(total, machines)
        return (
            f"ray.strategy=STRICT_PACK needs one machine with {_amounts(total)}, and the largest one, {largest.name}, "
            f"has {_amount(name, largest.total.get(name, 0.0))}; {fewer}, or set ray.strategy=PACK"
        )
    if not _place(shares, strategy, [machine.total for machine in machines]):
        each = ", ".join(f"{machine.name}: {_amounts(_only(machine.total, total))}" for machine in machines[:8])
        return f"the actors need {_amounts(total)}, but cannot be divided among these machines ({each}); {fewer}"
    free = _sum(machine.free for machine in machines)
    if not _place(shares, strategy, [machine.free for machine in machines]):
        busy = "; ".join(f"{_amount(name, total[name])} needed, {free.get(name, 0.0):g} of {there[name]:g} free"
                         for name in total)  # fmt: skip
        return f"the cluster is large enough, but others use it: {busy} on {_machines(machines)}"
    return f"{_amounts(total)} are free, but Ray has not granted them yet"


def _too_large(share: Share, machines: Sequence[Machine]) -> str:
    name, largest = _largest(share.wants, machines)
    asked = ", ".join(f"ray.{share.pool}.num_{key.lower()}s={value:g}" for key, value in share.wants.items())
    has = largest.total.get(name, 0.0)
    biggest = (
        f"no machine has a {name}" if not has else f"the largest machine, {largest.name}, has {_amount(name, has)}"
    )
    if has >= share.wants[name]:  # one has the CPUs, another one the GPUs
        largest_has = _amounts(_only(largest.total, share.wants))
        biggest = f"no machine has all of that; the largest, {largest.name}, has {largest_has}"
    return f"an actor needs {_amounts(share.wants)} ({asked}), and {biggest}"


def _largest(wants: Resources, machines: Sequence[Machine]) -> tuple[str, Machine]:
    """The resource that is short everywhere, or else the rarest one, and the machine that has most of it."""
    best = {name: max(machine.total.get(name, 0.0) for machine in machines) for name in wants}
    name = min(wants, key=lambda name: (best[name] + ROUND >= wants[name], name != "GPU"))
    return name, max(machines, key=lambda machine: machine.total.get(name, 0.0))


def _place(shares: Sequence[Share], strategy: str, rooms: Sequence[Resources]) -> bool:
    """Whether they fit. Places the largest first, so in rare mixtures it misses a way that exists."""
    if strategy == "STRICT_PACK":
        return any(_holds(room, shares) for room in rooms)
    left = [dict(room) for room in rooms]
    for share in sorted(
        shares, key=lambda share: (share.wants.get("GPU", 0.0), share.wants.get("CPU", 0.0)), reverse=True
    ):
        fits = [room for room in left if _holds(room, [share])]
        if not fits:
            return False
        room = min(fits, key=lambda room: (room.get("GPU", 0.0), room.get("CPU", 0.0)))  # the tightest one
        for name, amount in share.wants.items():
            room[name] -= amount
    return True


def _holds(room: Resources, shares: Sequence[Share]) -> bool:
    needs = _sum(share.wants for share in shares)
    return all(room.get(name, 0.0) + ROUND >= amount for name, amount in needs.items())


def _sum(many: Iterable[Resources]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for one in many:
        for name, amount in one.items():
            sums[name] = sums.get(name, 0.0) + amount
    return sums


def _only(room: Resources, names: Resources) -> dict[str, float]:
    return {name: room.get(name, 0.0) for name in names}


def _amounts(resources: Resources) -> str:
    return " and ".join(_amount(name, amount) for name, amount in resources.items())


def _amount(name: str, amount: float) -> str:
    return f"{amount:g} {name}{'' if amount == 1 else 's'}"


def _machines(machines: Sequence[Machine]) -> str:
    return "1 machine" if len(machines) == 1 else f"{len(machines)} machines"
