"""A bundle without networks: its stages compute frames by arithmetic, so that everything around them runs fast."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from longtake.models.domain.checks import FieldError
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.span import Span
from longtake.models.domain.state import Boundary, Chunk, Clip, FixedBoundary, Memory, Picture, Segment, WindowState

if TYPE_CHECKING:
    from longtake.models.stages.params import RefinerParams

SIZE = 16
WORDS = {"a", "red", "circle", "moves", "right"}


class ToyBundle:
    """The part of Bundle that `pipelines` uses."""

    parts: Mapping[str, object] = MappingProxyType({})
    opener = None

    def base_model(self, params: object, opening: object = None) -> "ToyBase":
        return ToyBase()

    def refiner(self, params: "RefinerParams") -> "ToyRefiner":
        if params.height % 16 or params.width % 16:
            raise ValueError(f"height={params.height}, width={params.width}: both have to be multiples of 16")
        return ToyRefiner(params)

    def unknown_words(self, text: str) -> list[str]:
        return [word for word in text.split() if word not in WORDS]

    def check_text(self, name: str, text: str) -> None:
        count = len(text.split())
        if count > 22:
            raise FieldError(name, f" has {count} tokens: at most 22")


class ToyBase:
    """Frame i is grey (40 + i modulo 100) with a bright column at i, moved by the seed.

    The first row of the first chunk has the first colour of the picture that it begins with.
    """

    frame_size = (SIZE, SIZE)

    def advance(
        self, spec: PromptSpec, plan: Plan, index: int, memory: Memory | Picture | Clip | None, /
    ) -> tuple[Memory | Clip, Chunk]:
        span = plan.chunks[index]
        if isinstance(memory, Clip) and span.stop < memory.span.stop:
            return memory, Chunk(span, resized(memory.of(span), SIZE, SIZE))
        frames = np.stack([self._frame(i, spec.seed) for i in span])
        if isinstance(memory, Picture):
            frames[:, 0] = memory.frame[0, 0]
        if isinstance(memory, Clip):
            frames = resized(memory.of(span), SIZE, SIZE)
        last = np.zeros((plan.params.condition_frames, 3, SIZE, SIZE), np.float32)
        return Memory(last[0], last), Chunk(span, frames)

    def _frame(self, i: int, seed: int) -> np.ndarray:
        frame = np.full((SIZE, SIZE, 3), 40 + i % 100, np.uint8)
        frame[:, (i + seed) % SIZE] = 250
        return frame


class ToyRefiner:
    """Enlarges by repeating pixels; cells before the last only pass the frames on."""

    def __init__(self, params: "RefinerParams") -> None:
        self.params = params

    def advance(
        self, spec: PromptSpec, plan: Plan, window: int, steps: Span, state: WindowState | None, /, *inputs: object
    ) -> tuple[WindowState | None, Boundary | FixedBoundary | Segment]:
        for clip in inputs:
            if isinstance(clip, Clip):
                return None, FixedBoundary(window, np.moveaxis(clip.frames, -1, 1).astype(np.float32))
        if state is None:
            chunks = [one for one in inputs if isinstance(one, Chunk)]
            first, span = chunks[0].span.start, plan.windows[window]
            frames = np.concatenate([one.frames for one in chunks])[span.start - first : span.stop - first]
            x = np.moveaxis(frames, -1, 1).astype(np.float32)
        else:
            x = state.x
        if steps.start < self.params.num_inference_steps:
            overlap = np.stack([x[-plan.params.overlap_frames :]] * len(steps))
            return WindowState(x, None, x), Boundary(window, steps, overlap, overlap)
        segment, start = plan.segments[window], plan.windows[window].start
        shown = np.moveaxis(x[segment.start - start : segment.stop - start], 1, -1).astype(np.uint8)
        own = dict(spec.settings)  # in an actor, of any video
        height, width = own.get("refiner.height", self.params.height), own.get("refiner.width", self.params.width)
        return None, Segment(segment, resized(shown, height, width))


def resized(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    rows = np.arange(height) * frames.shape[1] // height
    columns = np.arange(width) * frames.shape[2] // width
    return frames[:, rows][:, :, columns]
