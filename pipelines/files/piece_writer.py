"""The writer of video pieces in a writer actor: fragments of mp4 files, and chunks to resume from.

The bulk job and the endpoint extend it by the layout of their folders. All methods that an actor calls return two
values, as an actor's call does. They raise what the store raises, and EncodingError.
"""

from fractions import Fraction

from longtake.models.domain.state import Chunk, Memory, Segment
from longtake.pipelines.files.encoding import fragment_of, jpeg, pack_chunk, unpack_chunk
from longtake.pipelines.files.store import Store


class EncodingError(ValueError):
    """Frames that cannot be encoded. The same frames would fail again, in any folder."""


class PieceWriter:
    """Writes to one store. A file is whole or absent, and every method may be called twice."""

    def __init__(self, store: Store, option: str, mark: str) -> None:
        """`option` names the store in errors; `mark` is a file that the driver wrote there."""
        self._store, self._option, self._mark = store, option, mark

    def warm_up(self) -> None:
        """Raises ValueError on a machine where the same path leads to another folder."""
        if not self._store.exists(self._mark):
            raise ValueError(
                f"{self._option}={self._store} is another folder on this machine: choose one that all machines share"
            )

    def encode(
        self, piece: Segment | Chunk, fps: int | Fraction, index: int, num_frames: int, thumbnail: bool
    ) -> tuple[bytes | None, bytes]:
        """(JPEG of its first frame or None, fragment `index` of an mp4 of `num_frames` frames).

        The fragment is empty for a chunk past the end of the video.
        """
        try:
            return jpeg(piece.frames[0]) if thumbnail else None, fragment_of(piece, fps, index, num_frames)
        except Exception as error:  # FFmpeg's own, or a size that H.264 does not support
            raise EncodingError(f"frames cannot be encoded: {error}") from error

    def save_chunk(self, path: str, memory: Memory, chunk: Chunk) -> tuple[int, None]:
        """Writes the two values of the base model's call; returns the size in bytes."""
        return self._put(path, pack_chunk(memory, chunk)), None

    def load_chunk(self, path: str) -> tuple[Memory, Chunk]:
        """The values that `save_chunk` wrote, bit for bit. Raises what reading a broken file raises."""
        return unpack_chunk(self._store.get(path))

    def _put(self, path: str, data: bytes) -> int:
        self._store.put(path, data)
        return len(data)
