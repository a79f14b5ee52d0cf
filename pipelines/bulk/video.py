"""A video of a bulk job, from its row of prompts to its row of the manifest."""

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from json import dumps
from typing import Any

from longtake.actors.calls import Outcome
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import StageName, Task
from longtake.models.domain.state import Picture
from longtake.models.metrics.quality import GateFigures, QualityParams, seed_of, verdict
from longtake.pipelines.bulk.continuation import Continuation
from longtake.pipelines.bulk.paths import chunk_path, preview_path, thumbnail_path, video_path
from longtake.pipelines.bulk.settings import BulkConf, Format
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.datasets.continued_videos import NamedVideo
from longtake.pipelines.datasets.layouts import member_of
from longtake.pipelines.datasets.manifest import VideoRow
from longtake.pipelines.datasets.pictures import NamedPicture, same_picture
from longtake.pipelines.datasets.prompt_rows import PromptRow
from longtake.pipelines.datasets.request_columns import cues_text, request_hash
from longtake.pipelines.runners.spec_checks import plan_for
from longtake.pipelines.runners.writer_queue import WriterJob


@dataclass(frozen=True, slots=True)
class Slot:
    """Place of a fragment: one of the video's files, and the index there."""

    file: str  # video or preview
    index: int


FIRST = Slot("video", 0)  # the thumbnail is its first frame


