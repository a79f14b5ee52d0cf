"""The JSON files of a bundle and the places of its parts, without torch: a broken bundle is refused before torch is
imported.

A refiner may lie in a folder of its own: `bundle/refiner/` with a model_index.json in it, or any folder that is named
beside the bundle. That folder is a small bundle (parts refiner, refiner_vae ...), a whole one, or a text-to-video
pipeline of diffusers, whose unet, vae ... then are the refiner's.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASE_PARTS = ("unet", "vae", "tokenizer", "text_encoder", "image_encoder", "cam", "apm", "scheduler")
SHARED = ("vae", "text_encoder", "tokenizer")  # by both stages, unless the refiner has its own
REFINER_PARTS = ("refiner", "refiner_scheduler", *(f"refiner_{name}" for name in SHARED))
REQUIRED_OF_BASE = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
OPENER = "opener/"  # begins the names of an opener's parts where they stand beside the others
# Pipelines whose networks are those of a base model: ModelScope's, and our bundles.
TEXT_TO_VIDEO = ("TextToVideoSDPipeline", "VideoToVideoSDPipeline", "Longtake")
REQUIRED = (*REQUIRED_OF_BASE, "refiner", "refiner_scheduler")

UNETS = ("UNet3DConditionModel", "Vid2VidUNet")
OWN = ("Cam", "Apm", "Vid2VidUNet", "NoiseSchedule")  # whatever package the index names: ours has been renamed
# No class is imported by the name in an index, and a class that is not here is refused: no bundle brings code.
CLASSES = {
    "unet": UNETS,
    "refiner": UNETS,
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel", "CLIPTextModelWithProjection"),
    "image_encoder": ("CLIPVisionModelWithProjection",),
    "cam": ("Cam",),
    "apm": ("Apm",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"),
    # Only their noise schedules are read: the samplers are ours.
    "scheduler": (
        *("DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "HeunDiscreteScheduler"),
        *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "UniPCMultistepScheduler"),
        *("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DPMSolverSDEScheduler"),
        *("DEISMultistepScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"),
        "NoiseSchedule",
    ),
}
LIBRARIES = ("diffusers", "transformers")


@dataclass(frozen=True, slots=True)
class Part:
    """One network, tokenizer or schedule of a bundle, and its folder."""

    name: str
    folder: Path
    class_name: str

    @property
    def kind(self) -> str:
        """Its name without the stage: `vae` for `refiner_vae`."""
        return kind_of(self.name)

    def config(self) -> dict[str, Any]:
        """Its config, of its class. Raises ValueError if the file is missing, names code or another class."""
        if self.kind == "tokenizer":
            self._json("config.json", optional=True)  # transformers would look there for code
            # Old folders have vocab.json and merges.txt alone.
            return self._json("tokenizer_config.json", optional=True)
        if self.kind == "scheduler":
            return self._json("scheduler_config.json")
        config = self._json("config.json")
        own = config.get("_class_name", self.class_name)  # those of transformers do not name it
        if own != self.class_name:
            said = f"it is a {own} in config.json, a {self.class_name} in model_index.json"
            raise ValueError(f"bundle part {self.folder}: {said}")
        return config

    def _json(self, name: str, optional: bool = False) -> dict[str, Any]:
        if optional and not (self.folder / name).exists():
            return {}
        config = read_json(self.folder / name, f"bundle part {self.folder} cannot be read")
        if config.get("auto_map"):
            raise ValueError(f"bundle part {self.folder}: {name} names code (auto_map), and no bundle may bring code")
        return config


def kind_of(name: str) -> str:
    """The key in CLASSES of a part's name."""
    return name if name == "refiner" else name.removeprefix("refiner_")


def refiner_names(names: Collection[str]) -> list[str]:
    """The parts of the REFINE stage: its own VAE, text encoder and tokenizer, if `names` has them, or the base's."""
    return [name for name in (*REFINER_PARTS, *SHARED) if f"refiner_{name}" not in names]


