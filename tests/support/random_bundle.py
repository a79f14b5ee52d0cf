"""A bundle of untrained networks, smaller than the tiny one, for properties that hold for any weights."""

import json
from pathlib import Path

import torch
from diffusers import DDIMScheduler

from longtake.models.nets.apm import Apm
from longtake.models.nets.cam import Cam
from longtake.models.toy_world.base_stage import new_unet
from longtake.models.toy_world.clip_stage import ClipParams, ClipStage
from longtake.models.toy_world.vae_stage import VaeParams, new_vae
from longtake.models.training.params import LoopParams
from longtake.pipelines.dev.tiny_bundle import pack

LOOP = LoopParams(steps=1)


def write_random_opener(folder: Path) -> Path:
    """Writes a text-to-video folder as diffusers does, with frames of another shape than the bundle's."""
    torch.manual_seed(1)
    clip = ClipStage(ClipParams(LOOP, width=32, text_layers=1, image_layers=1), seed=1)
    parts = {
        "unet": new_unet((16, 32), 16, channels=4, text_width=32, size=(6, 10)),
        "text_encoder": clip.text,
        "vae": new_vae(VaeParams(LOOP, block_out_channels=(8, 8, 8, 8), latent_channels=4)),
        "tokenizer": clip.tokenizer,
        "scheduler": DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
    }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    index = {name: [type(part).__module__.partition(".")[0], type(part).__name__] for name, part in parts.items()}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "TextToVideoSDPipeline"} | index))
    return folder


def write_random_bundle(folder: Path) -> Path:
    """Writes the bundle below `folder` and returns its path."""
    torch.manual_seed(0)
    clip = ClipStage(ClipParams(LOOP, width=32, text_layers=1, image_layers=1), seed=0)
    unet, refiner = (new_unet((16, 32), 16, channels=4, text_width=32, size=4) for _ in range(2))
    cam = Cam.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 8, 8), merger_head_dim=16)
    apm = Apm.from_unet(unet, image_embed_dim=32, hidden_dim=32, num_tokens=2, text_tokens=24)
    for module in (cam, apm):  # as if trained: gates and projections start at zero
        for parameter in module.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    parts = {
        "unet": unet,
        "cam": cam,
        "apm": apm,
        "image_encoder": clip.image,
        "text_encoder": clip.text,
        "vae": new_vae(VaeParams(LOOP, block_out_channels=(8, 8, 8, 8), latent_channels=4)),
        "refiner": refiner,
        "tokenizer": clip.tokenizer,
    }
    for name, part in parts.items():
        part.save_pretrained(folder / "parts" / name)
    pack(folder / "parts", folder / "bundle")
    return folder / "bundle"
