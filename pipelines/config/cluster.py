"""What is asked of a Ray cluster. It imports no Ray, so that a wrong setting is said at once."""

import math
from dataclasses import dataclass, field

STRATEGIES = ("PACK", "STRICT_PACK", "SPREAD")


@dataclass(frozen=True, slots=True)
class PoolParams:
    """The actors of one kind, and what each of them holds of its machine."""

    num_actors: int = 1
    num_cpus: float = 1.0
    num_gpus: float = 0.0  # may be a fraction

    def __post_init__(self) -> None:
        if self.num_actors < 1:
            raise ValueError(f"num_actors={self.num_actors} must be at least 1")
        for name in ("num_cpus", "num_gpus"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0")


@dataclass(frozen=True, slots=True)
class ClusterParams:
    """Which cluster, how many actors, and how long to be patient."""

    address: str | None = None  # `auto` or host:port; None: RAY_ADDRESS, or a cluster of this process's own
    strategy: str = "PACK"  # of the placement group: PACK, STRICT_PACK (one machine) or SPREAD
    start_timeout_s: float = 300.0  # for the placement group, and then for building the actors
    max_attempts: int = 8  # of one call, or of one video whose parts were lost with a machine
    task_timeout_s: float = 900.0  # a call that takes longer is lost, and its actor killed
    base: PoolParams = field(default_factory=PoolParams)
    refiner: PoolParams = field(default_factory=PoolParams)
    writer: PoolParams = field(default_factory=lambda: PoolParams(num_cpus=0.0))  # encodes and commits

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy={self.strategy} must be {', '.join(STRATEGIES[:-1])} or {STRATEGIES[-1]}")
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts={self.max_attempts} must be at least 1")
        for name in ("start_timeout_s", "task_timeout_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")
