"""The JSON files of a bundle, without torch: a broken bundle is refused before torch is imported."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BASE_PARTS = ("unet", "vae", "tokenizer", "text_encoder", "image_encoder", "cam", "apm", "scheduler")
REQUIRED = ("unet", "vae", "text_encoder", "tokenizer", "scheduler", "refiner", "refiner_scheduler")


def read_index(bundle: Path, required: Sequence[str] = REQUIRED) -> dict[str, Any]:
    """The content of model_index.json. Raises ValueError if it is missing, or lacks one of the `required` parts."""
    index = read_json(bundle / "model_index.json", f"bundle={bundle} is not a bundle")
    missing = [name for name in required if not isinstance(entry := index.get(name), list) or entry[1] is None]
    if missing:
        raise ValueError(f"bundle={bundle} is incomplete: model_index.json has no {', '.join(missing)}")
    return index


def network_config(part: Path, class_name: str) -> dict[str, Any]:
    """The config of the network in folder `part`, a `class_name` by model_index.json.

    Raises ValueError if it cannot be read, and for the config of another class, which computes something else with the
    same tensors.
    """
    config = read_json(part / "config.json", f"bundle part {part} cannot be read")
    named = config.get("_class_name", class_name)  # those of transformers do not name it
    if named != class_name:
        raise ValueError(f"bundle part {part}: it is a {named} in config.json, a {class_name} in model_index.json")
    return config


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
