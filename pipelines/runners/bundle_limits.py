"""The limits of a bundle, read from its networks' configs without torch: checked before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from longtake.models.diffusion.schedule import NoiseSchedule
from longtake.models.domain.checks import FieldError
from longtake.models.domain.prompt import Settings
from longtake.models.nets.sizes import SizeRule, frame_sizes, vae_factor
from longtake.models.stages.files import REQUIRED, REQUIRED_OF_BASE, TEXT_TO_VIDEO, Part, pipeline_class, read_parts
from longtake.models.stages.params import BaseParams, base_size, check_size, refined_size
from longtake.models.stages.part_checks import part_problems
from longtake.models.video.fit import Size, fit_note, picture_size
from longtake.pipelines.config.conf import Conf, bundle_folder, for_video, opener_folder, refiner_folder

C = TypeVar("C", bound=Conf)


@dataclass(frozen=True, slots=True)
class BaseLimits:
    """The sizes that the base model can have."""

    rule: SizeRule
    sample_size: Any  # of the UNet's config, in latents
    factor: int  # pixels of a latent's side

    def size(self, params: BaseParams) -> Size:
        """Height and width of the frames. Raises FieldError for an illegal size, or none."""
        size = base_size(params, self.sample_size, self.factor)
        check_size("base", size, self.rule)
        return size


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """`sizes` are those of final frames: without a refiner, the base model's."""

    sizes: SizeRule
    base_sizes: BaseLimits
    base: NoiseSchedule
    refiner: NoiseSchedule | None  # None without a refiner
    opener: Mapping[str, Any] | None  # the config of its scheduler, if its networks are sampled here

    def settled(self, conf: C) -> C:
        """`conf` with the size of its frames, and within the limits. Raises ValueError as `check`."""
        size = base = self.base_sizes.size(conf.base)
        if self.refiner is not None:
            size = refined_size(conf.refiner, base, self.sizes)
        conf = replace(conf, refiner=replace(conf.refiner, height=size[0], width=size[1]))
        self.check(conf)
        return conf

    def for_video(self, conf: C, settings: Settings) -> C:
        """The configuration of one video, `conf` being that of all. Raises ValueError as `check` and `for_video`.

        Without a refiner the base model's size, which may be one of `settings`, is that of the video.
        """
        own = for_video(conf, settings)
        if self.refiner is None:
            asked, (height, width) = dict(settings), self.base_sizes.size(own.base)
            height = height if asked.get("refiner.height") is None else own.refiner.size[0]
            width = width if asked.get("refiner.width") is None else own.refiner.size[1]
            own = replace(own, refiner=replace(own.refiner, height=height, width=width))
        self.check(own)
        return own

    def check(self, conf: Conf) -> None:
        """Raises ValueError, naming key, value and rule, for settings beyond the limits."""
        base = self.base_sizes.size(conf.base)
        _check_steps("base", self.base, conf.base.num_inference_steps, 1.0)
        if self.refiner is None:
            _check_unrefined(conf, base)
        else:
            check_size("refiner", conf.refiner.size, self.sizes)
            _check_steps("refiner", self.refiner, conf.refiner.num_inference_steps, conf.refiner.strength)
        if conf.opener.model is not None:
            conf.opener.check_kind(is_pipeline=self.opener is None)
        if self.opener is not None:
            schedule = NoiseSchedule.from_config(self.opener, conf.opener.is_multistep)
            _check_steps("opener", schedule, conf.opener.sampling().num_inference_steps, 1.0)

    def picture_size(self, conf: Conf) -> Size:
        """Height and width of what the refiner computes of a new video: without bars."""
        return picture_size(self.base_sizes.size(conf.base), conf.refiner.size, conf.refiner.fit, self.sizes.within)

    def costs(self, conf: Conf) -> tuple[int, int]:
        """The pixels that a chunk of the base model computes in all its steps, and a window of the refiner in one."""
        base, picture = self.base_sizes.size(conf.base), self.picture_size(conf)
        chunk = conf.plan.chunk_frames * conf.base.num_inference_steps * base[0] * base[1]
        return chunk, conf.plan.window_frames * picture[0] * picture[1]

    def fit_note(self, conf: Conf, source: Size | None = None, setting: str = "refiner.fit") -> str | None:
        """A line on frames of another shape than the refined ones: of the size `source`, or the base model's."""
        refiner = conf.refiner
        return fit_note(
            source or self.base_sizes.size(conf.base), refiner.size, refiner.fit, self.sizes.within, setting
        )


