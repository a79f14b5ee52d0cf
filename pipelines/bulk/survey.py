"""A first reading of all prompts, before anything starts: what is finished, what changed, and what is left to make."""

from array import array
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from longtake.pipelines.bulk.checked_rows import CheckedRow, RowChecker
from longtake.pipelines.bulk.folder import lost
from longtake.pipelines.bulk.resume import Flags, Resumption, resume
from longtake.pipelines.bulk.settings import BulkConf, Changed
from longtake.pipelines.datasets.finished import Digests, Finished
from longtake.pipelines.datasets.manifest import Manifest, VideoRow
from longtake.pipelines.datasets.tables import MORE, NUM_NAMES

NAMED = 10  # ids in a message
REASONS = 3
ADVICE = (
    "Use the earlier prompts or another out, or set changed=remake to make changed and deleted videos again and delete "
    "those without a row, or changed=keep to leave both as they are"
)


class InvalidRows:
    """The first invalid rows in words, and the number of all."""

    def __init__(self) -> None:
        self.num, self._first = 0, list[str]()

    def add(self, text: str) -> None:
        self.num += 1
        if len(self._first) < REASONS:
            self._first.append(text)

    @property
    def counted(self) -> str:
        """All of it in words."""
        return f"{self.num} invalid {'row' if self.num == 1 else 'rows'}: {self}"

    def __str__(self) -> str:
        more = self.num - len(self._first)
        return "; ".join([*self._first, *([f"and {more} more"] if more else [])])


class Survey:
    """Digests of the ids and requests of all rows, and their lengths: 24 bytes each.

    Nothing finished is lost by a typing error. So with changed=remake no video is deleted while a row is invalid that
    may be its own: one with its id, or one without an id that can be read. Rows that failed before do not count.
    """

    def __init__(self, conf: BulkConf, checker: RowChecker, manifest: Manifest) -> None:
        self._conf, self._checker, self._manifest = conf, checker, manifest
        self.ids, self.requests = array("Q"), array("Q")  # of each row so far
        self._num_frames = array("q")
        self.invalid = InvalidRows()
        self._doubtful = InvalidRows()  # those that may belong to finished videos
        self._unused: dict[str, None] = {}  # names of the first columns that are not used
        self._can_begin = False

    @property
    def num_rows(self) -> int:
        return len(self.ids)

    @property
    def num_frames(self) -> NDArray[np.int64]:
        """The length of each row's video, 0 of an invalid row."""
        return np.array(self._num_frames, np.int64)

    @property
    def changed_meanwhile(self) -> str:
        return f"prompts={self._conf.prompts}: a file changed while the job ran; run the same command again"

    def is_row(self, number: int, row: CheckedRow) -> bool:
        """Whether a row of a later reading is row `number`, from 0, of this one."""
        return number < self.num_rows and (self.ids[number], self.requests[number]) == (row.id, row.request)

    def read(self) -> Resumption:
        """Raises ValueError if the prompts cannot be read, no row can be made, or finished videos are outdated."""
        finished = self._manifest.finished()
        for row in self._checker.read():
            self.ids.append(row.id)
            self.requests.append(row.request)
            self._num_frames.append(row.record.num_frames or 0)
            for name in row.unused:
                self._unused.setdefault(name if len(self._unused) < NUM_NAMES or name in self._unused else MORE)
            self._check(row, finished)
        if not self._can_begin:
            raise ValueError(
                f"prompts={self._conf.prompts}: no row can be made: {str(self.invalid) or 'there is none'}"
            )
        asked = _numpy(self.ids), _numpy(self.requests)
        found = resume(finished, *asked, self._conf.changed, self._conf.retry_failed, lost(self._manifest))
        if self._conf.changed is Changed.REFUSE and len(found.outdated):
            invalid = f"; {self.invalid.counted}" if self.invalid.num else ""
            raise ValueError(f"prompts={self._conf.prompts}: {self.outdated(found)}{invalid}. {ADVICE}")
        if self._conf.changed is Changed.REMAKE and len(found.outdated) and self._doubtful.num:
            rule = "changed=remake deletes nothing while rows that may be theirs are invalid"
            advice = "Correct these rows, or use changed=keep"
            raise ValueError(
                f"prompts={self._conf.prompts}: {self.outdated(found)}; {rule}: {self._doubtful}. {advice}"
            )
        return found

    @property
    def unused(self) -> str:
        """The names of the columns that are not used."""
        return ", ".join(sorted(self._unused, key=MORE.__eq__))  # which is stable

    def outdated(self, found: Resumption) -> str:
        """The changed and gone videos in words, with the first ids of each."""
        kinds = (
            (found.changed, "no longer what the prompts ask for"),
            (found.gone, "no longer in the prompts"),
            (found.lost, "no longer in the folder, as the files were deleted or moved"),
        )
        return " and ".join(self._counted(found, flags, what) for flags, what in kinds if flags.any())

    def _counted(self, found: Resumption, flags: Flags, what: str) -> str:
        count = int(np.count_nonzero(flags))
        rows = self._manifest.having(found.finished.ids[flags])
        names = [f"{row.id} from {row.source}" for row in islice(rows, NAMED)]
        videos = "1 finished video is" if count == 1 else f"{count} finished videos are"
        return f"{videos} {what} ({', '.join(names)}{', ...' if count > NAMED else ''})"

    def _check(self, row: CheckedRow, finished: Finished) -> None:
        """Notes whether a row can be made.

        Prompts are checked up to the first good one, as that takes a tokenizer; with changed=remake, all new ones are.
        """
        record, place = row.record, finished.find(row.record.id)
        is_new = place is None or int(finished.requests[place]) != row.request
        is_video = place is not None and not finished.failed[place]
        must_check = not self._can_begin or (is_new and self._conf.changed is Changed.REMAKE)
        if row.spec is not None and must_check:
            begun = None if is_video and not is_new else self._checker.begin(row, 0)
            self._can_begin |= not isinstance(begun, VideoRow)
            record = begun if isinstance(begun, VideoRow) else record
        if record.reason is not None:
            self.invalid.add(f"{record.source}: {record.reason}")
            if is_new and (is_video or not row.is_named):
                self._doubtful.add(f"{record.id} from {record.source}: {record.reason}")


def _numpy(digests: "array[int]") -> Digests:
    return np.frombuffer(digests, np.uint64) if digests else np.empty(0, np.uint64)
