import numpy as np
import pytest
import torch

from longtake.models.diffusion.noise import rng_for
from longtake.models.diffusion.sampling import NoiseSchedule, ddim, start
from longtake.models.toy_world.clip_pool import pool_scenes
from longtake.models.toy_world.object_weights import LOCATED, object_weights
from longtake.models.toy_world.render import render
from longtake.models.training.diffusion import TINY_SCHEDULE, DiffusionLoss


def test_the_weight_is_on_the_object_and_on_nothing_else():
    scenes, first = pool_scenes(0, "test", 3, 8)
    numbers = first[:, None] + np.arange(5)
    weights = object_weights(scenes, numbers, torch.tensor([LOCATED - 1] * 3), 16, 4.0)
    assert weights.shape == (3, 1, 5, 16, 16)
    # Objects are brighter than any background (models/toy_world/probe.py), so the picture shows where they are.
    pixels = render(scenes, numbers, 64).amax(2)
    covered = -torch.nn.functional.max_pool2d(-pixels, 4) > 0.75  # all pixels of the latent
    assert covered.any() and (weights[:, 0][covered] > 3).all()
    free = torch.nn.functional.max_pool2d(pixels, 4) < 0.62
    assert free.any() and (weights[:, 0][free] < 1.7).all()  # the soft edge is dim, and covers a little


def test_where_the_noise_hides_the_object_every_latent_counts_alike():
    scenes, _ = pool_scenes(0, "test", 2, 0)
    weights = object_weights(scenes, np.arange(4), torch.tensor([LOCATED, LOCATED - 1]), 16, 4.0)
    assert (weights[0] == 1).all() and weights[1].max() > 3


@pytest.mark.parametrize("timestep", [0, 500, 999])
def test_a_weight_counts_as_often_as_it_says(timestep):
    x0 = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    weight = torch.zeros(2, 1, 3, 8, 8)
    weight[..., :4] = 2  # one half twice, the other not at all

    def loss(predict, weight):
        timesteps = torch.tensor([timestep] * 2)
        return DiffusionLoss().loss(predict, x0, timesteps, rng_for(0, "test", 0, 0), weight)

    everywhere = loss(lambda x, _: torch.zeros_like(x), None)
    left = loss(lambda x, _: torch.zeros_like(x), weight)
    right = loss(lambda x, _: torch.zeros_like(x), 2 - weight)
    assert torch.allclose((left + right) / 2, everywhere)
    assert not torch.allclose(left, everywhere)


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon", "sample"])
def test_the_right_prediction_of_each_kind_costs_nothing(kind):
    config = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": kind}
    diffusion = DiffusionLoss(config)
    x0 = torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    alpha, sigma = diffusion.alphas[400], diffusion.sigmas[400]

    def right(x, _):
        noise = (x - alpha * x0) / sigma
        return {"v_prediction": alpha * noise - sigma * x0, "epsilon": noise, "sample": x0}[kind]

    assert diffusion.loss(right, x0, torch.tensor([400]), rng_for(0, "test", 0, 0)).item() < 1e-9
    assert diffusion.loss(lambda x, t: right(x, t) + 1, x0, torch.tensor([400]), rng_for(0, "test", 0, 0)) > 0.9


def test_a_given_picture_is_what_sdedit_begins_with_and_fades_as_a_sampler_without_noise_lets_it():
    """Sampling with DDIM from a given picture, always with the right prediction, has the inputs that `loss` makes."""
    diffusion, begin = DiffusionLoss(), 399
    schedule = NoiseSchedule.from_config(TINY_SCHEDULE)
    generator = torch.Generator().manual_seed(0)
    x0, given = (torch.randn(1, 4, 1, 4, 4, generator=generator) for _ in range(2))
    seen = {}
    for timestep in (399, 299, 99):
        error = diffusion.noise_of(given - x0, torch.tensor([timestep]), begin)
        rng = rng_for(0, "test", 0, 0)
        diffusion.loss(lambda x, t: seen.setdefault(t.item(), x), x0, torch.tensor([timestep]), rng, error=error)
    noise = torch.from_numpy(rng_for(0, "test", 0, 0).standard_normal(x0.shape, dtype=np.float32))
    timesteps = [399, 299, 99]
    x = start(schedule, timesteps, given, noise)
    for i, timestep in enumerate(timesteps):
        assert torch.allclose(seen[timestep], x, atol=1e-5), timestep
        x, _ = ddim(schedule, timesteps, i, x, x0, None, torch.zeros_like(x))
    assert torch.allclose(
        diffusion.noise_of(given, torch.tensor([499]), begin), given * diffusion.alphas[499] / diffusion.sigmas[499]
    )
