"""The rows of a bulk job as its loop takes them: read ahead in a thread, a few at a time."""

import threading
from queue import Empty, Full, Queue

from longtake.models.domain.prompt import PromptSpec
from longtake.pipelines.bulk.settings import BulkConf
from longtake.pipelines.config.conf import for_video
from longtake.pipelines.datasets.manifest import Done
from longtake.pipelines.datasets.prompt_rows import Defaults, Row, read_rows, to_request
from longtake.pipelines.runners.bundle_limits import limits_of

AHEAD = 64


class Rows:
    """Never more than `AHEAD` rows in memory. Raises what reading raises, from `next`."""

    def __init__(self, conf: BulkConf, done: Done) -> None:
        """`done` are the ids that earlier runs have finished."""
        self._conf, self._limits, self._done, self._seen = conf, limits_of(conf), done, Done()
        self._defaults = Defaults(conf.num_frames, conf.negative_prompt, conf.seed)
        self._queue: Queue[Row | BaseException | None] = Queue(AHEAD)
        self._closed = threading.Event()
        self.exhausted = False
        self.total: int | None = None  # known at the end
        self._num_taken = 0

    def start(self) -> None:
        """Begins to read; Ray has to be there. It may take a minute for its first row: models load meanwhile."""
        threading.Thread(target=self._read, name="rows", daemon=True).start()  # it must not keep a job that ends

    def next(self) -> Row | None:
        """A row, if one has been read by now."""
        try:
            row = self._queue.get_nowait()
        except Empty:
            return None
        if isinstance(row, BaseException):
            raise row
        if row is None:
            self.exhausted, self.total = True, self._num_taken
            return None
        self._num_taken += 1
        return row

    def request(self, row: Row) -> PromptSpec:
        """Raises ValueError with the reason for a row that cannot become a video, an id that comes again included."""
        spec = to_request(row, self._defaults, lambda settings: self._limits.check(for_video(self._conf, settings)))
        if spec.video_id in self._seen:
            raise ValueError(f"id={spec.video_id!r}: an earlier row has it too, and every video needs its own")
        self._seen.add(spec.video_id)
        return spec

    def finished(self, row_id: str) -> bool:
        """An earlier run has finished it."""
        return row_id in self._done

    def close(self) -> None:
        self._closed.set()

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            for row in read_rows(self._conf.prompts):
                self._put(row)
                if self._closed.is_set():
                    return
        except BaseException as error:  # it is raised where the rows are taken
            end = error
        self._put(end)

    def _put(self, row: Row | BaseException | None) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(row, timeout=0.5)
            except Full:
                continue
