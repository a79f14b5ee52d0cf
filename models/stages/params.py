"""Settings of the two stages, and the sizes of their frames. No torch here: a wrong setting is refused before torch is
imported."""

import math
from dataclasses import dataclass, fields
from typing import Any

from longtake.models.diffusion.names import check_sampler
from longtake.models.domain.checks import FieldError, require
from longtake.models.domain.scheduler import Coupling
from longtake.models.nets.sizes import SizeRule
from longtake.models.video.fit import Fit, Size

CALLED = ("num_frames", "height", "width")  # settings of an opener that is a pipeline of diffusers
SAMPLED = ("guidance_rescale", "sampler", "eta")  # and of one whose networks are sampled here
BUNDLE = "bundle"  # in place of a folder: the part of the bundle itself


@dataclass(frozen=True, slots=True)
class BaseParams:
    """Sampling of the base model. The defaults are those of diffusers' TextToVideoSDPipeline; a bundle has its own."""

    num_inference_steps: int = 50
    guidance_scale: float = 9.0  # 1 is no guidance
    # For chunks with a memory, as in the published code. With a negative prompt and 1 here these chunks use
    # guidance_scale instead.
    continuation_guidance_scale: float = 7.5
    anchor_guidance_scale: float | None = None  # a weight of its own for the anchor: three predictions instead of two
    guidance_rescale: float = 0.0  # part of the way back to the contrast without guidance
    guidance_stop: float = 1.0  # the part of the steps that is guided, from the first on (arXiv 2404.07724)
    sampler: str = "ddim"  # or dpmpp_2m, dpmpp_2m_sde
    eta: float = 0.0  # fresh noise of ddim: 0 none, 1 as much as DDPM
    anchor_frame: int = 0  # the frame of the first chunk that is the anchor
    height: int | None = None  # pixels; None: the UNet's own (its `sample_size`)
    width: int | None = None
    cam: bool = True  # False: chunks do not see the one before (for comparison)
    apm: bool = True  # False: chunks do not see the anchor (for comparison)

    def __post_init__(self) -> None:
        if self.num_inference_steps < 1:
            raise ValueError(f"num_inference_steps={self.num_inference_steps} must be at least 1")
        if self.anchor_frame < 0:
            raise ValueError(f"anchor_frame={self.anchor_frame} must be at least 0")
        for name in ("guidance_scale", "continuation_guidance_scale"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1, which is no guidance")
        if self.anchor_guidance_scale is not None and self.anchor_guidance_scale < 0:
            raise ValueError(f"anchor_guidance_scale={self.anchor_guidance_scale} must be at least 0")
        for name in ("guidance_rescale", "guidance_stop", "eta"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be between 0 and 1")
        check_sampler(self.sampler)
        for name in ("height", "width"):
            if (side := getattr(self, name)) is not None:
                _require_even(name, side)

    def guided_steps(self, steps: int) -> int:
        """The number of guided steps, from the first on."""
        return math.ceil(self.guidance_stop * steps)


@dataclass(frozen=True, slots=True)
class OpenerParams:
    """The opener: another model that makes the first chunk. None is the model's own number.

    ModelScope's networks are sampled here, 50 steps by default; other pipelines of diffusers bring their sampler.
    """

    # Folder or hub id of a text-to-video or image-to-video pipeline of diffusers; BUNDLE: the folder opener/ of the
    # bundle, which is the default where there is one; None: the base model makes the first chunk.
    model: str | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None  # 1 is no guidance
    num_frames: int | None = None  # of the call, at least those of a chunk; this and the next two not for ModelScope's
    height: int | None = None  # pixels
    width: int | None = None
    # These three are for ModelScope's alone.
    guidance_rescale: float = 0.0  # part of the way back to the contrast without guidance
    sampler: str = "dpmpp_2m"  # or ddim, dpmpp_2m_sde
    eta: float = 0.0  # fresh noise of ddim: 0 none, 1 as much as DDPM
    fit: Fit = Fit.COVER  # frames of another shape than the base model's are cut to the middle (cover) or stretched

    def __post_init__(self) -> None:
        self.sampling()  # checks the others
        for name in CALLED:
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "must be at least 1")
        require(self.fit is not Fit.CONTAIN, "fit", self.fit.value, "must be cover or stretch: bars would be continued")

    @property
    def is_multistep(self) -> bool:
        """Whether timesteps are laid out as by diffusers' multistep solver."""
        return self.sampler != "ddim"

    def sampling(self) -> BaseParams:
        """The settings of the opener's network, as a base model that continues nothing."""
        values = {name: getattr(self, name) for name in ("num_inference_steps", "guidance_scale", *SAMPLED)}
        return BaseParams(cam=False, apm=False, **{name: value for name, value in values.items() if value is not None})

    def check_kind(self, is_pipeline: bool) -> None:
        """Raises ValueError for settings that a pipeline of diffusers, or ModelScope's networks, do not have."""
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in (SAMPLED if is_pipeline else CALLED) and value != f.default:
                why = "this pipeline brings its own sampler" if is_pipeline else "its networks decide"
                raise ValueError(f"opener.{f.name}={value} has no effect: {why}")


@dataclass(frozen=True, slots=True)
class RefinerParams:
    """Refinement of videos. The defaults are those of diffusers' VideoToVideoSDPipeline; a bundle has its own."""

    enabled: bool = True  # False: the frames of the base model are the video
    # Folder or hub id with another refiner than the bundle's, or one for a bundle without. None, BUNDLE: the bundle's.
    model: str | None = None
    num_inference_steps: int = 30  # always this many, at any strength
    strength: float = 0.6  # fraction of the noise levels below which they start; 1 forgets the base frames
    guidance_scale: float = 15.0  # 1 is no guidance
    guidance_rescale: float = 0.0  # part of the way back to the contrast without guidance
    sampler: str = "ddim"  # or dpmpp_2m, dpmpp_2m_sde
    eta: float = 0.0  # fresh noise of ddim: 0 none, 1 as much as DDPM
    coupling: Coupling = Coupling.SYMMETRIC
    steps_per_task: int = 1  # causal coupling only; it changes the number of calls, not the frames
    # Pixels. None: twice the base model's, or the nearest that the networks take.
    height: int | None = None
    width: int | None = None
    fit: Fit = Fit.COVER  # frames of another shape: cut to the middle (cover), with black bars (contain) or stretched
    blending: bool = True  # False: windows are not blended (for comparison)
    shared_noise: bool = True  # False: each window has noise of its own (for comparison)

    def __post_init__(self) -> None:
        at_least_one = "must be at least 1"
        rule = "has no effect with refiner.enabled=false"
        require(self.enabled or self.model is None, "model", self.model, rule)
        require(self.num_inference_steps >= 1, "num_inference_steps", self.num_inference_steps, at_least_one)
        require(0 < self.strength <= 1, "strength", self.strength, "must be above 0 and at most 1")
        require(1 <= self.guidance_scale < math.inf, "guidance_scale", self.guidance_scale, at_least_one)
        require(0 <= self.guidance_rescale <= 1, "guidance_rescale", self.guidance_rescale, "must be in 0..1")
        check_sampler(self.sampler)
        require(0 <= self.eta <= 1, "eta", self.eta, "must be in 0..1")
        require(isinstance(self.coupling, Coupling), "coupling", self.coupling, "must be a Coupling")
        require(self.steps_per_task >= 1, "steps_per_task", self.steps_per_task, at_least_one)
        require(isinstance(self.fit, Fit), "fit", self.fit, "must be a Fit")
        for name in ("height", "width"):
            if (side := getattr(self, name)) is not None:
                _require_even(name, side)

    @property
    def size(self) -> Size:
        """Height and width of a refined frame. Raises FieldError if they are yet to be decided: `refined_size`."""
        if self.height is None or self.width is None:
            raise FieldError("refiner.height" if self.height is None else "refiner.width", " is missing")
        return self.height, self.width

    @property
    def num_steps(self) -> int:
        """Denoising steps of a window; 0 without a refiner."""
        return self.num_inference_steps if self.enabled else 0


def _require_even(name: str, side: int) -> None:
    # The video format halves its colour planes. The networks have rules of their own: `check_size`.
    require(side >= 2 and side % 2 == 0, name, side, "must be even and at least 2")


def check_size(section: str, size: Size, sizes: SizeRule) -> None:
    """Raises FieldError, naming the nearest legal sizes, for frames that are not of `sizes`."""
    for name, rule in sizes.broken(*size).items():
        raise FieldError(f"{section}.{name}", f"={size[0] if name == 'height' else size[1]} {rule}")


def base_size(params: BaseParams, sample_size: Any, factor: int) -> Size:
    """Height and width of the base model's frames. `sample_size` is that of the UNet's config, a number, a pair or
    None, in latents; a latent is `factor` pixels wide.

    Raises FieldError for a side that neither the params nor the UNet know.
    """
    rows, columns = (sample_size, sample_size) if isinstance(sample_size, int | None) else sample_size
    return _side("height", params.height, rows, factor), _side("width", params.width, columns, factor)


def refined_size(params: RefinerParams, base: Size, sizes: SizeRule) -> Size:
    """Height and width of refined frames, `sizes` being legal; where they are not set, those of the class."""
    height, width = sizes.near(2 * base[0], 2 * base[1])
    return params.height or height, params.width or width


def _side(name: str, own: int | None, latents: int | None, factor: int) -> int:
    if own is not None:
        return own
    if latents is None:
        raise FieldError(f"base.{name}", " is missing: the UNet of this bundle has no size of its own")
    return latents * factor
