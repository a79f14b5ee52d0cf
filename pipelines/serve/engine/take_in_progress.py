"""One take in work: what happens to it becomes errands for the writers, and events for those who watch.

 1. A chunk is kept with its preview, and a boundary of causal coupling when it comes.
 2. A fragment waits until what the next window goes on from is kept: after any fragment the take can go on.
 3. A file that is there is not written again, however often the take begins anew.
 4. Fragments and previews are told of in order, without gaps; every event is told once.

Here are handles, names and sizes; no frame, and no clock.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from longtake.models.domain.resume import Resume
from longtake.models.domain.scheduler import Task
from longtake.models.domain.span import Span
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.runners.writer_queue import Errand
from longtake.pipelines.serve.library.events import Live
from longtake.pipelines.serve.library.paths import boundary_name, chunk_name, fragment_name, preview_name
from longtake.pipelines.serve.library.resume_plan import (
    Figures,
    count_fragments,
    count_previews,
    next_window,
    num_reached,
    old_boundaries,
    shape_of,
)
from longtake.pipelines.serve.library.takes import Take, with_prompt


class Work:
    """`files` are the sizes of those that are there. Methods that return errands are told what has happened."""

    def __init__(self, take: Take, conf: Conf, live: Live) -> None:
        """`conf` is that of the take. Raises ValueError for what can never be made."""
        self.take, self.conf, self.live = take, conf, live
        self.shape = shape_of(take.spec, conf)
        self.files: dict[str, int] = {}
        self.is_found = False  # `files` says what is there
        self.attempts = 0  # that parts of it were lost with a machine
        self._asked: set[str] = set()  # files that are there or being written
        self._final: dict[int, Any] = {}  # segments that wait for what they need
        self._window = 0  # where it goes on
        self._basis: dict[str, Any] = {}  # what that window needs: handles by the names of their files
        self._told = Counter[str]()  # fragments and previews
        self._chunks: set[int] = set()  # that are made
        self._steps = Counter[int]()  # of each window
        self._figures: Figures | None = None

    def found(self, sizes: Mapping[str, int]) -> None:
        """What was there before it was begun."""
        self.files |= sizes
        self.is_found = True
        for index in range(num_reached(self.shape, self.files)):
            self._tell_chunk(index)
        for window in range(next_window(self.shape, self.files)):
            self._steps[window] = self.shape.num_steps
        self._tell_files()

    def begin(self) -> list[Errand]:
        """From where it can go on by its files: what has to be read, or done, before its tasks can run."""
        self._asked = set(self.files)
        self._final.clear()
        self._window = window = next_window(self.shape, self.files)
        if window == self.shape.num_fragments:
            return [self._finish()]
        self._basis = dict.fromkeys(self.shape.basis(window))
        loads = []
        if (chunk := self._first_chunk - 1) >= 0:
            loads.append(self._errand("load_chunk", chunk, about=chunk_name(chunk)))
        for name, steps in self._heard.items():
            loads.append(self._errand("load_boundary", window - 1, steps, about=name))
        return loads

    def loaded(self, name: str, handle: Any) -> None:
        self._basis[name] = handle

    def unreadable(self, name: str) -> None:
        """It is made again instead."""
        self.files.pop(name, None)

    def unreadable_chunk(self, index: int) -> None:
        self.unreadable(chunk_name(index))
        self._asked.discard(chunk_name(index))

    @property
    def resume(self) -> Resume | None:
        """Where its tasks begin; None while something that `begin` asked for is not there."""
        if self._window == self.shape.num_fragments or any(handle is None for handle in self._basis.values()):
            return None
        memory = self._basis.get(chunk_name(self._first_chunk - 1))
        boundaries = {steps: self._basis[name] for name, steps in self._heard.items()}
        return Resume(self._window, self._first_chunk, memory, boundaries)

    @property
    def _first_chunk(self) -> int:
        return self.shape.plan.chunks_of(self._window)[0]

    @property
    def _heard(self) -> dict[str, Span]:
        """Files of what the window before told, by its steps; none for the first one."""
        blocks = self.shape.blocks[:-1] if self._window else ()
        return {boundary_name(self._window - 1, steps): steps for steps in blocks}

    @property
    def num_reached(self) -> int:
        """Chunks whose prompt can no longer change."""
        return max([num_reached(self.shape, self.files), *(index + 1 for index in self._chunks)])

    def has_chunk(self, index: int) -> bool:
        return chunk_name(index) in self.files

    def change_prompt(self, prompt: str) -> int:
        """As the runner's, for a take that is not there yet. Raises ValueError."""
        chunks = self.shape.plan.chunks[self.num_reached :]
        if not chunks or chunks[0].start >= self.take.num_frames:
            raise ValueError(f"prompt={prompt!r}: it comes too late, all frames of the video are made or being made")
        self.take = with_prompt(self.take, chunks[0].start, prompt)
        return chunks[0].start

    def chunk_made(self, index: int, memory: Any, chunk: Any) -> list[Errand]:
        """Or read."""
        self._tell_chunk(index)
        self._tell_progress()
        names = {chunk_name(index)}
        if self.shape.plan.chunks[index].start < self.take.num_frames:
            names.add(preview_name(index))
        if names <= self._asked:
            return []
        self._asked |= names
        return [self._errand("keep_chunk", index, self.take.fps, self.take.num_frames, memory, chunk)]

    def window_done(self, task: Task, boundary: Any) -> list[Errand]:
        """A task of a window was run."""
        assert task.steps is not None, "it is no chunk"
        step, window = min(task.steps.stop, self.shape.num_steps), task.index
        if step > self._steps[window]:
            self._steps[window] = step
            self.live.append("window", index=window, step=step, steps=self.shape.num_steps)
            self._tell_progress()
        name = boundary_name(window, task.steps)
        if name in self._asked or name not in self.shape.basis(window + 1):
            return []
        self._asked.add(name)
        return [self._errand("keep_boundary", boundary)]

    def segment_final(self, index: int, segment: Any) -> list[Errand]:
        if fragment_name(index) not in self._asked:
            self._final[index] = segment
        return self._fragments()

    def wrote(self, sizes: Mapping[str, int]) -> list[Errand]:
        """Files that are there now."""
        self.files |= sizes
        self._asked |= set(sizes)
        self._tell_files()
        errands = self._fragments()
        if old := old_boundaries(self.shape, self.files):
            for name in old:
                del self.files[name]
            errands.append(self._errand("drop", old))
        if count_fragments(self.files) == self.shape.num_fragments and "finish" not in self._asked:
            errands.append(self._finish())
        return errands

    def _fragments(self) -> list[Errand]:
        errands = []
        for index in sorted(self._final):
            if not all(name in self.files for name in self.shape.basis(index + 1)):
                break  # those after it wait too: a viewer needs it first
            self._asked.add(fragment_name(index))
            args = (index, self.take.fps, self.take.num_frames, self._final.pop(index))
            errands.append(self._errand("keep_fragment", *args))
        return errands

    def _finish(self) -> Errand:
        self._asked.add("finish")
        starts = [segment.start for segment in self.shape.plan.segments]
        return self._errand("finish", starts, self.take.num_frames)

    def _errand(self, method: str, *args: Any, about: str = "") -> Errand:
        return Errand(method, (self.take.id, *args), self.take.id, about)

    def _tell_chunk(self, index: int) -> None:
        if index not in self._chunks:
            self._chunks.add(index)
            self._tell_span("chunk", index, self.shape.plan.chunks[index])

    def _tell_files(self) -> None:
        for index in range(self._told["preview"], count_previews(self.files)):
            self.live.append("preview", index=index)
        for index in range(self._told["fragment"], num_fragments := count_fragments(self.files)):
            size = self.files[fragment_name(index)]
            self._tell_span("fragment", index, self.shape.plan.segments[index], bytes=size)
        self._told["preview"] = max(self._told["preview"], count_previews(self.files))
        self._told["fragment"] = max(self._told["fragment"], num_fragments)
        sizes = tuple(self.files[fragment_name(index)] for index in range(num_fragments))
        self.take = replace(self.take, fragments=sizes, size_bytes=sum(self.files.values()))
        self._tell_progress()

    def _tell_span(self, kind: str, index: int, span: Span, **more: int) -> None:
        self.live.append(kind, index=index, start=span.start, stop=span.stop, **more)

    def _tell_progress(self) -> None:
        plan, steps = self.shape.plan, self.shape.num_steps
        figures = Figures(
            (len(self._chunks), len(plan.chunks)),
            (sum(self._steps.values()), steps * len(plan.windows)),
            (self._told["fragment"], self.shape.num_fragments),
        )
        if figures == self._figures:
            return
        self._figures = figures
        self.take = replace(self.take, progress=max(self.take.progress, figures.percent))
        parts = {name: dict(zip(("done", "total"), part, strict=True)) for name, part in figures.parts.items()}
        self.live.append("progress", progress=self.take.progress, **parts)