@dataclass(slots=True, eq=False)
class BulkVideo:
    """A video in progress: handles and receipts, no frame."""

    spec: PromptSpec
    conf: Conf  # its own
    plan: Plan
    row: VideoRow
    num_fragments: int  # in all its files
    continuation: Continuation | None = None  # of a video that exists
    requested: set[Slot] = field(default_factory=set)  # fragments that are encoded or waiting to be
    fragments: dict[Slot, Any] = field(default_factory=dict)  # references to the bytes of those that are encoded
    clip: Any = None  # reference to the end of the video that it continues
    own_reached: int = 0  # fragments of the video that it continues which were asked for
    thumbnail: Any = None
    cells: int = 0  # done since it began, or began again
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*StageName, "encode"), 0.0))
    retries: int = 0  # with the seeds that were rejected
    measured: Any = None  # reference to the state of the measurement after the latest chunk
    figures: GateFigures | None = None
    rejected: tuple[dict[str, Any], ...] = ()  # the seeds that were tried before, as in the manifest

    @property
    def id(self) -> str:
        return self.spec.video_id

    @property
    def is_generated(self) -> bool:
        """Whether both models have finished with it."""
        return len(self.requested) == self.num_fragments

    @property
    def num_frames(self) -> int:
        """Frames to be made."""
        return self.spec.num_frames if self.continuation is None else self.continuation.extension.num_new

    def makes(self, task: Task) -> bool:
        """Whether a task makes frames of it, as all do but those on frames that exist."""
        return self.continuation is None or self.continuation.makes(task)

    @property
    def frames_left(self) -> float:
        """Its length, less the share of its cells that is done."""
        first = 0 if self.continuation is None else self.continuation.extension.window
        num_cells = (len(self.plan.windows) - first) * (self.conf.refiner.num_steps + 1)
        return self.num_frames * (1 - min(1.0, self.cells / num_cells))

    @property
    def is_encoded(self) -> bool:
        return len(self.fragments) == self.num_fragments

    def encode(self, slot: Slot, piece: Any) -> WriterJob | None:
        """The job that encodes `piece`; None if one exists. A video that restarts gives its pieces again."""
        return self._job("encode", slot, piece, self.conf.fps, slot.index, self.spec.num_frames, self._is_shown(slot))

    def encode_segment(self, index: int, segment: Any) -> WriterJob | None:
        """The job that encodes segment `index`; None if one exists, or nobody sees the segment."""
        part = self.continuation
        if part is None:
            return self.encode(Slot("video", index), segment)
        place = part.fragment_of(index)
        if place is None:
            return None
        slot, clip = Slot("video", place), self.clip if part.needs_clip(index) else None
        args = (segment, part.fps, place, part.num_frames, self._is_shown(slot), part, clip)
        return self._job("encode", slot, *args)

    def encode_own(self) -> WriterJob | None:
        """The job that encodes the next fragment of the video that it continues; None if none is left."""
        part = self.continuation
        while part is not None and self.own_reached < part.num_own:
            slot = Slot("video", self.own_reached)
            self.own_reached += 1
            if (job := self._job("encode_own", slot, part, slot.index, self._is_shown(slot))) is not None:
                return job
        return None

    def _job(self, method: str, slot: Slot, *args: Any) -> WriterJob | None:
        if slot in self.requested:
            return None
        self.requested.add(slot)
        return WriterJob(method, args, self.id, slot)

    def _is_shown(self, slot: Slot) -> bool:
        return slot == FIRST and self.row.thumbnail is not None

    def encoded(self, slot: Slot, thumbnail: Any, fragment: Any, seconds: float) -> None:
        self.fragments[slot] = fragment
        self.seconds["encode"] += seconds
        if slot == FIRST:
            self.thumbnail = thumbnail

    def measure(self, outcome: Outcome) -> WriterJob:
        """The job that measures the chunk of `outcome`, a task's; the result carries the outcome."""
        before = self.measured if outcome.call.subject.index else None
        args = (before, outcome.call.output, self.spec.num_frames)
        return WriterJob("measure", args, self.id, outcome)

    def add_measurement(self, figures: GateFigures, measured: Any) -> None:
        """Adds the metrics of one more chunk. When a video restarts they cover fewer frames at first."""
        self.measured = measured
        if self.figures is None or figures.num_frames >= self.figures.num_frames:
            self.figures = figures

    def broken_limit(self, params: QualityParams) -> str | None:
        return None if self.figures is None else verdict(params, self.figures)

    def seeds_tried(self, why: str | None) -> tuple[dict[str, Any], ...]:
        """Every seed so far; `why` is the fault of the current one."""
        figures = {} if self.figures is None else self.figures.plain()
        return (*self.rejected, {"seed": self.spec.seed, **figures, "reason": why})

    def reseeded(self, retries: int) -> "BulkVideo":
        """The same video with the next seed, after this one was rejected. Its row has the time of all of them."""
        assert self.row.asked_seed is not None, "a video in progress has one"
        seed = seed_of(self.row.asked_seed, len(self.rejected))
        return BulkVideo(
            replace(self.spec, seed=seed),
            self.conf,
            self.plan,
            replace(self.row, seed=seed),
            self.num_fragments,
            self.continuation,
            seconds=self.seconds,
            retries=self.retries + retries,
            rejected=self.rejected,
        )

    def begin_again(self, keep: bool) -> None:
        """Resets it after a loss. `keep`: the fragments that are encoded are not affected."""
        if not keep:
            self.fragments.clear()
        self.requested, self.own_reached, self.cells, self.measured = set(self.fragments), 0, 0, None

    def commit(self, retries: int, flagged: str | None) -> WriterJob:
        """The job that writes its files and its record. `retries` are those with the current seed."""
        has_figures = self.figures is not None or self.rejected
        row = replace(
            self.row,
            status="done",
            quality=dumps(self.seeds_tried(flagged)) if has_figures else None,
            flagged=flagged,
            generate_s=round(self.seconds[StageName.GENERATE], 3),
            refine_s=round(self.seconds[StageName.REFINE], 3),
            encode_s=round(self.seconds["encode"], 3),
            attempts=1 + self.retries + retries,
            finished_at=datetime.now(UTC),
        )
        ordered = [self.fragments[slot] for slot in sorted(self.fragments, key=lambda s: (s.file != "video", s.index))]
        num_video = sum(slot.file == "video" for slot in self.fragments)
        return WriterJob("commit", (row, self.continuation, num_video, self.thumbnail, *ordered), self.id)

    def chunk_path(self, index: int) -> str:
        """The file of a chunk."""
        assert self.row.settings is not None, "a video in progress has them"
        return chunk_path(self.spec, self.row.settings, index, self.row.image_sha256 or self.row.extends_version)

    def picture(self) -> Picture | None:
        """The picture that it begins with. Raises ValueError if it cannot be read any more, or has changed."""
        return None if self.row.image is None else same_picture(self.row.image, self.row.image_sha256)


