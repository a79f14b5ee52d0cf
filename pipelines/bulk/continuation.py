"""The continuation of an existing video in a bulk job: the same bytes as those of `longtake extend`.

segments     |-----|-----|-----|-----|-----|
fragments     own         of the models             one for each; those before the first window of the models are
                                                    encoded from the video itself
"""

from dataclasses import dataclass, replace
from fractions import Fraction

from longtake.models.domain.checks import FieldError
from longtake.models.domain.extension import Extension
from longtake.models.domain.prompt import PromptSpec, Settings
from longtake.models.domain.scheduler import Coupling, StageName, Task
from longtake.models.domain.span import Span
from longtake.models.video.fit import Fit, Size
from longtake.models.video.mp4 import Mp4Encoder
from longtake.models.video.sound import Sound
from longtake.pipelines.config.conf import Conf, VideoParams
from longtake.pipelines.datasets.continued_videos import NamedVideo, read_video, reading, sha256_of
from longtake.pipelines.datasets.manifest import VideoRow
from longtake.pipelines.runners.existing_video import ExistingVideo, extension_of, for_extension, shown_size

# What follows from frames that exist, for the actors: they know a video by its settings.
FIXED = {"refiner.coupling": Coupling.CAUSAL.value, "refiner.fit": Fit.STRETCH.value}


@dataclass(frozen=True, slots=True)
class Continuation:
    """The video that another one continues, in numbers: it travels with every call of a writer."""

    id: str  # of the row
    video: NamedVideo
    extension: Extension
    anchor_frame: int
    size: Size  # of all frames: height, width
    fps: Fraction
    has_sound: bool

    @property
    def num_frames(self) -> int:
        return self.extension.num_old + self.extension.num_new

    @property
    def num_own(self) -> int:
        """Fragments of the video itself."""
        return max(0, self.extension.window - self.extension.num_skipped)

    @property
    def num_fragments(self) -> int:
        """All of them."""
        return len(self.extension.plan.segments) - self.extension.num_skipped

    def own_span(self, index: int) -> Span:
        """The frames of a fragment of the video itself."""
        return self.extension.shown(self.extension.plan.segments[self.extension.num_skipped + index])

    def fragment_of(self, segment: int) -> int | None:
        """The fragment of a segment; None for one before the first frame that exists."""
        place = segment - self.extension.num_skipped
        return None if place < 0 else place

    def needs_clip(self, segment: int) -> bool:
        """Whether a segment has frames that exist."""
        return self.extension.plan.segments[segment].start < self.extension.end

    def makes(self, task: Task) -> bool:
        """Whether a task makes new frames; others prepare those that exist."""
        if task.stage is StageName.GENERATE:
            return self.extension.plan.chunks[task.index].start >= self.extension.end
        return task.index >= self.extension.window


def continuing(spec: PromptSpec) -> PromptSpec:
    """The spec of a row that continues a video. Raises FieldError for what means nothing there."""
    for key, value in spec.settings:
        if key in FIXED or key.startswith("opener."):
            rule = "has no effect in a row with a video: it is causal, frames are stretched, and nothing opens it"
            raise FieldError(key, f"={value} {rule}")
    if spec.cues:
        raise FieldError("prompt", ": a row with a video has one prompt, for its new frames")
    return replace(spec, settings=(*spec.settings, *FIXED.items()))


def for_continuation(conf: Conf, settings: Settings) -> Conf:
    """The configuration of a row that continues a video, at the rate of the video unless its settings have one.

    Raises ValueError as `for_extension`.
    """
    own = for_extension(conf)
    return own if "video.fps" in dict(settings) else replace(own, video=VideoParams())


def begin_continuation(row: VideoRow, spec: PromptSpec, own: Conf) -> tuple[VideoRow, PromptSpec, Continuation]:
    """The row and the spec with all that the video of the row says. Decodes it once; raises ValueError naming it."""
    assert row.extends is not None and row.extends_version is not None, "the row continues a video"
    video = NamedVideo(row.extends, row.extends_version)
    with read_video(video) as reader:
        extension = extension_of(f"video={video.url}", reader, spec.num_frames, own)
        size, fps = shown_size(reader), Fraction(own.video.fps or reader.fps).limit_denominator(1001)
        with reading(video.url):
            Mp4Encoder(fps, size[1], size[0])  # it refuses what an mp4 cannot be
            sound = Sound(reader, own.video.fps or reader.fps)
        notes = (*reader.notes, *sound.notes, *ExistingVideo(reader, extension, own).notes(sound))
    row = replace(
        row,
        num_frames=extension.num_old + extension.num_new,
        fps=float(fps),
        height=size[0],
        width=size[1],
        extends_sha256=sha256_of(video.url),
        extends_frames=extension.num_old,
        extends_notes="; ".join(notes) or None,
    )
    spec = replace(spec, num_frames=extension.plan.num_frames)
    return row, spec, Continuation(row.id, video, extension, own.base.anchor_frame, size, fps, sound.is_kept)
