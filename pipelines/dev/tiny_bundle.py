"""Writes trained parts as a bundle: float16 safetensors in the diffusers layout."""

import json
import shutil
from pathlib import Path

from longtake.models.training.diffusion import TINY_SCHEDULE
from longtake.pipelines.train.bundle_files import copy_as_float16

PARTS = {
    "unet": ("diffusers", "UNet3DConditionModel"),
    "cam": ("longtake.models.nets.cam", "Cam"),
    "apm": ("longtake.models.nets.apm", "Apm"),
    "image_encoder": ("transformers", "CLIPVisionModelWithProjection"),
    "text_encoder": ("transformers", "CLIPTextModelWithProjection"),
    "tokenizer": ("transformers", "PreTrainedTokenizerFast"),
    "vae": ("diffusers", "AutoencoderKL"),
    "refiner": ("diffusers", "UNet3DConditionModel"),
    "scheduler": ("diffusers", "DDIMScheduler"),
    "refiner_scheduler": ("diffusers", "DDIMScheduler"),
}

# What suits the tiny bundle, where it is not what diffusers' pipelines do; docs/history/tiny.md has the measurements.
DEFAULTS = {
    "base.num_inference_steps": 8,
    "base.guidance_scale": 2.5,
    # Guidance amplifies the anchor too, and pulls colours away from it: chunks with a memory do without.
    "base.continuation_guidance_scale": 1.0,
    "base.guidance_rescale": 0.7,
    # With the first half alone more first chunks are right, and shades move less if the second half is unguided.
    "base.guidance_stop": 0.5,
    # The base model draws the ends of a chunk worst, and APM would pass that on.
    "base.anchor_frame": 8,
    "refiner.num_inference_steps": 3,
    "refiner.strength": 0.25,
    "refiner.guidance_scale": 1.0,  # the refiner follows the prompt without, in half the time
    "refiner.guidance_rescale": 0.7,
    "refiner.height": 128,
    "refiner.width": 128,
}


def pack(parts: Path, out: Path, start: Path | None = None) -> None:
    """Writes the folders of `parts` to `out`, in float16; missing parts come from the bundle `start`.

    Raises ValueError for a part that is in neither. `out` is replaced only when the new bundle is complete.
    """
    new = out.with_name(f"{out.name}.part")
    shutil.rmtree(new, ignore_errors=True)
    for name in PARTS:
        folder = new / name
        folder.mkdir(parents=True)
        if name.endswith("scheduler"):
            (folder / "scheduler_config.json").write_text(json.dumps(TINY_SCHEDULE, indent=2) + "\n")
        else:
            copy_as_float16(_find(name, parts, start), folder)
    index = {"_class_name": "Longtake"} | {name: list(entry) for name, entry in PARTS.items()}
    (new / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    (new / "bundle.json").write_text(json.dumps({"format": 1, "defaults": DEFAULTS}, indent=2) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    new.replace(out)


def _find(name: str, parts: Path, start: Path | None) -> Path:
    for folder in (parts, start):
        if folder is not None and (folder / name).is_dir():
            return folder / name
    raise ValueError(f"{parts / name} is missing: run the stage that makes it first")
