"""Measurements beyond finished videos: the VAE, words of a caption, the refiner against the truth, costs.

They use rendered scenes whose words never occur together in training, so the truth is known.
Shapes: b clips, t frames, h w pixel rows and columns.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d

from longtake.models.diffusion.noise import rng_for
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.models.metrics.bootstrap import Interval, interval
from longtake.models.metrics.drift import sharpness
from longtake.models.nets.conditioned import denoise, video_context
from longtake.models.nets.latents import decode_latents, encode_images
from longtake.models.stages.bundle import Bundle
from longtake.models.toy_world.captions import swapped_captions
from longtake.models.toy_world.probe import probe
from longtake.models.toy_world.render import render
from longtake.models.toy_world.vae_stage import psnr
from longtake.models.toy_world.world import ATTRIBUTES, Scene
from longtake.models.training.captions import Captioner
from longtake.models.training.diffusion import DiffusionLoss
from longtake.models.video.frames import to_float, to_uint8, upscale
from longtake.pipelines.ablation.video_maker import refined_frames
from longtake.pipelines.config.conf import Conf

FRAMES = 16  # of a clip of the base model
WINDOW = 24  # frames of the refiner
EDGE = 0.3  # of a frame's largest Laplacian: values above it are the object's edge; stripes stay below


def rendered(scene: Scene, frames: int, size: int) -> UInt8[np.ndarray, "t h w 3"]:
    """The true frames of a scene."""
    return to_uint8(render([scene], np.arange(frames), size)[0] * 2 - 1)


def vae_figures(bundle: Bundle, scenes: Sequence[Scene]) -> dict[str, Interval]:
    """PSNR in dB at both sizes, and the share of shapes that the probe reads right, with and without the VAE."""
    vae, rows = bundle.parts["vae"], []
    for scene in scenes:
        row: dict[str, float] = {}
        for size in (64, 128):
            true = rendered(scene, FRAMES, size)
            decoded = decode_latents(vae, encode_images(vae, to_float(true)))
            row[f"psnr_{size}"] = psnr(decoded, to_float(true))
            if size == 64:
                row["shape_true"] = float(probe(true).shape == scene.shape)
                row["shape_vae"] = float(probe(to_uint8(decoded)).shape == scene.shape)
        rows.append(row)
    return {name: interval([row[name] for row in rows]) for name in rows[0]}


def swap_figures(bundle: Bundle, scenes: Sequence[Scene]) -> dict[str, Interval]:
    """The rise of the base model's loss at pure noise, where only the caption informs it, with a wrong word."""
    unet, vae = bundle.parts["unet"], bundle.parts["vae"]
    captioner = Captioner(bundle.parts["tokenizer"], bundle.parts["text_encoder"])
    loss = DiffusionLoss(bundle.parts["scheduler"])
    gaps: dict[str, list[float]] = {name: [] for name in ATTRIBUTES}
    for index, scene in enumerate(scenes):
        latents = encode_images(vae, to_float(rendered(scene, FRAMES, 64)))
        x0 = rearrange(latents, "t c h w -> 1 c t h w")
        right = _loss(unet, captioner, loss, scene.caption(), x0, index)
        for name, caption in swapped_captions(scene, index):
            gaps[name].append(_loss(unet, captioner, loss, caption, x0, index) - right)
    return {name: interval(values) for name, values in gaps.items()}


@torch.inference_mode()
def _loss(unet: Any, captioner: Captioner, loss: DiffusionLoss, caption: str, x0: Tensor, index: int) -> float:
    context = video_context(unet, None, captioner([caption]), None)
    rng = rng_for(0, "swap-noise", 0, index)
    return loss.loss(lambda x, t: denoise(unet, x, t, context), x0, torch.tensor([999]), rng).item()


