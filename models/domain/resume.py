"""The point from which a video begins that is not made from its text alone: one that was interrupted or extended."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from longtake.models.domain.checks import require
from longtake.models.domain.chunk_queue import Handle
from longtake.models.domain.plan import Plan
from longtake.models.domain.span import Span


@dataclass(frozen=True, slots=True, eq=False)
class Resume:
    """The earlier results that a causal video needs for its windows from `window` on.

    `Resume(0, 0)` is a video from its beginning, in either coupling.
    """

    window: int  # those before it are final
    chunk: int  # the first that `window` needs, and the first to make if none of `chunks` exists
    memory: Handle = None  # from the call for the chunk before the first one to make; None for chunk 0
    boundaries: Mapping[Span, Handle] = field(default_factory=dict)  # of the window before, from its tasks but the last
    chunks: tuple[Handle, ...] = ()  # those from `chunk` on that exist: the next one is the first to make
    picture: Handle = None  # a Picture that chunk 0 begins with
    clip: Handle = None  # the Clip of a video that is continued, which `memory`, `boundaries` and `chunks` follow from

    def check(self, plan: Plan, blocks: tuple[Span, ...], causal: bool) -> None:
        """Raises ValueError, with field, value and rule, if a video whose windows run in `blocks` cannot continue."""
        last = len(plan.windows) - 1
        require(0 <= self.window <= last, "resume.window", self.window, f"the windows of this video are 0 to {last}")
        rule = "in symmetric coupling must be 0, because no window is final before the next one"
        require(causal or self.window == 0, "resume.window", self.window, rule)
        first = plan.chunks_of(self.window)[0]
        rule = f"the first one that window {self.window} needs is {first}"
        require(self.chunk == first, "resume.chunk", self.chunk, rule)
        given = "none" if self.memory is None else "one"  # frames are not printed
        is_first, has_clip = first + len(self.chunks) == 0, self.clip is not None
        rule = "what exists ends after window 0, and the chunks are taken from it"
        require(not has_clip or (self.window > 0 and not self.chunks), "resume.clip", "one", rule)
        needs_memory = not (is_first or has_clip)
        require((self.memory is not None) == needs_memory, "resume.memory", given, "all chunks but 0 continue one")
        require(self.picture is None or is_first, "resume.picture", "one", "only chunk 0 begins with a picture")
        most = len(plan.chunks_of(self.window))
        rule = f"window {self.window} has {most} chunks"
        require(len(self.chunks) <= most, "resume.chunks", len(self.chunks), rule)
        needed = blocks[:-1] if self.window and not has_clip else ()
        rule = f"window {self.window} needs those of the tasks {_list(needed)}"
        require(set(self.boundaries) == set(needed), "resume.boundaries", _list(self.boundaries), rule)


def _list(spans: Mapping[Span, Handle] | tuple[Span, ...]) -> str:
    return ", ".join(map(str, sorted(spans))) or "none"
