"""Conf -> stages and runner: the one place where things are put together."""

from collections.abc import Mapping
from pathlib import Path

import diffusers
import transformers

from models.bundle import Bundle, load_bundle
from models.scheduler import Stage
from pipelines.config import Conf
from pipelines.local import Advances, LocalRunner
from pipelines.video_source import VideoSource

BUNDLES = Path(__file__).parent.parent / "models" / "bundles"


def build_bundle(conf: Conf) -> Bundle:
    """Raises ValueError if `conf.bundle` is neither a folder nor the name of a bundle that ships, or is broken."""
    # Loading is seconds: no bars. Their warnings speak of things that a user of this program cannot change.
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.set_verbosity_error()
    if Path(conf.bundle).is_dir():
        return load_bundle(conf.bundle)
    shipped = sorted(path.name for path in BUNDLES.glob("*") if path.is_dir())
    if conf.bundle in shipped:
        return load_bundle(BUNDLES / conf.bundle)
    raise ValueError(
        f"bundle={conf.bundle} is neither a folder nor a bundle that ships ({', '.join(shipped) or 'none'})"
    )


def build_generator(conf: Conf, bundle: Bundle) -> LocalRunner:
    """A prompt to a video."""
    return _runner(conf, {Stage.GENERATE: bundle.base_model(conf.base), Stage.REFINE: bundle.refiner(conf.refiner)})


def build_enhancer(conf: Conf, bundle: Bundle, video: Path) -> LocalRunner:
    """A video that exists takes the place of the base model."""
    return _runner(conf, {Stage.GENERATE: VideoSource(video), Stage.REFINE: bundle.refiner(conf.refiner)})


def _runner(conf: Conf, stages: Mapping[Stage, Advances]) -> LocalRunner:
    refiner = conf.refiner
    return LocalRunner(
        stages, conf.plan, refiner.num_inference_steps, refiner.coupling, refiner.steps_per_task, conf.scheduler
    )
