"""The limits of a bundle, read from its networks' configs without torch: checked before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from longtake.models.diffusion.schedule import NoiseSchedule
from longtake.models.domain.checks import FieldError
from longtake.models.stages.files import REQUIRED, REQUIRED_OF_BASE, Part, read_parts
from longtake.models.stages.params import check_size
from longtake.models.stages.part_checks import part_problems
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.runners.model_folders import model_folder, refiner_folder

C = TypeVar("C", bound=Conf)
Size = tuple[int, int]  # height, width


def bundle_path(bundle: str) -> Path:
    """The folder of a bundle. Raises ValueError if there is none, and it cannot be fetched."""
    return model_folder("bundle", bundle)


def parts_of(conf: Conf) -> dict[str, Part]:
    """The parts of the bundle, and of the refiner beside it. Raises ValueError for a part that is missing."""
    required = REQUIRED if conf.refiner.enabled else REQUIRED_OF_BASE
    bundle = model_folder("bundle", conf.bundle, conf.allow_pickle)
    return read_parts(bundle, refiner_folder(conf), required)


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """`size_multiple` divides the sides of a final frame: with a refiner, the factor of the VAE times that of the UNet;
    without one, there is one size of frames, `base_size`."""

    size_multiple: int
    base_size: Size
    base: NoiseSchedule
    refiner: NoiseSchedule | None  # None without a refiner

    def check(self, conf: Conf) -> None:
        """Raises ValueError, naming key, value and rule, for settings beyond the limits."""
        _check_steps("base", self.base, conf.base.num_inference_steps, 1.0)
        if self.refiner is None:
            self._check_unrefined(conf)
        else:
            check_size(conf.refiner, self.size_multiple)
            _check_steps("refiner", self.refiner, conf.refiner.num_inference_steps, conf.refiner.strength)

    def _check_unrefined(self, conf: Conf) -> None:
        height, width = self.base_size
        for name, own in (("height", height), ("width", width)):
            value = getattr(conf.refiner, name)
            if value != own:
                rule = f"has no effect with refiner.enabled=false: the base model's frames are {width}x{height}"
                raise FieldError(f"refiner.{name}", f"={value} {rule}")

    def settled(self, conf: C) -> C:
        """`conf` with the size of its frames, which without a refiner is the base model's."""
        if self.refiner is not None:
            return conf
        height, width = self.base_size
        return replace(conf, refiner=replace(conf.refiner, height=height, width=width))


def limits_of(conf: Conf) -> BundleLimits:
    """The limits of the bundle of `conf`.

    Raises ValueError when its files cannot be read, or its parts do not fit each other.
    """
    parts = parts_of(conf)
    factor = 2 ** _halvings(parts["vae"], "block_out_channels")
    multiple, refiner, refined = factor, None, conf.refiner.enabled
    if refined:
        vae = parts["refiner_vae" if "refiner_vae" in parts else "vae"]
        multiple = 2 ** (_halvings(vae, "block_out_channels") + _halvings(parts["refiner"], "up_block_types"))
    base = NoiseSchedule.from_config(parts["scheduler"].config())
    if refined:
        refiner = NoiseSchedule.from_config(parts["refiner_scheduler"].config())
    problems = part_problems(parts, conf.allow_pickle)
    if problems:
        raise ValueError(f"bundle={conf.bundle}: {'; '.join(problems)}")
    return BundleLimits(multiple, _base_size(parts["unet"], factor), base, refiner)


def settled(conf: C) -> C:
    """`conf` within the limits of its bundle, and with the size of its frames. Raises ValueError as `limits_of`."""
    limits = limits_of(conf)
    conf = limits.settled(conf)
    limits.check(conf)
    return conf


def _base_size(unet: Part, factor: int) -> Size:
    """Height and width of the base model's frames, in pixels."""
    size = unet.config().get("sample_size")
    rows, columns = (size, size) if isinstance(size, int) or size is None else size
    if rows is None or columns is None:
        raise ValueError(
            f"bundle part {unet.folder} has no sample_size: the size of the base model's frames is unknown"
        )
    return rows * factor, columns * factor


def _halvings(part: Part, blocks: str) -> int:
    """How often a network halves the sides: between each two of its blocks."""
    config: Mapping[str, Any] = part.config()
    if blocks not in config:
        raise ValueError(f"bundle part {part.folder}: a network config lacks '{blocks}'")
    return len(config[blocks]) - 1


def _check_steps(section: str, schedule: NoiseSchedule, steps: int, strength: float) -> None:
    try:
        schedule.timesteps(steps, strength)
    except ValueError as error:
        raise ValueError(f"{section}.{error}") from None
