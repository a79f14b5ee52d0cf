"""API keys, and a limit on the rate of requests.

Keys are kept as hashes. A client's key is compared with all of them, so the time taken reveals nothing about any.
"""

import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

from longtake.pipelines.files.text_lines import text_lines

MIN_CHARS = 16
_KEY = re.compile(r"[A-Za-z0-9._~+/=-]+")  # fits into a header and into a cookie
MAX_BUCKETS = 10_000


class Keys:
    """The known API keys. Without any, access is open and there is one owner, the empty text."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._hashes = [sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def owner(self, key: str) -> str | None:
        """The name under which the videos of a key are kept, or None for an unknown key. It does not reveal the key."""
        given, known = sha256(key.encode(errors="replace")).digest(), False
        for key_hash in self._hashes:
            known |= hmac.compare_digest(given, key_hash)
        return given.hex()[:32] if known else None


def read_keys(path: str | None) -> Keys:
    """The keys of a file, one a line; `#` begins a comment. Raises ValueError with file, line and rule."""
    if path is None:
        return Keys()
    try:
        with Path(path).open("rb") as file:
            lines = list(text_lines(file))
    except OSError as error:
        raise ValueError(f"serve.keys_file={path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"serve.keys_file={path}: {error}") from None
    keys = {number: text for number, line in enumerate(lines, 1) if (text := line.partition("#")[0].strip())}
    if not keys:
        raise ValueError(f"serve.keys_file={path} has no key: put one on a line, such as `openssl rand -hex 32` makes")
    for number, key in keys.items():
        if len(key) < MIN_CHARS or not _KEY.fullmatch(key):
            rule = f"a key has at least {MIN_CHARS} letters, digits and ._~+/=-"
            raise ValueError(f"serve.keys_file={path}:{number}: {rule}")
    return Keys(keys.values())


class RateLimiter:
    """A token bucket for each name: `per_minute` requests, all of them at once if need be."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # requests left, and the time of that count

    def wait_s(self, name: str) -> float:
        """0, and the request counts; or the seconds until there is room for one more."""
        now, rate = self._clock(), self._per_minute / 60
        left, since = self._buckets.pop(name, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - since) * rate)
        allowed = left >= 1
        self._buckets[name] = (left - allowed, now)
        while len(self._buckets) > MAX_BUCKETS:  # evict the least recently seen name
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - left) / rate
