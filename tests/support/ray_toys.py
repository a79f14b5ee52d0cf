"""Stages for the actors of tests: the toys of test_local, intact or with a fault."""

import os
import random
import signal
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from longtake.models.domain.state import Chunk
from longtake.models.video.frame_checks import refuse_black
from tests.pipelines.runners.test_local import NUM_STEPS, ToyBase, ToyRefiner
from tests.support import toy


@dataclass(frozen=True)
class ToyFactory:
    """Builds a toy stage in an actor."""

    stage: str  # base or refiner
    kill: float = 0.0  # share of calls in which the actor dies
    seconds: float = 0.0  # duration of a call
    fail_prompt: str = ""  # the stage raises on this prompt
    fail_before: int = 0  # the base model raises on chunks before this one
    broken: str = ""  # the build raises with this message
    hang_once: str = ""  # a file: the first call creates it and hangs
    hang_prompt: str = ""  # every call with this prompt hangs
    spoil: str = ""  # fault of videos with odd seeds from the second chunk on: cut or black
    rgb: bool = False  # toys of tests/support/toy.py, whose frames fit into an mp4
    size: int = 32  # of refined frames, in pixels
    num_steps: int = NUM_STEPS

    def __call__(self) -> "ToyStage":
        if self.broken:
            raise ValueError(self.broken)
        if self.rgb:
            # Not RefinerParams: importing torch would take seconds in each actor.
            params = SimpleNamespace(num_inference_steps=self.num_steps, height=self.size, width=self.size)
            return ToyStage(self, toy.ToyBase() if self.stage == "base" else toy.ToyRefiner(params))
        return ToyStage(self, ToyBase() if self.stage == "base" else ToyRefiner())


def toy_factories(conf: Any) -> dict[str, ToyFactory]:
    """Replaces `stage_factories`: toys with the size and the number of steps of `conf`."""
    size: dict[str, Any] = {"size": conf.refiner.width, "num_steps": conf.refiner.num_inference_steps}
    return {stage: ToyFactory(stage, rgb=True, **size) for stage in ("base", "refiner")}


class ToyStage:
    def __init__(self, factory: ToyFactory, stage: Any) -> None:
        self.factory, self.stage = factory, stage

    def warm_up(self) -> None: ...

    def advance(self, spec: Any, *args: Any) -> tuple[Any, Any]:
        faults, stage = self.factory, self.stage
        # Not addressed: the dying call must differ between attempts, and between runs.
        if random.random() < faults.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if faults.hang_once and not os.path.exists(faults.hang_once):
            open(faults.hang_once, "w").close()
            time.sleep(600)
        if faults.hang_prompt and spec.prompt == faults.hang_prompt:
            time.sleep(600)
        if faults.fail_prompt and spec.prompt == faults.fail_prompt:
            raise ValueError(f"prompt={spec.prompt!r}: the toy does not like it")
        if faults.stage == "base" and args[1] < faults.fail_before:
            raise ValueError(f"chunk {args[1]} is one that this toy does not make")
        time.sleep(faults.seconds)
        if faults.stage == "base" and faults.spoil:
            stage = SpoiltBase(stage, faults.spoil)
        carry, output = stage.advance(spec, *args)
        if faults.spoil:
            refuse_black(output)
        return carry, output


class SpoiltBase:
    def __init__(self, base: Any, fault: str) -> None:
        self.base, self.fault = base, fault

    def advance(self, spec: Any, plan: Any, index: int, memory: Any) -> tuple[Any, Any]:
        memory, chunk = self.base.advance(spec, plan, index, memory)
        if spec.seed % 2 and index > 0:
            return memory, Chunk(chunk.span, 255 - chunk.frames if self.fault == "cut" else 0 * chunk.frames)
        return memory, chunk
