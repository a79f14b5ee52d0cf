"""The interface of a training stage: modules, a loss for every step number, gates on held-out data.

The loss is a function of the weights and the step's number alone (randomness is addressed), so a training that was
killed continues with the same result.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from longtake.models.training.params import LoopParams


class TrainStage(ABC):
    """The training of some parts of a bundle."""

    loop: LoopParams
    modules: dict[str, nn.Module]  # the parts that are trained and saved, by their folder in the bundle

    @property
    def device(self) -> torch.device:
        """The device of the trained parts; random numbers are drawn on the CPU and moved there."""
        return next(parameter.device for module in self.modules.values() for parameter in module.parameters())

    def rate(self, name: str) -> float:
        """The factor on the learning rate of a parameter (`folder.…`)."""
        return 1.0

    @abstractmethod
    def loss(self, step: int, worker: int = 0) -> tuple[Tensor, dict[str, float]]:
        """The loss of a step, and metrics for the log. Each worker draws clips of its own."""

    @abstractmethod
    def gates(self) -> dict[str, float]:
        """Figures on held-out data, of the averaged weights."""

    def finish(self) -> None:  # noqa: B027 - most stages have nothing left to do
        """Called once, on the averaged weights, before they are saved."""
