"""The limits of a bundle, read from its networks' configs without torch: checked before anything is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longtake.models.diffusion.schedule import NoiseSchedule
from longtake.models.nets.sizes import SizeRule, frame_sizes
from longtake.models.stages.files import network_config, read_index, read_json
from longtake.models.stages.params import check_size
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.config.paths import BUNDLES


def bundle_path(bundle: str) -> Path:
    """The folder of a bundle. Raises ValueError if it is neither a folder nor the name of a bundle that ships."""
    if Path(bundle).is_dir():
        return Path(bundle)
    shipped = sorted(path.name for path in BUNDLES.glob("*") if path.is_dir())
    if bundle in shipped:
        return BUNDLES / bundle
    raise ValueError(f"bundle={bundle} is neither a folder nor a shipped bundle ({', '.join(shipped) or 'none'})")


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """`sizes` are those of refined frames."""

    sizes: SizeRule
    base: NoiseSchedule
    refiner: NoiseSchedule

    def check(self, conf: Conf) -> None:
        """Raises ValueError, naming key, value and rule, for settings beyond the limits."""
        check_size(conf.refiner, self.sizes)
        _check_steps("base", self.base, conf.base.num_inference_steps, 1.0)
        _check_steps("refiner", self.refiner, conf.refiner.num_inference_steps, conf.refiner.strength)


def limits_of(conf: Conf) -> BundleLimits:
    """The limits of the bundle of `conf`. Raises ValueError when its files cannot be read."""
    bundle = bundle_path(conf.bundle)
    unet_class = read_index(bundle)["refiner"][1]
    vae = _config(bundle / "refiner_vae" if (bundle / "refiner_vae").is_dir() else bundle / "vae")
    try:
        sizes = frame_sizes(unet_class, network_config(bundle / "refiner", unet_class), vae)
    except KeyError as error:
        raise ValueError(f"bundle={conf.bundle}: a network config lacks {error}") from None
    schedules = (_config(bundle / name, "scheduler_config.json") for name in ("scheduler", "refiner_scheduler"))
    return BundleLimits(sizes, *map(NoiseSchedule.from_config, schedules))


def _check_steps(section: str, schedule: NoiseSchedule, steps: int, strength: float) -> None:
    try:
        schedule.timesteps(steps, strength)
    except ValueError as error:
        raise ValueError(f"{section}.{error}") from None


def _config(part: Path, name: str = "config.json") -> Any:
    return read_json(part / name, f"bundle part {part} cannot be read")
