"""Videos that rows of prompts continue: a path, relative to the row's file, or a URL of fsspec.

A row knows its video by the version of the file, which costs a look at it. All of the file is read when it is made.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fsspec.implementations.local import LocalFileSystem

from longtake.models.video.reader import VideoReader
from longtake.pipelines.datasets.file_versions import version_of
from longtake.pipelines.datasets.places import Place, place_of
from longtake.pipelines.files.piece_writer import UnreadableInput


@dataclass(frozen=True, slots=True)
class NamedVideo:
    """A video without its frames, as a row names it."""

    url: str
    version: str  # changes when the file's bytes do


def find_video(url: str) -> NamedVideo:
    """The video there, whether or not it can be decoded. Raises UnreadableInput naming `video` and the reason."""
    with reading(url):
        place = place_of(url)
        return NamedVideo(url, version_of(place, place.patiently(lambda: place.fs.info(place.path))))


def read_video(video: NamedVideo) -> VideoReader:
    """A reader of the video. Raises UnreadableInput as `find_video`, for another version, and without any frame.

    Errors while its frames are read need `reading`.
    """
    check_version(video)
    with reading(video.url):
        place = place_of(video.url)
        return VideoReader(place.path if _is_local(place) else place.open())


def check_version(video: NamedVideo) -> None:
    """Raises UnreadableInput as `find_video`, and for another version."""
    if (found := find_video(video.url).version) != video.version:
        raise UnreadableInput(f"video={video.url}: it changed (now {found}; before {video.version})")


def sha256_of(url: str) -> str:
    """The sha256 of the file there. Raises UnreadableInput as `find_video`."""
    with reading(url), place_of(url).open() as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def same_video(url: str, digest: str | None) -> VideoReader:
    """A reader of the video there. Raises UnreadableInput as `read_video`, and for another sha256 than `digest`."""
    found = sha256_of(url)
    if found != digest:
        raise UnreadableInput(f"video={url}: it is another video (sha256 {found}), the continuation needs {digest}")
    return read_video(find_video(url))


@contextmanager
def reading(url: str) -> Iterator[None]:
    """Makes every error of reading a video an UnreadableInput that names it."""
    try:
        yield
    except UnreadableInput:
        raise
    except Exception as error:  # unknown protocol, bucket, credentials, no such file: each library has its own
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        path = url.removeprefix("file://")
        raise UnreadableInput(f"video={url}: {reason.removeprefix(f'{path}: ')}") from None


def _is_local(place: Place) -> bool:
    return isinstance(place.fs, LocalFileSystem)
