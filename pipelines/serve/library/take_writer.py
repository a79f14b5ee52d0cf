"""The endpoint's writer: pieces of takes in, files out, and back.

A file that depends on another is written after it: a chunk after its preview, the first fragment after the thumbnail.
"""

import io
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import BinaryIO

import av

from longtake.models.domain.extension import Extension
from longtake.models.domain.state import Boundary, Chunk, Clip, Memory, Picture, Segment
from longtake.models.video.fit import Size
from longtake.models.video.mp4 import plain
from longtake.models.video.reader import VideoReader
from longtake.models.video.sound import Sound
from longtake.models.video.still import read_still
from longtake.pipelines.files.encoding import (
    jpeg,
    pack_boundary,
    seen_of,
    sheet_of_fragments,
    unpack_boundary,
    unpack_clip,
    whole_of,
)
from longtake.pipelines.files.piece_writer import PieceWriter, UnreadableInput
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.existing_video import joined
from longtake.pipelines.serve.library.open_beginnings import OpenBeginnings, Piece
from longtake.pipelines.serve.library.paths import (
    CLIP,
    SOURCE,
    SPRITESHEET,
    TAKES,
    THUMBNAIL,
    VIDEO,
    boundary_name,
    chunk_name,
    folder,
    fragment_name,
    path_of,
    preview_name,
)

MAX_OPEN = 2  # uploaded videos that are in memory until their frames are written, serve.max_upload_bytes each at most
MARK = f"{TAKES}/endpoint.json"  # tells a machine with another folder of the same name

logger = logging.getLogger(__name__)
Sizes = dict[str, int]  # bytes of files, by their name in the take's folder


