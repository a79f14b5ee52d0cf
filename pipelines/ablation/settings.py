"""Settings of `longtake ablate`, and the variants that it compares.

    low resolution    full ── without CAM, condition added, without APM, and the baselines    each against `full`
    refined           symmetric ── causal, shared noise, independent, overlap 4 and 12        each against `symmetric`
    noisier           noisy-symmetric ── noisy shared noise, noisy independent                each against that

All refined variants refine the same low-resolution video, that of `full`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

from longtake.models.domain.prompt import Settings, Value
from longtake.pipelines.config.conf import Conf, bundle_defaults
from longtake.pipelines.config.loader import compose
from longtake.pipelines.config.paths import CONF

DEFAULT_CONFIG = CONF / "ablate.yaml"
CALL = ("height", "width", "num_frames", "num_inference_steps")  # settings that are passed to a pipeline unchanged
PIPELINES = {  # classes of diffusers
    "svd": "StableVideoDiffusionPipeline",
    "i2vgen-xl": "I2VGenXLPipeline",
    "sparse-ctrl": "AnimateDiffSparseControlNetPipeline",
}


class Kind(StrEnum):
    """The method that makes the frames."""

    BASE = "base"  # the base model, chunk after chunk
    ADDED = "added"  # the same with `longtake.models.baselines.added`
    BASELINE = "baseline"  # a function of `longtake.models.baselines`
    REFINED = "refined"  # the refiner, of the video of `full`
    DIFFUSERS = "diffusers"  # a pipeline of diffusers, continued from its last frame


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to make the video of a prompt and seed."""

    name: str
    kind: Kind
    title: str  # for the page
    settings: Settings = ()  # over the configuration
    reference: str = "full"  # the variant for the comparison, prompt by prompt


NO_BLENDING = ("refiner.blending", False)
OWN_NOISE = ("refiner.shared_noise", False)
# As near to the paper's refiner as a bundle trained for low noise allows: fresh noise at every step, more to redraw.
NOISY = (("refiner.eta", 1), ("refiner.strength", 0.5), ("refiner.sampler", "ddim"))


def _refined(name: str, title: str, *settings: tuple[str, Value], reference: str = "symmetric") -> Variant:
    return Variant(name, Kind.REFINED, title, settings, reference)


_noisy = partial(_refined, reference="noisy-symmetric")

VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("full", Kind.BASE, "CAM and APM, low resolution"),
        Variant("no-cam", Kind.BASE, "chunks do not see the one before", (("base.cam", False),)),
        Variant("added", Kind.ADDED, "CAM's condition added frame by frame instead of attended to; nothing trained"),
        Variant("no-apm", Kind.BASE, "chunks do not see the anchor frame", (("base.apm", False),)),
        Variant("free-noise", Kind.BASELINE, "FreeNoise: repeated noise, temporal attention in windows, fused"),
        Variant("co-denoising", Kind.BASELINE, "Gen-L-Video: overlapping windows averaged at every step"),
        Variant("last-frame", Kind.BASELINE, "continued from the last frame, pinned by replacement"),
        _refined("symmetric", "randomized blending and shared noise, both neighbours, overlap 8"),
        _refined("causal", "the same, blended with the window before only", ("refiner.coupling", "causal")),
        _refined("shared-noise", "windows share noise, nothing is blended", NO_BLENDING),
        _refined("independent", "neither shared noise nor blending", NO_BLENDING, OWN_NOISE),
        _refined("overlap-4", "symmetric, windows overlap by 4", ("plan.overlap_frames", 4)),
        _refined("overlap-12", "symmetric, windows overlap by 12", ("plan.overlap_frames", 12)),
        _noisy("noisy-symmetric", "symmetric, from strength .5 with fresh noise at every step", *NOISY),
        _noisy("noisy-shared-noise", "shared noise, the same", *NOISY, NO_BLENDING),
        _noisy("noisy-independent", "independent, the same", *NOISY, NO_BLENDING, OWN_NOISE),
        Variant("svd", Kind.DIFFUSERS, "Stable Video Diffusion, continued from its last frame"),
        Variant("i2vgen-xl", Kind.DIFFUSERS, "I2VGen-XL, continued from its last frame"),
        Variant("sparse-ctrl", Kind.DIFFUSERS, "SparseCtrl on AnimateDiff, continued from its last frame"),
    )
}


