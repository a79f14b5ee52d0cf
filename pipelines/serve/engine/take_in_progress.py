"""One take in progress: its events become jobs for the writers, and events for viewers.

 1. A chunk is kept with its preview, and a boundary of causal coupling when it comes.
 2. A fragment waits until its chunks and the basis of the next window are kept: after any fragment the take can be
    resumed, and a finished take has all its chunks, except those that its clip has.
 3. An existing file is not written again, however often the take restarts.
 4. Fragments and previews are announced in order, without gaps; every event is announced once.
 5. The frames of a client's video are written first, and its clip at the end, by one job after the other: each writes
    a fragment, and the next one waits behind the jobs of other takes. No model can make these frames: when a file of
    them is lost, it is written again, and the models begin after it.

Handles, names and sizes only; no frame, and no clock.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from longtake.models.domain.prompt import change_prompt
from longtake.models.domain.resume import Resume
from longtake.models.domain.scheduler import Task
from longtake.models.domain.span import Span
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.runners.bundle_limits import limits_of
from longtake.pipelines.runners.existing_video import resume_from
from longtake.pipelines.runners.writer_queue import WriterJob
from longtake.pipelines.serve.library.events import EventLog
from longtake.pipelines.serve.library.paths import CLIP, PICTURE, boundary_name, chunk_name, fragment_name, path_of
from longtake.pipelines.serve.library.resume_plan import (
    Figures,
    count_fragments,
    count_previews,
    next_window,
    num_reached,
    old_boundaries,
    shape_of,
)
from longtake.pipelines.serve.library.takes import Take, with_prompts


class TakeInProgress:
    """`files` are the sizes of the existing ones. Methods that return jobs are called after an event."""

    def __init__(self, take: Take, conf: Conf, events: EventLog) -> None:
        """`conf` is the take's own. Raises ValueError for an impossible video."""
        self.take, self.conf, self.events = take, conf, events
        self.shape = shape_of(take, conf)
        self.files: dict[str, int] = {}
        self.files_known = False  # whether `files` is known
        self._requested: set[str] = set()  # files that exist or are being written
        self._final: dict[int, Any] = {}  # segments that wait: rule 2
        self._window = 0  # where it resumes
        self._basis: dict[str, Any] = {}  # handles of the files that this window needs, by name
        self._announced = Counter[str]()  # fragments and previews
        self._chunks: set[int] = set()  # that exist
        self._steps = Counter[int]()  # of each window
        self._figures: Figures | None = None

    def set_files(self, sizes: Mapping[str, int]) -> None:
        """Takes in the files that existed before."""
        self.files |= sizes
        if self.take.input is not None:
            self.files[self.take.input.file] = self.take.input.num_bytes
        self.files_known = True
        for index in range(num_reached(self.shape, self.files)):
            self._announce_chunk(index)
        for window in range(next_window(self.shape, self.files)):
            self._steps[window] = self.shape.num_steps
        self._announce_files()

    def loads(self) -> list[WriterJob]:
        """Resumes by its files: the jobs that must end before its tasks can run."""
        self._requested = set(self.files)
        self._final.clear()
        self._window = window = next_window(self.shape, self.files)
        if window == self.shape.num_windows:
            return [self._finish()]
        self._basis = dict.fromkeys(self._needed(window))
        if not all(name in self.files for name in self.shape.own_files(window)):
            return [self._begin_video()]
        return [self._load(self._how_to_load(name), name) for name in self._basis]

    def _needed(self, window: int) -> list[str]:
        """The files that it needs to resume at `window`."""
        has_picture = self.take.has_picture and self._first_chunk == 0  # also where chunk 0 exists: it may be broken
        return [*self.shape.basis(window), *([PICTURE] if has_picture else [])]

    def _how_to_load(self, name: str) -> str:
        ways = {chunk_name(self._first_chunk - 1): "load_chunk", PICTURE: "load_picture", CLIP: "load_clip"}
        return ways.get(name, "load_boundary")

    def _begin_video(self) -> WriterJob:
        """The job that writes the next frames of the client's video: rule 5."""
        size = limits_of(self.conf).base_sizes.size(self.conf.base)
        args = (self.shape.extension, self.take.rate, self.conf.base.anchor_frame, size, frozenset(self.files))
        return self._job("begin_video", *args)

    def loaded(self, name: str, handle: Any) -> None:
        self._basis[name] = handle

    def unreadable(self, name: str) -> None:
        """The content of the file is made again."""
        self.files.pop(name, None)
        self._requested.discard(name)

    @property
    def resume(self) -> Resume | None:
        """The start of its tasks; None while a job of `loads` has not ended."""
        if self._window == self.shape.num_windows or any(handle is None for handle in self._basis.values()):
            return None
        if self.shape.extension is not None and CLIP in self._basis:
            return resume_from(self.shape.extension, self._basis[CLIP])
        blocks = self.shape.blocks[:-1] if self._window else ()
        boundaries = {steps: self._basis[boundary_name(self._window - 1, steps)] for steps in blocks}
        memory = self._basis.get(chunk_name(self._first_chunk - 1))
        return Resume(self._window, self._first_chunk, memory, boundaries, picture=self._basis.get(PICTURE))

    @property
    def _first_chunk(self) -> int:
        return self.shape.plan.chunks_of(self._window)[0]

    @property
    def num_reached(self) -> int:
        """Number of chunks whose prompt can no longer change."""
        return max([num_reached(self.shape, self.files), *(index + 1 for index in self._chunks)])

    def chunk_path(self, index: int) -> str | None:
        """The file of a chunk, if it exists."""
        name = chunk_name(index)
        return path_of(self.take.id, name) if name in self.files else None

    def change_prompt(self, prompt: str) -> int:
        """As the runner's, for a take that is not submitted yet. Raises ValueError."""
        frame, spec = change_prompt(self.take.spec, self.shape.plan, self.num_reached, prompt)
        self.take = with_prompts(self.take, spec)
        return frame

    def chunk_done(self, index: int, memory: Any, chunk: Any) -> list[WriterJob]:
        """After a chunk was made or read."""
        self._announce_chunk(index)
        self._announce_progress()
        names = {chunk_name(index)}
        if self.shape.plan.chunks[index].start < self.shape.plan.num_frames:
            names.add(self.shape.preview(index))
        if index < self.shape.first_kept or names <= self._requested:
            return []
        self._requested |= names
        args = (index, self.take.rate, self.take.num_frames, memory, chunk, self.shape.extension)
        return [self._job("keep_chunk", *args)]

    def window_done(self, task: Task, boundary: Any) -> list[WriterJob]:
        """After a task of a window."""
        assert task.steps is not None, "it is a window's"
        step, window = min(task.steps.stop, self.shape.num_steps), task.index
        if step > self._steps[window]:
            self._steps[window] = step
            self.events.append("window", index=window - self.shape.num_skipped, step=step, steps=self.shape.num_steps)
            self._announce_progress()
        name = boundary_name(window, task.steps)
        if name in self._requested or name not in self.shape.basis(window + 1):
            return []
        self._requested.add(name)
        return [self._job("keep_boundary", boundary)]

    def segment_final(self, index: int, segment: Any) -> list[WriterJob]:
        if self.shape.fragment(index) not in self._requested:
            self._final[index] = segment
        return self._fragments()

    def files_written(self, sizes: Mapping[str, int]) -> list[WriterJob]:
        """After files were written."""
        self.files |= sizes
        self._requested |= set(sizes)
        self._announce_files()
        jobs = self._fragments()
        if old := old_boundaries(self.shape, self.files):
            for name in old:
                del self.files[name]
            jobs.append(self._job("drop", old))
        if count_fragments(self.files) == self.shape.num_fragments and "finish" not in self._requested:
            jobs.append(self._finish())
        return jobs

    def _fragments(self) -> list[WriterJob]:
        jobs = []
        for index in sorted(self._final):
            kept = (chunk for chunk in self.shape.plan.chunks_of(index) if chunk >= self.shape.first_kept)
            chunks = map(chunk_name, kept)
            if not all(name in self.files for name in (*self.shape.basis(index + 1), *chunks)):
                break  # later ones wait too: a viewer needs this one first
            self._requested.add(self.shape.fragment(index))
            jobs.append(self._keep_fragment(index - self.shape.num_skipped, self._final.pop(index)))
        return jobs

    def _keep_fragment(self, index: int, segment: Any) -> WriterJob:
        size = self.take.input and self.take.input.output_size
        args = (index, self.take.rate, self.take.num_frames, segment, self.shape.extension, size)
        return self._job("keep_fragment", *args)

    def _finish(self) -> WriterJob:
        self._requested.add("finish")
        # After a restart a window may still run whose fragment was written before.
        self._steps = Counter(dict.fromkeys(range(self.shape.num_windows), self.shape.num_steps))
        self._announce_progress()
        segments = self.shape.plan.segments[self.shape.num_skipped :]
        starts = [self.shape.shown(segment).start for segment in segments]
        return self._job("finish", starts, self.take.num_frames, self.take.input and self.take.input.rate)

    def _job(self, method: str, *args: Any) -> WriterJob:
        return WriterJob(method, (self.take.id, *args), self.take.id)

    def _load(self, method: str, name: str) -> WriterJob:
        return WriterJob(method, (path_of(self.take.id, name),), self.take.id, name)

    def _announce_chunk(self, index: int) -> None:
        if index not in self._chunks:
            self._chunks.add(index)
            if (number := index - self.shape.num_skipped_chunks) >= 0:
                self._announce_span("chunk", number, self.shape.plan.chunks[index])

    def _announce_files(self) -> None:
        for index in range(self._announced["preview"], count_previews(self.files)):
            self.events.append("preview", index=index)
        for index in range(self._announced["fragment"], num_fragments := count_fragments(self.files)):
            size = self.files[fragment_name(index)]
            span = self.shape.plan.segments[index + self.shape.num_skipped]
            self._announce_span("fragment", index, span, bytes=size)
        self._announced["preview"] = max(self._announced["preview"], count_previews(self.files))
        self._announced["fragment"] = max(self._announced["fragment"], num_fragments)
        sizes = tuple(self.files[fragment_name(index)] for index in range(num_fragments))
        self.take = replace(self.take, fragments=sizes, size_bytes=sum(self.files.values()))
        self._announce_progress()

    def _announce_span(self, kind: str, index: int, span: Span, **more: int) -> None:
        shown = self.shape.shown(span)
        self.events.append(kind, index=index, start=shown.start, stop=shown.stop, **more)

    def _announce_progress(self) -> None:
        plan, steps = self.shape.plan, self.shape.num_steps
        figures = Figures(
            (len(self._chunks), len(plan.chunks)),
            (sum(self._steps.values()), steps * len(plan.windows)),
            (self._announced["fragment"], self.shape.num_fragments),
        )
        if figures == self._figures:
            return
        self._figures = figures
        self.take = replace(self.take, progress=max(self.take.progress, figures.percent))
        parts = {name: dict(zip(("done", "total"), part, strict=True)) for name, part in figures.parts.items()}
        self.events.append("progress", progress=self.take.progress, **parts)