class TakeWriter(PieceWriter):
    """Writes to the library of takes. Methods that write return the sizes of the files they wrote."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, "serve.takes", MARK)
        self._beginnings = OpenBeginnings(MAX_OPEN)

    def list_files(self, take_id: str) -> tuple[Sizes, None]:
        """The files of a take."""
        start = f"{folder(take_id)}/"
        return {path.removeprefix(start): size for path, size in self._store.sizes(folder(take_id)).items()}, None

    def copy(self, source_id: str, take_id: str, names: Sequence[str]) -> tuple[Sizes, None]:
        """Copies files of one take to another, up to the first that no longer exists."""
        sizes: Sizes = {}
        for name in names:
            try:
                data = self._store.get(path_of(source_id, name))
            except FileNotFoundError:
                break
            sizes |= self._write(take_id, name, data)
        return sizes, None

    def drop(self, take_id: str, names: Sequence[str]) -> tuple[None, None]:
        """Removes files."""
        self._store.delete(*(path_of(take_id, name) for name in names))
        return None, None

    def remove(self, take_id: str) -> tuple[None, None]:
        """Removes all files of a take."""
        self._store.remove(folder(take_id))
        return None, None

    def load_picture(self, path: str) -> tuple[None, Picture]:
        """The picture that a take begins with. Raises UnreadableInput."""
        with _input_errors("the picture that the video begins with"):
            return None, Picture(read_still(io.BytesIO(self._store.get(path)))[0])

    def begin_video(
        self,
        take_id: str,
        extension: Extension,
        fps: Fraction,
        anchor_frame: int,
        size: Size,
        kept: Collection[str] = (),
    ) -> tuple[Sizes, None]:
        """Writes the next of the client's own frames, up to a fragment, or what the models need of them at the end.

        Files that are `kept` are not written again. Raises UnreadableInput.
        """
        from longtake.pipelines.serve.library.video_beginning import beginning_of  # torch: seconds of each writer

        def begin() -> Iterator[Piece]:
            with VideoReader(self._source(take_id)) as reader:
                yield from beginning_of(reader, extension, fps, anchor_frame, size)

        sizes: Sizes = {}
        with _input_errors("the video that is continued"):
            for name, data in self._beginnings.next(take_id, kept, begin):
                sizes |= self._write(take_id, name, data)
        return sizes, None

    def keep_chunk(
        self,
        take_id: str,
        index: int,
        fps: Fraction,
        num_frames: int,
        memory: Memory,
        chunk: Chunk,
        extension: Extension | None = None,
    ) -> tuple[Sizes, None]:
        """Writes a chunk and its fragment of the preview, unless it is past the end of the video."""
        seen, number = chunk, index
        if extension is not None:
            seen, number = seen_of(chunk, extension), index - extension.num_skipped_chunks
        _, preview = self.encode(seen, fps, number, num_frames, thumbnail=False)
        sizes = self._write(take_id, preview_name(number), preview) if preview else {}
        name = chunk_name(index)
        size, _ = self.save_chunk(path_of(take_id, name), memory, chunk)
        return sizes | {name: size}, None

    def keep_boundary(self, take_id: str, boundary: Boundary) -> tuple[Sizes, None]:
        return self._write(take_id, boundary_name(boundary.window, boundary.steps), pack_boundary(boundary)), None

    def load_boundary(self, path: str) -> tuple[None, Boundary]:
        """Raises what reading a broken file raises."""
        return None, unpack_boundary(self._store.get(path))

    def load_clip(self, path: str) -> tuple[None, Clip]:
        """Raises what reading a broken file raises."""
        return None, unpack_clip(self._store.get(path))

    def keep_fragment(
        self,
        take_id: str,
        index: int,
        fps: Fraction,
        num_frames: int,
        segment: Segment,
        extension: Extension | None = None,
        size: Size | None = None,
    ) -> tuple[Sizes, None]:
        """Writes a fragment of the video, and with the first one the thumbnail.

        Of a video that is continued its own frames stay, and new ones get its `size`.
        """
        if extension is not None and size is not None:
            has_own = segment.span.start < extension.end
            clip = unpack_clip(self._store.get(path_of(take_id, CLIP))) if has_own else None
            segment = joined(segment, extension, clip, size)
        thumbnail, fragment = self.encode(segment, fps, index, num_frames, thumbnail=index == 0)
        sizes = self._write(take_id, THUMBNAIL, thumbnail) if thumbnail else {}
        return sizes | self._write(take_id, fragment_name(index), fragment), None

    def finish(
        self, take_id: str, starts: Sequence[int], num_frames: int, sound_fps: Fraction | None = None
    ) -> tuple[Sizes, None]:
        """Writes the video and its contact sheet; all fragments exist, and begin at the frames `starts`.

        `sound_fps` is the rate of the client's video that it continues, whose sound it keeps. Raises UnreadableInput.
        """
        fragments = [self._store.get(path_of(take_id, fragment_name(index))) for index in range(len(starts))]
        sheet = jpeg(sheet_of_fragments(fragments, starts, num_frames))
        whole = plain(fragments) if sound_fps is None else self._with_sound(take_id, fragments, sound_fps)
        return self._write(take_id, VIDEO, whole) | self._write(take_id, SPRITESHEET, sheet), None

    def _with_sound(self, take_id: str, fragments: Sequence[bytes], fps: Fraction) -> bytes:
        with _input_errors("the video that is continued"), VideoReader(self._source(take_id)) as reader:
            whole, note = whole_of(fragments, Sound(reader, fps))
        if note is not None:
            logger.warning("id=%s: %s", take_id, note)
        return whole

    def _source(self, take_id: str) -> BinaryIO:
        """The client's video. It is in memory, and at most serve.max_upload_bytes long."""
        return io.BytesIO(self._store.get(path_of(take_id, SOURCE)))

    def _write(self, take_id: str, name: str, data: bytes) -> Sizes:
        return {name: self._put(path_of(take_id, name), data)}


@contextmanager
def _input_errors(what: str) -> Iterator[None]:
    """Raises UnreadableInput for a file that is missing or cannot be read, and for frames that cannot be encoded."""
    try:
        yield
    except FileNotFoundError:
        raise UnreadableInput(f"{what} is no longer there") from None
    except (ValueError, av.FFmpegError) as error:
        raise UnreadableInput(f"{what} cannot be read: {error}") from error
