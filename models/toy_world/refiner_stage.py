"""Trains the tiny refiner: text to 24 frames of 128 px, on the lower noise levels that SDEdit uses.

The paper's refiner is a text-to-video model that never saw the base model. This one may also see the mistakes of a
small base model: low-resolution frames, at times of another colour, background or shape than in the caption, or on the
way to one. Its target is the sharp picture of the caption.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor, nn

from longtake.models.diffusion.noise import rng_for
from longtake.models.nets.conditioned import denoise, video_context
from longtake.models.toy_world.base_stage import new_unet
from longtake.models.toy_world.captions import swap_gaps, training_captions
from longtake.models.toy_world.clip_pool import ClipPool
from longtake.models.toy_world.object_weights import clip_weights
from longtake.models.toy_world.render import render
from longtake.models.toy_world.world import ATTRIBUTES, PALETTES, Scene, nearest_word, sample_scene
from longtake.models.training.captions import Captioner
from longtake.models.training.diffusion import DiffusionLoss, clips, sample_timesteps
from longtake.models.training.params import LoopParams
from longtake.models.training.stage import TrainStage
from longtake.models.video.frames import to_uint8, upscale

CLIP_FRAMES = 24
BEGIN = 299  # the timestep where the shipped refiner begins
MISTAKEN = {"color": 0.25, "background": 0.25, "shape": 0.15}  # the share of given clips that are wrong in that


@dataclass(frozen=True, slots=True)
class RefinerTrainParams:
    loop: LoopParams  # batch counts clips of 24 frames
    clips: int = 384  # in the pool
    held_out: int = 16  # clips for the gates, never trained on
    block_out_channels: tuple[int, ...] = (32, 64)
    head_dim: int = 16
    short_share: float = 0.6  # of the steps: 4 consecutive frames, six times as many clips
    text_dropout: float = 0.1
    levels: int = 800  # noise levels that are trained: `strength` above levels / 1000 is out of its range
    object_weight: float = 1.0  # of the loss where the object is
    given: float = 0.0  # of the clips: begun from low-resolution frames with a base model's mistakes
    latent_noise: float = 0.25  # at most, on the latents that those frames are decoded from


def mistaken(rng: np.random.Generator, scene: Scene) -> Scene:
    """The scene as a base model may draw it: where and when it should be, now and then wrong in a word, or nearly."""
    for name, share in MISTAKEN.items():
        if rng.random() < share:
            values = ATTRIBUTES[name]
            value = values[int(rng.integers(len(values)))]
            changes: dict[str, Any] = {name: value}
            scene = _tinted(rng, scene, name, value) if name in PALETTES else replace(scene, **changes)
    return scene


def _tinted(rng: np.random.Generator, scene: Scene, name: str, value: str) -> Scene:
    """With the colour of a word, half of the time of the nearest one; half of the time only some of the way there.

    Shown wholly wrong backgrounds alone, the refiner took an olive that had slid a little towards brown for brown.
    """
    palette, field = PALETTES[name]
    value = nearest_word(palette, getattr(scene, name)) if rng.random() < 0.5 else value
    wrong = np.array(getattr(sample_scene(rng, **{name: value}), field))
    right = np.array(getattr(scene, field))
    way = 1.0 if rng.random() < 0.5 else rng.random()
    changes: dict[str, Any] = {name: value, field: tuple((right + way * (wrong - right)).tolist())}
    return replace(scene, **changes)


@torch.no_grad()
def given_latents(
    vae: AutoencoderKL, scenes: list[Scene], first: np.ndarray, seed: int, size: int, latent_noise: float
) -> Float[Tensor, "n t c h w"]:
    """The refiner's input for each clip: low-resolution frames of `mistaken` scenes, upscaled and encoded."""
    given = []
    for i, scene in enumerate(scenes):
        rng = rng_for(seed, "refiner-given", 0, i)
        low = render([mistaken(rng, scene)], first[i] + np.arange(CLIP_FRAMES), size // 2)[0] * 2 - 1
        latents = vae.encode(low.to(vae.device)).latent_dist.mode()
        noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32)).to(vae.device)
        drawn = to_uint8(vae.decode(latents + rng.uniform(0, latent_noise) * noise).sample)
        high = upscale(drawn, size, size).to(vae.device)
        given.append(vae.encode(high).latent_dist.mode().float().cpu() * vae.config.scaling_factor)
    return torch.stack(given).half().contiguous()


