"""The files and checks of a comparison, without loading a network.

<work>/<key>/<variant>/<prompt>.npz          a video
                       <prompt>.<flow>.json  its metrics
<work>/<key>/low/<prompt>.npz                the low-resolution video that the refined variants share

The key is a hash of the weights and of every setting that a video depends on.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from longtake.models.domain.prompt import PromptSpec
from longtake.pipelines.ablation.prompts import prompts_of
from longtake.pipelines.ablation.settings import AblateConf, Kind, check_folder
from longtake.pipelines.config.provenance import comparable, video_settings, weights_of
from longtake.pipelines.files.store import refuse_ray_copy
from longtake.pipelines.runners.bundle_limits import settled

BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->"  # of the generated part of the page


@dataclass(frozen=True)
class Job:
    """All variants of one prompt."""

    conf: AblateConf
    index: int
    spec: PromptSpec
    folder: Path

    def video(self, variant: str) -> Path:
        """The file of a video; its name depends on prompt and seed."""
        about = [self.spec.prompt, self.spec.seed, self.conf.diffusers.folder(variant)]
        name = sha256(json.dumps(about).encode()).hexdigest()[:8]
        return self.folder / variant / f"{self.index:03d}-{name}.npz"


def check(conf: AblateConf) -> list[Job]:
    """One job per prompt. Raises ValueError for a bundle, prompts, pipelines or a page that cannot be used."""
    for name in ("out", "work"):
        refuse_ray_copy(name, Path(getattr(conf, name)))
    if not conf.refiner.enabled:
        raise ValueError("refiner.enabled=false: the ablation compares refined videos")
    conf = settled(conf)
    jobs = jobs_of(conf)
    for variant in conf.chosen:
        if variant.kind is Kind.DIFFUSERS:
            check_folder(variant.name, conf.diffusers.folder(variant.name) or "")
    around(Path(conf.out) / "ablations.md")
    return jobs


def jobs_of(conf: AblateConf) -> list[Job]:
    """One job per prompt, unchecked."""
    prompts = prompts_of(conf)
    about = [weights_of(conf), comparable(video_settings(conf)), conf.num_frames]
    folder = Path(conf.work) / sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
    return [
        Job(conf, index, PromptSpec(f"{index}", prompt, num_frames=conf.num_frames, seed=conf.seed + index), folder)
        for index, prompt in enumerate(prompts)
    ]


def around(page: Path) -> tuple[str, str]:
    """The text before and after the generated part of the page. Raises ValueError if its markers are missing."""
    if not page.exists():
        return "# Ablations and baselines\n\n", "\n"
    before, found, rest = page.read_text("utf-8").partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"{page} has no lines {BEGIN.strip()} and {END} to write between")
    return before, after
