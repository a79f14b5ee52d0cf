"""A bundle: a directory in the diffusers layout that holds every network of a model.

    model_index.json        part -> [library, class], as diffusers writes it
    unet/ vae/ text_encoder/ tokenizer/ scheduler/          a text-to-video pipeline
    cam/ apm/ image_encoder/                                short-term and long-term memory (may be missing)
    refiner/ refiner_scheduler/                             the enhancer
    refiner_vae/ refiner_text_encoder/ refiner_tokenizer/   only where they are not the base model's
    opener/                                                 a pipeline of diffusers of its own, for the first chunk
    bundle.json                                             settings that suit it, where it came from, licences

Of `models`, only this file, `files.py`, `video_pipeline.py` and the readers of videos and pictures (`video/reader.py`,
`video/mp4.py`, `video/photo.py`) open files.
Weights are safetensors; a pickle is never opened.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from safetensors import SafetensorError, safe_open
from transformers import AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from longtake.models.diffusion.sampling import NoiseSchedule
from longtake.models.nets.apm import Apm
from longtake.models.nets.cam import Cam
from longtake.models.nets.text import check_length, unknown_words
from longtake.models.stages.base import BaseModel, BaseNets
from longtake.models.stages.files import BASE_PARTS, REQUIRED, read_index, read_json
from longtake.models.stages.params import BaseParams, OpenerParams, RefinerParams
from longtake.models.stages.refiner import Refiner
from longtake.models.stages.refiner_nets import BundleRefinerNets
from longtake.models.stages.video_pipeline import VideoPipeline

CLASSES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        UNet3DConditionModel,
        AutoencoderKL,
        CLIPTextModel,
        CLIPTextModelWithProjection,
        CLIPVisionModelWithProjection,
        Cam,
        Apm,
    )
}


CLIP_TOKENS = 77  # if a config does not say, as in transformers' CLIPTextConfig


@dataclass(frozen=True, eq=False)
class Bundle:
    """The loaded networks; makes the two stages. `parts` are by the names of their folders."""

    path: Path
    parts: Mapping[str, Any]
    opener: "Bundle | VideoPipeline | None" = None  # the model that makes first chunks

    takes_picture = needs_picture = False  # as an opener

    def base_model(self, params: BaseParams, opening: OpenerParams | None = None) -> BaseModel:
        """The GENERATE stage. Raises ValueError for params beyond the limits of the bundle, or of its opener."""
        schedule = NoiseSchedule.from_config(self.parts["scheduler"])
        if self.opener is None or opening is None:
            return BaseModel(self.base_nets(), schedule, params)
        return BaseModel(self.base_nets(), schedule, params, self.opener.as_opener(opening), opening.fit)

    def as_opener(self, params: OpenerParams) -> BaseModel:
        """The model that makes the first chunk of another one's videos."""
        schedule = NoiseSchedule.from_config(self.parts["scheduler"], params.is_multistep)
        return BaseModel(self.base_nets(), schedule, params.sampling(), purpose="opener")

    def base_nets(self) -> BaseNets:
        """The networks of the GENERATE stage."""
        return BaseNets(**{name: self.parts.get(name) for name in BASE_PARTS if name != "scheduler"})

    def refiner(self, params: RefinerParams) -> Refiner:
        """The REFINE stage. Raises ValueError for params beyond the limits of the bundle."""
        vae, tokenizer, text_encoder = (
            self.parts.get(f"refiner_{name}", self.parts[name]) for name in ("vae", "tokenizer", "text_encoder")
        )
        nets = BundleRefinerNets(self.parts["refiner"], vae, tokenizer, text_encoder, params)
        return Refiner(nets, NoiseSchedule.from_config(self.parts["refiner_scheduler"]), params)

    def check_text(self, name: str, text: str) -> None:
        """Raises FieldError, of the field `name`, for a text with too many tokens for one of the text encoders."""
        for part in ("", "refiner_"):  # the refiner may have a tokenizer of its own
            if f"{part}tokenizer" in self.parts:
                check_length(self.parts[f"{part}tokenizer"], text, self._text_limits[f"{part}text_encoder"], name)
        if isinstance(self.opener, Bundle):
            self.opener.check_text(name, text)

    @cached_property
    def _text_limits(self) -> dict[str, int]:
        """The number of tokens that each text encoder accepts; read from its config, because it may not be loaded."""
        names = [name.replace("tokenizer", "text_encoder") for name in self.parts if name.endswith("tokenizer")]
        return {name: _config(self.path / name).get("max_position_embeddings", CLIP_TOKENS) for name in names}

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that the bundle does not know."""
        return unknown_words(self.parts["tokenizer"], prompt)


def load_bundle(
    path: str | Path,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    keep: Callable[[str], bool] = lambda name: True,
    required: Sequence[str] = REQUIRED,
) -> Bundle:
    """Loads the bundle in directory `path`, onto `device`: the parts that `keep` names, all by default.

    `required` parts must exist, whether or not `keep` names them.

    Raises ValueError if it is not a bundle, if a part is missing, or if a tensor is missing or does not have the shape
    in its config; the message names the tensor and both shapes.
    """
    path = Path(path)
    index = read_index(path, required)
    parts: dict[str, Any] = {}
    for name, entry in index.items():
        if not name.startswith("_") and isinstance(entry, list) and entry[1] is not None and keep(name):
            parts[name] = _load_part(path / name, entry[1], device, dtype)
    return Bundle(path, parts)


def _load_part(folder: Path, class_name: str, device: str, dtype: torch.dtype) -> Any:
    if folder.name.endswith("scheduler"):
        return read_json(folder / "scheduler_config.json", f"bundle part {folder} cannot be read")
    if folder.name.endswith("tokenizer"):
        if not folder.is_dir():
            raise ValueError(f"bundle part {folder} is missing")
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if class_name not in CLASSES:
        raise ValueError(f"{folder.name}={class_name!r} in model_index.json must be one of {', '.join(CLASSES)}")
    cls = CLASSES[class_name]
    check_tensors(cls, folder)
    part = cls.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True)
    return part.to(device).eval().requires_grad_(False)


def check_tensors(cls: Any, folder: Path) -> None:
    """Raises ValueError naming the first tensor of `folder` that is missing or misshapen for its own config."""
    config = _config(folder)
    actual = _shapes(folder)
    with torch.device("meta"):
        expected = _empty(cls, config).state_dict()
    for name, tensor in expected.items():
        shape = tuple(tensor.shape)
        if name not in actual:
            raise ValueError(f"bundle part {folder}: tensor {name} {shape} is missing")
        if actual[name] != shape:
            raise ValueError(f"bundle part {folder}: tensor {name} is {actual[name]}, its config asks for {shape}")


def _config(folder: Path) -> Any:
    return read_json(folder / "config.json", f"bundle part {folder} cannot be read")


def _empty(cls: Any, config: Mapping[str, Any]) -> Any:
    if hasattr(cls, "from_config"):  # diffusers
        return cls.from_config(config)
    return cls(cls.config_class.from_dict(config))  # transformers


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"bundle part {folder} has no .safetensors file; other formats are not opened")
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ValueError(f"bundle part {file} cannot be read: {error}") from None
    return shapes
