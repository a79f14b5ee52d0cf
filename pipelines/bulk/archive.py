"""What the writer actors hold: frames in, files and manifest records out.

A video is encoded segment by segment, each call on its own, so a lost call costs a segment. It is committed in this
order: the video's file becomes whole, then its manifest record. The record is the moment at which it is finished.
"""

from dataclasses import dataclass, replace
from hashlib import sha256

from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.state import Chunk, Memory, Segment
from longtake.models.metrics.gate import Measured, measure
from longtake.models.metrics.quality import Figures
from longtake.models.video.mp4 import plain
from longtake.pipelines.datasets.layouts import file_of, pack_shard, write_metadata
from longtake.pipelines.datasets.manifest import Manifest, VideoRow, safe_name
from longtake.pipelines.files.encoding import fragment_of, jpeg, pack_chunk, png, sheet_of, shown, unpack_chunk
from longtake.pipelines.files.store import Store

CHECKPOINTS = ".checkpoints"


@dataclass(frozen=True, slots=True)
class ArchiveFactory:
    """How a writer actor gets its archive."""

    store: Store
    thumbnails: bool = False

    def __call__(self) -> "Archive":
        return Archive(self.store, self.thumbnails)


class Archive:
    """All methods return two values, as an actor's call does: the second one may be large."""

    def __init__(self, store: Store, thumbnails: bool) -> None:
        self._store, self._thumbnails = store, thumbnails
        self._manifest = Manifest(store)

    def warm_up(self) -> None:
        """Raises ValueError on a machine where `out` is not the folder that the driver knows."""
        if not self._store.exists("job.json"):
            raise ValueError(f"out={self._store} is not the driver's folder on this machine: take one that all share")

    def encode(self, piece: Segment | Chunk, fps: int, index: int, num_frames: int) -> tuple[bytes | None, bytes]:
        """A thumbnail of the first piece, where wanted, and the fragment `index` of an mp4 of `num_frames` frames."""
        thumbnail = jpeg(piece.frames[0]) if index == 0 and self._thumbnails else None
        return thumbnail, fragment_of(piece, fps, index, num_frames)

    def commit(
        self, row: VideoRow, num_fragments: int, thumbnail: bytes | None, *fragments: bytes
    ) -> tuple[VideoRow, None]:
        """Writes the files of `row`, then its record. The first `num_fragments` are the video's, the rest a preview's.

        Raises OSError when the place is full or away.
        """
        video = plain(fragments[:num_fragments])
        assert row.path is not None, "only a finished video is committed"
        self._store.put(file_of(row.path), video)
        if row.preview is not None:
            self._store.put(row.preview, plain([one for one in fragments[num_fragments:] if one]))
        if row.thumbnail is not None and thumbnail is not None:
            self._store.put(row.thumbnail, thumbnail)
        done = replace(row, sha256=sha256(video).hexdigest(), size_bytes=len(video))
        self._manifest.record(done)
        self._forget_chunks(row.id)
        return done, None

    def record(self, row: VideoRow) -> tuple[VideoRow, None]:
        """The record of a video that failed: it has no file."""
        self._manifest.record(row)
        self._forget_chunks(row.id)
        return row, None

    def compact(self, min_rows: int) -> tuple[int, None]:
        """Records become a part of the manifest; how many did."""
        return self._manifest.compact(min_rows), None

    def pack(self, shard: int, size: int) -> tuple[int, None]:
        """The videos of a shard of `size` rows become a tar file; how many did."""
        return pack_shard(self._store, self._manifest, shard, size), None

    def metadata(self) -> tuple[int, None]:
        """The table that a videofolder needs; the number of its rows."""
        return write_metadata(self._store, self._manifest), None

    def sample(self, path: str, num_frames: int) -> tuple[bytes, bytes]:
        """A finished video, and its contact sheet."""
        video = self._store.get(file_of(path))
        return video, png(sheet_of(video, num_frames))

    def measure(self, before: Measured | None, chunk: Chunk, num_frames: int) -> tuple[Figures, Measured]:
        """Figures of a video up to `chunk`, and what the next chunk needs; `before` of one that lies past the end."""
        frames = shown(chunk, num_frames)
        after = measure(before, frames) if len(frames) else before
        assert after is not None, "the first chunk has a frame of the video"
        return after.figures, after

    def save_chunk(self, path: str, memory: Memory, chunk: Chunk) -> tuple[None, None]:
        """What a resumed job needs to go on after this chunk, bit for bit."""
        self._store.put(path, pack_chunk(memory, chunk))
        return None, None

    def load_chunk(self, path: str) -> tuple[Memory, Chunk]:
        """What `save_chunk` kept: the two values of the base model's call."""
        return unpack_chunk(self._store.get(path))

    def _forget_chunks(self, video_id: str) -> None:
        self._store.delete(*self._store.list(_folder(video_id)))


def checkpoint_path(spec: PromptSpec, settings: str, index: int) -> str:
    """Where a chunk is kept: a video that is asked for otherwise than before finds none of them."""
    asked = sha256(repr((spec, settings)).encode()).hexdigest()[:16]
    return f"{_folder(spec.video_id)}/{asked}/{index:06}.npz"


def _folder(video_id: str) -> str:
    return f"{CHECKPOINTS}/{safe_name(video_id)}"
