from functools import partial

import torch
from torch import nn

from pipelines.team import Team, run_team


def work(folder, team):
    """Worker 0 has gradient 2 everywhere, worker 1 has 4 on the weight and none on the bias."""
    line = nn.Linear(2, 1)
    line.weight.grad = torch.full_like(line.weight, 2.0 + 2 * team.worker)
    if team.worker == 0:
        line.bias.grad = torch.full_like(line.bias, 2.0)
    team.average(line.parameters())
    team.wait()
    torch.save((line.weight.grad, line.bias.grad), folder / f"{team.worker}.pt")


def test_two_workers_end_with_the_same_mean_gradients(tmp_path):
    run_team(2, "gloo", partial(work, tmp_path))
    for worker in range(2):
        weight, bias = torch.load(tmp_path / f"{worker}.pt", weights_only=True)
        assert torch.equal(weight, torch.full((1, 2), 3.0)) and torch.equal(bias, torch.ones(1))


def test_a_worker_alone_needs_no_process_group(tmp_path):
    run_team(1, "gloo", partial(work, tmp_path))
    weight, _ = torch.load(tmp_path / "0.pt", weights_only=True)
    assert torch.equal(weight, torch.full((1, 2), 2.0))
    assert Team().leads and not Team(1, 2).leads
