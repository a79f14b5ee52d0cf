"""Settings of the Ray cluster. Without an import of Ray, so that an invalid setting is refused at once."""

import math
from dataclasses import dataclass, field

from longtake.models.domain.checks import FieldError

STRATEGIES = ("PACK", "STRICT_PACK", "SPREAD")


@dataclass(frozen=True, slots=True)
class PoolParams:
    """The actors of one kind, and the share of a machine that each of them reserves."""

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
    """The cluster's address, the actors, and timeouts."""

    address: str | None = None  # `auto` or host:port; None: RAY_ADDRESS, or a new cluster of this process
    strategy: str = "PACK"  # of the placement group: PACK, STRICT_PACK (one machine) or SPREAD
    start_timeout_s: float = 300.0  # for the placement group, and again for building the actors
    max_attempts: int = 8  # of one call, or of one video whose parts were lost with a machine
    task_timeout_s: float = 900.0  # a call that takes longer counts as lost, and its actor is killed
    base: PoolParams = field(default_factory=PoolParams)
    refiner: PoolParams = field(default_factory=PoolParams)
    writer: PoolParams = field(default_factory=lambda: PoolParams(num_cpus=0.0))  # encodes and commits

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy={self.strategy} must be {', '.join(STRATEGIES[:-1])} or {STRATEGIES[-1]}")
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts={self.max_attempts} must be at least 1")
        if self.writer.num_gpus:
            raise FieldError("writer.num_gpus", f"={self.writer.num_gpus:g} has no effect: writers use no GPU")
        for name in ("start_timeout_s", "task_timeout_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")
