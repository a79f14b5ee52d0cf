"""Workers that train one stage together on Ray Train: each draws clips of its own, gradients are averaged, one writes.

Processes of one thread each, not one of many threads: on a shared machine threads that wait for each other at every
operation took 20 times longer (measured on 2 cores).
"""

import logging
import shutil
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from longtake.pipelines.terminal.signals import restored_signals


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """This process among its workers. The default is a group of one, which needs no process group."""

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
        """Waits for all workers."""
        if self.size > 1:
            dist.barrier()


def run_group(
    size: int,
    device: str,
    work: Callable[[WorkerGroup], None],
    folder: Path,
    max_failures: int = 0,
    may_grow: bool = False,
) -> None:
    """Calls `work(group)` in `size` workers of a cluster that this process has joined; on cuda each has a GPU.

    A worker that dies restarts all of them, `max_failures` times; `work` continues from its own checkpoint.
    `folder` is shared by all workers. Raises ValueError as a worker raises it, or for more workers than a cluster of
    fixed size has room for, since Ray would wait for them for ever; RuntimeError for anything else.
    """
    import ray.train

    if not may_grow:
        _check_room(size, device)
    trainer = _trainer(size, device, work, folder / "ray", max_failures)
    try:
        with restored_signals():
            trainer.fit()
        shutil.rmtree(folder / "ray", ignore_errors=True)  # Ray Train's own records; ours are elsewhere
    except SystemExit:  # how Ray Train answers Ctrl-C, with 0, once its workers are gone
        raise KeyboardInterrupt from None
    except ray.train.TrainingFailedError as error:
        reasons = list(getattr(error, "worker_failures", {}).values()) or [error]
        reason = next((error for error in reasons if isinstance(error, ValueError)), reasons[0])
        if isinstance(reason, ValueError):
            raise reason from None
        raise RuntimeError(f"{type(reason).__name__}: {reason}") from error


def _check_room(size: int, device: str) -> None:
    import ray

    kind = "GPU" if device == "cuda" else "CPU"
    available = ray.cluster_resources().get(kind, 0.0)  # type: ignore[no-untyped-call]
    if available < size:
        raise ValueError(f"workers={size} need one {kind} each, but the cluster has {available:g}")


def _trainer(size: int, device: str, work: Callable[[WorkerGroup], None], records: Path, max_failures: int) -> Any:
    """Ray Train's part, which keeps its own `records`."""
    import ray.cloudpickle
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    logging.getLogger("ray.train").setLevel(logging.ERROR)
    return TorchTrainer(
        _enter,
        # As bytes: Ray Train's controller would unpickle it too, and import everything it needs for nothing.
        train_loop_config={"work": ray.cloudpickle.dumps(work), "device": device},  # type: ignore[no-untyped-call]
        scaling_config=ray.train.ScalingConfig(num_workers=size, use_gpu=device == "cuda"),
        torch_config=TorchConfig(backend="nccl" if device == "cuda" else "gloo"),
        run_config=ray.train.RunConfig(
            name=uuid.uuid4().hex,  # a run of the same name would be resumed
            storage_path=str(records.resolve()),
            failure_config=ray.train.FailureConfig(max_failures=max_failures),
        ),
    )


def _enter(config: dict[str, Any]) -> None:
    import ray.cloudpickle
    import ray.train
    from ray.train.torch import get_device

    if config["device"] == "cuda":  # a worker sees all GPUs of its machine: "cuda" has to be its own
        torch.cuda.set_device(get_device())
    context = ray.train.get_context()
    work: Callable[[WorkerGroup], None] = ray.cloudpickle.loads(config["work"])
    work(WorkerGroup(context.get_world_rank(), context.get_world_size()))
