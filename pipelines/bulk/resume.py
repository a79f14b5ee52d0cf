"""The work of a job: its rows compared with those that earlier runs have finished.

1. A finished row is recognized by its id. It is up to date if it was made from what its row asks for now.
2. A finished video whose row asks for something else is *changed*; one whose id no row has any more is *gone*; one
   whose file was deleted is *lost*. The setting `changed` decides about all three. Failed rows of the first two kinds
   are forgotten: no finished video is lost with them.
   Where a typing error would cost videos, `survey.py` refuses the job.
3. A row that stays finished keeps its place in the job (its ordinal). The others take the free places in the order of
   the prompts. So no two rows have the same place, and a job that is killed and started again gives the same ones.
"""

from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from longtake.pipelines.bulk.settings import Changed
from longtake.pipelines.datasets.finished import Digests, Finished, free_places

Flags = NDArray[np.bool_]
NONE = np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class Resumption:
    """Flags of the rows of the prompts, in their order, and of the finished rows, in the order of `Finished`."""

    finished: Finished
    is_kept: Flags  # of each row: stays finished
    is_failed: Flags  # of each row: has failed, and stays so
    ordinals: NDArray[np.int64]  # of each row
    changed: Flags  # of each finished row: a video, made from something else
    gone: Flags  # of each finished row: a video without a row
    lost: Flags  # of each finished row: a video without a file, and neither changed nor gone
    forgotten: Flags  # of each finished row: is deleted

    @property
    def outdated(self) -> Digests:
        """The ids of the videos that are changed, gone or lost."""
        return self.finished.ids[self.is_outdated]

    @property
    def is_outdated(self) -> Flags:
        """Flags of them."""
        return self.changed | self.gone | self.lost


def resume(
    finished: Finished, ids: Digests, requests: Digests, changed: Changed, retry_failed: bool, lost: Digests = NONE
) -> Resumption:
    """`ids` and `requests` are digests of the ids of the rows, each once, and of what they ask for.

    `lost` are digests of the ids of finished videos without a file.
    """
    place = np.minimum(np.searchsorted(finished.ids, ids), max(len(finished) - 1, 0))
    is_known = finished.ids[place] == ids if len(finished) else np.zeros(len(ids), bool)
    is_other, is_gone = np.zeros(len(finished), bool), np.ones(len(finished), bool)
    is_gone[place[is_known]] = False
    is_other[place[is_known]] = (finished.requests[place] != requests)[is_known] if len(finished) else False
    is_lost = np.isin(finished.ids, lost) & ~is_other & ~is_gone
    is_outdated = is_other | is_gone | is_lost
    forgotten = finished.failed & (is_outdated | retry_failed)
    if changed is not Changed.KEEP:
        forgotten |= is_outdated
    is_kept = is_known.copy()
    is_kept[is_known] = ~forgotten[place[is_known]]
    is_failed = is_kept.copy()
    is_failed[is_kept] = finished.failed[place[is_kept]]
    free = free_places(finished.ordinals[~forgotten])
    ordinals = np.empty(len(ids), np.int64)
    ordinals[is_kept] = finished.ordinals[place[is_kept]]
    ordinals[~is_kept] = list(islice(free, int(np.count_nonzero(~is_kept))))
    videos = ~finished.failed
    return Resumption(finished, is_kept, is_failed, ordinals, is_other & videos, is_gone & videos, is_lost, forgotten)
