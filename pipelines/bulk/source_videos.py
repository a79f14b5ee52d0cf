"""Existing videos that a writer reads for continuations, each from its beginning to its end as far as possible."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from longtake.models.domain.span import Span
from longtake.models.domain.state import Clip, Segment
from longtake.models.video.sound import Sound
from longtake.pipelines.bulk.continuation import Continuation
from longtake.pipelines.datasets.continued_videos import check_version, read_video, reading
from longtake.pipelines.files.piece_writer import UnreadableInput
from longtake.pipelines.runners.existing_video import clip_of, shown_pixels
from longtake.pipelines.runners.video_source import VideoSource


class SourceVideos:
    """The videos of at most `max_open` continuations; the result of a call depends on its arguments alone.

    A reader that is open saves its first pass over the file, and the frames before those of the call. All calls raise
    UnreadableInput if the video cannot be read any more, or has changed.
    """

    def __init__(self, max_open: int) -> None:
        self._max_open = max_open
        self._open: OrderedDict[Continuation, VideoSource] = OrderedDict()

    def clip(self, part: Continuation) -> Clip:
        """The end of a video, for the models."""
        with self._source(part) as source:
            clip = clip_of(source.reader, part.extension, part.anchor_frame)
            self._open[part] = VideoSource(source.reader)  # a reader has one pass at a time: that of `own` has ended
            return clip

    def own(self, part: Continuation, index: int) -> Segment:
        """The frames of one of its own fragments."""
        span = part.own_span(index)
        with self._source(part) as source:
            frames = shown_pixels(source.read(span), part.size)
            if index == part.num_own - 1:
                source.read(Span(span.stop, part.extension.num_old))  # a file that changed is noticed at its end
                source.reader.close()
                self._open[part] = VideoSource(source.reader)
            return Segment(span, frames)

    def sound(self, part: Continuation) -> Sound:
        """Its sound."""
        with self._source(part) as source:
            return Sound(source.reader, part.fps)

    @contextmanager
    def _source(self, part: Continuation) -> Iterator[VideoSource]:
        try:
            with reading(part.video.url):
                check_version(part.video)  # a reader that is open knows nothing of a file put in its place
                if part not in self._open:
                    self._open[part] = VideoSource(read_video(part.video))
                self._open.move_to_end(part)
                while len(self._open) > self._max_open:
                    self._open.popitem(last=False)[1].reader.close()
                yield self._open[part]
        except UnreadableInput:
            self._open.pop(part, None)  # it has stopped anywhere
            raise
