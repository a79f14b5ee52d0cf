"""Workers that train one stage together: each draws clips of its own, gradients are averaged, worker 0 writes.

Two processes of one thread each, not one of two threads: on a shared machine threads that wait for each other at every
operation took 20 times longer (measured on 2 cores).
"""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn


@dataclass(frozen=True, slots=True)
class Team:
    """This process among its workers. The default is a team of one, which needs no process group."""

    worker: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this worker writes logs, checkpoints and parts."""
        return self.worker == 0

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces every gradient by its mean over the workers; a parameter that one did not use counts as 0 there."""
        if self.size == 1:
            return
        parameters = list(parameters)
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        flat /= self.size
        for parameter, grad in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = grad.view_as(parameter)

    def wait(self) -> None:
        """Until every worker is here."""
        if self.size > 1:
            dist.barrier()


def run_team(size: int, backend: str, work: Callable[[Team], None]) -> None:
    """Calls `work(team)` in `size` processes (in this one if it is alone). Raises what a worker raises.

    `work` has to be picklable. backend: gloo on CPU, nccl on GPUs.
    """
    if size == 1:
        work(Team())
        return
    with tempfile.TemporaryDirectory() as folder:
        spawn(_work, args=(size, backend, str(Path(folder) / "meeting"), work), nprocs=size)  # type: ignore[no-untyped-call]


def _work(worker: int, size: int, backend: str, meeting: str, work: Callable[[Team], None]) -> None:
    dist.init_process_group(backend, init_method=f"file://{meeting}", rank=worker, world_size=size)
    try:
        work(Team(worker, size))
    finally:
        dist.destroy_process_group()
