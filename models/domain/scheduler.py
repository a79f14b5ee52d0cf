"""The order of tasks. The scheduler sees indices and opaque handles, never a frame, a clock, a thread or Ray.

Refinement is a grid of cells, window k by denoising step s. Cells 0..S-1 predict x0 at their step, cell S decodes the
segment. Neighbours get a window's predictions as its Boundaries, one from each task but the last.

 1. Chunk i waits for chunk i-1, whose Memory it continues.
 2. Chunk i waits while the video's ChunkQueue is full. This is the back-pressure.
 3. The cells of a window run in tasks, one after the other: [0, B), [B, 2B), ... up to S, then [S, S+1). Each continues
    the WindowState of the one before. B is `steps_per_task`; in symmetric coupling it is always 1, because there
    both neighbours need each other's prediction after every step.
 4. The first task of a window waits until the ChunkQueue holds the window's chunks, and takes them out.
 5. A window blends with the window before; in symmetric coupling with the window after as well. A task for cells [s, e)
    blends their predictions of steps s-1 .. e-2, and waits for the Boundaries that hold them.
 6. Of all that may run, the video submitted first goes first, and in it the lowest window.
 7. A task is handed out once. A lost one is ready again, with the same arguments.
 8. Segments are delivered in order: segment k is held back until segment k-1 has been delivered.
 9. A video ends when its last segment is out, when one of its tasks failed, or when it is cancelled. Others continue.
10. A report on a task that is not running (it was lost, or its video has ended) changes nothing.
11. A handle is dropped as soon as the last task that needs it is done.
12. A video that is resumed at window k begins as if the windows before it were done and out: with the first chunk under
    window k, the Memory for it, and the Boundaries of window k-1. Causal coupling only: no other Boundaries are needed.
    Chunks under window k that exist are in the ChunkQueue from the start; then the Memory is for the chunk after them.
13. A change of a video's spec is for the tasks that are handed out after it. It may change the prompts of chunks that
    are neither done nor running, and nothing else: the result of every task that was handed out stays valid.
14. A video that exists is continued from a Clip of its end, which takes the place of a Memory for its chunks under
    window k, and of the inputs of window k-1, whose one task gives its Boundary for all steps.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from longtake.models.domain.checks import require_count
from longtake.models.domain.chunk_queue import ChunkQueue, Handle
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec, chunk_prompt
from longtake.models.domain.resume import Resume
from longtake.models.domain.span import Span


class StageName(StrEnum):
    """The stage that runs a task."""

    GENERATE = "generate"  # advance(spec, plan, index, memory: None, a Picture for chunk 0, a Clip) -> Memory, Chunk
    REFINE = "refine"  # advance(spec, plan, window, steps, state, *inputs) -> WindowState | None, Boundary | Segment


class Coupling(StrEnum):
    """The neighbours that a window blends with."""

    SYMMETRIC = "symmetric"  # both: one long video as the paper has it, for datasets
    CAUSAL = "causal"  # the one before: a segment is final immediately, for viewers who wait


@dataclass(frozen=True, slots=True)
class SchedulerParams:
    """The lead of the base model over the refiner."""

    lookahead_frames: int = 48  # held in the queue; at least the chunks of one window, which ChunkQueue checks

    def __post_init__(self) -> None:
        require_count("lookahead_frames", self.lookahead_frames)


@dataclass(frozen=True, slots=True)
class Task:
    """One call of one stage: `stage.advance(*task.args)` is the whole of the work."""

    video_id: str
    stage: StageName
    index: int  # of the chunk, or of the window
    steps: Span | None  # the cells of the window; None for a chunk
    args: tuple[Any, ...] = field(
        compare=False, repr=False
    )  # flat, so that a runner in another process may pass references

    def __str__(self) -> str:
        if self.steps is None:
            return f"chunk {self.index} of {self.video_id}"
        return f"window {self.index} of {self.video_id}, steps {self.steps.start} to {self.steps.stop - 1}"


class Scheduler:
    """Hands out tasks and takes in their results. Deterministic: it depends only on the order of calls."""

    def __init__(self, params: SchedulerParams) -> None:
        self._params = params
        self._videos: dict[str, _Video] = {}  # in order of submission

    @property
    def finished(self) -> bool:
        """Whether every submitted video has ended."""
        return not self._videos

    @property
    def waiting_frames(self) -> dict[str, int]:
        """Low-resolution frames in the ChunkQueue of each video: the depth of the queues between the stages."""
        return {video_id: video.waiting_frames for video_id, video in self._videos.items()}

    def submit(
        self,
        spec: PromptSpec,
        plan: Plan,
        num_steps: int,
        coupling: Coupling,
        steps_per_task: int = 1,
        resume: Resume | None = None,
    ) -> None:
        """Adds a video, refined in `num_steps` steps; with `resume`, its windows from `resume.window` on.

        Raises ValueError if it could never run, its id is running, or `resume` does not fit it.
        """
        if spec.video_id in self._videos:
            raise ValueError(f"video_id={spec.video_id!r}: a video with this id is running")
        blocks = task_blocks(num_steps, steps_per_task, coupling)
        sides = (-1,) if coupling == Coupling.CAUSAL else (-1, 1)
        resume = resume or Resume(0, 0)
        resume.check(plan, blocks, coupling == Coupling.CAUSAL)
        queue = ChunkQueue(plan, self._params.lookahead_frames, resume.window)
        self._videos[spec.video_id] = _Video(spec, plan, queue, blocks, sides, resume)

    def change(self, video_id: str, spec: PromptSpec) -> None:
        """Tasks from now on carry `spec`: the video's, with other prompts for chunks from `next_chunk` on.

        Raises ValueError for any other change, and for a video that is not running.
        """
        self._video(video_id).change(spec)

    def next_chunk(self, video_id: str) -> int:
        """The first chunk that is neither done nor running; the number of chunks when none is left.

        Raises ValueError for a video that is not running.
        """
        return self._video(video_id).next_chunk

    def next(self, stage: StageName) -> Task | None:
        """A task for `stage` that may run now; None if all have to wait for a running one."""
        tasks = (video.next(stage) for video in self._videos.values())
        return next((task for task in tasks if task is not None), None)

    def done(self, task: Task, carry: Handle, output: Handle) -> list[Handle]:
        """`advance` returned (carry, output). Gives the segments that are final now, in the order of the video."""
        if not self.runs(task):
            return []
        video = self._videos[task.video_id]
        segments = video.done(task, carry, output)
        if video.ended:
            self.cancel(task.video_id)
        return segments

    def lost(self, task: Task) -> None:
        """The worker died through no fault of the task. The runner limits the number of attempts."""
        if self.runs(task):
            self._videos[task.video_id].lost(task)

    def failed(self, task: Task) -> None:
        """`advance` raised an exception, and would raise it again."""
        if self.runs(task):
            self.cancel(task.video_id)

    def cancel(self, video_id: str) -> None:
        """Drops the rest of a video; its running tasks may be left to end."""
        self._videos.pop(video_id, None)

    def runs(self, task: Task) -> bool:
        """Whether a task was handed out and not reported on since."""
        return task.video_id in self._videos and self._videos[task.video_id].runs(task)

    def _video(self, video_id: str) -> "_Video":
        if video_id not in self._videos:
            raise ValueError(f"video_id={video_id!r}: no video with this id is running")
        return self._videos[video_id]


@dataclass(slots=True, eq=False)
class _Window:
    """The inputs of an open window's remaining tasks."""

    num_done: int = 0  # tasks, which is the index of the next one
    chunks: tuple[Handle, ...] = ()  # from when its first task is handed out until it is done
    state: Handle = None
    boundaries: dict[tuple[int, Span], Handle] = field(default_factory=dict)  # (window, steps) -> Boundary


