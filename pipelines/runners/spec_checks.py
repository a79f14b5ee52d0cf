"""Checks of a request against a configuration and a bundle, before any work begins."""

from typing import TYPE_CHECKING

from longtake.models.domain.chunk_queue import ChunkQueue
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.pipelines.config.conf import Conf

if TYPE_CHECKING:  # torch
    from longtake.models.stages.bundle import Bundle


def plan_for(conf: Conf, spec: PromptSpec) -> Plan:
    """The plan of a video. Raises ValueError if the queue between the stages cannot hold a window."""
    plan = Plan(spec.num_frames, conf.plan)
    ChunkQueue(plan, conf.scheduler.lookahead_frames)
    return plan


def check_texts(bundle: "Bundle", spec: PromptSpec) -> list[str]:
    """The words of `spec` that the bundle does not know; its tokenizers suffice.

    Raises FieldError for a prompt that is too long.
    """
    for name, text in spec.texts.items():
        bundle.check_text(name, text)
    return [word for text in spec.texts.values() for word in bundle.unknown_words(text)]
