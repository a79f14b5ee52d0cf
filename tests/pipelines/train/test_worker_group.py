import signal

import pytest
import torch
from torch import nn

from longtake.pipelines.train.worker_group import WorkerGroup, run_group


@pytest.mark.chaos  # nothing is killed, but two workers start with torch
@pytest.mark.xdist_group("ray")
def test_two_workers_end_with_the_same_mean_gradients_and_what_one_raises_is_raised_here(tmp_path, ray_cluster):
    def work(group):
        """Worker 0 has gradient 2 everywhere, worker 1 has 4 on the weight and none on the bias."""
        line = nn.Linear(2, 1)
        line.weight.grad = torch.full_like(line.weight, 2.0 + 2 * group.worker)
        if group.worker == 0:
            line.bias.grad = torch.full_like(line.bias, 2.0)
        group.average(line.parameters())
        torch.save((line.weight.grad, line.bias.grad), tmp_path / f"{group.worker}.pt")
        group.wait()
        raise ValueError("batch=0 must be at least 1")

    interrupt = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="^batch=0 must be at least 1$"):
        run_group(2, "cpu", work, tmp_path)
    assert signal.getsignal(signal.SIGINT) is interrupt  # Ray Train would keep its own: Ctrl-C would be lost after it
    for worker in range(2):
        weight, bias = torch.load(tmp_path / f"{worker}.pt", weights_only=True)
        assert torch.equal(weight, torch.full((1, 2), 3.0)) and torch.equal(bias, torch.ones(1))


def test_a_worker_alone_needs_no_process_group():
    line = nn.Linear(2, 1)
    line.weight.grad = torch.ones_like(line.weight)
    WorkerGroup().average(line.parameters())
    WorkerGroup().wait()
    assert torch.equal(line.weight.grad, torch.ones(1, 2)) and line.bias.grad is None
    assert WorkerGroup().leads and not WorkerGroup(1, 2).leads
