"""Rows of a bulk job, read ahead in a thread and checked one by one."""

import threading
from dataclasses import dataclass
from queue import Empty, Full, Queue

from longtake.models.domain.prompt import PromptSpec, Settings
from longtake.pipelines.bulk.settings import BulkConf
from longtake.pipelines.bulk.video import BulkVideo, begin, empty_row, failed_row
from longtake.pipelines.config.conf import Conf, for_video
from longtake.pipelines.datasets.manifest import Done, VideoRow
from longtake.pipelines.datasets.prompt_rows import PromptRow, RowDefaults, read_rows, to_request
from longtake.pipelines.runners.bundle_limits import limits_of

AHEAD = 64


@dataclass(frozen=True, slots=True)
class FinishedRow:
    """A row that an earlier run has finished."""

    ordinal: int  # its place in the job


class Rows:
    """At most `AHEAD` rows are in memory. `next` raises what reading raises."""

    def __init__(self, conf: BulkConf, bundle_sha256: str, done: Done) -> None:
        """`done` are the ids that earlier runs have finished."""
        self._conf, self._bundle_sha256, self._limits = conf, bundle_sha256, limits_of(conf)
        self._done, self._seen = done, Done()
        self._defaults = RowDefaults(conf.num_frames, conf.negative_prompt, conf.seed)
        self._queue: Queue[PromptRow | BaseException | None] = Queue(AHEAD)
        self._closed = threading.Event()
        self.exhausted = False
        self.total: int | None = None  # known at the end
        self._num_taken = 0

    def start(self) -> None:
        """Begins to read, on Ray. The first row may take a minute, during which the models load."""
        threading.Thread(target=self._read, name="rows", daemon=True).start()  # a daemon: it must not delay the exit

    def next(self) -> BulkVideo | VideoRow | FinishedRow | None:
        """The video of the next row, or the record of an invalid one; None if no row has been read yet or is left."""
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
        return self.check(row)

    def close(self) -> None:
        self._closed.set()

    def check(self, row: PromptRow) -> BulkVideo | VideoRow | FinishedRow:
        """Rows must come in order: of two with the same id the second is invalid."""
        try:
            spec, own = self._request(row)
            if spec.video_id in self._done:
                return FinishedRow(row.ordinal)
            return begin(row, spec, own, self._conf, self._bundle_sha256)
        except ValueError as error:  # the id itself may be invalid, so the row is recorded by its place
            if row.source in self._done:
                return FinishedRow(row.ordinal)
            prompt = (row.fields or {}).get("prompt")
            return failed_row(empty_row(row.source, prompt if isinstance(prompt, str) else None, row), str(error))

    def _request(self, row: PromptRow) -> tuple[PromptSpec, Conf]:
        """The video and its configuration. Raises ValueError for an invalid row, a repeated id included."""
        own: Conf = self._conf

        def read_settings(settings: Settings) -> None:
            nonlocal own
            own = for_video(self._conf, settings)
            self._limits.check(own)

        spec = to_request(row, self._defaults, read_settings)
        if spec.video_id in self._seen:
            raise ValueError(f"id={spec.video_id!r}: an earlier row has the same id; ids must be unique")
        self._seen.add(spec.video_id)
        return spec, own

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            for row in read_rows(self._conf.prompts):
                self._put(row)
                if self._closed.is_set():
                    return
        except BaseException as error:  # raised again where the rows are taken
            end = error
        self._put(end)

    def _put(self, row: PromptRow | BaseException | None) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(row, timeout=0.5)
            except Full:
                continue
