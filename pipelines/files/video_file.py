"""Segments of one video become a file, which gets its own name only when it is whole.

1. Each segment goes to `.NAME.part` in the same folder at once, as a fragment: after a kill -9 that file plays, up to
   the last segment. It is opened at the start, so a folder that is not writable is noticed before a model runs. One
   writer has it at a time; it overwrites the file of a killed process.
2. A clean end joins the fragments, with their index in front, in a second file, makes it durable and renames it over
   an existing one (a rename within a folder is atomic). The file is in memory for that, about three times: 1.5 GB
   for one of 500 MB. Frames never are.
3. An exception, Ctrl-C included, removes both; with `keep_partial` the video so far is joined and kept instead.
4. A full disk is an OSError at the segment that does not fit, and leaves nothing behind.
"""

import errno
import fcntl
import os
from fractions import Fraction
from io import FileIO
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8

from longtake.models.video.mp4 import Mp4Encoder
from longtake.models.video.sound import Sound
from longtake.pipelines.files.encoding import whole_of


class VideoWriter:
    """`with VideoWriter(path, fps=8) as writer: writer.write(segment.frames)`; the first frames decide the size.

    `notes` is complete at the end: a line on sound that could not be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: int | float | Fraction,
        keep_partial: bool = False,
        sound: Sound | None = None,
    ) -> None:
        """`fps` in frames per second; `sound` is written for as long as there are frames.

        Raises ValueError for a name that does not end in .mp4, OSError when the folder is missing or not writable.
        """
        self.path = Path(path)
        if self.path.suffix.lower() != ".mp4":
            raise ValueError(f"path={str(path)!r}: a video is written as .mp4, and its name must end in .mp4")
        if self.path.is_dir():
            raise IsADirectoryError(f"cannot write {self.path}: it is a folder")
        self.fps, self.keep_partial, self.sound = fps, keep_partial, sound
        self.notes: list[str] = []
        self._encoder: Mp4Encoder | None = None
        self._refused = False
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._whole = self.path.with_name(f".{self.path.name}.whole.part")
        self._file = _claim(self._part, self.path)

    @property
    def num_frames(self) -> int:
        """Frames written so far."""
        return self._encoder.num_frames if self._encoder else 0

    def write(self, frames: UInt8[np.ndarray, "t h w c"]) -> None:
        """Appends frames. Raises ValueError for an impossible or changed size, OSError for a full disk."""
        if self._encoder is None:
            height, width = frames.shape[1:3]
            self._encoder = Mp4Encoder(self.fps, width=width, height=height)
        self._put(self._file, self._encoder.encode(frames))

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Completes the file or removes it: rules 2 and 3. Raises ValueError after a clean end without frames."""
        try:
            if kind is None or (self.keep_partial and self.num_frames > 0 and not self._refused):
                self._complete()
        finally:
            self._whole.unlink(missing_ok=True)  # after the rename there is none
            self._part.unlink(missing_ok=True)
            self._file.close()  # last: it ends the lock

    def _complete(self) -> None:
        if self._encoder is None:
            raise ValueError(f"num_frames=0: {self.path} would be a video without frames")
        with self._whole.open("wb", buffering=0) as file:
            self._put(file, self._joined(), durable=True)
        self._whole.replace(self.path)

    def _joined(self) -> bytes:
        """The whole file. Sound that is left out gets a note."""
        whole, note = whole_of([self._part.read_bytes()], self.sound)
        self.notes += [note] if note else []
        return whole

    def _put(self, file: FileIO, data: bytes, durable: bool = False) -> None:
        try:
            rest = memoryview(data)
            while rest:  # the last write before a disk is full takes a part, without an error
                rest = rest[file.write(rest) :]
            if durable:
                os.fsync(file.fileno())
        except OSError as error:
            self._refused = True
            reason = f"cannot write, {error.strerror} (after {self.num_frames} frames; nothing is left behind)"
            raise OSError(error.errno, reason, str(self.path)) from error


def _claim(part: Path, path: Path) -> FileIO:
    """The temporary file, empty and locked. Unbuffered: each write either reaches the disk or is refused."""
    try:
        file = part.open("ab", buffering=0)  # not "wb": another writer's bytes stay until we hold the lock
    except OSError as error:
        raise type(error)(error.errno, f"cannot write, {error.strerror}", str(path)) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file.fileno()), part.stat()):
            raise BlockingIOError  # the other writer renamed it between our open and our lock
    except (BlockingIOError, FileNotFoundError):
        file.close()
        raise FileExistsError(errno.EEXIST, "another process is writing this video now", str(path)) from None
    file.truncate(0)
    return file
