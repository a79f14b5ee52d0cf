"""What a stage made is looked at where it was made, before anybody works on it."""

from typing import Any

from longtake.models.domain.state import Chunk, Segment
from longtake.models.video.frame_checks import check_not_black
from longtake.pipelines.runners.local import Advances


class Looked:
    """A stage of new videos, none of whose frames may be black. A video that is enhanced may have some."""

    def __init__(self, stage: Advances) -> None:
        self._stage = stage

    def advance(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """As the stage's own. Raises BadFrames."""
        carry, output = self._stage.advance(*args, **kwargs)
        if isinstance(output, Chunk | Segment):
            check_not_black(output.frames, output.span.start)
        return carry, output
