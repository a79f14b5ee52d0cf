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
    shutil.rmtree(out, ignore_errors=True)
    new.replace(out)


def _find(name: str, parts: Path, start: Path | None) -> Path:
    for folder in (parts, start):
        if folder is not None and (folder / name).is_dir():
            return folder / name
    raise ValueError(f"{parts / name} is missing: run the stage that makes it first")
