"""Video pipelines of diffusers as openers: any of them, driven through its own call.

Which arguments it takes is read from its signature. One that takes `image` is given the picture of the request.

    picture      |-----------------|        of any shape
    cropped          |---------|            to the base model's shape, from its middle
    in the frame  ###|---------|###         of the pipeline: black bars, which `fitted` cuts off its frames again

The published system does the same with Stable Video Diffusion: a square between two bars.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline
from jaxtyping import UInt8
from PIL import Image

from longtake.models.diffusion.noise import rng_for
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.state import Picture
from longtake.models.stages.files import pipeline_class, read_index, read_json
from longtake.models.stages.params import OpenerParams
from longtake.models.stages.weight_files import choose
from longtake.models.video.fit import Fit, Size, inside

CALL = ("num_inference_steps", "guidance_scale", "num_frames", "height", "width")  # settings that go into the call
GIVEN = {"prompt", "image"}  # what we have for a pipeline that cannot do without
MISSING = ("conditioning_frames", "control_video", "mask_video")  # optional in its signature, but needed


class VideoPipeline:
    """A pipeline in a folder; its networks are loaded by `load`."""

    def __init__(self, folder: Path) -> None:
        """Raises ValueError, naming the class, for a folder with a pipeline that cannot make a first chunk."""
        self.folder, self.name = folder, pipeline_class(folder)
        self.pipeline: Any = None
        kind = getattr(diffusers, self.name, None)
        if not isinstance(kind, type) or not issubclass(kind, DiffusionPipeline):
            raise ValueError(f"{folder}: {self.name} is no pipeline of diffusers {diffusers.__version__}")
        taken = dict(signature(kind.__call__).parameters)
        del taken["self"]
        self.defaults = {name: each.default for name, each in taken.items()}
        if "num_frames" not in taken:
            raise ValueError(f"{folder}: {self.name} makes no videos: its call takes no num_frames")
        fixed = {name for name, each in taken.items() if each.default is Parameter.empty and each.kind in _NAMED}
        if unknown := [name for name in taken if (name in fixed and name not in GIVEN) or name in MISSING]:
            raise ValueError(f"{folder}: {self.name} needs {', '.join(unknown)}, which a first chunk does not have")
        self.takes_picture = "image" in taken
        self.needs_picture = "image" in fixed or any(word in self.name for word in ("ImageToVideo", "I2V"))

    def check(self, params: OpenerParams, num_frames: int) -> None:
        """Raises ValueError for settings that its call does not take, and for fewer frames than `num_frames`."""
        for name in CALL:
            value = getattr(params, name)
            if value is not None and name not in self.defaults:
                raise ValueError(f"opener.{name}={value} has no effect: {self.name} does not take it")
        makes = params.num_frames or self._num_frames()
        if makes is not None and makes < num_frames:
            raise ValueError(f"opener.num_frames={makes}: {self.name} has to make the {num_frames} of a first chunk")

    def _num_frames(self) -> int | None:
        """The number of frames that it makes unasked, if its signature or a config says so."""
        if self.defaults["num_frames"] is not None:
            return int(self.defaults["num_frames"])
        for part, name in (("unet", "num_frames"), ("transformer", "sample_frames")):
            if (path := self.folder / part / "config.json").is_file():
                number = read_json(path, f"opener part {part} cannot be read").get(name)
                return number if isinstance(number, int) else None
        return None

    def load(self, device: str, dtype: torch.dtype, allow_pickle: bool = False) -> "VideoPipeline":
        """Loads the networks, in place. Raises ValueError as `load_pipeline`."""
        self.pipeline = load_pipeline(self.folder, device, dtype, allow_pickle)
        return self

    def as_opener(self, params: OpenerParams) -> "PipelineOpener":
        assert self.pipeline is not None, "it is loaded"
        return PipelineOpener(self, params)


_NAMED = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, eq=False)
class PipelineOpener:
    """An opener; see models/stages/opener.py."""

    about: VideoPipeline
    params: OpenerParams

    @property
    def takes_picture(self) -> bool:
        return self.about.takes_picture

    def open(
        self, spec: PromptSpec, prompt: str, plan: Plan, picture: Picture | None = None, /
    ) -> UInt8[np.ndarray, "t h w 3"]:
        """Its frames: the same for the same request. Raises ValueError if it makes too few."""
        if picture is None and self.about.needs_picture:
            raise ValueError(f"opener.model: {self.about.name} needs a picture to begin with")
        arguments: dict[str, Any] = {name: getattr(self.params, name) for name in CALL}
        arguments |= {"prompt": prompt, "negative_prompt": spec.negative_prompt or None}
        if picture is not None:
            arguments["image"] = self._placed(picture)
        taken = {k: v for k, v in arguments.items() if v is not None and k in self.about.defaults}
        seed = int(rng_for(spec.seed, "opener", 0, 0).integers(2**62))
        frames, needed = call_pipeline(self.about.pipeline, taken, seed), plan.params.chunk_frames
        if len(frames) < needed:
            raise ValueError(f"opener: {self.about.name} made {len(frames)} frames, and the first chunk has {needed}")
        return np.stack([np.asarray(frame.convert("RGB")) for frame in frames[:needed]])

    def _placed(self, picture: Picture) -> Image.Image:
        """The picture in the middle of the pipeline's frame, as far as its size is known here."""
        image = Image.fromarray(picture.frame)
        height, width = (getattr(self.params, name) or self.about.defaults.get(name) for name in ("height", "width"))
        if not height or not width:
            return image
        frame: Size = (height, width)
        own = (image.height, image.width)
        size = frame if self.params.fit is Fit.STRETCH else inside(own, frame)
        whole = Image.new("RGB", (width, height))
        at = ((width - size[1]) // 2, (height - size[0]) // 2)
        whole.paste(image.resize((size[1], size[0]), Image.Resampling.LANCZOS), at)
        return whole


def load_pipeline(folder: Path, device: str, dtype: torch.dtype, allow_pickle: bool = False) -> Any:
    """The pipeline in a folder, from safetensors and classes of diffusers and transformers alone.

    With `allow_pickle` also from pickles, of which the libraries read tensors alone. Raises ValueError naming the
    folder and what is missing or not allowed.
    """
    for part, entry in read_index(folder, ()).items():
        if not part.startswith("_") and isinstance(entry, list) and not _is_known(entry[0]):
            rule = "only classes of diffusers and transformers are loaded"
            raise ValueError(f"{folder}: {part}={entry!r} in model_index.json: {rule}")
    for path in sorted(folder.glob("*/*config.json")):
        if read_json(path, f"{folder}: the pipeline cannot be loaded").get("auto_map"):
            raise ValueError(f"{path} names code (auto_map), and no model may bring code")
    try:
        safe = None if allow_pickle else True  # None: pickles too, where there is nothing else
        variant = _variant(folder, allow_pickle)
        pipeline = DiffusionPipeline.from_pretrained(
            str(folder), dtype=dtype, local_files_only=True, use_safetensors=safe, variant=variant
        )
    except Exception as error:  # each library has its own, and a pickle that was made to raises anything
        why = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{folder}: the pipeline cannot be loaded: {why}") from None
    pipeline = pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    text_encoder = getattr(pipeline, "text_encoder", None)
    if text_encoder is not None and not hasattr(text_encoder, "text_model"):
        # I2VGenXLPipeline of diffusers 0.42 reads `text_encoder.text_model`; in transformers 5 that is the encoder.
        # Past nn.Module's own setattr: as a submodule it would hold itself.
        object.__setattr__(text_encoder, "text_model", text_encoder)
    return pipeline


def _variant(folder: Path, allow_pickle: bool) -> str | None:
    """The precision, such as fp16, that a part has its weights in alone."""
    names = ([path.name for path in part.iterdir()] for part in folder.iterdir() if part.is_dir())
    chosen = (choose(each, allow_pickle) for each in names)
    found = (re.search(r"\.(fp16|bf16)\.", name) for name in chosen if name is not None)
    return next((match[1] for match in found if match is not None), None)


def _is_known(library: str | None) -> bool:
    return library in (None, "diffusers", "transformers") or hasattr(diffusers.pipelines, library)


def call_pipeline(pipeline: Any, arguments: Mapping[str, Any], seed: int) -> Sequence[Image.Image]:
    """The frames of one call: a function of its arguments."""
    # I2VGenXLPipeline draws the image's latent without the generator: from a global one that is ours for the call.
    with torch.random.fork_rng():
        generator = torch.manual_seed(seed)
        output = pipeline(**arguments, generator=generator, output_type="pil")
    frames: Sequence[Image.Image] = output.frames[0]
    return frames
