"""What a stage of training is: modules, a loss for every step number, gates on held-out data.

A stage's loss is a function of its weights and the step's number alone (randomness is addressed), so a training that
was killed goes on as if it had not been.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class LoopParams:
    """How long and how fast."""

    steps: int
    batch: int = 16  # of each worker
    learning_rate: float = 1e-3
    warmup: int = 50  # steps of linear warm-up; a cosine to a twentieth follows
    ema: float = 0.997  # decay of the average that is saved
    gate_every: int = 500  # steps between two looks at the held-out gates
    checkpoint_s: float = 60.0  # seconds between two checkpoints: what a kill can cost

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("batch", 1), ("learning_rate", 0), ("warmup", 0), ("gate_every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema={self.ema} must be at least 0 and less than 1")
        if self.checkpoint_s < 0:
            raise ValueError(f"checkpoint_s={self.checkpoint_s} must be at least 0")


class TrainStage(ABC):
    """One part of the bundle in the making."""

    loop: LoopParams
    modules: dict[str, nn.Module]  # the parts that are trained and saved, by their folder in the bundle

    @property
    def device(self) -> torch.device:
        """Where the trained parts are; what is drawn for a step is drawn on the CPU and goes there."""
        return next(parameter.device for module in self.modules.values() for parameter in module.parameters())

    def rate(self, name: str) -> float:
        """How many times as fast as the others the parameter of that name (`folder.…`) learns."""
        return 1.0

    @abstractmethod
    def loss(self, step: int, worker: int = 0) -> tuple[Tensor, dict[str, float]]:
        """The loss of a step, and figures for the log. Each worker draws clips of its own."""

    @abstractmethod
    def gates(self) -> dict[str, float]:
        """Figures on held-out data, of the averaged weights."""

    def finish(self) -> None:  # noqa: B027 - most stages have nothing left to do
        """Called once, on the averaged weights, before they are saved."""
