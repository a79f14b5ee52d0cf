"""Reading of the files that clients send. Slow: not for the event loop.

FFmpeg and Pillow decode the files of strangers here, so the formats of pictures are few (Pillow starts Ghostscript for
EPS), and sizes are bounded before memory is taken for them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

from longtake.models.domain.checks import FieldError
from longtake.models.video.reader import Bounds, VideoReader
from longtake.models.video.sound import Sound
from longtake.models.video.still import read_still
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.files.encoding import png
from longtake.pipelines.runners.existing_video import differences, extension_of
from longtake.pipelines.serve.http.errors import ApiError, invalid
from longtake.pipelines.serve.http.uploads import Upload
from longtake.pipelines.serve.library.inputs import InputFile, InputKind
from longtake.pipelines.serve.settings import ServeParams

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PICTURE_PIXELS = 25_000_000  # decoded, they take 75 MB; the command line reads 80 million
MIN_FPS, MAX_FPS = 0.1, 240
SIZE_ADVICE = "width and height give them its shape"
Read = tuple[InputFile, bytes]  # with the content of the file that is kept


def read_picture(upload: Upload) -> Read:
    """The picture as PNG. Raises ApiError."""
    try:
        frame, notes = read_still(upload.file, f"input_reference={upload}", FORMATS, MAX_PICTURE_PIXELS)
    except ValueError as error:
        raise invalid(str(error), "input_reference") from None
    data = png(frame)
    size = {"height": frame.shape[0], "width": frame.shape[1]}
    return InputFile(kind=InputKind.IMAGE, num_bytes=len(data), notes=tuple(notes), **size), data


@contextmanager
def video_of(upload: Upload, params: ServeParams) -> Iterator[tuple[VideoReader, Fraction]]:
    """(the video, its rate), within the limits of the endpoint. Decodes it once. Raises ApiError."""
    try:
        reader = VideoReader(upload.file, Bounds(params.max_frames, params.max_pixels))
        rate = reader.fps.limit_denominator(1001)
        if not MIN_FPS <= rate <= MAX_FPS:
            raise ValueError(f"it has {float(rate):.5g} frames per second, and may have {MIN_FPS} to {MAX_FPS}")
    except ValueError as error:
        raise _refused(upload, str(error)) from None
    try:
        params.check_size((reader.height, reader.width), "video")
    except FieldError as error:
        raise _refused(upload, error.rule or error.problem) from None
    with reader:
        yield reader, rate


def read_video(upload: Upload, reader: VideoReader, rate: Fraction, num_new: int, conf: Conf) -> Read:
    """The video as it came, to be continued by `num_new` frames; `conf` is from `for_extension`. Raises ApiError."""
    try:
        extension = extension_of(f"video={upload}", reader, num_new, conf)
    except ValueError as error:
        raise invalid(str(error), "video") from None
    sound = Sound(reader, rate)
    upload.file.seek(0)
    data = upload.file.read()
    return InputFile(
        kind=InputKind.VIDEO,
        num_bytes=len(data),
        width=reader.width,
        height=reader.height,
        num_frames=reader.num_frames,
        fps=str(rate),
        notes=(*reader.notes, *sound.notes, *differences(reader, extension, conf, sound, SIZE_ADVICE)),
    ), data


def _refused(upload: Upload, reason: str) -> ApiError:
    return invalid(f"video={upload}: {reason}", "video")
