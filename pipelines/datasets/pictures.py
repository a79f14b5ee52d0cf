"""Pictures that rows of prompts name: a path, relative to the row's file, or a URL of fsspec."""

import io
from dataclasses import dataclass
from hashlib import sha256

from longtake.models.domain.state import Picture
from longtake.models.video.still import read_still
from longtake.pipelines.datasets.places import place_of, protocol_of

MAX_BYTES = 1 << 28  # a file beyond it is no picture, and is not read to its end


@dataclass(frozen=True, slots=True)
class NamedPicture:
    """A picture without its frame, as a row names it."""

    url: str
    sha256: str  # of its file's bytes
    notes: tuple[str, ...] = ()  # on what was left out or converted


def url_of(column: str, name: object, table: str) -> str:
    """The place of the file that a row of the file `table` names in a column. Raises ValueError."""
    if not isinstance(name, str):
        raise ValueError(f"{column}={name!r:.60}: must be a path or a URL")
    if protocol_of(name):
        return name
    try:
        file = place_of(table)
        return file.at(file.path.rpartition("/")[0]).below(name).url
    except (ValueError, ImportError) as error:
        raise ValueError(f"{column}={name}: {error}") from None


def read_picture(url: str) -> tuple[Picture, NamedPicture]:
    """Raises ValueError naming `image` and the reason."""
    try:
        with place_of(url).open() as file:
            data = file.read(MAX_BYTES + 1)
    except Exception as error:  # unknown protocol, bucket, credentials, no such file: each library has its own
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(f"image={url}: it cannot be read ({reason})") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"image={url}: it has more than {MAX_BYTES} bytes")
    frame, notes = read_still(io.BytesIO(data), f"image={url}")
    return Picture(frame), NamedPicture(url, sha256(data).hexdigest(), tuple(notes))


def same_picture(url: str, digest: str | None) -> Picture:
    """The picture there. Raises ValueError as `read_picture`, and for a file with another sha256 than `digest`."""
    picture, read = read_picture(url)
    if read.sha256 != digest:
        raise ValueError(f"image={url}: it is another picture (sha256 {read.sha256}), the video needs {digest}")
    return picture
