"""The request of a command: its prompt and settings, its picture, and the places of its files.

Imports are in the functions, as in commands.py.
"""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longtake.models.domain.plan import Plan
    from longtake.models.domain.prompt import Cue, PromptSpec
    from longtake.models.domain.resume import Resume
    from longtake.models.domain.state import Picture
    from longtake.models.stages.bundle import Bundle
    from longtake.pipelines.cli.video_recorder import OutputPaths
    from longtake.pipelines.config.conf import Conf

logger = logging.getLogger(__name__)


def spec_of(args: argparse.Namespace, num_frames: int) -> "PromptSpec":
    from longtake.models.domain.prompt import PromptSpec

    cues = _cues(getattr(args, "prompt_at", None) or [])
    return PromptSpec("take", args.prompt, args.negative_prompt, num_frames, args.seed, cues=cues)


def _cues(options: "list[list[str]]") -> "tuple[Cue, ...]":
    """The cues of `--prompt-at FRAME TEXT` in any order. Raises ValueError naming the option."""
    from longtake.models.domain.prompt import Cue

    cues = []
    for frame, text in options:
        try:
            number = int(frame)
        except ValueError:
            raise ValueError(f"--prompt-at: {frame!r} is not a whole number") from None
        try:
            cues.append(Cue(number, text))
        except ValueError as error:
            raise ValueError(f"--prompt-at {frame}: {error}") from None
    return tuple(sorted(cues, key=lambda cue: cue.from_frame))


def read_picture(path: Path) -> "Picture":
    """The picture that a video begins with; what is not used of its file is said. Raises ValueError."""
    from longtake.models.domain.state import Picture
    from longtake.models.video.still import read_still

    try:
        frame, notes = read_still(path)
    except ValueError as error:
        raise ValueError(f"--image {error}") from None
    for note in notes:
        logger.warning("%s: %s", path, note)
    return Picture(frame)


def places_of(args: argparse.Namespace, source: Path | None = None) -> "OutputPaths":
    from longtake.pipelines.cli.video_recorder import OutputPaths
    from longtake.pipelines.files.store import refuse_ray_copy

    places = OutputPaths(args.out, getattr(args, "preview", None), getattr(args, "contact_sheet", None))
    refuse_ray_copy("out", places.out)
    places.check(source)
    return places


def with_picture(args: argparse.Namespace, conf: "Conf") -> "tuple[Conf, Resume | None]":
    """The configuration of a video that begins with the picture of `--image`, and the point from which it begins."""
    if args.image is None:
        return conf, None
    from longtake.models.domain.resume import Resume
    from longtake.pipelines.runners.spec_checks import for_picture

    picture, own = read_picture(args.image), for_picture(conf)
    if own.opener != conf.opener:
        logger.warning("--image: opener.model=%s is not used, because it takes no picture", conf.opener.model)
    return own, Resume(0, 0, picture=picture)


def warn_of_texts(bundle: "Bundle", spec: "PromptSpec", plan: "Plan", has_picture: bool = False) -> None:
    """Warns about unknown words and prompts without effect. Raises ValueError for a prompt that is too long."""
    from longtake.models.domain.prompt import never_shown
    from longtake.pipelines.runners.spec_checks import check_texts

    unknown = check_texts(bundle, spec, has_picture)
    if unknown:
        logger.warning("the bundle does not know these words: %s", ", ".join(dict.fromkeys(unknown)))
    for cue in never_shown(spec, plan):
        shown = "no chunk begins before the next prompt or the end"
        logger.warning("--prompt-at %d has no effect: %s", cue.from_frame, shown)