def read_parts(bundle: Path, refiner: Path | None = None, required: Sequence[str] = REQUIRED) -> dict[str, Part]:
    """The parts by name, those of the refiner from the folder `refiner` if there is one.

    Raises ValueError if one of the `required` parts is missing, or if a part is of a library or class that no stage
    uses. Parts of other names are not used, and not listed.
    """
    parts = _parts_in(bundle, read_index(bundle, ()))
    own = bundle / "refiner"
    if refiner is None and not (own / "config.json").exists() and (own / "model_index.json").exists():
        refiner = own
    if refiner is not None:
        parts = {name: part for name, part in parts.items() if name not in REFINER_PARTS} | _refiner_parts(refiner)
    missing = [name for name in required if name not in parts]
    if {"refiner", "refiner_scheduler"} <= set(missing) and len(missing) == 2:
        raise ValueError(
            f"bundle={bundle} is incomplete: model_index.json has no refiner, refiner_scheduler. Set "
            "refiner.enabled=false for videos of the base model's size, or refiner.model=PATH for the refiner of "
            "another folder"
        )
    if missing:
        raise ValueError(f"bundle={bundle} is incomplete: model_index.json has no {', '.join(missing)}")
    return parts


def _refiner_parts(folder: Path) -> dict[str, Part]:
    """The parts of the refiner in a folder of its own, under the names that they have in a bundle."""
    found = _parts_in(folder, read_index(folder, (), "refiner.model"))
    network = next((name for name in ("refiner", "unet") if name in found), None)
    if network is None:
        raise ValueError(f"refiner.model={folder} has neither a refiner nor a unet in its model_index.json")
    sources = {
        "refiner": network,
        "refiner_scheduler": "scheduler" if network == "unet" else "refiner_scheduler",
        **{f"refiner_{name}": f"refiner_{name}" if f"refiner_{name}" in found else name for name in SHARED},
    }
    parts = {name: found[source] for name, source in sources.items() if source in found}
    if "refiner_scheduler" not in parts:
        raise ValueError(
            f"refiner.model={folder} is incomplete: model_index.json has no {sources['refiner_scheduler']}"
        )
    return {name: Part(name, part.folder, part.class_name) for name, part in parts.items()}


def _parts_in(folder: Path, index: Mapping[str, Any]) -> dict[str, Part]:
    """The parts of one model_index.json that a stage uses."""
    names = (*BASE_PARTS, *REFINER_PARTS)
    entries = {name: index[name] for name in names if isinstance(index.get(name), list) and index[name][1:] != [None]}
    unknown = [problem for name, entry in entries.items() if (problem := _unknown(name, entry))]
    if unknown:
        raise ValueError(f"{folder / 'model_index.json'}: {'; '.join(unknown)}")
    return {name: Part(name, folder / name, entry[1]) for name, entry in entries.items()}


def _unknown(name: str, entry: Sequence[Any]) -> str | None:
    """The unknown class or library of an entry of model_index.json, in words."""
    if len(entry) != 2 or not all(isinstance(word, str) for word in entry):
        return f"{name}={list(entry)} must be a library and a class"
    library, class_name = entry
    known = CLASSES[kind_of(name)]
    if class_name not in known:
        return f"{name}={class_name!r} must be one of {', '.join(known)}"
    if library not in LIBRARIES and class_name not in OWN:
        return f"{name} is of the library {library!r}, which is not known: it must be {' or '.join(LIBRARIES)}"
    return None


def read_index(bundle: Path, required: Sequence[str] = REQUIRED, field: str = "bundle") -> dict[str, Any]:
    """The content of model_index.json. Raises ValueError if it is missing, or lacks one of the `required` parts."""
    index = read_json(bundle / "model_index.json", f"{field}={bundle} is not a bundle")
    missing = [name for name in required if not isinstance(entry := index.get(name), list) or entry[1] is None]
    if missing:
        raise ValueError(f"bundle={bundle} is incomplete: model_index.json has no {', '.join(missing)}")
    return index


def pipeline_class(folder: Path) -> str:
    """The class of the diffusers pipeline in a folder; that of ModelScope's if the folder does not say.

    Raises ValueError for a folder without one, and for one that brings code of its own, which is never run.
    """
    name = read_index(folder, ()).get("_class_name", TEXT_TO_VIDEO[0])
    if not isinstance(name, str):
        raise ValueError(f"{folder}: _class_name={name!r} in model_index.json is code of its own, which is not run")
    return name


def read_json(path: Path, problem: str) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError, with a text that begins with `problem`."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{problem}: there is no {path.name} in {path.parent}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{problem}: {path} is not readable JSON ({error})") from None
    if not isinstance(data, dict):
        raise ValueError(f"{problem}: {path} must hold a JSON object")
    return data
