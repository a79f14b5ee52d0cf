"""Events of a take in progress, for any number of listeners.

The engine's thread appends; listeners are coroutines, each in its own event loop and at its own pace. A late listener
gets all events from the first one on. Their number is bounded by the chunks, steps and fragments of the video, and they
hold indices, no frames.
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
    queue        position: its place among those that wait, 1 for the next one
        progress     progress (percent), and {done, total} of generate, refine and segments
        chunk        index, start, stop: low-resolution frames were generated
        preview      index: the fragment of the preview for them can be fetched; in order, without gaps
        window       index, step, steps: progress of the refinement of a window
        fragment     index, start, stop, bytes: final frames can be fetched; in order, without gaps
        prompt       from_frame, prompt: the prompt was changed
        completed    last event: all files exist
        failed       last event: code, message
        interrupted  last event: the endpoint stops, and continues the take after its next start
    """

    kind: str
    data: dict[str, Any]


class EventLog:
    """The events of one take, from submission to its end."""

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
        """Adds an event, from any thread. After a last event, others are ignored."""
        with self._lock:
            if self.ended:
                return
            self._events.append(Event(kind, data))
            for news, loop in self._listeners.items():
                with suppress(RuntimeError):  # its loop is closed
                    loop.call_soon_threadsafe(news.set)

    async def follow(self, after: int = 0) -> AsyncIterator[Event]:
        """Events from number `after` on, as they happen; ends after a last event."""
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
