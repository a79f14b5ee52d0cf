"""What happens to a take while it is made, told to any number of listeners.

The engine's thread appends; listeners are coroutines, each in its own event loop and at its own pace. Whoever comes
late hears everything from the first event on. As many events are kept as a video has chunks, steps and fragments, and
they hold indices, no frame.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

LAST = ("completed", "failed", "interrupted")


@dataclass(frozen=True, slots=True)
class Event:
    """Kinds and their data:

    status       status
    progress     progress (percent), and {done, total} of generate, refine and segments
    chunk        index, start, stop: low-resolution frames that are generated
    preview      index: the same as a fragment of the preview, which may be fetched; in order, without gaps
    window       index, step, steps: how far a window is refined
    fragment     index, start, stop, bytes: final frames, which may be fetched; in order, without gaps
    prompt       from_frame, prompt: it was changed
    completed    the last one: all is there
    failed       the last one: code, message
    interrupted  the last one: the endpoint stops, and goes on with the take when it is started again
    """

    kind: str
    data: dict[str, Any]


class Live:
    """The events of one take, from when it is put into the queue until it ends."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._lock = threading.Lock()
        self._listeners: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def __len__(self) -> int:
        return len(self._events)

    @property
    def ended(self) -> bool:
        return bool(self._events) and self._events[-1].kind in LAST

    def append(self, kind: str, **data: Any) -> None:
        """Tells everybody; from any thread. After the last event nothing is told any more."""
        with self._lock:
            if self.ended:
                return
            self._events.append(Event(kind, data))
            for news, loop in self._listeners.items():
                with suppress(RuntimeError):  # its loop is closed
                    loop.call_soon_threadsafe(news.set)

    async def follow(self, after: int = 0) -> AsyncIterator[Event]:
        """Events from number `after` on, as they happen; ends after the last one."""
        news = asyncio.Event()
        with self._lock:
            self._listeners[news] = asyncio.get_running_loop()
        try:
            while True:
                news.clear()
                while after < len(self._events):
                    yield self._events[after]
                    after += 1
                if self.ended and after >= len(self._events):
                    return
                await news.wait()
        finally:
            with self._lock:
                del self._listeners[news]
