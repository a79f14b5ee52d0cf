"""The JSON files of a bundle, without torch: a broken bundle is refused before torch is imported."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BASE_PARTS = ("unet", "vae", "tokenizer", "text_encoder", "image_encoder", "cam", "apm", "scheduler")
OPENER_PARTS = ("unet", "vae", "tokenizer", "text_encoder", "scheduler")
TEXT_TO_VIDEO = "TextToVideoSDPipeline"  # of diffusers: ModelScope's, whose networks are those of a base model
REQUIRED = ("unet", "vae", "text_encoder", "tokenizer", "scheduler", "refiner", "refiner_scheduler")


def read_index(bundle: Path, required: Sequence[str] = REQUIRED) -> dict[str, Any]:
    """The content of model_index.json. Raises ValueError if it is missing, or lacks one of the `required` parts."""
    index = read_json(bundle / "model_index.json", f"bundle={bundle} is not a bundle")
    missing = [name for name in required if not isinstance(entry := index.get(name), list) or entry[1] is None]
    if missing:
        raise ValueError(f"bundle={bundle} is incomplete: model_index.json has no {', '.join(missing)}")
    return index


def pipeline_class(folder: Path) -> str:
    """The class of the diffusers pipeline in a folder; that of ModelScope's if the folder does not say.

    Raises ValueError for a folder without one, and for one that brings code of its own, which is never run.
    """
    name = read_index(folder, ()).get("_class_name", TEXT_TO_VIDEO)
    if not isinstance(name, str):
        raise ValueError(f"{folder}: _class_name={name!r} in model_index.json is code of its own, which is not run")
    return name


def read_json(path: Path, problem: str) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError, with a text that begins with `problem`."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{problem}: there is no {path.name} in {path.parent}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{problem}: {path} is not readable JSON ({error})") from None
    if not isinstance(data, dict):
        raise ValueError(f"{problem}: {path} must hold a JSON object")
    return data
