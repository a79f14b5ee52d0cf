"""The bounded queue between the two stages of one video. It holds handles of chunks, never a frame.

chunks     |---------------|-------|-------|-------|
windows    |-----------------------|                        taken: in refinement
                           |-----------------------|        the next one to take
held                       |-------|-------|-------|        at most lookahead_frames
"""

from typing import Any, TypeAlias

from longtake.models.domain.plan import Plan

Handle: TypeAlias = Any  # the value itself, or a reference to it in another process: opaque here


class ChunkQueue:
    """Chunks go in one by one and windows come out one by one, both in order, from `window` on.

    Raises ValueError if the chunks of one window have more than `lookahead_frames`: the window would never be complete.
    """

    def __init__(self, plan: Plan, lookahead_frames: int, window: int = 0) -> None:
        needed = max(_num_frames(plan, plan.chunks_of(k)) for k in range(len(plan.windows)))
        if lookahead_frames < needed:
            raise ValueError(
                f"lookahead_frames={lookahead_frames} is too small: the chunks under one window have {needed} frames, "
                "and the queue has to hold them all"
            )
        self.next_chunk = plan.chunks_of(window)[0]
        self.next_window = window
        self._plan = plan
        self._lookahead_frames = lookahead_frames
        self._held: dict[int, Handle] = {}

    @property
    def num_frames(self) -> int:
        """Frames held."""
        return sum(len(self._plan.chunks[chunk]) for chunk in self._held)

    @property
    def full(self) -> bool:
        """Whether no chunk may be made now: there is no room for it, or all are made."""
        if self.next_chunk == len(self._plan.chunks):
            return True
        first = self._plan.chunks_of(self.next_window)[0]
        return _num_frames(self._plan, range(first, self.next_chunk + 1)) > self._lookahead_frames

    def put(self, index: int, handle: Handle) -> None:
        assert index == self.next_chunk and not self.full, f"chunk {index} is out of turn"
        self._held[index] = handle
        self.next_chunk += 1

    def complete(self, window: int) -> bool:
        """Whether all chunks of `window` are here, so that it may be taken."""
        return all(chunk in self._held for chunk in self._plan.chunks_of(window))

    def take(self, window: int) -> tuple[Handle, ...]:
        """The chunks of `window`, in order. Chunks that no later window needs are dropped."""
        assert window == self.next_window and self.complete(window), f"window {window} may not be taken"
        taken = tuple(self._held[chunk] for chunk in self._plan.chunks_of(window))
        self.next_window += 1
        more = self.next_window < len(self._plan.windows)
        keep_from = self._plan.chunks_of(self.next_window)[0] if more else self.next_chunk
        self._held = {chunk: handle for chunk, handle in self._held.items() if chunk >= keep_from}
        return taken


def _num_frames(plan: Plan, chunks: range) -> int:
    return plan.chunks[chunks[-1]].stop - plan.chunks[chunks[0]].start
