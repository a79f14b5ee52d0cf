"""Writes a stream of segments to files: the video and, optionally, the low-resolution video and a contact sheet."""

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from longtake.models.domain.scheduler import Task
from longtake.models.domain.state import Chunk, Segment
from longtake.models.video.sheet import draw_sheet, sheet_numbers
from longtake.models.video.sound import Sound
from longtake.pipelines.files.encoding import visible_frames
from longtake.pipelines.files.store import Store
from longtake.pipelines.files.video_file import VideoWriter
from longtake.pipelines.terminal.signals import delayed_signals

Observe = Callable[[Task, Any], None]
Stream = Callable[[Observe], Iterator[Segment]]
Frame = UInt8[np.ndarray, "h w c"]
Numbered = Mapping[int, Frame] | Sequence[Frame]  # frame i is at [i]
PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """The paths of the files."""

    out: Path
    preview: Path | None = None  # the low-resolution video
    contact_sheet: Path | None = None

    def check(self, source: Path | None = None) -> None:
        """Checks the paths before any work is done. `source` is a file that is read and must not be overwritten.

        Raises ValueError naming the option, the path and the rule.
        """
        taken = {} if source is None else {source.resolve(): "the video that is read"}
        for option, path in (("out", self.out), ("preview", self.preview), ("contact-sheet", self.contact_sheet)):
            if path is None:
                continue
            _check_place(option, path, PICTURES if option == "contact-sheet" else (".mp4",))
            if path.resolve() in taken:
                raise ValueError(f"{option}={path} is also {taken[path.resolve()]}: every file needs its own name")
            taken[path.resolve()] = option


def _check_place(option: str, path: Path, kinds: Sequence[str]) -> None:
    if path.is_dir():
        raise ValueError(f"{option}={path} is a folder: it must name a file")
    if path.suffix.lower() not in kinds:
        raise ValueError(f"{option}={path} must end in {' or '.join(kinds)}")
    if not path.parent.is_dir():
        raise ValueError(f"{option}={path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ValueError(f"{option}={path}: the folder {path.parent} is not writable")


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a recording; seconds count from the first call of a model."""

    num_frames: int
    height: int
    width: int
    first_segment_s: float
    seconds: float
    notes: Sequence[str] = ()  # of the writer

    @property
    def frames_per_second(self) -> float:
        """Speed of generation; that of playback is `video.fps`."""
        return self.num_frames / self.seconds

    def __str__(self) -> str:
        return (
            f"{self.num_frames} frames of {self.width}x{self.height} in {self.seconds:.1f} s; "
            f"first segment after {self.first_segment_s:.1f} s, {self.frames_per_second:.2f} frames per second"
        )


def record(
    stream: Stream,
    num_frames: int,
    fps: float | Fraction,
    places: OutputPaths,
    observe: Observe | None = None,
    sound: Sound | None = None,
) -> Report:
    """Runs `stream(observe)` to its end and writes every segment as it becomes final, with `sound`.

    After an exception, Ctrl-C included, the videos hold the final segments so far, and there is no contact sheet.
    """
    began, first_segment_s = perf_counter(), 0.0
    with ExitStack() as files:
        writer = files.enter_context(VideoWriter(places.out, fps, keep_partial=True, sound=sound))
        refined = _Reel(num_frames, writer)
        low = _Reel(num_frames)
        if places.preview is not None:
            low.writer = files.enter_context(VideoWriter(places.preview, fps, keep_partial=True))

        def watch(task: Task, output: Any) -> None:
            if isinstance(output, Chunk):
                low.take(output)
            if observe is not None:
                observe(task, output)

        try:
            for segment in stream(watch):
                first_segment_s = first_segment_s or perf_counter() - began
                with delayed_signals():  # so that the file has whole segments only
                    refined.take(segment)
        except KeyboardInterrupt as stop:
            if refined.num_frames:
                stop.add_note(f"{places.out} holds the first {refined.num_frames} of {num_frames} frames")
            raise
    if places.contact_sheet is not None:
        save_sheet(places.contact_sheet, sorted(refined.kept), low.kept, refined.kept)
    return Report(num_frames, *refined.size, first_segment_s, perf_counter() - began, writer.notes)


class _Reel:
    """Frames of one resolution: all go to a file if there is one, and a few are kept for the sheet."""

    def __init__(self, num_frames: int, writer: VideoWriter | None = None) -> None:
        self.writer = writer
        self.num_frames = 0  # seen so far
        self.size = (0, 0)  # height, width
        self.kept: dict[int, Frame] = {}
        self._wanted = num_frames
        self._shown = set(sheet_numbers(num_frames))

    def take(self, piece: Chunk | Segment) -> None:
        frames = visible_frames(piece, self._wanted)
        if len(frames) == 0:
            return
        if self.writer is not None:
            self.writer.write(frames)
        self.num_frames += len(frames)
        self.size = frames.shape[1], frames.shape[2]
        # Copies: a view would keep the whole piece in memory.
        self.kept |= {i: frame.copy() for i, frame in enumerate(frames, piece.span.start) if i in self._shown}


def save_sheet(path: Path, numbers: Sequence[int], before: Numbered, refined: Numbered) -> None:
    """A contact sheet of these frames, before refinement and after it; in the format of the path's extension.

    The file is complete or unchanged. Raises OSError naming it, for a full disk say.
    """
    rows = {"before": np.stack([before[i] for i in numbers]), "refined": np.stack([refined[i] for i in numbers])}
    data = io.BytesIO()
    Image.fromarray(draw_sheet(numbers, rows)).save(data, Image.registered_extensions()[path.suffix.lower()])
    try:
        Store(str(path.parent)).put(path.name, data.getvalue())
    except OSError as error:
        raise OSError(error.errno, f"cannot write, {error.strerror}", str(path)) from error
