import json

import numpy as np
import pytest
import torch
from torch import nn

from longtake.models.diffusion.noise import rng_for
from longtake.models.training.params import LoopParams
from longtake.models.training.stage import TrainStage
from longtake.pipelines.train.loop import run_stage


class Line(TrainStage):
    """Learns y = 3x + 1: the smallest real training."""

    def __init__(self, steps, dies_at=None):
        torch.manual_seed(0)
        self.loop = LoopParams(steps, 8, 0.1, warmup=2, ema=0.9, gate_every=10, checkpoint_s=0)
        self.line = nn.Linear(1, 1)
        self.modules = {"line": self.line}
        self.dies_at, self.finished = dies_at, 0

    def loss(self, step, worker=0):
        if step == self.dies_at:
            raise KeyboardInterrupt
        x = torch.from_numpy(rng_for(0, "line", step, 0).standard_normal((self.loop.batch, 1), dtype=np.float32))
        return ((self.line(x).float() - 3 * x - 1) ** 2).mean(), {}

    def gates(self):
        return {"slope": self.line.weight.item()}

    def finish(self):
        self.finished += 1


def rows(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_it_learns_saves_the_average_and_logs_gates(tmp_path):
    stage = Line(80)
    run_stage("line", stage, tmp_path)
    assert abs(stage.line.weight.item() - 3) < 0.2 and stage.finished == 1
    gates = [row["gate/slope"] for row in rows(tmp_path) if "gate/slope" in row]
    assert len(gates) == 8 and gates[-1] == pytest.approx(stage.line.weight.item(), abs=1e-4)


def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path):
    whole = Line(40)
    run_stage("line", whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_stage("line", Line(40, dies_at=23), tmp_path / "killed")
    again = Line(40)
    run_stage("line", again, tmp_path / "killed")
    assert torch.equal(again.line.weight, whole.line.weight) and torch.equal(again.line.bias, whole.line.bias)


def test_a_stage_that_is_done_is_not_trained_again(tmp_path):
    run_stage("line", Line(20), tmp_path)
    done = Line(20, dies_at=0)
    run_stage("line", done, tmp_path)  # a step would raise
    first = Line(20)
    run_stage("line", first, tmp_path / "other")
    assert torch.equal(done.line.weight, first.line.weight)


def test_a_half_written_checkpoint_is_never_read(tmp_path):
    run_stage("line", Line(10), tmp_path)
    (tmp_path / "checkpoint.part").write_bytes(b"half")
    run_stage("line", Line(10, dies_at=0), tmp_path)
