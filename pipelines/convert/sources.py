"""The folders that a conversion takes files from, unchanged: those of diffusers and transformers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longtake.models.stages.files import REQUIRED_OF_BASE, TEXT_TO_VIDEO, pipeline_class, read_json, read_parts
from longtake.models.stages.weight_files import read_header, weight_files

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
NETWORK = r"config\.json|.*\.safetensors(\.index\.json)?"
TOKENIZER = r"(tokenizer|tokenizer_config|vocab|special_tokens_map|added_tokens)\.json|merges\.txt"
UNET = "UNet3DConditionModel"


@dataclass(frozen=True, slots=True)
class Copied:
    """A file that the new folder has unchanged: its name there, and the part that it belongs to."""

    source: Path
    name: str
    part: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with one part, that of the option that named it."""

    option: str
    path: Path

    def json(self, name: str) -> dict[str, Any]:
        return read_json(self.path / name, f"{self.option}={self.path} cannot be read")

    def copied(self, part: str, kinds: str) -> list[Copied]:
        """The files whose names match. Raises ValueError if there is none, or no readable safetensors of a network."""
        files = [
            Copied(path, f"{part}/{path.name}", part) for path in _files(self.path) if re.fullmatch(kinds, path.name)
        ]
        if not files:
            raise ValueError(f"{self.option}={self.path} has no files of a {part}")
        if kinds == NETWORK:
            self.check_weights()
        return files

    def check_weights(self) -> None:
        """Raises ValueError unless there are safetensors, no piece of them is missing, and each can be read."""
        weights = [path for path in _files(self.path) if path.suffix == ".safetensors"]
        pickles = [path.name for path in _files(self.path) if path.suffix in PICKLES]
        if not weights:
            found = f" ({pickles[0]} is a pickle, which is not opened)" if pickles else ""
            advice = "save_pretrained of diffusers or transformers writes it so"
            raise ValueError(f"{self.option}={self.path} has no .safetensors file{found}; {advice}")
        try:
            weight_files(self.path)
            for path in weights:
                read_header(path)
        except ValueError as error:
            raise ValueError(f"{self.option}={self.path}: {error}") from None


def part_folder(option: str, given: Path, name: str) -> Folder:
    """The folder of a part: the one that is given, or that of its name in it (a whole pipeline)."""
    if not given.is_dir():
        raise ValueError(f"{option}={given} is no folder")
    inner = given / name
    if not (given / "config.json").is_file() and inner.is_dir():
        return Folder(option, inner)
    return Folder(option, given)


def tokenizer_folder(option: str, text_encoder: Folder) -> Folder:
    """The tokenizer of a text encoder: in its folder, or in the folder `tokenizer` beside it."""
    for folder in (text_encoder.path, text_encoder.path.parent / "tokenizer"):
        if any(re.fullmatch(TOKENIZER, path.name) for path in _files(folder)):
            return Folder(option, folder)
    raise ValueError(f"{option}={text_encoder.path} has no tokenizer, nor has a folder tokenizer beside it")


def pipeline_folders(option: str, given: Path) -> dict[str, Folder]:
    """The folders of a text-to-video pipeline as diffusers writes it. Raises ValueError for any other folder."""
    index = read_json(given / "model_index.json", f"{option}={given} is no folder of a diffusers pipeline")
    missing = [one for one in REQUIRED_OF_BASE if not isinstance(index.get(one), list) or not (given / one).is_dir()]
    if missing:
        raise ValueError(f"{option}={given} is no text-to-video pipeline: it has no {', '.join(missing)}")
    try:
        problem = _unsupported(given)
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        raise ValueError(f"{option}={given} cannot be used: {problem}")
    names = [name for name, entry in index.items() if isinstance(entry, list) and (given / name).is_dir()]
    return {name: Folder(option, given / name) for name in names}


def _unsupported(given: Path) -> str | None:
    """The class that makes a folder unfit for the place of ModelScope's, in words."""
    if (kind := pipeline_class(given)) not in TEXT_TO_VIDEO:
        return f"its pipeline is a {kind}, and must be a {TEXT_TO_VIDEO[0]}"
    parts = read_parts(given, None, REQUIRED_OF_BASE)
    for name in REQUIRED_OF_BASE:
        parts[name].config()  # raises for another class than in the index
    if (kind := parts["unet"].class_name) != UNET:
        return f"its unet is a {kind}, and must be a {UNET}"
    return None


def unchanged(option: str, given: Path, folders: Iterable[Folder], part: str) -> list[Copied]:
    """Every file of a pipeline but pickles, whose contents safetensors have too, and hidden ones."""
    found = [Copied(path, f"{part}/{path.name}", part) for path in _files(given)]
    for folder in folders:
        inner = [Copied(path, f"{part}/{folder.path.name}/{path.name}", part) for path in _files(folder.path)]
        if any(one.source.suffix in (*PICKLES, ".safetensors") for one in inner):
            folder.check_weights()
        found += inner
    return [one for one in found if one.source.suffix not in PICKLES]


def _files(folder: Path) -> list[Path]:
    """The files in a folder, without hidden ones."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
