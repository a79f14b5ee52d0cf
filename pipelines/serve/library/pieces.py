"""The pieces of a take as viewers count them: from its first frame, which is not always that of its plan."""

from longtake.models.domain.plan import Plan
from longtake.models.domain.span import Span
from longtake.pipelines.serve.library.takes import Take


def segments_of(take: Take) -> list[Span]:
    """The fragments of the whole video."""
    return _shown(take, _plan(take).segments)


def chunks_of(take: Take) -> list[Span]:
    """The chunks that the preview shows; the last one may run past the end of the video."""
    return [chunk for chunk in _shown(take, _plan(take).chunks) if chunk.start < take.num_frames]


def _plan(take: Take) -> Plan:
    return Plan(take.num_frames, take.plan) if take.extension is None else take.extension.plan


def _shown(take: Take, spans: tuple[Span, ...]) -> list[Span]:
    extension = take.extension
    return list(spans) if extension is None else [shown for span in spans if (shown := extension.shown(span))]
