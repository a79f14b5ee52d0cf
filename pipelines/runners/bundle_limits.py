"""The limits of a bundle, read from its networks' configs without torch: checked before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longtake.models.diffusion.schedule import NoiseSchedule
from longtake.models.stages.files import OPENER_PARTS, TEXT_TO_VIDEO, pipeline_class, read_index, read_json
from longtake.models.stages.params import check_size
from longtake.pipelines.config.conf import Conf, opener_path
from longtake.pipelines.config.paths import bundle_path


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """`size_multiple` divides the sides of a refined frame: the factor of the VAE times that of the UNet."""

    size_multiple: int
    base: NoiseSchedule
    refiner: NoiseSchedule
    opener: Mapping[str, Any] | None  # the config of its scheduler, if its networks are sampled here

    def check(self, conf: Conf) -> None:
        """Raises ValueError, naming key, value and rule, for settings beyond the limits."""
        check_size(conf.refiner, self.size_multiple)
        _check_steps("base", self.base, conf.base.num_inference_steps, 1.0)
        _check_steps("refiner", self.refiner, conf.refiner.num_inference_steps, conf.refiner.strength)
        if conf.opener.model is not None:
            conf.opener.check_kind(is_pipeline=self.opener is None)
        if self.opener is not None:
            schedule = NoiseSchedule.from_config(self.opener, conf.opener.is_multistep)
            _check_steps("opener", schedule, conf.opener.sampling().num_inference_steps, 1.0)


def limits_of(conf: Conf) -> BundleLimits:
    """The limits of the bundle of `conf`. Raises ValueError when its files cannot be read."""
    bundle = bundle_path(conf.bundle)
    read_index(bundle)
    vae = bundle / "refiner_vae" if (bundle / "refiner_vae").is_dir() else bundle / "vae"
    try:
        halvings = len(_config(vae)["block_out_channels"]) + len(_config(bundle / "refiner")["up_block_types"]) - 2
    except KeyError as error:
        raise ValueError(f"bundle={conf.bundle}: a network config lacks {error}") from None
    schedules = (_config(bundle / name, "scheduler_config.json") for name in ("scheduler", "refiner_scheduler"))
    base, refiner = map(NoiseSchedule.from_config, schedules)
    return BundleLimits(2**halvings, base, refiner, _opener_schedule(conf))


def _opener_schedule(conf: Conf) -> dict[str, Any] | None:
    """The scheduler's config of an opener with ModelScope's networks. Raises ValueError for a folder without any."""
    if conf.opener.model is None:
        return None
    folder = opener_path(conf)
    try:
        if pipeline_class(folder) != TEXT_TO_VIDEO:
            return None
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
