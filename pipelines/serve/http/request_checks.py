"""Checks of requests against the endpoint's limits and its bundle; a valid request becomes a Take."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from longtake.models.domain.checks import FieldError, require
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import Cue, never_shown
from longtake.models.stages.bundle import Bundle
from longtake.models.video.fit import Fit, Size, cut_note
from longtake.pipelines.config.conf import for_video
from longtake.pipelines.runners.bundle_limits import BundleLimits
from longtake.pipelines.runners.existing_video import for_extension
from longtake.pipelines.runners.spec_checks import check_texts, for_picture, plan_for
from longtake.pipelines.serve.http.errors import ApiError, from_value_error, invalid, shown
from longtake.pipelines.serve.http.input_files import read_picture, read_video, video_of
from longtake.pipelines.serve.http.schema import (
    ExtensionRequest,
    PromptChange,
    RequestModel,
    UploadedExtension,
    VideoRequest,
)
from longtake.pipelines.serve.http.uploads import Upload
from longtake.pipelines.serve.library.takes import Take, derived, extended, new_id
from longtake.pipelines.serve.settings import ServeConf

DEFAULT_SECONDS = "4"
LengthRequest = VideoRequest | ExtensionRequest | UploadedExtension


@dataclass(frozen=True, slots=True)
class Findings:
    """The parts of a valid request that have no effect, or one that may surprise."""

    unknown_words: list[str]
    unseen: list[int]  # first frames of prompts that no frame shows
    fit: str | None  # what happens to frames of another shape
    input_notes: Sequence[str] = ()  # on the file that the client sent

    @property
    def warnings(self) -> list[str]:
        return [
            *(f"The model does not know the word {word!r}." for word in self.unknown_words),
            *(
                f"The prompt from frame {frame} on has no effect: no chunk begins while it applies."
                for frame in self.unseen
            ),
            *([f"The base model's {self.fit}."] if self.fit else []),
            *(f"The file that was sent: {note}." for note in self.input_notes),
        ]


class RequestChecker:
    """The limits of the endpoint and of its bundle."""

    def __init__(self, conf: ServeConf, bundle: Bundle, limits: BundleLimits) -> None:
        """`bundle` needs only its tokenizers, as from `build_texts`."""
        self.conf, self.bundle, self.limits = conf, bundle, limits
        self.created = int(time.time())  # creation time of the model as listed: bundles have none

    @property
    def model(self) -> str:
        return Path(self.conf.bundle).name

    def new_take(self, request: VideoRequest, owner: str, transient: bool = False) -> Take:
        """The take of a new video. Raises ApiError naming the invalid field."""
        self.check_model(request.model)
        fps = request.fps or self.conf.fps
        width, height = self._size(request)
        prompt, cues = request.prompt
        base = self.conf.base
        take = Take(
            id=new_id(),
            owner=owner,
            model=self.model,
            prompt=prompt,
            cues=cues,
            negative_prompt=request.negative_prompt,
            num_frames=self._num_frames(request, fps),
            seed=secrets.randbelow(2**32) if request.seed is None else request.seed,
            fps=fps,
            width=width,
            height=height,
            fit=request.fit,
            base_width=request.base_width,
            base_height=request.base_height,
            num_inference_steps=request.num_inference_steps or base.num_inference_steps,
            guidance_scale=base.guidance_scale if request.guidance_scale is None else request.guidance_scale,
            plan=self.conf.plan,
            coupling=request.coupling or self.conf.serve.coupling,
            created_at=int(time.time()),
            transient=transient,
        )
        try:
            self._check_limits(take)
            if request.input_reference is not None:
                for_picture(for_video(self.conf, take.settings))
        except FieldError as error:
            raise _as_sent(error, take, request) from None
        return take

    def with_picture(self, take: Take, upload: Upload) -> tuple[Take, bytes]:
        """The take with the picture that it begins with, and the file to keep. Raises ApiError. Slow."""
        picture, data = read_picture(upload)
        own = for_video(self.conf, take.settings)
        notes, (height, width) = [*picture.notes], self.base_size(take)
        if own.opener.fit is Fit.COVER and (cut := cut_note((picture.height, picture.width), (height, width))):
            notes.append(f"the base model sees {width}x{height} of it: {cut}")
        if for_picture(own).opener != own.opener:
            notes.append(f"opener.model={own.opener.model} is not used, because it takes no picture")
        return replace(take, input=replace(picture, notes=tuple(notes)), size_bytes=len(data)), data

    def continuation(self, request: UploadedExtension, owner: str) -> Take:
        """The take that continues an uploaded video, as far as it is known without it. Raises ApiError."""
        try:
            conf = for_extension(self.conf)
        except ValueError as error:
            raise invalid(f"video={request.video}: {error}", "video") from None
        width, height = self._sides(request.width, request.height)
        take = Take(
            id=new_id(),
            owner=owner,
            model=self.model,
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            num_frames=request.num_frames or 1,
            seed=secrets.randbelow(2**32) if request.seed is None else request.seed,
            fps=conf.fps,
            width=width,
            height=height,
            fit=conf.refiner.fit,
            num_inference_steps=request.num_inference_steps or conf.base.num_inference_steps,
            guidance_scale=conf.base.guidance_scale if request.guidance_scale is None else request.guidance_scale,
            plan=conf.plan,
            coupling=conf.refiner.coupling,
            created_at=int(time.time()),
        )
        try:
            self._check_limits(take)
        except FieldError as error:
            raise _as_sent(error, take, request) from None
        return take

    def with_video(self, take: Take, request: UploadedExtension) -> tuple[Take, bytes]:
        """The take of `continuation` with its video, and the file to keep. Raises ApiError. Slow."""
        conf = for_extension(for_video(self.conf, take.settings))
        with video_of(request.video, conf.serve) as (reader, rate):
            more = self._num_more(request, reader.num_frames, rate)
            video, data = read_video(request.video, reader, rate, more, conf)
        num_frames, fps = video.num_frames + more, max(1, round(rate))
        return replace(take, num_frames=num_frames, fps=fps, input=video, size_bytes=len(data)), data

    def base_size(self, take: Take) -> Size:
        """Height and width of a take's low-resolution frames."""
        height, width = self.limits.base_sizes.size(self.conf.base)
        return take.base_height or height, take.base_width or width

    def remixed(self, source: Take, prompt: str, cues: tuple[Cue, ...]) -> Take:
        """A take with the request of `source` and another prompt."""
        changes = {"model": self.model, "plan": self.conf.plan, "prompt": prompt, "cues": cues}
        return derived(source, int(time.time()), **changes, remixed_from=source.id)

    def extension(self, source: Take, request: ExtensionRequest) -> Take:
        """The take that the engine will make of an extension. Raises ApiError."""
        more = self._num_more(request, source.num_frames, source.rate)
        try:
            return extended(source, request.prompt, more, int(time.time()))
        except ValueError as error:
            raise from_value_error(error) from None

    def check(self, take: Take, request: RequestModel) -> Findings:
        """What the client should know. Raises ApiError for a take that can never be made. Loads no network."""
        try:
            self._check_limits(take)
            spec = take.spec
            self._check_texts(spec.texts, len(spec.cues))
            own = for_video(self.conf, spec.settings)
            if take.has_picture:
                for_picture(own)
            if take.extension is not None:
                for_extension(own)
            plan = plan_for(own, spec)
            words = check_texts(self.bundle, spec, take.input is not None)
        except ValueError as error:
            raise _as_sent(error, take, request) from None
        fit = self.limits.fit_note(own, setting="fit") if take.extension is None else None
        input_notes = () if take.input is None else take.input.notes
        return Findings(list(dict.fromkeys(words)), _unseen(take, plan), fit, input_notes)

    def check_prompt(self, take: Take, change: PromptChange) -> None:
        """Checks another prompt for `take`. Raises ApiError."""
        self.check(replace(take, prompt=change.prompt, cues=()), change)

    def check_model(self, model: str | None) -> None:
        if model is not None and model != self.model:
            raise ApiError(404, "model_not_found", f"model={shown(model)}: this endpoint serves {self.model}", "model")

    def _num_more(self, request: ExtensionRequest | UploadedExtension, num_frames: int, fps: Fraction) -> int:
        """The frames to add to a video. Raises ApiError."""
        more, limit = self._num_frames(request, fps), self.conf.serve.max_frames
        if num_frames + more > limit:
            rule = f"the video has {num_frames} frames and can have {max(0, limit - num_frames)} more"
            if request.num_frames is None:
                raise invalid(f"seconds={request.seconds or DEFAULT_SECONDS}: {rule}", "seconds")
            raise invalid(f"num_frames={shown(more)}: {rule}", "num_frames")
        return more

    def _num_frames(self, request: LengthRequest, fps: int | Fraction) -> int:
        """The length in frames, given as frames or seconds. Raises ApiError when both are given."""
        if request.num_frames is not None:
            if request.seconds is not None:
                raise invalid("seconds and num_frames cannot both be given", "seconds")
            return request.num_frames
        seconds = request.seconds or DEFAULT_SECONDS
        limit = self.conf.serve.max_frames
        num_frames = round(min(float(seconds) * fps, limit + 1))
        if num_frames < 1:
            raise invalid(
                f"seconds={seconds}: at {float(fps):g} frames per second this is less than one frame", "seconds"
            )
        if num_frames > limit:
            most = seconds_of(limit, fps)
            raise invalid(
                f"seconds={seconds}: must be at most {most} ({limit} frames, {float(fps):g} per second)", "seconds"
            )
        return num_frames

    def _check_texts(self, texts: dict[str, str], num_cues: int) -> None:
        limit, max_texts = self.conf.serve.max_prompt_chars, self.conf.serve.max_cues
        if num_cues >= max_texts:
            raise FieldError("prompt", f" has {num_cues + 1} entries: at most {max_texts} are allowed")
        for name, text in texts.items():
            if len(text) > limit:
                raise FieldError(name, f" has {len(text)} characters: at most {limit} are allowed")

    def _check_limits(self, take: Take) -> None:
        """Raises FieldError."""
        self._check_size(take.width, take.height)
        self._check_base_size(take)
        own = for_video(self.conf, take.settings)
        self.conf.serve.check(own, self.limits, take.num_frames)

    def _size(self, request: VideoRequest) -> tuple[int, int]:
        """(width, height). Raises ApiError."""
        width, height = request.width, request.height
        if request.size is not None:
            if width is not None or height is not None:
                raise invalid("size cannot be combined with width and height", "size")
            try:
                self._check_size(*request.size, "size")
            except ValueError as error:
                raise from_value_error(error) from None
            return request.size
        return self._sides(width, height)

    def _sides(self, width: int | None, height: int | None) -> tuple[int, int]:
        """(width, height), by default those of the endpoint. Raises ApiError when one is missing."""
        if (width is None) != (height is None):
            missing = "width" if width is None else "height"
            raise invalid(f"{missing} is missing: give both width and height", missing, "missing_parameter")
        if width is None or height is None:
            height, width = self.conf.refiner.size
        return width, height

    def _check_base_size(self, take: Take) -> None:
        """Raises FieldError for frames of the base model that are final, and not of the size of the video."""
        if not self.conf.refiner.enabled:
            for name, value, side in (
                ("base_width", take.base_width, take.width),
                ("base_height", take.base_height, take.height),
            ):
                require(value in (None, side), name, value, self._one_size)

    @property
    def _one_size(self) -> str:
        height, width = self.conf.refiner.size
        return f"this endpoint has no refiner, all of its videos are {width}x{height}"

    def _check_size(self, width: int, height: int, name: str | None = None) -> None:
        """Raises FieldError. `name` is the field that holds both sides."""
        if not self.conf.refiner.enabled and (height, width) != self.conf.refiner.size:
            raise FieldError(name or "width", f"={width}x{height}: {self._one_size}")
        self.conf.serve.check_size((height, width), name)
        for side, rule in self.limits.sizes.broken(height, width).items():
            value = width if side == "width" else height
            raise FieldError(name or side, f"={width}x{height}: the {side} {rule}" if name else f"={value}: {rule}")


