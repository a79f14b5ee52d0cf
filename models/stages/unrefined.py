"""The REFINE stage without a refiner: the frames of the base model are final as they are."""

from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.span import Span
from longtake.models.domain.state import Chunk, Segment
from longtake.models.stages.refiner import frames_of


class Unrefined:
    """Passes frames through: a window has no denoising step, so its only cell gives the segment."""

    def advance(
        self, spec: PromptSpec, plan: Plan, window: int, steps: Span, state: None, /, *chunks: Chunk
    ) -> tuple[None, Segment]:
        """The frames of segment `window` out of the window's chunks, which come in any order."""
        assert steps == Span(0, 1), f"{steps}: a window that is not refined has one cell"
        segment = plan.segments[window]
        return None, Segment(segment, frames_of(segment, chunks))
