"""The Python API: load a bundle, stream the segments of a prompt, write an mp4.

    longtake = load("tiny")
    segments = longtake.stream("a large red circle moves right over a plain navy background", num_frames=80, seed=7)
    write_mp4(segments, "take.mp4", longtake.fps)

A stream is lazy: frames are made while it is read.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from longtake.models.domain.prompt import Cue, PromptSpec
from longtake.models.domain.resume import Resume
from longtake.models.domain.state import Chunk, Picture, Segment
from longtake.models.video.reader import VideoReader
from longtake.models.video.still import read_still
from longtake.pipelines.config.conf import DEFAULT_CONFIG, Conf
from longtake.pipelines.config.conf import load as load_conf
from longtake.pipelines.files.video_file import VideoWriter
from longtake.pipelines.runners.bundle_limits import limits_of, settled
from longtake.pipelines.runners.existing_video import ExistingVideo, extension_of, for_extension
from longtake.pipelines.runners.local import LocalRunner, Observe
from longtake.pipelines.runners.spec_checks import check_texts, for_picture, plan_for
from longtake.pipelines.runners.stages import build_bundle, build_enhancer, build_generator

logger = logging.getLogger(__name__)


class Longtake:
    """A loaded bundle. A stream is lazy: work is done while it is read, and ends when it is closed."""

    def __init__(self, conf: Conf) -> None:
        """Loads `conf.bundle`. Raises ValueError for a missing or broken bundle."""
        self.conf = conf = settled(conf)
        self.bundle = build_bundle(conf)
        self.generator = build_generator(conf, self.bundle)

    @property
    def fps(self) -> int:
        """Frames per second of a new video."""
        return self.conf.fps

    def stream(
        self,
        prompt: str,
        num_frames: int = 80,
        seed: int = 0,
        negative_prompt: str = "",
        observe: Observe | None = None,
        cues: Sequence[Cue] = (),
        image: str | Path | Picture | None = None,
    ) -> Iterator[Segment]:
        """Segments (frames: uint8 RGB "t h w c") in order, each as soon as it is final; `num_frames` frames in all.

        `cues` are later prompts, such as `Cue(40, "a blue ring")`: each takes effect at the first chunk that begins at
        its frame or after it. `image` is a picture that the video begins with. `observe(task, output)` is called after
        every call of a model. Raises ValueError for an invalid request.
        """
        spec = PromptSpec("take", prompt, negative_prompt, num_frames, seed, cues=tuple(cues))
        return self._run(self.generator, spec, observe, None if image is None else self._from_picture(image))

    def extend(
        self,
        video: str | Path | VideoReader,
        prompt: str,
        num_frames: int = 80,
        seed: int = 0,
        negative_prompt: str = "",
        observe: Observe | None = None,
    ) -> Iterator[Segment]:
        """Segments of an existing video, without its sound, and of `num_frames` new frames after it, in its shape.

        Notes on what reading changes are logged as warnings, unless the video comes as a reader. Raises ValueError
        naming the path and the reason if it cannot be read, or is too short.
        """
        reader, name = (video, "video") if isinstance(video, VideoReader) else (VideoReader(video), video)
        for note in reader.notes if reader is not video else ():
            logger.warning("%s: %s", name, note)
        conf = for_extension(self.conf)
        extension = extension_of(name, reader, num_frames, conf)
        spec = PromptSpec("take", prompt, negative_prompt, extension.plan.num_frames, seed)
        plan_for(conf, spec)
        check_texts(replace(self.bundle, opener=None), spec)
        runner = build_generator(conf, self.bundle)
        return _closing(reader, ExistingVideo(reader, extension, conf).stream(spec, runner, observe))

    def enhance(
        self,
        video: str | Path,
        prompt: str,
        num_frames: int | None = None,
        seed: int = 0,
        negative_prompt: str = "",
        observe: Observe | None = None,
    ) -> Iterator[Segment]:
        """Refined segments of an existing video, without its sound; all of its frames if `num_frames` is None.

        `VideoReader(video)` of `longtake.models.video.reader` has its rate, and notes on what reading changes. These
        are logged as warnings, and so is the fate of frames of another shape. Raises ValueError naming the path and the
        reason if it cannot be read.
        """
        if not self.conf.refiner.enabled:
            raise ValueError("refiner.enabled=false: to enhance a video is to refine it")
        reader = VideoReader(video)
        notes = (*reader.notes, limits_of(self.conf).fit_note(self.conf, (reader.height, reader.width)))
        for note in filter(None, notes):
            logger.warning("%s: %s", video, note)
        spec = PromptSpec("take", prompt, negative_prompt, num_frames or reader.num_frames, seed)
        return _closing(reader, self._run(build_enhancer(self.conf, self.bundle, reader), spec, observe))

    def _from_picture(self, image: str | Path | Picture) -> Resume:
        for_picture(self.conf)
        if isinstance(image, Picture):
            return Resume(0, 0, picture=image)
        frame, notes = read_still(Path(image))
        for note in notes:
            logger.warning("%s: %s", image, note)
        return Resume(0, 0, picture=Picture(frame))

    def _run(
        self, runner: LocalRunner, spec: PromptSpec, observe: Observe | None, resume: Resume | None = None
    ) -> Iterator[Segment]:
        plan = plan_for(self.conf, spec)
        check_texts(self.bundle, spec, resume is not None)
        return runner.stream(spec, observe, plan, resume)


def _closing(reader: VideoReader, segments: Iterator[Segment]) -> Iterator[Segment]:
    with reader:
        yield from segments


def load(
    bundle: str | Path | None = None, config: str | Path = DEFAULT_CONFIG, overrides: Sequence[str] = ()
) -> Longtake:
    """Loads a bundle (a folder, or the name of one that ships) with the settings of a YAML file and overrides.

    `load("tiny", overrides=["refiner.coupling=symmetric"])`. Raises ValueError naming key, value and rule.
    """
    chosen = [] if bundle is None else [f"bundle={bundle}"]
    return Longtake(load_conf(config, [*chosen, *overrides]))


def write_mp4(segments: Iterable[Segment | Chunk], path: str | Path, fps: float = 8) -> int:
    """Writes segments, or the chunks of a preview, as they arrive, and returns the number of frames.

    The file appears under its name when it is complete.
    """
    with VideoWriter(path, fps) as writer:
        for segment in segments:
            writer.write(segment.frames)
        return writer.num_frames
