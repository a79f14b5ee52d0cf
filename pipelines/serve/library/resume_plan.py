"""Conclusions from the files of a take: the point of resumption, the prompts that are fixed, the progress.

The names of the files are enough; none is read here.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count

from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import Plan
from longtake.models.domain.scheduler import Coupling, task_blocks
from longtake.models.domain.span import Span
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.config.provenance import comparable, video_settings
from longtake.pipelines.serve.library.paths import (
    CLIP,
    THUMBNAIL,
    boundary_name,
    chunk_name,
    fragment_name,
    preview_name,
)
from longtake.pipelines.serve.library.takes import Take


@dataclass(frozen=True, slots=True)
class Shape:
    """The calls that make a take. Window k gives segment k, which becomes fragment k."""

    plan: Plan
    num_steps: int
    blocks: tuple[Span, ...]  # steps of each task of a window; the last one decodes
    causal: bool
    extension: Extension | None = None  # of a video that a client sent: its frames are written before the models begin

    @property
    def num_windows(self) -> int:
        return len(self.plan.windows)

    @property
    def num_fragments(self) -> int:
        return self.num_windows - self.num_skipped

    @property
    def first_window(self) -> int:
        """The first window of the models."""
        return 0 if self.extension is None else self.extension.window

    @property
    def num_skipped(self) -> int:
        """Windows before the first fragment, and so before the first frame that viewers see."""
        return 0 if self.extension is None else self.extension.num_skipped

    @property
    def num_skipped_chunks(self) -> int:
        """Chunks before the first preview."""
        return 0 if self.extension is None else self.extension.num_skipped_chunks

    def fragment(self, window: int) -> str:
        """The file of a window's segment."""
        return fragment_name(window - self.num_skipped)

    def preview(self, chunk: int) -> str:
        """The file of a chunk's preview."""
        return preview_name(chunk - self.num_skipped_chunks)

    def shown(self, span: Span) -> Span:
        """The frames of a span of the plan, as viewers count them."""
        return span if self.extension is None else self.extension.shown(span)

    @property
    def first_kept(self) -> int:
        """The first chunk that is kept in a file; those before it are in the clip."""
        return 0 if self.extension is None else self.extension.num_own_chunks - 1

    def start(self, window: int) -> int:
        """The window at which a take resumes when those before `window` are final.

        Among frames of a client's video it is the first window of the models, for which all is in the clip.
        """
        is_new = self.extension is None or self.plan.chunks_of(window)[0] > self.first_kept
        return window if is_new else self.first_window

    def boundaries(self, window: int) -> list[str]:
        """Files of the predictions that the next window needs."""
        return [boundary_name(window, steps) for steps in self.blocks[:-1]]

    def basis(self, window: int) -> list[str]:
        """Files to resume from when the windows before `window` are final; none except in causal coupling."""
        if not self.causal or not 0 < window < len(self.plan.windows):
            return []
        if self.extension is not None and self.start(window) == self.first_window:
            return [CLIP]
        first = self.plan.chunks_of(window)[0]
        return [*self.boundaries(window - 1), *([chunk_name(first - 1)] if first else [])]

    def own_files(self, window: int) -> list[str]:
        """Files of the frames of a client's video, as far as the windows from `window` on, or viewers, need them."""
        if self.extension is None:
            return []
        names = [self.preview(chunk) for chunk in range(self.num_skipped_chunks, self.extension.num_own_chunks)]
        names += map(self.fragment, range(self.num_skipped, self.first_window))
        return [*names, CLIP] if self.start(window) == self.first_window else names


def shape_of(take: Take, conf: Conf) -> Shape:
    """`conf` is the take's own. Raises ValueError for an impossible plan."""
    take, refiner = replace(take, plan=conf.plan), conf.refiner
    blocks = task_blocks(refiner.num_steps, refiner.steps_per_task, refiner.coupling)
    causal = refiner.coupling == Coupling.CAUSAL
    return Shape(Plan(take.spec.num_frames, conf.plan), refiner.num_steps, blocks, causal, take.extension)


