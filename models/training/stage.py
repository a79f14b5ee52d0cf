"""What a stage of training is: modules, a loss for every step number, gates on held-out data.

A stage's loss is a function of its weights and the step's number alone (randomness is addressed), so a training that
was killed goes on as if it had not been.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from longtake.models.training.params import LoopParams


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