def begin(
    row: VideoRow, spec: PromptSpec, own: Conf, conf: BulkConf, continuation: Continuation | None = None
) -> BulkVideo:
    """A video of which nothing is made yet. `row` is `requested_row` with its place in the job, `own` the configuration
    of the video, `conf` the job's. Raises as `plan_for`."""
    plan = plan_for(own, spec)
    path = video_path(row.id)
    if conf.format is Format.WEBDATASET:
        path = member_of(row.ordinal // conf.shard_size, row.id)
    has_preview = conf.previews and continuation is None
    row = replace(
        row,
        path=path,
        preview=preview_path(row.id) if has_preview else None,
        thumbnail=thumbnail_path(row.id) if conf.thumbnails else None,
    )
    if continuation is not None:
        return BulkVideo(spec, own, plan, row, continuation.num_fragments, continuation)
    num_previews = len(plan.chunks) if has_preview else 0
    return BulkVideo(spec, own, plan, row, len(plan.segments) + num_previews)


def requested_row(
    row: PromptRow,
    spec: PromptSpec,
    own: Conf,
    conf: BulkConf,
    bundle_sha256: str,
    settings: str,
    begins_with: NamedPicture | NamedVideo | None = None,
) -> VideoRow:
    """The manifest's row with all that the row of prompts asks for; `settings` is the value of that column."""
    requested = VideoRow(
        id=spec.video_id,
        prompt=spec.prompt,
        cues=cues_text(spec.cues),
        negative_prompt=spec.negative_prompt,
        status="failed",
        source=row.source,
        ordinal=0,
        num_frames=spec.num_frames,
        fps=float(own.fps),
        width=own.refiner.size[1],
        height=own.refiner.size[0],
        seed=spec.seed,
        asked_seed=spec.seed,
        bundle=conf.bundle,
        bundle_sha256=bundle_sha256,
        settings=settings,
        unused_columns=_unused(row),
    )
    if isinstance(begins_with, NamedPicture):
        notes = "; ".join(begins_with.notes) or None
        requested = replace(requested, image=begins_with.url, image_sha256=begins_with.sha256, image_notes=notes)
    if isinstance(begins_with, NamedVideo):
        requested = replace(requested, extends=begins_with.url, extends_version=begins_with.version)
    return replace(requested, request_sha256=request_hash(asdict(requested)))


def invalid_row(video_id: str, row: PromptRow, why: str) -> VideoRow:
    """The manifest's row of an invalid row of prompts. Its hash is that of the row as written in the file."""
    prompt = (row.fields or {}).get("prompt")
    said = dumps(["invalid", row.fields, row.reason], sort_keys=True)
    invalid = VideoRow(
        id=video_id,
        prompt=prompt if isinstance(prompt, str) else None,
        status="failed",
        source=row.source,
        ordinal=0,
        request_sha256=sha256(said.encode()).hexdigest(),
        unused_columns=_unused(row),
    )
    return failed_row(invalid, why)


def failed_row(row: VideoRow, why: str) -> VideoRow:
    """The row of a video that failed: it has no files."""
    row = replace(row, path=None, preview=None, thumbnail=None)
    return replace(row, status="failed", reason=why, finished_at=datetime.now(UTC))


def _unused(row: PromptRow) -> str | None:
    return ", ".join(row.unused) or None
