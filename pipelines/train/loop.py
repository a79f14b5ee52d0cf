"""The training loop of any stage: optimiser, average of weights, checkpoints, log.

Three parts are ours although torch and Ray have them, because a resumed training has to give the same bits as one that
ran through, also from older checkpoints. LinearLR with CosineAnnealingLR multiplies the rate step by step, so its bits
depend on the history. AveragedModel copies at its first update, where our decay is .1, and renames the tensors of a
checkpoint. ray.train.torch.prepare_model wraps one module whose forward is the step; a stage has several modules.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longtake.models.training.params import LoopParams
from longtake.models.training.stage import TrainStage
from longtake.pipelines.train.worker_group import WorkerGroup

logger = logging.getLogger(__name__)

ALONE = WorkerGroup()


Report = Callable[[Mapping[str, float], int], None]


def run_stage(
    name: str,
    stage: TrainStage,
    folder: Path,
    device: str = "cpu",
    group: WorkerGroup = ALONE,
    report: Report | None = None,
    look: Callable[[int], None] | None = None,
) -> None:
    """Trains from the last checkpoint (or the start) to the end and leaves the averaged weights in the modules.

    `report(figures, step)` gets every line of the log; `look(step)` is called after the gates are measured, while the
    modules hold the averaged weights.
    """
    log = partial(_log, folder, report)
    folder.mkdir(parents=True, exist_ok=True)
    kind = torch.device(device).type
    live = nn.ModuleDict(stage.modules).to(device).train()
    trained = [p for p in live.parameters() if p.requires_grad]
    average = deepcopy(live).requires_grad_(False)
    optimizer, rates = _optimizer(stage, live)
    first, spent = _resume(folder / "checkpoint.pt", live, average, optimizer)
    began = saved = time.monotonic()
    for step in range(first, stage.loop.steps):
        for options, rate in zip(optimizer.param_groups, rates, strict=True):
            options["lr"] = rate * stage.loop.learning_rate * _schedule(step, stage.loop)
        loss, figures = _learn(stage, step, group, kind, optimizer, trained)
        _follow(average, live, min(stage.loop.ema, (1 + step) / (10 + step)))
        now = time.monotonic()
        if not group.leads:
            continue
        if step % 10 == 0:
            log(step, spent + now - began, loss=loss.item(), **figures)
        if (step + 1) % stage.loop.gate_every == 0 and step + 1 < stage.loop.steps:
            see = partial(look, step + 1) if look else None
            log(step, spent + now - began, **_gates(stage, kind, live, average, see))
        if now - saved > stage.loop.checkpoint_s:
            _save(folder / "checkpoint.pt", live, average, optimizer, step + 1, spent + now - began)
            saved = now
    total = spent + time.monotonic() - began
    if group.leads:
        _save(folder / "checkpoint.pt", live, average, optimizer, stage.loop.steps, total)
    live.load_state_dict(average.state_dict())
    live.eval()
    stage.finish()
    if group.leads:
        log(stage.loop.steps, total, **_evaluated(stage, kind))
        if look is not None:
            look(stage.loop.steps)
    logger.info("stage done name=%s steps=%d seconds=%.0f", name, stage.loop.steps, total)


def _learn(
    stage: TrainStage,
    step: int,
    group: WorkerGroup,
    kind: str,
    optimizer: torch.optim.Optimizer,
    trained: list[nn.Parameter],
) -> tuple[Tensor, dict[str, float]]:
    """One step: the loss before it, and the stage's metrics for the log."""
    with autocast(kind):
        loss, figures = stage.loss(step, group.worker)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    group.average(trained)
    nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    return loss, figures


def _optimizer(stage: TrainStage, live: nn.ModuleDict) -> tuple[torch.optim.Optimizer, list[float]]:
    """AdamW with a group for each rate, and the rates."""
    by_rate: dict[float, list[nn.Parameter]] = {}
    for key, parameter in live.named_parameters():
        if parameter.requires_grad:
            by_rate.setdefault(stage.rate(key), []).append(parameter)
    groups = [{"params": some} for some in by_rate.values()]
    optimizer = torch.optim.AdamW(groups, lr=stage.loop.learning_rate, weight_decay=0.01, betas=(0.9, 0.99))
    return optimizer, list(by_rate)


def autocast(kind: str) -> torch.autocast:
    """bfloat16 where the hardware computes in it: a CPU that does not takes 7 to 10 times as long as in float32."""
    able = torch.cpu.get_capabilities()
    native = kind == "cuda" or any(able.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return torch.autocast(kind, torch.bfloat16, enabled=native)


def _schedule(step: int, loop: LoopParams) -> float:
    if step < loop.warmup:
        return (step + 1) / loop.warmup
    progress = (step - loop.warmup) / max(1, loop.steps - loop.warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def _follow(average: nn.Module, live: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), live.parameters(), strict=True):
        if new.requires_grad:
            kept.lerp_(new, 1 - decay)


def _gates(
    stage: TrainStage, kind: str, live: nn.Module, average: nn.Module, look: Callable[[], None] | None
) -> dict[str, float]:
    """Measures the gates with the averaged weights, and then restores the live ones."""
    kept = deepcopy(live.state_dict())
    live.load_state_dict(average.state_dict())
    live.eval()
    figures = _evaluated(stage, kind)
    if look is not None:
        look()
    live.load_state_dict(kept)
    live.train()
    return figures


def _evaluated(stage: TrainStage, kind: str) -> dict[str, float]:
    with torch.no_grad(), autocast(kind):
        return {f"gate/{key}": value for key, value in stage.gates().items()}


def _save(path: Path, live: nn.Module, average: nn.Module, optimizer: Any, step: int, seconds: float) -> None:
    state = {"live": live.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state | {"step": step, "seconds": seconds}, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)  # a kill in between leaves the last complete checkpoint


def _resume(path: Path, live: nn.Module, average: nn.Module, optimizer: Any) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, map_location="cpu", weights_only=True)
    live.load_state_dict(state["live"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["seconds"]


def _log(folder: Path, report: Report | None, step: int, seconds: float, **figures: float) -> None:
    row = {"step": step, "seconds": round(seconds, 1), **{key: round(value, 5) for key, value in figures.items()}}
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    if report is not None:
        report({f"{folder.name}/{key}": value for key, value in row.items() if key != "step"}, step)
    if step % 100 == 0 or any(key.startswith("gate/") for key in figures):
        logger.info("%s %s", folder.name, " ".join(f"{key}={value}" for key, value in row.items()))