class _Video:
    """One video. `_windows` has the windows in progress and the one that opens next, in order."""

    def __init__(
        self,
        spec: PromptSpec,
        plan: Plan,
        queue: ChunkQueue,
        blocks: tuple[Span, ...],
        sides: tuple[int, ...],
        resume: Resume,
    ) -> None:
        self._spec, self._plan, self._queue = spec, plan, queue
        self._blocks = blocks  # the cells of each task of a window
        self._sides = sides  # offsets of the neighbours that a window blends with
        self._blends = {steps: _blended(steps, blocks) for steps in blocks}
        for index, chunk in enumerate(resume.chunks, resume.chunk):
            queue.put(index, chunk)
        handles = (resume.memory, resume.picture, resume.clip)
        self._memory = next((handle for handle in handles if handle is not None), None)  # for the next chunk
        self._first = resume.window
        self._clip = resume.clip if len(blocks) > 1 else None  # until its Boundary is there
        boundaries = {(resume.window - 1, steps): handle for steps, handle in resume.boundaries.items()}
        self._windows = {resume.window: _Window(boundaries=boundaries)}
        self._segments: dict[int, Handle] = {}  # done, held back for an earlier one
        self._num_segments = resume.window  # given out
        self._running: dict[tuple[StageName, int], Task] = {}

    @property
    def ended(self) -> bool:
        return self._num_segments == len(self._plan.segments)

    @property
    def waiting_frames(self) -> int:
        return self._queue.num_frames

    @property
    def next_chunk(self) -> int:
        return self._queue.next_chunk + ((StageName.GENERATE, self._queue.next_chunk) in self._running)

    def change(self, spec: PromptSpec) -> None:
        same = replace(spec, prompt=self._spec.prompt, cues=self._spec.cues) == self._spec
        if not same:
            raise ValueError(f"video_id={self._spec.video_id!r}: it is running, and only its prompts can change")
        for index in range(self.next_chunk):
            if chunk_prompt(spec, self._plan, index) != chunk_prompt(self._spec, self._plan, index):
                start = self._plan.chunks[index].start
                raise ValueError(f"prompt: too late to change the chunk from frame {start}, which has been handed out")
        self._spec = spec

    def runs(self, task: Task) -> bool:
        # Identity: a task of a video that was cancelled and submitted again is equal to the old one.
        return self._running.get((task.stage, task.index)) is task

    def next(self, stage: StageName) -> Task | None:
        task = self._next_chunk() if stage is StageName.GENERATE else self._next_cells()
        if task is not None:
            self._running[stage, task.index] = task
        return task

    def lost(self, task: Task) -> None:
        del self._running[task.stage, task.index]

    def done(self, task: Task, carry: Handle, output: Handle) -> list[Handle]:
        del self._running[task.stage, task.index]
        if task.steps is None:
            self._queue.put(task.index, output)
            self._memory = carry if self._queue.next_chunk < len(self._plan.chunks) else None
        elif task.index < self._first:
            self._clip = None
            for steps in self._blocks[:-1]:
                self._deliver(task.index, steps, output)
        elif task.steps == self._blocks[-1]:
            del self._windows[task.index]
            self._segments[task.index] = output
        else:
            self._close(self._windows[task.index], task.steps, carry)
            self._deliver(task.index, task.steps, output)
        return self._final()

    def _next_chunk(self) -> Task | None:
        index = self._queue.next_chunk
        if (StageName.GENERATE, index) in self._running or self._queue.full:
            return None
        args = (self._spec, self._plan, index, self._memory)
        return Task(self._spec.video_id, StageName.GENERATE, index, None, args)

    def _next_cells(self) -> Task | None:
        before = self._first - 1
        if self._clip is not None and (StageName.REFINE, before) not in self._running:
            steps = Span(0, self._blocks[-1].start)
            args = (self._spec, self._plan, before, steps, None, self._clip)
            return Task(self._spec.video_id, StageName.REFINE, before, steps, args)
        for index, window in self._windows.items():
            if self._ready(index, window):
                return self._cells(index, window)
        return None

    def _ready(self, index: int, window: _Window) -> bool:
        if (StageName.REFINE, index) in self._running:
            return False
        has_chunks = index < self._queue.next_window or self._queue.complete(index)
        return has_chunks and all(
            key in window.boundaries for key in self._needed(index, self._blocks[window.num_done])
        )

    def _cells(self, index: int, window: _Window) -> Task:
        if index == self._queue.next_window:
            window.chunks = self._queue.take(index)
            if self._exists(index + 1):
                self._windows[index + 1] = _Window()
        steps = self._blocks[window.num_done]
        boundaries = (window.boundaries[key] for key in self._needed(index, steps))
        args = (self._spec, self._plan, index, steps, window.state, *window.chunks, *boundaries)
        return Task(self._spec.video_id, StageName.REFINE, index, steps, args)

    def _needed(self, index: int, steps: Span) -> list[tuple[int, Span]]:
        """The boundaries (window, steps) that hold predictions which the task (index, steps) blends."""
        neighbours = [index + side for side in self._sides if self._exists(index + side)]
        return [(neighbour, block) for neighbour in neighbours for block in self._blends[steps]]

    def _exists(self, index: int) -> bool:
        return 0 <= index < len(self._plan.windows)

    def _close(self, window: _Window, steps: Span, state: Handle) -> None:
        """The task for `steps` is done: the next one needs predictions from the last of them on."""
        window.num_done += 1
        window.chunks = ()
        window.state = state
        window.boundaries = {key: handle for key, handle in window.boundaries.items() if key[1].stop >= steps.stop}

    def _deliver(self, index: int, steps: Span, boundary: Handle) -> None:
        """Hands a boundary to the neighbours of `index` that blend with it; each has a later task that needs it."""
        for neighbour in (index - side for side in self._sides):
            if self._exists(neighbour):
                self._windows[neighbour].boundaries[index, steps] = boundary

    def _final(self) -> list[Handle]:
        segments = []
        while self._num_segments in self._segments:
            segments.append(self._segments.pop(self._num_segments))
            self._num_segments += 1
        return segments


def task_blocks(num_steps: int, steps_per_task: int, coupling: Coupling) -> tuple[Span, ...]:
    """The cells of each task of a window, in order; the last one gives the segment, without steps it is the only one.

    Raises ValueError for an invalid count.
    """
    require_count("num_steps", num_steps, least=0)
    require_count("steps_per_task", steps_per_task)
    size = steps_per_task if coupling == Coupling.CAUSAL else 1
    denoise = (Span(start, min(start + size, num_steps)) for start in range(0, num_steps, size))
    return (*denoise, Span(num_steps, num_steps + 1))


def _blended(steps: Span, blocks: tuple[Span, ...]) -> tuple[Span, ...]:
    """The tasks of a neighbour that predict what a task for `steps` blends: the step before each of its cells."""
    return tuple(block for block in blocks[:-1] if block.start < steps.stop - 1 and block.stop > steps.start - 1)
