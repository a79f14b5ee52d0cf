"""Files in requests: parts of a form, and `data:` URLs in JSON. And places for those that come in at the same time."""

import base64
import binascii
import io
import re
from dataclasses import dataclass
from typing import BinaryIO

from longtake.pipelines.serve.http.errors import ApiError

UNKNOWN = ("", "application/octet-stream")  # types that say nothing
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w-]+=[^;,]{0,80}){0,9});base64,", re.IGNORECASE)
RETRY_S = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """A file that a client sent. It is closed with its last reference, or before."""

    file: BinaryIO
    name: str
    media: str  # its type, as the client says
    num_bytes: int

    def __repr__(self) -> str:
        return self.name or "(a file without a name)"

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()


def from_data_url(text: str) -> Upload:
    """The file in a `data:` URL. Raises ValueError."""
    start = _DATA_URL.match(text)
    if start is None:
        raise ValueError("must be a file, or a URL such as data:image/png;base64,...; other URLs are not fetched")
    try:
        data = base64.b64decode(text[start.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("its base64 is damaged") from None
    return Upload(io.BytesIO(data), "data: URL", (start[1] or "").lower(), len(data))


class UploadPlaces:
    """Places for files of clients, used in the event loop only."""

    def __init__(self, num_places: int) -> None:
        self._num_places, self._num_taken = num_places, 0

    def take(self) -> "UploadPlace":
        """Raises ApiError when none is left."""
        if self._num_taken >= self._num_places:
            message = f"All {self._num_places} places for uploads are taken; retry in {RETRY_S:g} s."
            raise ApiError(429, "too_many_uploads", message, retry_after_s=RETRY_S)
        self._num_taken += 1
        return UploadPlace(self)

    def give_back(self) -> None:
        self._num_taken -= 1


class UploadPlace:
    """A place of one request. It may be closed twice."""

    def __init__(self, places: UploadPlaces) -> None:
        self._places: UploadPlaces | None = places

    def close(self) -> None:
        if self._places is not None:
            self._places.give_back()
            self._places = None
