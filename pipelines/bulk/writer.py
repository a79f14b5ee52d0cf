"""The writer of a bulk job: fragments in; videos, manifest records and dataset files out.

A video is encoded segment by segment, one call each, so a lost call costs a segment. It is committed in this order: the
files become whole, then the manifest record is written. The record is the moment at which the video is finished.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from hashlib import sha256

import av

from longtake.models.domain.state import Chunk, Clip, Segment
from longtake.models.metrics.gate import GateState, measure
from longtake.models.metrics.quality import GateFigures
from longtake.models.video.mp4 import plain
from longtake.pipelines.bulk.continuation import Continuation
from longtake.pipelines.bulk.paths import SETTINGS, chunk_folder
from longtake.pipelines.bulk.source_videos import SourceVideos
from longtake.pipelines.datasets.layouts import file_of, pack_shard, write_metadata
from longtake.pipelines.datasets.manifest import Manifest, VideoRow
from longtake.pipelines.files.encoding import png, sheet_of, visible_frames
from longtake.pipelines.files.piece_writer import PieceWriter
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.existing_video import joined


class BulkWriter(PieceWriter):
    """Writes to the folder of one job."""

    def __init__(self, store: Store, max_open: int = 4) -> None:
        """At most `max_open` videos that are continued are open at a time."""
        super().__init__(store, "out", SETTINGS)
        self._manifest = Manifest(store)
        self._videos = SourceVideos(max_open)

    def read_clip(self, part: Continuation) -> tuple[Clip, None]:
        """The end of a video that is continued."""
        return self._videos.clip(part), None

    def encode_own(self, part: Continuation, index: int, thumbnail: bool) -> tuple[bytes | None, bytes]:
        """As `encode`, of a fragment of the video that is continued."""
        return super().encode(self._videos.own(part, index), part.fps, index, part.num_frames, thumbnail)

    def encode(
        self,
        piece: Segment | Chunk,
        fps: int | Fraction,
        index: int,
        num_frames: int,
        thumbnail: bool,
        part: Continuation | None = None,
        clip: Clip | None = None,
    ) -> tuple[bytes | None, bytes]:
        """As the base class; of a segment that continues a video, as a part of its file. `clip` is its end."""
        if part is not None:
            assert isinstance(piece, Segment), "previews are of other videos"
            piece = joined(piece, part.extension, clip, part.size)
        return super().encode(piece, fps, index, num_frames, thumbnail)

    def commit(
        self,
        row: VideoRow,
        part: Continuation | None,
        num_fragments: int,
        thumbnail: bytes | None,
        *fragments: bytes,
    ) -> tuple[VideoRow, None]:
        """Writes the files of `row`, then its record. The first `num_fragments` are the video's, the rest a preview's.

        Raises OSError when the store is full or cannot be reached, UnreadableVideo for sound that is gone.
        """
        row, video = self._whole(row, part, fragments[:num_fragments])
        assert row.path is not None, "only a finished video is committed"
        self._put(file_of(row.path), video)
        if row.preview is not None:
            self._put(row.preview, plain([fragment for fragment in fragments[num_fragments:] if fragment]))
        if row.thumbnail is not None and thumbnail is not None:
            self._put(row.thumbnail, thumbnail)
        return self.record(replace(row, sha256=sha256(video).hexdigest(), size_bytes=len(video)))

    def _whole(self, row: VideoRow, part: Continuation | None, fragments: Sequence[bytes]) -> tuple[VideoRow, bytes]:
        """The row and the file of a video, with the sound of the one that it continues."""
        if part is None or not part.has_sound:
            return row, plain(fragments)
        sound = self._videos.sound(part)
        try:
            return row, plain(fragments, sound)
        except (av.FFmpegError, ValueError, OSError) as error:  # as `longtake extend`: it must not cost the video
            notes = "; ".join(filter(None, (row.extends_notes, f"its sound is left out: {error}")))
            return replace(row, extends_notes=notes), plain(fragments)

    def record(self, row: VideoRow) -> tuple[VideoRow, None]:
        """Writes the record of a video, whether committed or failed, and removes its chunks."""
        self._manifest.record(row)
        self._store.delete(*self._store.list(chunk_folder(row.id)))
        return row, None

    def compact(self, min_rows: int) -> tuple[int, None]:
        """Moves records into a part of the manifest; returns their number."""
        return self._manifest.compact(min_rows), None

    def pack(self, shard: int, size: int) -> tuple[int, None]:
        """Packs the videos of a shard of `size` rows into a tar file; returns their number."""
        return pack_shard(self._store, self._manifest, shard, size), None

    def metadata(self) -> tuple[int, None]:
        """Writes the table of a videofolder; returns the number of its rows."""
        return write_metadata(self._store, self._manifest), None

    def sample(self, path: str, num_frames: int) -> tuple[bytes, bytes]:
        """A finished video, and its contact sheet."""
        video = self._store.get(file_of(path))
        return video, png(sheet_of(video, num_frames))

    def measure(self, before: GateState | None, chunk: Chunk, num_frames: int) -> tuple[GateFigures, GateState]:
        """Metrics of a video up to `chunk`, and the state for the next chunk. A chunk past the end changes nothing."""
        frames = visible_frames(chunk, num_frames)
        after = measure(before, frames) if len(frames) else before
        assert after is not None, "the first chunk has a frame of the video"
        return after.figures, after
