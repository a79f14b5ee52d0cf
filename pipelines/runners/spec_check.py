"""Checks of a request against a configuration and a bundle, before any work begins."""

from longtake.models.domain.chunk_queue import ChunkQueue
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.models.stages.bundle import Bundle
from longtake.pipelines.config.conf import Conf


def check_spec(conf: Conf, bundle: Bundle, spec: PromptSpec) -> list[str]:
    """The words of `spec` that the bundle does not know; its tokenizers and text encoders suffice.

    Raises ValueError if the video can never be made, as a FieldError where a field of `spec` is at fault.
    """
    ChunkQueue(Plan(spec.num_frames, conf.plan), conf.scheduler.lookahead_frames)  # has to hold a window
    for name, text in spec.texts.items():
        bundle.check_text(name, text)
    return [word for text in spec.texts.values() for word in bundle.unknown_words(text)]
