"""A video of a bulk job from its row of prompts to its row of the manifest: fragments come in, a commit goes out."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from json import dumps
from typing import Any

from longtake.actors.calls import Outcome
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import Stage
from longtake.models.metrics.quality import Figures, QualityParams, seed_of, verdict
from longtake.pipelines.bulk.archive import checkpoint_path
from longtake.pipelines.bulk.settings import BulkConf, Format, video_settings
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.datasets.layouts import member_of
from longtake.pipelines.datasets.manifest import VideoRow, cues_text, safe_name, shard_of
from longtake.pipelines.datasets.prompt_rows import Row
from longtake.pipelines.runners.writer_queue import Errand


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a fragment belongs: in which of a video's files, and its index there."""

    file: str  # video or preview
    index: int


@dataclass(slots=True, eq=False)
class BulkVideo:
    """A video in work, as the driver knows it: handles and receipts."""

    spec: PromptSpec
    plan: Plan
    row: VideoRow
    fps: int
    num_fragments: int  # in all its files
    asked: set[Slot] = field(default_factory=set)  # fragments that are encoded or waiting to be
    fragments: dict[Slot, Any] = field(default_factory=dict)  # references to the bytes of those that are encoded
    thumbnail: Any = None
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*Stage, "encode"), 0.0))
    retries: int = 0  # beside those that the runner knows of
    measured: Any = None  # reference to what is known of the chunks so far
    figures: Figures | None = None
    rejected: tuple[dict[str, Any], ...] = ()  # the seeds that were tried before, as the manifest has them

    @property
    def is_asked(self) -> bool:
        """Its models are done with it."""
        return len(self.asked) == self.num_fragments

    @property
    def is_encoded(self) -> bool:
        return len(self.fragments) == self.num_fragments

    def encode(self, slot: Slot, piece: Any) -> Errand | None:
        """Makes a fragment of `piece`. None when that was asked before: begun anew, a video gives its pieces again."""
        if slot in self.asked:
            return None
        self.asked.add(slot)
        args = (piece, self.fps, slot.index, self.spec.num_frames)
        return Errand("encode", args, self.spec.video_id, slot)

    def encoded(self, slot: Slot, thumbnail: Any, fragment: Any, seconds: float) -> None:
        self.fragments[slot] = fragment
        self.seconds["encode"] += seconds
        if slot == Slot("video", 0):
            self.thumbnail = thumbnail

    def measure(self, outcome: Outcome) -> Errand:
        """Looks at a chunk that was made or read; `outcome` is the call's, and comes back with the figures."""
        before = self.measured if outcome.call.subject.index else None
        args = (before, outcome.call.second, self.spec.num_frames)
        return Errand("measure", args, self.spec.video_id, outcome)

    def learn(self, figures: Figures, measured: Any) -> None:
        """What is known after one more chunk. Begun anew, a video gives less at first than is known already."""
        self.measured = measured
        if self.figures is None or figures.num_frames >= self.figures.num_frames:
            self.figures = figures

    def judged(self, params: QualityParams) -> str | None:
        """Which limit is broken so far."""
        return None if self.figures is None else verdict(params, self.figures)

    def tried(self, why: str | None) -> tuple[dict[str, Any], ...]:
        """Every seed so far; of this one, `why` says what is wrong with it."""
        figures = {} if self.figures is None else self.figures.plain()
        return (*self.rejected, {"seed": self.spec.seed, **figures, "reason": why})

    def reseeded(self, retries: int) -> "BulkVideo":
        """The same video with the next seed, after this one was rejected. Its row has the time of all of them."""
        assert self.row.asked_seed is not None, "a video in work has one"
        seed = seed_of(self.row.asked_seed, len(self.rejected))
        return BulkVideo(
            replace(self.spec, seed=seed),
            self.plan,
            replace(self.row, seed=seed),
            self.fps,
            self.num_fragments,
            seconds=self.seconds,
            retries=self.retries + retries,
            rejected=self.rejected,
        )

    def begin_anew(self, keep: bool) -> None:
        """Something of it died with a machine. `keep`: it was none of the fragments that are encoded."""
        if not keep:
            self.fragments.clear()
        self.asked = set(self.fragments)
        self.retries += 1

    def commit(self, retries: int, flagged: str | None) -> Errand:
        """Writes its files and its record. `retries` are those that the runner knows of."""
        known = self.figures is not None or self.rejected
        row = replace(
            self.row,
            status="done",
            quality=dumps(self.tried(flagged)) if known else None,
            flagged=flagged,
            generate_s=round(self.seconds[Stage.GENERATE], 3),
            refine_s=round(self.seconds[Stage.REFINE], 3),
            encode_s=round(self.seconds["encode"], 3),
            attempts=1 + self.retries + retries,
            finished_at=datetime.now(UTC),
        )
        ordered = [self.fragments[slot] for slot in sorted(self.fragments, key=lambda s: (s.file != "video", s.index))]
        return Errand("commit", (row, len(self.plan.segments), self.thumbnail, *ordered), self.spec.video_id)

    def checkpoint(self, index: int) -> str:
        """Where a chunk of it is kept."""
        assert self.row.settings is not None, "a video in work has them"
        return checkpoint_path(self.spec, self.row.settings, index)


def begin(spec: PromptSpec, plan: Plan, row: Row, conf: BulkConf, own: Conf, bundle_sha256: str) -> BulkVideo:
    """A video of which nothing is made yet. `conf` is the job's, `own` the video's."""
    num_fragments = len(plan.segments) + (len(plan.chunks) if conf.previews else 0)
    return BulkVideo(spec, plan, _asked_for(spec, row, conf, own, bundle_sha256), own.fps, num_fragments)


def empty_row(video_id: str, prompt: str | None, row: Row) -> VideoRow:
    """What the manifest knows at least."""
    return VideoRow(id=video_id, prompt=prompt, source=row.source, ordinal=row.ordinal, status="failed")


def failed_row(row: VideoRow, why: str) -> VideoRow:
    """`row` of a video that failed: it has no files."""
    row = replace(row, path=None, preview=None, thumbnail=None)
    return replace(row, status="failed", reason=why, finished_at=datetime.now(UTC))


def _asked_for(spec: PromptSpec, row: Row, conf: BulkConf, own: Conf, bundle_sha256: str) -> VideoRow:
    """The manifest's row with all that is known before the video is made."""
    name, shard = safe_name(spec.video_id), shard_of(spec.video_id)
    path = f"videos/{shard}/{name}.mp4"
    if conf.format is Format.WEBDATASET:
        path = member_of(row.ordinal // conf.shard_size, spec.video_id)
    return replace(
        empty_row(spec.video_id, spec.prompt, row),
        cues=cues_text(spec.cues),
        negative_prompt=spec.negative_prompt,
        path=path,
        preview=f"previews/{shard}/{name}.mp4" if conf.previews else None,
        thumbnail=f"thumbnails/{shard}/{name}.jpg" if conf.thumbnails else None,
        num_frames=spec.num_frames,
        fps=float(own.fps),
        width=own.refiner.width,
        height=own.refiner.height,
        seed=spec.seed,
        asked_seed=spec.seed,
        bundle=conf.bundle,
        bundle_sha256=bundle_sha256,
        settings=dumps(video_settings(own), sort_keys=True),
    )
