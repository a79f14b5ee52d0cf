"""What the endpoint's writer actors hold: pieces of takes in, files out, and back.

A file is whole or not there, and what depends on another one is written after it: the preview of a chunk before the
chunk, the thumbnail before the first fragment. Every method may be called twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from longtake.models.domain.span import Span
from longtake.models.domain.state import Boundary, Chunk, Memory, Segment
from longtake.models.video.mp4 import plain
from longtake.pipelines.files.encoding import (
    fragment_of,
    jpeg,
    pack_boundary,
    pack_chunk,
    sheet_of_fragments,
    unpack_boundary,
    unpack_chunk,
)
from longtake.pipelines.files.store import Store
from longtake.pipelines.serve.library.paths import (
    SPRITESHEET,
    TAKES,
    THUMBNAIL,
    VIDEO,
    boundary_name,
    chunk_name,
    folder,
    fragment_name,
    preview_name,
)

MARK = f"{TAKES}/endpoint.json"  # says that the folder is the one that the endpoint knows
NO_FRAMES = "its frames cannot be encoded"  # begins the reason of what is no fault of the store's

Sizes = dict[str, int]  # bytes of files, by their name in the take's folder


@dataclass(frozen=True, slots=True)
class TakeFilesFactory:
    """How a writer actor gets its TakeFiles."""

    store: Store

    def __call__(self) -> "TakeFiles":
        return TakeFiles(self.store)


class TakeFiles:
    """All methods return two values, as an actor's call does. Those that write give the sizes of what they wrote.

    They raise what the store raises, and ValueError for frames that cannot be encoded.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def warm_up(self) -> None:
        """Raises ValueError on a machine where `takes` is not the folder that the endpoint knows."""
        if not self._store.exists(MARK):
            raise ValueError(f"serve.takes={self._store} is another folder on this machine: take one that all share")

    def look(self, take_id: str) -> tuple[Sizes, None]:
        """What is there of a take."""
        start = f"{folder(take_id)}/"
        return {path.removeprefix(start): size for path, size in self._store.sizes(folder(take_id)).items()}, None

    def copy(self, source_id: str, take_id: str, names: Sequence[str]) -> tuple[Sizes, None]:
        """Files of one take become files of another, up to the first that is not there any more."""
        sizes: Sizes = {}
        for name in names:
            try:
                data = self._store.get(f"{folder(source_id)}/{name}")
            except FileNotFoundError:
                break
            sizes |= self._put(take_id, name, data)
        return sizes, None

    def drop(self, take_id: str, names: Sequence[str]) -> tuple[None, None]:
        """Files that nobody needs any more."""
        self._store.delete(*(f"{folder(take_id)}/{name}" for name in names))
        return None, None

    def remove(self, take_id: str) -> tuple[None, None]:
        """All of a take."""
        self._store.remove(folder(take_id))
        return None, None

    def keep_chunk(
        self, take_id: str, index: int, fps: int, num_frames: int, memory: Memory, chunk: Chunk
    ) -> tuple[Sizes, None]:
        """A chunk, to go on from, and its fragment of the preview; none of a chunk that lies past the end."""
        preview = _encode(chunk, fps, index, num_frames)
        sizes = self._put(take_id, preview_name(index), preview) if preview else {}
        return sizes | self._put(take_id, chunk_name(index), pack_chunk(memory, chunk)), None

    def load_chunk(self, take_id: str, index: int) -> tuple[Memory, Chunk]:
        """The two values of the base model's call. Raises what reading a broken file raises."""
        return unpack_chunk(self._store.get(f"{folder(take_id)}/{chunk_name(index)}"))

    def keep_boundary(self, take_id: str, boundary: Boundary) -> tuple[Sizes, None]:
        return self._put(take_id, boundary_name(boundary.window, boundary.steps), pack_boundary(boundary)), None

    def load_boundary(self, take_id: str, window: int, steps: Span) -> tuple[None, Boundary]:
        """Raises what reading a broken file raises."""
        return None, unpack_boundary(self._store.get(f"{folder(take_id)}/{boundary_name(window, steps)}"))

    def keep_fragment(
        self, take_id: str, index: int, fps: int, num_frames: int, segment: Segment
    ) -> tuple[Sizes, None]:
        """A fragment of the video, and with the first one the thumbnail."""
        fragment = _encode(segment, fps, index, num_frames)
        sizes = self._put(take_id, THUMBNAIL, jpeg(segment.frames[0])) if index == 0 else {}
        return sizes | self._put(take_id, fragment_name(index), fragment), None

    def finish(self, take_id: str, starts: Sequence[int], num_frames: int) -> tuple[Sizes, None]:
        """The files of a take whose fragments, which begin at the frames `starts`, are all there."""
        read = (self._store.get(f"{folder(take_id)}/{fragment_name(index)}") for index in range(len(starts)))
        fragments = list(read)
        sheet = jpeg(sheet_of_fragments(fragments, starts, num_frames))
        return self._put(take_id, VIDEO, plain(fragments)) | self._put(take_id, SPRITESHEET, sheet), None

    def _put(self, take_id: str, name: str, data: bytes) -> Sizes:
        self._store.put(f"{folder(take_id)}/{name}", data)
        return {name: len(data)}


def _encode(piece: Chunk | Segment, fps: int, index: int, num_frames: int) -> bytes:
    try:
        return fragment_of(piece, fps, index, num_frames)
    except Exception as error:  # of FFmpeg, or a size that H.264 does not have: the same frames would raise again
        raise ValueError(f"{NO_FRAMES}: {error}") from error
