"""Checks of a request against a configuration and a bundle, before any work begins."""

from dataclasses import replace
from typing import TYPE_CHECKING

from longtake.models.domain.checks import FieldError
from longtake.models.domain.chunk_queue import ChunkQueue
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.models.stages.files import TEXT_TO_VIDEO, pipeline_class
from longtake.models.stages.params import OpenerParams
from longtake.pipelines.config.conf import Conf, opener_folder
from longtake.pipelines.runners.bundle_limits import parts_of

if TYPE_CHECKING:  # torch
    from longtake.models.stages.bundle import Bundle


def plan_for(conf: Conf, spec: PromptSpec) -> Plan:
    """The plan of a video. Raises ValueError if the queue between the stages cannot hold a window."""
    plan = Plan(spec.num_frames, conf.plan)
    ChunkQueue(plan, conf.scheduler.lookahead_frames)
    return plan


def for_picture(conf: Conf) -> Conf:
    """The configuration of a video that begins with a picture: without an opener that takes none.

    Raises FieldError if nothing here continues pictures.
    """
    if conf.opener.model is not None and pipeline_class(folder := opener_folder(conf)) not in TEXT_TO_VIDEO:
        from longtake.models.stages.video_pipeline import VideoPipeline  # torch

        if VideoPipeline(folder).takes_picture:
            return conf
    if not conf.base.cam or "cam" not in parts_of(conf):
        lacks = f"bundle={conf.bundle} has no CAM" if conf.base.cam else "base.cam=false switches CAM off"
        why = f"{lacks}, which continues a picture, and there is no image-to-video opener (opener.model=FOLDER)"
        raise FieldError("image", f" cannot be used: {why}")
    return replace(conf, opener=OpenerParams())


def check_texts(bundle: "Bundle", spec: PromptSpec, has_picture: bool = False) -> list[str]:
    """The words of `spec` that the bundle does not know; its tokenizers suffice.

    Raises FieldError for a prompt that is too long, and without a picture for an opener that needs one.
    """
    if bundle.opener is not None and bundle.opener.needs_picture and not has_picture:
        raise FieldError("image", " is missing: the opener (opener.model) is an image-to-video pipeline and needs one")
    for name, text in spec.texts.items():
        bundle.check_text(name, text)
    return [word for text in spec.texts.values() for word in bundle.unknown_words(text)]