class RefinerStage(TrainStage):
    """v-prediction at 128 px."""

    def __init__(
        self,
        params: RefinerTrainParams,
        seed: int,
        captioner: Captioner,
        pool: ClipPool,
        held_out: ClipPool,
        given: Float[Tensor, "n t c h w"] | None = None,
        held_out_given: Float[Tensor, "m t c h w"] | None = None,
    ) -> None:
        self.params, self.seed, self.loop = params, seed, params.loop
        self.captioner, self.pool, self.held_out = captioner, pool, held_out
        self.given, self.held_out_given = given, held_out_given
        channels, size = pool.latents.shape[2], pool.latents.shape[-1]
        width = captioner.text_encoder.config.hidden_size
        self.unet = new_unet(params.block_out_channels, params.head_dim, channels, width, size)
        self.modules: dict[str, nn.Module] = {"refiner": self.unet}
        self.diffusion = DiffusionLoss()

    def loss(self, step: int, worker: int = 0) -> tuple[Tensor, dict[str, float]]:
        rng = rng_for(self.seed, "train-refiner", step, worker)
        length = 4 if step < self.params.short_share * self.loop.steps else CLIP_FRAMES
        batch = self.loop.batch * CLIP_FRAMES // length
        rows, first = rng.integers(0, len(self.pool), batch), rng.integers(0, CLIP_FRAMES - length + 1)
        x0 = clips(self.pool.latents[rows, first : first + length], self.device)
        captions = training_captions(rng, [self.pool.scenes[row] for row in rows], self.params.text_dropout)
        timestep = sample_timesteps(rng, batch, 0.0, self.params.levels)
        frames = slice(int(first), int(first) + length)
        weight = clip_weights(self.pool, rows, frames, timestep, self.params.object_weight)
        error = None
        if self.given is not None:
            shown = torch.from_numpy(rng.random(batch) < self.params.given).to(self.device)[:, None, None, None, None]
            error = (clips(self.given[rows, first : first + length], self.device) - x0) * shown
        return self._losses(x0, captions, timestep, rng, weight, error).mean(), {"frames": length}

    def _losses(
        self,
        x0: Tensor,
        captions: list[str],
        timestep: Tensor,
        rng: np.random.Generator,
        weight: Tensor | None = None,
        error: Tensor | None = None,
    ) -> Tensor:
        context = video_context(self.unet, None, self.captioner(captions), None)
        weight = None if weight is None else weight.to(self.device)
        error = None if error is None else self.diffusion.noise_of(error, timestep, BEGIN)
        return self.diffusion.loss(lambda x, t: denoise(self.unet, x, t, context), x0, timestep, rng, weight, error)

    def gates(self) -> dict[str, float]:
        """Held-out loss and caption-swap gaps at a noise level of SDEdit; the loss of given frames at the first."""
        x0 = clips(self.held_out.latents, self.device)

        def loss(captions: list[str], timestep: int = self.params.levels * 3 // 4 - 1, error: Any = None) -> float:
            rng = rng_for(self.seed, "held-out-refiner", 0, 0)
            return self._losses(x0, captions, torch.full((len(x0),), timestep), rng, error=error).mean().item()

        figures = swap_gaps(loss, self.held_out.scenes)
        if self.held_out_given is not None:
            error = clips(self.held_out_given, self.device) - x0
            figures["loss_given"] = loss([scene.caption() for scene in self.held_out.scenes], BEGIN, error)
        return figures
