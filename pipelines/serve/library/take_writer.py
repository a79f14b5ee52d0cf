"""The endpoint's writer: pieces of takes in, files out, and back.

A file that depends on another is written after it: a chunk after its preview, the first fragment after the thumbnail.
"""

from collections.abc import Sequence

from longtake.models.domain.state import Boundary, Chunk, Memory, Segment
from longtake.models.video.mp4 import plain
from longtake.pipelines.files.encoding import jpeg, pack_boundary, sheet_of_fragments, unpack_boundary
from longtake.pipelines.files.piece_writer import PieceWriter
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
    path_of,
    preview_name,
)

MARK = f"{TAKES}/endpoint.json"  # tells a machine with another folder of the same name

Sizes = dict[str, int]  # bytes of files, by their name in the take's folder


class TakeWriter(PieceWriter):
    """Writes to the library of takes. Methods that write return the sizes of the files they wrote."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, "serve.takes", MARK)

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

    def keep_chunk(
        self, take_id: str, index: int, fps: int, num_frames: int, memory: Memory, chunk: Chunk
    ) -> tuple[Sizes, None]:
        """Writes a chunk and its fragment of the preview, unless it is past the end of the video."""
        _, preview = self.encode(chunk, fps, index, num_frames, thumbnail=False)
        sizes = self._write(take_id, preview_name(index), preview) if preview else {}
        name = chunk_name(index)
        size, _ = self.save_chunk(path_of(take_id, name), memory, chunk)
        return sizes | {name: size}, None

    def keep_boundary(self, take_id: str, boundary: Boundary) -> tuple[Sizes, None]:
        return self._write(take_id, boundary_name(boundary.window, boundary.steps), pack_boundary(boundary)), None

    def load_boundary(self, path: str) -> tuple[None, Boundary]:
        """Raises what reading a broken file raises."""
        return None, unpack_boundary(self._store.get(path))

    def keep_fragment(
        self, take_id: str, index: int, fps: int, num_frames: int, segment: Segment
    ) -> tuple[Sizes, None]:
        """Writes a fragment of the video, and with the first one the thumbnail."""
        thumbnail, fragment = self.encode(segment, fps, index, num_frames, thumbnail=index == 0)
        sizes = self._write(take_id, THUMBNAIL, thumbnail) if thumbnail else {}
        return sizes | self._write(take_id, fragment_name(index), fragment), None

    def finish(self, take_id: str, starts: Sequence[int], num_frames: int) -> tuple[Sizes, None]:
        """Writes the video and its contact sheet; all fragments exist, and begin at the frames `starts`."""
        fragments = [self._store.get(path_of(take_id, fragment_name(index))) for index in range(len(starts))]
        sheet = jpeg(sheet_of_fragments(fragments, starts, num_frames))
        return self._write(take_id, VIDEO, plain(fragments)) | self._write(take_id, SPRITESHEET, sheet), None

    def _write(self, take_id: str, name: str, data: bytes) -> Sizes:
        return {name: self._put(path_of(take_id, name), data)}
