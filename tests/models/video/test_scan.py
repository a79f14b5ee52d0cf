"""What a first look at a video keeps."""

import gc
import tracemalloc
from fractions import Fraction

import av

from longtake.models.video.reader import VideoReader
from longtake.models.video.scan import Scan
from tests.support.videos import levels, video


def test_a_first_look_keeps_less_than_100_bytes_of_each_frame():
    def kept(num_frames):
        scan, reader = Scan(), VideoReader(video(levels(num_frames, 16, 16), pixel_aspect=Fraction(32, 27)))
        tracemalloc.start()
        with reader.opened() as (container, stream):
            for frame in reader._decoded(container, stream):
                scan.take(frame, stream)
        gc.collect()
        try:
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    kept(10)  # what is made once
    assert kept(600) - kept(200) < 100 * 400


def test_of_parts_that_do_not_decode_only_the_first_is_kept():
    scan = Scan()
    for reason in ("first", "second"):
        scan.fail(av.InvalidDataError(1, reason))
    assert scan.notes() == ["it is damaged: parts left out 2, first error: first"]
