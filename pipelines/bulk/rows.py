"""The rows of a bulk job that are left to make, read a few ahead in a thread."""

import threading
from queue import Empty, Full, Queue

from longtake.pipelines.bulk.checked_rows import RowChecker
from longtake.pipelines.bulk.resume import Resumption
from longtake.pipelines.bulk.survey import Survey
from longtake.pipelines.bulk.video import BulkVideo
from longtake.pipelines.datasets.manifest import VideoRow

AHEAD = 64


class Rows:
    """At most `AHEAD` rows are in memory. `next` raises what reading raises."""

    def __init__(self, checker: RowChecker, survey: Survey, found: Resumption) -> None:
        self._checker, self._survey, self._found = checker, survey, found
        self._queue: Queue[BulkVideo | VideoRow | BaseException | None] = Queue(AHEAD)
        self._closed = threading.Event()
        self.exhausted = False

    def start(self) -> None:
        """Starts reading."""
        threading.Thread(target=self._read, name="rows", daemon=True).start()  # a daemon: it must not delay the exit

    def next(self) -> BulkVideo | VideoRow | None:
        """The video of the next row, or the record of a failed one; None if no row has been read yet or is left."""
        try:
            row = self._queue.get_nowait()
        except Empty:
            return None
        if isinstance(row, BaseException):
            raise row
        self.exhausted = row is None
        return row

    def close(self) -> None:
        self._closed.set()

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            self._put_each()
        except BaseException as error:  # raised again where the rows are taken
            end = error
        self._put(end)

    def _put_each(self) -> None:
        number = 0
        for number, row in enumerate(self._checker.read(), 1):
            if self._closed.is_set():
                return
            if not self._survey.is_row(number - 1, row):
                raise RuntimeError(self._survey.changed_meanwhile)
            if not self._found.is_kept[number - 1]:
                self._put(self._checker.begin(row, int(self._found.ordinals[number - 1])))
        if number < self._survey.num_rows:
            raise RuntimeError(self._survey.changed_meanwhile)

    def _put(self, row: BulkVideo | VideoRow | BaseException | None) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(row, timeout=0.5)
            except Full:
                continue
