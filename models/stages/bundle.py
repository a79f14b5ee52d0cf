"""A bundle: a directory in the diffusers layout that holds every network of a model.

    model_index.json        part -> [library, class], as diffusers writes it
    unet/ vae/ text_encoder/ tokenizer/ scheduler/          a text-to-video pipeline
    cam/ apm/ image_encoder/                                short-term and long-term memory (may be missing)
    refiner/ refiner_scheduler/                             the enhancer (may lie elsewhere: files.py)
    refiner_vae/ refiner_text_encoder/ refiner_tokenizer/   only where they are not the base model's
    opener/                                                 a pipeline of diffusers of its own, for the first chunk
    bundle.json                                             settings that suit it, where it came from, licences

Of `models`, only this file, `files.py`, `weight_files.py`, `weights.py`, `part_checks.py` and `video_pipeline.py`
beside it and the readers of videos and pictures (`video/reader.py`, `video/mp4.py`, `video/still.py`) open files.
Weights are safetensors; a pickle is opened only where that is asked for. No code of a bundle is ever run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from transformers import (
    AutoTokenizer,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from longtake.models.diffusion.sampling import NoiseSchedule
from longtake.models.nets.apm import Apm
from longtake.models.nets.cam import Cam
from longtake.models.nets.text import check_length, unknown_words
from longtake.models.nets.vid2vid import Vid2VidUNet
from longtake.models.stages.base import BaseModel, BaseNets
from longtake.models.stages.files import BASE_PARTS, REQUIRED, Part, read_parts
from longtake.models.stages.params import BaseParams, OpenerParams, RefinerParams
from longtake.models.stages.refiner import Refiner
from longtake.models.stages.refiner_nets import BundleRefinerNets
from longtake.models.stages.unrefined import Unrefined
from longtake.models.stages.video_pipeline import VideoPipeline
from longtake.models.stages.weight_files import is_same_network
from longtake.models.stages.weights import load_network, tensor_problems
from longtake.models.video.fit import Size

CLASSES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        UNet3DConditionModel,
        Vid2VidUNet,
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
    """The loaded networks; makes the two stages. `parts` are by their names, `places` their folders."""

    path: Path
    parts: Mapping[str, Any]
    places: Mapping[str, Part] = field(default_factory=dict)
    opener: "Bundle | VideoPipeline | None" = None  # the model that makes first chunks

    takes_picture = needs_picture = False  # as an opener

    def base_model(self, params: BaseParams, opening: OpenerParams | None = None) -> BaseModel:
        """The GENERATE stage. Raises ValueError for params beyond the limits of the bundle, or of its opener."""
        schedule = NoiseSchedule.from_config(self.parts["scheduler"])
        if self.opener is None or opening is None:
            return BaseModel(self.base_nets(), schedule, params)
        nets, own = self.base_nets(), self.opener
        opener = own.as_opener(opening, nets.frame_size(params)) if isinstance(own, Bundle) else own.as_opener(opening)
        return BaseModel(nets, schedule, params, opener, opening.fit)

    def as_opener(self, params: OpenerParams, size: Size) -> BaseModel:
        """The model that makes the first chunk of another one's videos, of `size` if its UNet has none of its own."""
        nets, sampling = self.base_nets(), params.sampling()
        if nets.unet.config.sample_size is None:
            sampling = replace(sampling, height=size[0], width=size[1])
        schedule = NoiseSchedule.from_config(self.parts["scheduler"], params.is_multistep)
        return BaseModel(nets, schedule, sampling, purpose="opener")

    def base_nets(self) -> BaseNets:
        """The networks of the GENERATE stage."""
        return BaseNets(**{name: self.parts.get(name) for name in BASE_PARTS if name != "scheduler"})

    def refiner(self, params: RefinerParams) -> Refiner | Unrefined:
        """The REFINE stage. Raises ValueError for params beyond the limits of the bundle."""
        if not params.enabled:
            return Unrefined()
        vae, tokenizer, text_encoder = (
            self.parts[f"refiner_{name}" if f"refiner_{name}" in self.parts else name]
            for name in ("vae", "tokenizer", "text_encoder")
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
        wanted = {f"{part}text_encoder": f"{part}tokenizer" for part in ("", "refiner_")}
        read = {name: self.places[name] for name, tokenizer in wanted.items() if tokenizer in self.parts}
        return {name: part.config().get("max_position_embeddings", CLIP_TOKENS) for name, part in read.items()}

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that the bundle does not know."""
        return unknown_words(self.parts["tokenizer"], prompt)


def load_bundle(
    path: str | Path,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    keep: Callable[[str], bool] = lambda name: True,
    required: Sequence[str] = REQUIRED,
    refiner: Path | None = None,
    allow_pickle: bool = False,
    beside: Bundle | None = None,
) -> Bundle:
    """Loads the bundle in directory `path`, onto `device`: the parts that `keep` names, all by default.

    `required` parts must exist, whether or not `keep` names them. `refiner` is a folder with another refiner. A network
    whose files are the same as those of another one here or in the bundle `beside`, of the same device and dtype, is
    that network: networks do not change, so the results are the same.

    Raises ValueError if it is not a bundle, if a part is missing, or if a tensor is missing or does not have the shape
    in its config; the message names the tensor and both shapes.
    """
    places = read_parts(Path(path), refiner, required)
    parts: dict[str, Any] = {}
    loaded = [] if beside is None else [(beside.places[name], part) for name, part in beside.parts.items()]
    for name, place in places.items():
        if keep(name):
            same = next((part for known, part in loaded if is_same_network(known, place, allow_pickle)), None)
            parts[name] = _load_part(place, device, dtype, allow_pickle) if same is None else same
            loaded.append((place, parts[name]))
    return Bundle(Path(path), parts, places)


def _load_part(part: Part, device: str, dtype: torch.dtype, allow_pickle: bool) -> Any:
    config = part.config()
    if part.kind == "scheduler":
        return config
    if part.kind == "tokenizer":
        return load_tokenizer(part)
    return load_network(CLASSES[part.class_name], config, part.folder, device, dtype, allow_pickle)


def load_tokenizer(part: Part) -> Any:
    """A tokenizer. Raises ValueError if its files are missing or broken."""
    if not part.folder.is_dir():
        raise ValueError(f"bundle part {part.folder} is missing")
    cls = AutoTokenizer if (part.folder / "tokenizer.json").exists() else CLIPTokenizer  # vocab.json and merges.txt
    try:
        return cls.from_pretrained(part.folder, local_files_only=True)
    except Exception as error:  # a broken file: each library has its own errors
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"bundle part {part.folder} is not readable as a tokenizer: {why}") from None


def check_tensors(part: Part, allow_pickle: bool = False) -> None:
    """Raises ValueError naming the first tensor of a network that is missing or misshapen for its own config."""
    for problem in tensor_problems(CLASSES[part.class_name], part.config(), part.folder, allow_pickle):
        raise ValueError(problem)