def refiner_figures(bundle: Bundle, conf: Conf, scenes: Sequence[Scene]) -> dict[str, Interval]:
    """PSNR (dB), SSIM and sharpness over the truth's (of edges, of whole frames): refined and bilinearly upscaled.

    The input is true low-resolution frames after the VAE, as all frames of the base model are.
    """
    vae, rows = bundle.parts["vae"], []
    for index, scene in enumerate(scenes):
        low = to_uint8(decode_latents(vae, encode_images(vae, to_float(rendered(scene, WINDOW, 64)))))
        true = rendered(scene, WINDOW, 128)
        ways = {"refined": refined(bundle, conf, scene, low, index), "bilinear": to_uint8(upscale(low, 128, 128))}
        row = {}
        for way, frames in ways.items():
            row[f"psnr_{way}"] = psnr(to_float(frames), to_float(true))
            row[f"ssim_{way}"] = ssim(frames, true)
            row[f"edges_{way}"] = edge_sharpness(frames, true)
            row[f"sharpness_{way}"] = float(sharpness(frames).mean() / sharpness(true).mean())
        row |= {f"{name}_gain": row[f"{name}_refined"] - row[f"{name}_bilinear"] for name in ("psnr", "ssim")}
        for name in ("edges", "sharpness"):
            off = {way: abs(row[f"{name}_{way}"] - 1) for way in ways}
            row[f"{name}_gain"] = off["bilinear"] - off["refined"]  # nearer to the truth's
        rows.append(row)
    return {name: interval([row[name] for row in rows]) for name in rows[0]}


def refined(
    bundle: Bundle, conf: Conf, scene: Scene, low: UInt8[np.ndarray, "t h w 3"], index: int
) -> UInt8[np.ndarray, "t h2 w2 3"]:
    """A window of frames, refined as `longtake enhance` would."""
    spec = PromptSpec("window", scene.caption(), num_frames=len(low), seed=1000 + index)
    return refined_frames(bundle, conf, spec, low)


def edge_sharpness(frames: UInt8[np.ndarray, "t h w 3"], true: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Mean absolute Laplacian over the truth's, within two pixels of the truth's edges.

    Over whole frames it would count grain as sharpness: the VAE alone adds a grey level of it to flat surfaces.
    """
    ours, theirs = (np.stack([_laplacian(frame) for frame in some]) for some in (frames, true))
    edges = [(laplacian > EDGE * laplacian.max()).astype(np.uint8) for laplacian in theirs]
    near = np.stack([cv2.dilate(edge, np.ones((5, 5), np.uint8)) for edge in edges]) > 0
    return float(ours[near].mean() / theirs[near].mean())


def _laplacian(frame: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Of all channels: red on olive has no edge in grey."""
    laplacian: Float[np.ndarray, "h w"] = np.abs(cv2.Laplacian(frame, cv2.CV_32F)).mean(2)
    return laplacian


def ssim(frames: UInt8[np.ndarray, "t h w 3"], true: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Structural similarity (Wang et al. 2004), windows of 7x7, of 0-255, mean over frames, channels and places."""
    x, y = (torch.from_numpy(some).permute(0, 3, 1, 2).double() for some in (frames, true))
    mean_x, mean_y = _mean(x), _mean(y)
    share = 49 / 48  # sample (co)variances
    var_x, var_y = ((_mean(z * z) - m * m) * share for z, m in ((x, mean_x), (y, mean_y)))
    cov = (_mean(x * y) - mean_x * mean_y) * share
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = ((2 * mean_x * mean_y + c1) * (2 * cov + c2)) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return value.mean().item()


def _mean(x: Float[Tensor, "t c h w"]) -> Float[Tensor, "t c h2 w2"]:
    return avg_pool2d(x, 7, stride=1)


def costs(bundle: Bundle, conf: Conf, scene: Scene, threads: int = 2) -> dict[str, float]:
    """Seconds of a chunk and of a window's steps at the default steps, the best of three, and megabytes of weights."""
    torch.set_num_threads(threads)
    spec, plan = PromptSpec("cost", scene.caption(), num_frames=40), Plan(40, conf.plan)
    model = bundle.base_model(conf.base)
    memory, _ = model.advance(spec, plan, 0, None)
    low = rendered(scene, WINDOW, 64)
    chunk = _best(lambda: model.advance(spec, plan, 1, memory))
    window = _best(lambda: refined(bundle, conf, scene, low, 0))
    size = sum(file.stat().st_size for file in Path(bundle.path).rglob("*") if file.is_file()) / 1e6
    torch.set_num_threads(1)
    return {"chunk_s": chunk, "window_s": window, "bundle_mb": size}


def _best(call: Any) -> float:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