def limits_of(conf: Conf) -> BundleLimits:
    """The limits of the bundle of `conf`.

    Raises ValueError when its files cannot be read, or its parts do not fit each other.
    """
    parts, refiner = parts_of(conf), None
    base, sizes = NoiseSchedule.from_config(parts["scheduler"].config()), base_limits(parts)
    rule = sizes.rule
    if conf.refiner.enabled:
        rule = _sizes(parts["refiner"], parts["refiner_vae" if "refiner_vae" in parts else "vae"])
        refiner = NoiseSchedule.from_config(parts["refiner_scheduler"].config())
    problems = part_problems(parts, conf.allow_pickle)
    if problems:
        raise ValueError(f"bundle={conf.bundle}: {'; '.join(problems)}")
    return BundleLimits(rule, sizes, base, refiner, _opener_schedule(conf))


def settled(conf: C) -> C:
    """`conf` with the size of its frames, and within the limits of its bundle. Raises ValueError as `limits_of`."""
    return limits_of(conf).settled(conf)


def parts_of(conf: Conf) -> dict[str, Part]:
    """The parts of the bundle, and of the refiner beside it. Raises ValueError for a part that is missing."""
    required = REQUIRED if conf.refiner.enabled else REQUIRED_OF_BASE
    return read_parts(bundle_folder(conf), refiner_folder(conf), required)


def base_limits(parts: Mapping[str, Part]) -> BaseLimits:
    """The sizes of the base model of a bundle. Raises ValueError when its files cannot be read."""
    unet, vae = parts["unet"], parts["vae"]
    return BaseLimits(_sizes(unet, vae), unet.config().get("sample_size"), vae_factor(vae.config()))


def _sizes(unet: Part, vae: Part) -> SizeRule:
    """The frames that a UNet takes through a VAE."""
    configs = unet.config(), vae.config()
    try:
        return frame_sizes(unet.class_name, *configs)
    except KeyError as error:
        raise ValueError(f"bundle part {unet.folder}: its config, or that of {vae.name}, lacks {error}") from None


def _check_unrefined(conf: Conf, base: Size) -> None:
    for name, value, own in zip(("height", "width"), conf.refiner.size, base, strict=True):
        if value != own:
            rule = f"has no effect with refiner.enabled=false: the base model's frames are {base[1]}x{base[0]}"
            raise FieldError(f"refiner.{name}", f"={value} {rule}")


def _opener_schedule(conf: Conf) -> dict[str, Any] | None:
    """The scheduler's config of an opener with ModelScope's networks. Raises ValueError for a folder without any."""
    if conf.opener.model is None:
        return None
    folder = opener_folder(conf)
    try:
        if pipeline_class(folder) not in TEXT_TO_VIDEO:
            return None
        parts = {
            name: part for name, part in read_parts(folder, None, REQUIRED_OF_BASE).items() if name in REQUIRED_OF_BASE
        }
    except ValueError as error:
        raise ValueError(f"opener.model={conf.opener.model}: {error}") from None
    problems = part_problems(parts, conf.allow_pickle)
    if (kind := parts["unet"].class_name) != "UNet3DConditionModel":
        problems.append(f"its unet is a {kind}, and must be a UNet3DConditionModel")
    if problems:
        raise ValueError(f"opener.model={conf.opener.model}: {'; '.join(problems)}")
    return parts["scheduler"].config()


def _check_steps(section: str, schedule: NoiseSchedule, steps: int, strength: float) -> None:
    try:
        schedule.timesteps(steps, strength)
    except ValueError as error:
        raise ValueError(f"{section}.{error}") from None