def made_with(conf: Conf, bundle_sha256: str) -> str:
    """A hash of all that the bytes of a take depend on beside the request. `conf` is the take's own."""
    return sha256(json.dumps([bundle_sha256, comparable(video_settings(conf))], sort_keys=True).encode()).hexdigest()


def count_fragments(names: Collection[str]) -> int:
    """Number of files from the first one on, without a gap."""
    return _count(names, fragment_name)


def count_previews(names: Collection[str]) -> int:
    """Number of files from the first one on, without a gap."""
    return _count(names, preview_name)


def next_window(shape: Shape, names: Collection[str]) -> int:
    """The window at which a take resumes: those before it are final, and its basis is there.

    The number of windows when all fragments are there, and at least the first window of the models.
    """
    num_final = count_fragments(names) + shape.num_skipped
    if num_final == shape.num_windows:
        return num_final
    for window in range(num_final if shape.causal else 0, shape.first_window, -1):
        if all(name in names for name in shape.basis(window)):
            return shape.start(window)
    return shape.first_window


def num_reached(shape: Shape, names: Collection[str]) -> int:
    """Number of chunks whose prompt can no longer change: a file shows them, or a later chunk, to viewers."""
    chunks = range(len(shape.plan.chunks))
    reached = [i + 1 for i in chunks if chunk_name(i) in names or shape.preview(i) in names]
    windows = range(shape.num_skipped, shape.num_windows)
    reached += [shape.plan.chunks_of(k)[-1] + 1 for k in windows if shape.fragment(k) in names]
    reached += [] if shape.extension is None else [shape.extension.num_own_chunks]
    return max(reached, default=0)


def figures_of(shape: Shape, names: Collection[str]) -> "Figures":
    """The progress of a take by its files alone."""
    windows, steps = len(shape.plan.windows), shape.num_steps
    chunks = (num_reached(shape, names), len(shape.plan.chunks))
    refined = (next_window(shape, names) * steps, windows * steps)
    return Figures(chunks, refined, (count_fragments(names), shape.num_fragments))


def with_progress(take: Take, shape: Shape, sizes: Mapping[str, int]) -> Take:
    """`take` with the progress and the fragments of its files."""
    fragments = tuple(sizes[fragment_name(index)] for index in range(count_fragments(sizes)))
    return replace(take, progress=figures_of(shape, sizes).percent, fragments=fragments)


def old_boundaries(shape: Shape, names: Collection[str]) -> list[str]:
    """Files of windows before the two latest final ones, and a clip of earlier ones: no resumption needs them."""
    num_final = count_fragments(names) + shape.num_skipped
    old = [name for window in range(num_final - 2) for name in shape.boundaries(window)]
    if shape.first_window < num_final - 1 and shape.start(num_final - 1) > shape.first_window:
        old.append(CLIP)
    return [name for name in old if name in names]


def inherited(source: Shape) -> list[str]:
    """Files of a finished take that are the same in its extension, in the order of their dependencies.

    The last window is not among them: it had frames past the end. Chunks from there on have another prompt.
    """
    plan, names = source.plan, list[str]()
    for index, chunk in enumerate(plan.chunks):
        if chunk.stop <= plan.num_frames and index >= source.num_skipped_chunks:
            names.append(source.preview(index))
        if chunk.start < plan.num_frames and index >= source.first_kept:
            names.append(chunk_name(index))
    last = len(plan.windows) - 1
    if source.causal and last:
        names += [*source.basis(last), THUMBNAIL, *map(source.fragment, range(source.num_skipped, last))]
    return list(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class Figures:
    """Progress of a take: (done, total) of chunks, of denoising steps of windows, and of fragments."""

    generate: tuple[int, int]
    refine: tuple[int, int]
    segments: tuple[int, int]

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        return {"generate": self.generate, "refine": self.refine, "segments": self.segments}

    @property
    def percent(self) -> int:
        """At most 99: a take is at 100 when its files are complete."""
        done, total = (sum(part[i] for part in self.parts.values()) for i in (0, 1))
        return min(99, 100 * done // total)


def _count(names: Collection[str], name_of: Callable[[int], str]) -> int:
    return next(index for index in count() if name_of(index) not in names)
