"""Rows of prompts, each with its id and a request or the reason why it has none; the same in every reading."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from types import NoneType
from typing import TYPE_CHECKING

from longtake.models.domain.prompt import PromptSpec, Settings
from longtake.models.stages.params import OpenerParams
from longtake.pipelines.bulk.continuation import begin_continuation, continuing, for_continuation
from longtake.pipelines.bulk.settings import BulkConf
from longtake.pipelines.bulk.video import BulkVideo, begin, failed_row, invalid_row, requested_row
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.config.provenance import video_settings, weights_of
from longtake.pipelines.datasets.continued_videos import NamedVideo, find_video
from longtake.pipelines.datasets.finished import Ids, digest_of
from longtake.pipelines.datasets.manifest import VideoRow
from longtake.pipelines.datasets.pictures import NamedPicture, read_picture
from longtake.pipelines.datasets.prompt_rows import PromptRow, RowDefaults, digest_id, own_id, read_rows, to_request
from longtake.pipelines.runners.bundle_limits import limits_of
from longtake.pipelines.runners.spec_checks import check_texts, for_picture
from longtake.pipelines.terminal.progress import doing

if TYPE_CHECKING:  # torch
    from longtake.models.stages.bundle import Bundle


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A row of prompts. `record` has all that the manifest will say of its request, or the reason if it is invalid."""

    record: VideoRow  # without its place in the job
    spec: PromptSpec | None  # None for an invalid row
    own: Conf  # its configuration
    is_named: bool  # it has an id of its own, so that it is known again when all else of it changes
    unused: tuple[str, ...]  # columns that mean nothing here

    @property
    def id(self) -> int:
        """Digest of its id."""
        return digest_of(self.record.id)

    @property
    def request(self) -> int:
        """Digest of what it asks for."""
        assert self.record.request_sha256 is not None, "every row of prompts asks for something"
        return digest_of(self.record.request_sha256)


class RowChecker:
    """Checks the rows of one job. Of two rows with the same id the second is invalid."""

    def __init__(self, conf: BulkConf, bundle_sha256: str) -> None:
        self._conf, self._bundle_sha256, self._limits = conf, bundle_sha256, limits_of(conf)
        self._defaults = RowDefaults(conf.num_frames, conf.negative_prompt, conf.seed)
        # Many rows share few settings: reading and checking settings takes 1.2 ms, everything else of a row 0.1 ms.
        self._read = lru_cache(1024)(self._read_settings)

    def read(self) -> Iterator[CheckedRow]:
        """All rows, in order. Raises ValueError naming `prompts` for files that cannot be read."""
        ids = _RowIds()
        for row in read_rows(self._conf.prompts):
            yield self.check(row, ids)

    def check(self, row: PromptRow, ids: "_RowIds | None" = None) -> CheckedRow:
        ids = ids or _RowIds()
        named: str | None = None
        try:
            named = ids.claim(own_id(row))
            begins_with = _beginning(row)
            spec = to_request(row, self._defaults, self._configuration, ids.unique)
            spec = continuing(spec) if isinstance(begins_with, NamedVideo) else spec
            own, settings, weights = self._configuration(spec.settings, type(begins_with))
        except ValueError as error:
            invalid = invalid_row(named or ids.unique(digest_id(row)), row, str(error))
            return CheckedRow(invalid, None, self._conf, named is not None, row.unused)
        record = requested_row(row, spec, own, self._conf, weights, settings, begins_with)
        return CheckedRow(record, spec, own, named is not None, row.unused)

    def _configuration(self, settings: Settings, begins_with: type = NoneType) -> tuple[Conf, str, str]:
        """The configuration of a video, the column `settings` and the hash of its weights.

        Raises ValueError for an invalid one, and if nothing in it continues what the video begins with.
        """
        # Equal settings may differ in their types: 1 and True.
        return self._read(repr(settings), settings, begins_with)

    def _read_settings(self, _: str, settings: Settings, begins_with: type) -> tuple[Conf, str, str]:
        asked: Conf = self._limits.for_video(self._conf, settings)
        own = asked
        if begins_with is NamedPicture:
            own = for_picture(asked)
        if begins_with is NamedVideo:
            own = for_continuation(asked, settings)
        same = own.opener.model == asked.opener.model
        weights = self._bundle_sha256 if same else self._sha256_without_opener
        return own, json.dumps(video_settings(own), sort_keys=True), weights

    @cached_property
    def _sha256_without_opener(self) -> str:
        return weights_of(replace(self._conf, opener=OpenerParams()))

    def begin(self, row: CheckedRow, ordinal: int) -> BulkVideo | VideoRow:
        """A new video for a row, or the failed row of one that cannot be made."""
        record = replace(row.record, ordinal=ordinal)
        if row.spec is None:
            return record
        try:
            texts = self._texts if record.extends is None else replace(self._texts, opener=None)
            unknown = check_texts(texts, row.spec, record.image is not None)
            record = replace(record, unknown_words=" ".join(dict.fromkeys(unknown)) or None)
            if record.extends is None:
                return begin(record, row.spec, row.own, self._conf)
            begun, spec, continuation = begin_continuation(record, row.spec, row.own)
            return begin(begun, spec, row.own, self._conf, continuation)
        except ValueError as error:
            return failed_row(record, str(error))

    @cached_property
    def _texts(self) -> "Bundle":
        with doing("loading the tokenizers"):
            from longtake.pipelines.runners.stages import build_texts  # torch: when there is a video to be made

            return build_texts(self._conf)


def _beginning(row: PromptRow) -> NamedPicture | NamedVideo | None:
    """The picture or the video that a row begins with. Raises ValueError for one that cannot be read."""
    if (video := row.video) is not None:
        return find_video(video)
    return None if (image := row.image) is None else read_picture(image)[1]


class _RowIds:
    """The ids of the rows so far."""

    def __init__(self) -> None:
        self._seen = Ids()
        self._copies: dict[str, int] = {}  # of the ids that came more than once

    def claim(self, id: str | None) -> str | None:
        """An id that is given in a row. Raises ValueError if an earlier row has it."""
        if id is not None and id in self._seen:
            raise ValueError(f"id={id!r}: an earlier row has the same id; ids must be unique")
        if id is not None:
            self._seen.add(id)
        return id

    def unique(self, id: str) -> str:
        """`id` for the first row with it, `id-2` for the second, and so on."""
        copy = id
        while copy in self._seen:
            self._copies[id] = self._copies.get(id, 1) + 1
            copy = f"{id}-{self._copies[id]}"
        self._seen.add(copy)
        return copy
