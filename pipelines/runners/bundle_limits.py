"""The limits of a bundle, read from its networks' configs without torch: checked before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longtake.models.diffusion.schedule import NoiseSchedule
from longtake.models.nets.sizes import SizeRule, frame_sizes, vae_factor
from longtake.models.stages.files import OPENER_PARTS, network_config, read_index, read_json
from longtake.models.stages.params import BaseParams, base_size, check_size
from longtake.models.video.fit import Size, fit_note, picture_size
from longtake.pipelines.config.conf import Conf, opener_path
from longtake.pipelines.config.paths import bundle_path


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
    """`sizes` are those of refined frames."""

    sizes: SizeRule
    base_sizes: BaseLimits
    base: NoiseSchedule
    refiner: NoiseSchedule
    opener: Mapping[str, Any] | None  # the config of its scheduler; the sampler decides how timesteps are laid out

    def check(self, conf: Conf) -> None:
        """Raises ValueError, naming key, value and rule, for settings beyond the limits."""
        check_size("refiner", conf.refiner.size, self.sizes)
        self.base_sizes.size(conf.base)
        _check_steps("base", self.base, conf.base.num_inference_steps, 1.0)
        _check_steps("refiner", self.refiner, conf.refiner.num_inference_steps, conf.refiner.strength)
        if self.opener is not None:
            schedule = NoiseSchedule.from_config(self.opener, conf.opener.is_multistep)
            _check_steps("opener", schedule, conf.opener.num_inference_steps, 1.0)

    def picture_size(self, conf: Conf) -> Size:
        """Height and width of what the refiner computes of a new video: without bars."""
        return picture_size(self.base_sizes.size(conf.base), conf.refiner.size, conf.refiner.fit, self.sizes.within)

    def costs(self, conf: Conf) -> tuple[int, int]:
        """The pixels that a chunk of the base model computes in all its steps, and a window of the refiner in one."""
        base, picture = self.base_sizes.size(conf.base), self.picture_size(conf)
        chunk = conf.plan.chunk_frames * conf.base.num_inference_steps * base[0] * base[1]
        return chunk, conf.plan.window_frames * picture[0] * picture[1]

    def fit_note(self, conf: Conf, source: Size | None = None, setting: str = "refiner.fit") -> str | None:
        """What happens to frames of another shape than the refined ones: of the size `source`, or the base model's."""
        refiner = conf.refiner
        return fit_note(
            source or self.base_sizes.size(conf.base), refiner.size, refiner.fit, self.sizes.within, setting
        )


def limits_of(conf: Conf) -> BundleLimits:
    """The limits of the bundle of `conf`. Raises ValueError when its files cannot be read."""
    bundle = bundle_path(conf.bundle)
    read_index(bundle)
    vae = "refiner_vae" if (bundle / "refiner_vae").is_dir() else "vae"
    sizes, _ = _sizes(bundle, "refiner", vae)
    schedules = (_config(bundle / name, "scheduler_config.json") for name in ("scheduler", "refiner_scheduler"))
    base, refiner = map(NoiseSchedule.from_config, schedules)
    return BundleLimits(sizes, base_limits(bundle), base, refiner, _opener_schedule(conf))


def base_limits(bundle: Path) -> BaseLimits:
    """The sizes of the base model of a bundle. Raises ValueError when its files cannot be read."""
    return BaseLimits(*_sizes(bundle, "unet", "vae"), vae_factor(_config(bundle / "vae")))


def _sizes(bundle: Path, unet: str, vae: str) -> tuple[SizeRule, Any]:
    """The frames that a UNet takes through a VAE, and its `sample_size`."""
    unet_class = read_index(bundle, (unet,))[unet][1]
    encoder = _config(bundle / vae)
    config = network_config(bundle / unet, unet_class)
    try:
        return frame_sizes(unet_class, config, encoder), config.get("sample_size")
    except KeyError as error:
        raise ValueError(f"bundle={bundle}: a network config lacks {error}") from None


def _opener_schedule(conf: Conf) -> dict[str, Any] | None:
    """The scheduler's config of the opener, if there is one. Raises ValueError for a folder that cannot be one."""
    if conf.opener.model is None:
        return None
    folder = opener_path(conf)
    try:
        kind = read_index(folder, OPENER_PARTS)["unet"][1]
        if kind != "UNet3DConditionModel":
            raise ValueError(f"its unet is a {kind}, and must be a UNet3DConditionModel")
        return read_json(folder / "scheduler" / "scheduler_config.json", "its scheduler cannot be read")
    except ValueError as error:
        raise ValueError(f"opener.model={conf.opener.model}: {error}") from None


def _check_steps(section: str, schedule: NoiseSchedule, steps: int, strength: float) -> None:
    try:
        schedule.timesteps(steps, strength)
    except ValueError as error:
        raise ValueError(f"{section}.{error}") from None


def _config(part: Path, name: str = "config.json") -> Any:
    return read_json(part / name, f"bundle part {part} cannot be read")
