"""Settings of the two stages. No torch here: a wrong setting is refused before torch is imported."""

import math
from dataclasses import dataclass

from longtake.models.diffusion.names import check_sampler
from longtake.models.domain.checks import require
from longtake.models.domain.scheduler import Coupling
from longtake.models.nets.sizes import SizeRule


@dataclass(frozen=True, slots=True)
class BaseParams:
    """Sampling of the base model. The defaults suit the tiny bundle."""

    num_inference_steps: int = 8
    guidance_scale: float = 2.5  # 1 is no guidance
    # For chunks with a memory (the published code has 9 and 7.5). 1: guidance amplifies the anchor too, and pulls
    # colours away from it (docs/history/tiny.md). With a negative prompt these chunks use guidance_scale instead.
    continuation_guidance_scale: float = 1.0
    anchor_guidance_scale: float | None = None  # a weight of its own for the anchor: three predictions instead of two
    guidance_rescale: float = 0.7  # part of the way back to the contrast without guidance
    # The part of the steps that is guided, from the first on (1: all). With the first half alone more first chunks are
    # right, and shades move less if the second half is unguided (arXiv 2404.07724, docs/history/tiny.md).
    guidance_stop: float = 0.5
    sampler: str = "ddim"  # or dpmpp_2m_sde
    eta: float = 0.0  # fresh noise of ddim: 0 none, 1 as much as DDPM
    # The frame of the first chunk that is the anchor. The published code has 0; but the tiny base model draws the
    # ends of a chunk worst, and APM passes that on.
    anchor_frame: int = 8
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
class RefinerParams:
    """Refinement of videos. The defaults suit the tiny bundle."""

    num_inference_steps: int = 3  # always this many, at any strength
    strength: float = 0.25  # fraction of the noise levels below which they start; 1 forgets the base frames
    guidance_scale: float = 1.0  # 1 is no guidance: the tiny refiner follows the prompt without, in half the time
    guidance_rescale: float = 0.7  # part of the way back to the contrast without guidance
    sampler: str = "ddim"  # or dpmpp_2m_sde
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


def check_size(params: RefinerParams, sizes: SizeRule) -> None:
    """Raises ValueError, naming the nearest legal sizes, for frames that are not of `sizes`."""
    for name, rule in sizes.broken(params.height, params.width).items():
        raise ValueError(f"refiner.{name}={getattr(params, name)} {rule}")
