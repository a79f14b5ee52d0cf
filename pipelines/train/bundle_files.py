"""The files of a trained part, as a bundle holds them."""

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file


def copy_as_float16(part: Path, folder: Path) -> None:
    """Copies the files of a part to `folder`, weights in float16."""
    for file in sorted(part.iterdir()):
        if file.suffix == ".safetensors":
            halved = {key: tensor.half() for key, tensor in load_file(file).items()}
            save_file(halved, folder / file.name, metadata={"format": "pt"})
        elif file.name == "config.json":  # without the folder of the training
            config = {key: value for key, value in json.loads(file.read_text()).items() if key != "_name_or_path"}
            (folder / file.name).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        else:
            shutil.copy(file, folder / file.name)
