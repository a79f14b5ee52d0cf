"""Files in requests: parts of a form, and `data:` URLs in JSON. And places for those that come in at the same time."""

import base64
import binascii
import io
import re
from collections import Counter
from dataclasses import dataclass
from typing import BinaryIO

from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.stream_places import has_share

UNKNOWN = ("", "application/octet-stream")  # types that say nothing
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w-]+=[^;,]{0,80}){0,9});base64,", re.IGNORECASE)
RETRY_S = 5.0
MAX_NAME = 80  # letters of a file's name that a message repeats, so that the rule after it is not cut off


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """A file that a client sent. It is closed with its last reference, or before."""

    file: BinaryIO
    name: str
    media: str  # its type, as the client says
    num_bytes: int

    def __repr__(self) -> str:
        shown = "".join(letter for letter in self.name[:MAX_NAME] if letter.isprintable())
        return shown or "(a file without a name)"

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
    """Places for files of clients, used in the event loop only. Keys share them as they share streams."""

    def __init__(self, num_places: int) -> None:
        self._num_places = num_places
        self._held = Counter[str]()  # by owner

    def take(self, owner: str) -> "UploadPlace":
        """Raises ApiError when none is left, or none for this owner; without keys there is one, who can have all."""
        free, held = self._num_places - self._held.total(), self._held[owner]
        if not free:
            raise _refusal(f"All {self._num_places} places for uploads are taken")
        if owner and not has_share(held, 1, free):
            raise _refusal(f"This key has {held} of the {self._num_places} places for uploads, its share")
        self._held[owner] += 1
        return UploadPlace(self, owner)

    def give_back(self, owner: str) -> None:
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]


class UploadPlace:
    """A place of one request. It may be closed twice."""

    def __init__(self, places: UploadPlaces, owner: str) -> None:
        self._places: UploadPlaces | None = places
        self._owner = owner

    def close(self) -> None:
        if self._places is not None:
            self._places.give_back(self._owner)
            self._places = None


def _refusal(message: str) -> ApiError:
    return ApiError(429, "too_many_uploads", f"{message}; retry in {RETRY_S:g} s.", retry_after_s=RETRY_S)
