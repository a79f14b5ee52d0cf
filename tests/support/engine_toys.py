"""Stages whose frames reveal every mistake: they depend on all inputs of a call and on its prompt.

The toys of toy.py do not: a video continued from the wrong memory would look right. Actors import this module, so it
imports nothing that takes seconds.
"""

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from longtake.models.domain.prompt import chunk_prompt
from longtake.models.domain.state import Boundary, Chunk, Clip, FixedBoundary, Memory, Segment, WindowState
from tests.pipelines.runners.test_local import NOISE, NUM_STEPS
from tests.support.ray_toys import ToyFactory, ToyStage
from tests.support.toy import resized

LOW, HIGH = 8, 16  # pixels


def hue(spec, plan, index):
    return crc32(chunk_prompt(spec, plan, index).encode()) % 64


class LinkedBase:
    """Each new frame follows from the one before, the prompt of its chunk and the seed."""

    def advance(self, spec, plan, index, memory):
        span = plan.chunks[index]
        if isinstance(memory, Clip):
            return self.existing(plan, span, memory)
        levels, level = [], float(spec.seed % 50) if memory is None else float(memory.last[-1, 0, 0, 0])
        for _ in span:
            level = (level * 1.25 + hue(spec, plan, index) + 3) % 200
            levels.append(level)
        frames = np.zeros((len(span), 3, LOW, LOW), np.float32) + np.float32(levels)[:, None, None, None]
        frames[:, 1, :, : LOW // 2] += 40
        anchor = frames[0] if memory is None else memory.anchor
        pixels = frames.transpose(0, 2, 3, 1).astype(np.uint8)
        return Memory(anchor, frames[-plan.params.condition_frames :]), Chunk(span, pixels)

    def existing(self, plan, span, clip):
        pixels = resized(clip.frames, LOW, LOW)
        frames = pixels.transpose(0, 3, 1, 2).astype(np.float32)
        chunk = Chunk(span, pixels[span.start - clip.span.start : span.stop - clip.span.start])
        is_last = span.stop == clip.span.stop
        return Memory(frames[0], frames[-plan.params.condition_frames :]) if is_last else clip, chunk


class LinkedRefiner:
    """Each window follows from its chunks, its prompts, and what its neighbours predicted at every step."""

    def advance(self, spec, plan, window, steps, state, *inputs):
        span, overlap = plan.windows[window], plan.params.overlap_frames
        for clip in inputs:
            if isinstance(clip, Clip):
                return None, FixedBoundary(window, resized(clip.frames, LOW, LOW)[-overlap:].transpose(0, 3, 1, 2))
        if steps.start == 0:
            chunks = [one for one in inputs if isinstance(one, Chunk)]
            frames = np.concatenate([one.frames for one in chunks])[span.start - chunks[0].span.start :][: len(span)]
            x = frames.transpose(0, 3, 1, 2).astype(np.float32)
            x += np.float32([hue(spec, plan, plan.chunk_at(frame)) / 2 for frame in span])[:, None, None, None]
            state = WindowState(x, None, x)
        predictions = []
        for s in steps:
            if s > 0:
                x0 = self.blend(state.x0, window, s - 1, overlap, inputs)
                state = WindowState(state.x / 2 + x0 / 2 + 4 * NOISE[span.frames, s - 1], None, state.x0)
            if s < NUM_STEPS:
                state = WindowState(state.x, None, (state.x + 3 * state.x.mean(axis=0)) / 4)
                predictions.append(state.x0)
        if steps.stop == NUM_STEPS + 1:
            segment = plan.segments[window]
            pixels = state.x[: len(segment)].clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
            return None, Segment(segment, pixels.repeat(HIGH // LOW, 1).repeat(HIGH // LOW, 2))
        x0 = np.stack(predictions)
        return state, Boundary(window, steps, x0[:, :overlap], x0[:, -overlap:])

    def blend(self, x0, window, step, overlap, inputs):
        x0 = x0.copy()
        for boundary in inputs:
            if isinstance(boundary, FixedBoundary):
                x0[: overlap // 2] = boundary.last[: overlap // 2]
            if not isinstance(boundary, Boundary) or step not in boundary.steps:
                continue
            row, half = step - boundary.steps.start, overlap // 2
            if boundary.window < window:
                x0[:half] = boundary.last[row, :half]
            else:
                x0[-half:] = boundary.first[row, half:]
        return x0


@dataclass(frozen=True)
class LinkedFactory(ToyFactory):
    """`log` is a file that gets a line for every call."""

    log: str = ""

    def __call__(self):
        if self.broken:
            raise ValueError(self.broken)
        return LoggedStage(self, LinkedBase() if self.stage == "base" else LinkedRefiner())


class LoggedStage(ToyStage):
    def advance(self, spec, *args):
        result = super().advance(spec, *args)
        if self.factory.log:
            with open(self.factory.log, "a") as file:
                file.write(f"{self.factory.stage} {spec.video_id} {args[1]}\n")
        return result


def linked(**toy):
    return {stage: LinkedFactory(stage, **toy) for stage in ("base", "refiner")}