def _unseen(take: Take, plan: Plan) -> list[int]:
    """The first frames of the prompts that no frame shows. Frames of an uploaded video show none."""
    num_own, spec = 0 if take.extension is None else take.extension.num_own_chunks, take.spec
    frames = [cue.from_frame - take.shift for cue in never_shown(spec, plan, num_own)]
    is_first_seen = not spec.cues or plan.chunks[num_own].start < spec.cues[0].from_frame
    return frames if is_first_seen else [0, *frames]


def _as_sent(error: ValueError, take: Take, request: RequestModel) -> ApiError:
    """The refusal of a value: by the field that was sent, or as one of the video that `take` is based on."""
    if not isinstance(error, FieldError):
        return from_value_error(error)
    field, sent = error.field, "prompt"
    if field == "image":  # the command line's name
        return invalid(f"input_reference{error.problem}", "input_reference")
    if field == "num_frames" and isinstance(request, LengthRequest):
        if request.num_frames is not None:
            return invalid(f"num_frames={shown(request.num_frames)}: {error.rule}", "num_frames")
        return invalid(f"seconds={request.seconds or DEFAULT_SECONDS}: {error.rule}", "seconds")
    if take.extends is not None and field == f"prompt[{len(take.cues)}].prompt":
        return invalid(f"{sent}{error.problem}", sent)
    if take.extends is not None:
        return invalid(f"video.id={take.extends}: {error}", "video.id")
    if take.remixed_from is not None and not field.startswith(sent):
        return invalid(f"Video {take.remixed_from} cannot be remixed: {error}")
    return from_value_error(error)


def seconds_of(num_frames: int, fps: int | Fraction) -> str:
    return f"{float(num_frames / fps):.6f}".rstrip("0").rstrip(".")
