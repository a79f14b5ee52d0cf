"""Stages for the actors of tests: the toys of test_local, as they are or with something wrong with them."""

import os
import random
import signal
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from longtake.models.domain.state import Chunk
from longtake.pipelines.runners.stages import refuse_black
from tests.pipelines.runners.test_local import NUM_STEPS, ToyBase, ToyRefiner
from tests.support import toy


@dataclass(frozen=True)
class ToyFactory:
    """Builds a toy stage in an actor. `kill` is the share of calls in which the actor dies."""

    stage: str  # base or refiner
    kill: float = 0.0
    seconds: float = 0.0  # that a call takes
    fail_prompt: str = ""  # this prompt makes the stage raise
    fail_before: int = 0  # the base model makes no chunk before this one
    broken: str = ""  # why it cannot be built
    hang_once: str = ""  # a file: the first call hangs, and leaves it behind
    spoil: str = ""  # what is wrong with videos of odd seeds from their second chunk on: cut or black
    rgb: bool = False  # the toys of tests/support/toy.py, whose frames an mp4 can hold
    size: int = 32  # of those frames when they are refined
    num_steps: int = NUM_STEPS

    def __call__(self) -> "ToyStage":
        if self.broken:
            raise ValueError(self.broken)
        if self.rgb:
            # Not RefinerParams: that imports torch, which takes each of many actors seconds.
            params = SimpleNamespace(num_inference_steps=self.num_steps, height=self.size, width=self.size)
            return ToyStage(self, toy.ToyBase() if self.stage == "base" else toy.ToyRefiner(params))
        return ToyStage(self, ToyBase() if self.stage == "base" else ToyRefiner())


def toy_factories(conf: Any) -> dict[str, ToyFactory]:
    """In place of `stage_factories`: toys of the size and the number of steps that `conf` has."""
    how: dict[str, Any] = {"size": conf.refiner.width, "num_steps": conf.refiner.num_inference_steps}
    return {stage: ToyFactory(stage, rgb=True, **how) for stage in ("base", "refiner")}


class ToyStage:
    def __init__(self, how: ToyFactory, stage: Any) -> None:
        self.how, self.stage = how, stage

    def warm_up(self) -> None: ...

    def advance(self, spec: Any, *args: Any) -> tuple[Any, Any]:
        # Not addressed: which call dies has to differ from try to try, and from run to run.
        if random.random() < self.how.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how.hang_once and not os.path.exists(self.how.hang_once):
            open(self.how.hang_once, "w").close()
            time.sleep(600)
        if self.how.fail_prompt and spec.prompt == self.how.fail_prompt:
            raise ValueError(f"prompt={spec.prompt!r}: the toy does not like it")
        if self.how.stage == "base" and args[1] < self.how.fail_before:
            raise ValueError(f"chunk {args[1]} is one that this toy does not make")
        time.sleep(self.how.seconds)
        stage = SpoiltBase(self.stage, self.how.spoil) if self.how.stage == "base" and self.how.spoil else self.stage
        carry, output = stage.advance(spec, *args)
        if self.how.spoil:
            refuse_black(output)
        return carry, output


class SpoiltBase:
    def __init__(self, base: Any, how: str) -> None:
        self.base, self.how = base, how

    def advance(self, spec: Any, plan: Any, index: int, memory: Any) -> tuple[Any, Any]:
        memory, chunk = self.base.advance(spec, plan, index, memory)
        if spec.seed % 2 and index > 0:
            return memory, Chunk(chunk.span, 255 - chunk.frames if self.how == "cut" else 0 * chunk.frames)
        return memory, chunk
