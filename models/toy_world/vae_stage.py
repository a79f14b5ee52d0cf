"""Trains the tiny VAE on single frames of the moving-shapes world.

One factor-8 VAE with 8 latent channels serves 64 px (base) and 128 px (refiner). Small crops come first: they cost a
quarter of 64 px and teach edges and colours; whole frames of both sizes follow. (Its attention and its normalisation
look at the whole frame: the decoder trained at 128 px on crops alone reached 31.5 dB there, and after 1,200 steps on
whole frames 33.5; at 64 px 30.5 and 30.9, 24 held-out scenes.)
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from longtake.models.diffusion.noise import rng_for
from longtake.models.toy_world.render import render
from longtake.models.toy_world.world import BACKGROUNDS, sample_scene
from longtake.models.training.params import LoopParams
from longtake.models.training.stage import TrainStage


@dataclass(frozen=True, slots=True)
class VaeParams:
    loop: LoopParams  # batch counts frames; of whole ones of 128 px there are half as many
    block_out_channels: tuple[int, ...] = (16, 32, 64, 64)
    latent_channels: int = 8
    crop: int = 32  # pixels, for the first `crop_share` of the steps; then whole frames
    crop_share: float = 0.6
    foreground: float = 6.0  # a pixel weighs 1 + foreground * |x - median of its frame|: small objects keep their hue
    laplacian: float = 0.0  # weight of the Laplacians' mean absolute difference: against grain, and soft edges
    kl: float = 1e-5
    held_out: int = 48  # frames of each size for the gates


def new_vae(params: VaeParams) -> AutoencoderKL:
    blocks = len(params.block_out_channels)
    vae = AutoencoderKL(
        block_out_channels=params.block_out_channels,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=params.latent_channels,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=1.0,
    )
    with torch.no_grad():  # log-variance of about -6 at the start: reconstruction is learned before compression
        vae.quant_conv.bias[params.latent_channels :] -= 6
    return vae.to(memory_format=torch.channels_last)  # a step on one core takes .45 s; .58 s without


class VaeStage(TrainStage):
    """Reconstruction, weighted towards the object, plus a little KL."""

    def __init__(self, params: VaeParams, seed: int) -> None:
        self.params, self.seed, self.loop = params, seed, params.loop
        self.vae = new_vae(params)
        self.modules: dict[str, nn.Module] = {"vae": self.vae}

    def loss(self, step: int, worker: int = 0) -> tuple[Tensor, dict[str, float]]:
        rng = rng_for(self.seed, "train-vae", step, worker)
        size = (64, 128)[step % 2]
        cropped = step < self.params.crop_share * self.loop.steps
        batch = self.loop.batch if cropped else max(1, self.loop.batch * 64 // size)  # twice the work, not four times
        frames = random_frames(rng, batch, size, self.params.crop if cropped else size).to(self.device)
        weight = 1 + self.params.foreground * (frames - _median(frames)).abs().mean(1, keepdim=True) / 2
        posterior = self.vae.encode(frames).latent_dist
        noise = torch.from_numpy(rng.standard_normal(posterior.mean.shape, dtype=np.float32)).to(self.device)
        decoded = self.vae.decode(posterior.mean + posterior.std * noise).sample.float()
        squared = ((decoded - frames) ** 2 * weight).mean()
        absolute = ((decoded - frames).abs() * weight).mean()
        grain = _laplacian(decoded - frames).abs().mean()
        loss = squared + 0.1 * absolute + self.params.laplacian * grain + self.params.kl * posterior.kl().mean()
        return loss, {"psnr": psnr(decoded, frames)}

    @torch.no_grad()
    def gates(self) -> dict[str, float]:
        rng = rng_for(self.seed, "held-out-vae", 0, 0)
        figures = {}
        for size in (64, 128):
            frames = random_frames(rng, self.params.held_out, size, size).to(self.device)
            decoded = self.vae.decode(self.vae.encode(frames).latent_dist.mode()).sample.float()
            figures[f"psnr_{size}"] = psnr(decoded.clamp(-1, 1), frames)
        return figures | self._shades()

    def _shades(self) -> dict[str, float]:
        """`shades_kept` of plain backgrounds, against those of their words."""
        rng = rng_for(self.seed, "held-out-vae-shades", 0, 0)
        scenes = [sample_scene(rng, style="plain") for _ in range(5 * self.params.held_out)]
        frames = render(scenes, np.zeros((len(scenes), 1), int), 64)[:, 0].to(self.device) * 2 - 1
        decoded = self.vae.decode(self.vae.encode(frames).latent_dist.mode()).sample.float()
        words = torch.tensor([BACKGROUNDS[scene.background] for scene in scenes], device=self.device)
        true, seen = ((_median(some)[:, :, 0, 0] + 1) / 2 - words for some in (frames, decoded))
        return shades_kept(true, seen)

    @torch.no_grad()
    def finish(self) -> None:
        """Folds each latent channel's mean and standard deviation into the 1x1 convolutions: unit-normal latents.

        A channel whose posterior is wider than its signal carries no information: it becomes 0, and costs a diffusion
        model nothing. (Half of the channels are such; at unit variance they were half of the base model's loss.)
        """
        rng = rng_for(self.seed, "train-vae-fold", 0, 0)
        frames = (random_frames(rng, 64, 64, 64).to(self.device) for _ in range(8))
        posteriors = [self.vae.encode(some).latent_dist for some in frames]
        mean, std = _mean_and_std(torch.cat([posterior.mode() for posterior in posteriors]))
        noise, _ = _mean_and_std(torch.cat([posterior.std for posterior in posteriors]))
        channels = self.params.latent_channels
        into, back = self.vae.quant_conv, self.vae.post_quant_conv
        scale = torch.where(noise < std, 1 / std, 0)
        into.weight[:channels] *= scale[:, None, None, None]
        into.bias[:channels] = (into.bias[:channels] - mean) * scale
        into.bias[channels:] -= 2 * std.log()  # the log-variances follow
        back.bias += (back.weight[:, :, 0, 0] * mean).sum(1)
        back.weight *= std[None, :, None, None]


class DecoderStage(VaeStage):
    """Continues with the decoder alone: the latents, on which the other parts were trained, stay the same."""

    def __init__(self, params: VaeParams, seed: int, vae: AutoencoderKL) -> None:
        super().__init__(params, seed)
        self.vae = vae
        self.vae.encoder.requires_grad_(False)
        self.vae.quant_conv.requires_grad_(False)
        self.vae.decoder.requires_grad_(True)
        self.vae.post_quant_conv.requires_grad_(True)
        self.modules = {"vae": self.vae}

    def finish(self) -> None:
        """The latents are unit-normal already."""


def random_frames(rng: np.random.Generator, count: int, size: int, crop: int) -> Float[Tensor, "b 3 {crop} {crop}"]:
    """Single frames of random scenes in [-1, 1], cropped at a random place."""
    scenes = [sample_scene(rng) for _ in range(count)]
    frames = render(scenes, rng.integers(0, 64, (count, 1)), size)[:, 0] * 2 - 1
    top, left = rng.integers(0, size - crop + 1, (2, count))
    return torch.stack([f[:, y : y + crop, x : x + crop] for f, y, x in zip(frames, top, left, strict=True)])


def psnr(x: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images in [-1, 1], over all of them together."""
    return (10 * torch.log10(4 / ((x - target) ** 2).mean())).item()


def shades_kept(true: Float[Tensor, "b 3"], seen: Float[Tensor, "b 3"]) -> dict[str, float]:
    """The share of the variance of RGB differences that is kept, of brightness and of hue: 1 is all of it."""
    light, seen_light = (some.mean(1, keepdim=True) for some in (true, seen))
    parts = {"light_kept": (light, seen_light), "hue_kept": (true - light, seen - seen_light)}
    return {name: 1 - ((a - b) ** 2).sum().item() / (a**2).sum().item() for name, (a, b) in parts.items()}


def _mean_and_std(latents: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    flat = rearrange(latents.float(), "b c h w -> c (b h w)")
    return flat.mean(1), flat.std(1)


def _laplacian(frames: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h-2 w-2"]:
    """Of all pixels but those at the border."""
    middle = frames[..., 1:-1, 1:-1]
    around = frames[..., :-2, 1:-1] + frames[..., 2:, 1:-1] + frames[..., 1:-1, :-2] + frames[..., 1:-1, 2:]
    return around - 4 * middle


def _median(frames: Tensor) -> Tensor:
    return frames.flatten(2).median(2).values[..., None, None]