@dataclass(frozen=True, slots=True)
class DiffusersParams:
    """Folders of pipelines in the diffusers layout, and the arguments of their calls. None: the pipeline's default."""

    svd: str | None = None  # StableVideoDiffusionPipeline
    i2vgen_xl: str | None = None  # I2VGenXLPipeline
    sparse_ctrl: str | None = None  # AnimateDiffSparseControlNetPipeline
    height: int | None = None
    width: int | None = None
    num_frames: int | None = None  # of one call
    num_inference_steps: int | None = None

    def __post_init__(self) -> None:
        for name in CALL:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")

    def folder(self, variant: str) -> str | None:
        """The folder with the weights of a variant, if it is set."""
        return {"svd": self.svd, "i2vgen-xl": self.i2vgen_xl, "sparse-ctrl": self.sparse_ctrl}.get(variant)


def check_folder(variant: str, folder: str) -> None:
    """Raises ValueError if `folder` holds no pipeline, or another than the variant's."""
    wanted, key = PIPELINES[variant], variant.replace("-", "_")
    index = Path(folder) / "model_index.json"
    try:
        class_name = json.loads(index.read_text("utf-8")).get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"diffusers.{key}={folder} is not a diffusers pipeline: {error}") from None
    if class_name != wanted:
        raise ValueError(f"diffusers.{key}={folder} holds a {class_name}, not a {wanted}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AblateConf(Conf):
    """Conf and the comparison's own settings; `longtake ablate` takes all of them as key=value."""

    out: str  # a folder for ablations.md, ablations.jsonl and the plots

    num_prompts: int = 12
    num_frames: int = 80
    seed: int = 1000  # of the first prompt; the others count on
    prompts: str | None = None  # a text file, one prompt per line; None: conf/held_out.txt, unseen in training
    variants: tuple[str, ...] = ()  # empty: all that can be made
    work: str = "runs/ablate"  # every video and its metrics: existing ones are kept
    workers: int = 2  # processes, a prompt each; on a GPU, 1
    flow_size: int = 720  # pixels a side at which flow is measured
    diffusers: DiffusersParams = field(default_factory=DiffusersParams)  # baselines, if their folders are set

    def __post_init__(self) -> None:
        Conf.__post_init__(self)
        for name, least in (("num_prompts", 1), ("num_frames", 2), ("workers", 1), ("flow_size", 16)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")
        if not 0 <= self.seed < 2**62:
            raise ValueError(f"seed={self.seed} must be at least 0 and less than 2**62")
        for name in self.variants:
            if name not in VARIANTS:
                raise ValueError(f"variants={name}: must be among {', '.join(VARIANTS)}")
            if VARIANTS[name].kind is Kind.DIFFUSERS and self.diffusers.folder(name) is None:
                raise ValueError(f"variants={name}: it needs diffusers.{name.replace('-', '_')}=FOLDER")

    @property
    def chosen(self) -> tuple[Variant, ...]:
        """The variants to make, with their references, in the order of the table."""
        able = [
            v for v in VARIANTS.values() if v.kind is not Kind.DIFFUSERS or self.diffusers.folder(v.name) is not None
        ]
        names = set(self.variants) or {variant.name for variant in able}
        names |= {VARIANTS[name].reference for name in names} | {"full"}
        return tuple(variant for variant in able if variant.name in names)


def load_ablate(path: str | Path | None = None, overrides: Sequence[str] = ()) -> AblateConf:
    """The settings of a comparison. Raises ValueError naming key, value and rule."""
    return compose(AblateConf, path or DEFAULT_CONFIG, overrides, (), partial(bundle_defaults, AblateConf))
