"""Settings of the two stages. No torch here: a wrong setting is refused before torch is imported."""

import math
from dataclasses import dataclass, fields

from longtake.models.diffusion.names import check_sampler
from longtake.models.domain.checks import require
from longtake.models.domain.scheduler import Coupling
from longtake.models.video.fit import Fit

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

    def guided_steps(self, steps: int) -> int:
        """The number of guided steps, from the first on."""
        return math.ceil(self.guidance_stop * steps)


@dataclass(frozen=True, slots=True)
class OpenerParams:
    """The opener: another model that makes the first chunk. None is the model's own number.

    ModelScope's networks are sampled here, 50 steps by default; other pipelines of diffusers bring their sampler.
    """

    # A folder with a text-to-video or image-to-video pipeline of diffusers; BUNDLE: the folder opener/ of the bundle,
    # which is the default where there is one; None: the base model makes the first chunk.
    model: str | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None  # 1 is no guidance
    num_frames: int | None = None  # of the call, at least those of a chunk; this and the next two not for ModelScope's
    height: int | None = None  # pixels
    width: int | None = None
    guidance_rescale: float = (
        0.0  # part of the way back to the contrast without guidance; for ModelScope's alone, and so
    )
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

    num_inference_steps: int = 30  # always this many, at any strength
    strength: float = 0.6  # fraction of the noise levels below which they start; 1 forgets the base frames
    guidance_scale: float = 15.0  # 1 is no guidance
    guidance_rescale: float = 0.0  # part of the way back to the contrast without guidance
    sampler: str = "ddim"  # or dpmpp_2m, dpmpp_2m_sde
    eta: float = 0.0  # fresh noise of ddim: 0 none, 1 as much as DDPM
    coupling: Coupling = Coupling.SYMMETRIC
    steps_per_task: int = 1  # causal coupling only; it changes the number of calls, not the frames
    height: int = 128  # pixels
    width: int = 128
    blending: bool = True  # False: windows are not blended (for comparison)
    shared_noise: bool = True  # False: each window has noise of its own (for comparison)

    def __post_init__(self) -> None:
        at_least_one = "must be at least 1"
        require(self.num_inference_steps >= 1, "num_inference_steps", self.num_inference_steps, at_least_one)
        require(0 < self.strength <= 1, "strength", self.strength, "must be above 0 and at most 1")
        require(1 <= self.guidance_scale < math.inf, "guidance_scale", self.guidance_scale, at_least_one)
        require(0 <= self.guidance_rescale <= 1, "guidance_rescale", self.guidance_rescale, "must be in 0..1")
        check_sampler(self.sampler)
        require(0 <= self.eta <= 1, "eta", self.eta, "must be in 0..1")
        require(isinstance(self.coupling, Coupling), "coupling", self.coupling, "must be a Coupling")
        require(self.steps_per_task >= 1, "steps_per_task", self.steps_per_task, at_least_one)
        for name in ("height", "width"):
            size = getattr(self, name)
            # The video format halves its colour planes. The networks have rules of their own: `check_size`.
            require(size >= 2 and size % 2 == 0, name, size, "must be even and at least 2")


def check_size(params: RefinerParams, multiple: int) -> None:
    """Raises ValueError, naming legal sizes, for frames whose sides are not multiples of `multiple`."""
    for name in ("height", "width"):
        size = getattr(params, name)
        if size % multiple:
            below, above = size // multiple * multiple, (size // multiple + 1) * multiple
            near = " or ".join(str(legal) for legal in (below, above) if legal)
            raise ValueError(f"refiner.{name}={size} must be a multiple of {multiple}, such as {near}")
