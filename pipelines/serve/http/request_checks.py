"""What a request asks for, within the limits of the endpoint, as a Take that nobody has begun yet."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import Cue, never_shown
from longtake.models.stages.bundle import Bundle
from longtake.pipelines.api import check_spec
from longtake.pipelines.config.conf import Conf, for_video
from longtake.pipelines.serve.http.errors import ApiError, invalid, refused
from longtake.pipelines.serve.http.schema import ExtensionRequest, VideoRequest
from longtake.pipelines.serve.library.takes import Take, extended, new_id
from longtake.pipelines.serve.settings import ServeConf

DEFAULT_SECONDS = "4"


class Checker:
    """Knows what the endpoint allows and the bundle can do."""

    def __init__(self, conf: ServeConf, bundle: Bundle, size_multiple: int) -> None:
        """`bundle` needs its texts only, as of `build_texts`."""
        self.conf, self.bundle, self.size_multiple = conf, bundle, size_multiple
        self.created = int(time.time())  # as far as anybody can say of a model

    @property
    def model(self) -> str:
        return Path(self.conf.bundle).name

    def take(self, request: VideoRequest, owner: str, transient: bool = False) -> Take:
        """Raises ApiError naming the field that asks for what cannot be."""
        self.check_model(request.model)
        fps = request.fps or self.conf.fps
        width, height = self._size(request)
        prompt, cues = request.prompt
        return Take(
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
            plan=self.conf.plan,
            coupling=request.coupling or self.conf.serve.coupling,
            settings=self._settings(request),
            created_at=int(time.time()),
            transient=transient,
        )

    def remixed(self, source: Take, prompt: str, cues: tuple[Cue, ...]) -> Take:
        """What `source` asked, of another prompt."""
        asked = ("owner", "negative_prompt", "num_frames", "seed", "fps", "width", "height", "coupling", "settings")
        same = {name: getattr(source, name) for name in asked}
        return Take(
            id=new_id(),
            model=self.model,
            prompt=prompt,
            cues=cues,
            plan=self.conf.plan,
            created_at=int(time.time()),
            remixed_from=source.id,
            **same,
        )

    def extension(self, source: Take, request: ExtensionRequest) -> Take:
        """What the engine will make of it. Raises ApiError."""
        more = self._num_frames(request, source.fps)
        self._check_frames(source.num_frames + more)
        try:
            return extended(source, request.prompt, more, int(time.time()))
        except ValueError as error:
            raise refused(error) from None

    def check(self, take: Take) -> list[str]:
        """What its client should know of it. Raises ApiError for what cannot be made. Loads no network."""
        self._check_texts(take)
        self._check_frames(take.num_frames)
        for i, cue in enumerate(take.cues, 1):
            if cue.from_frame >= take.num_frames:
                name = f"prompt[{i}].from_frame"
                raise invalid(f"{name}={cue.from_frame}: the video ends before it, at {take.num_frames}", name)
        try:
            words = self._words(take)
        except ValueError as error:
            raise self._refusal(take, error) from None
        unseen = never_shown(take.spec, Plan(take.num_frames, self.conf.plan))
        return [
            *(f"The model does not know the word {word!r}." for word in dict.fromkeys(words)),
            *(f"The prompt from frame {cue.from_frame} on shows in no frame: no chunk begins there." for cue in unseen),
        ]

    def _words(self, take: Take) -> list[str]:
        """Those that the model does not know. Raises ValueError for what can never be made."""
        return check_spec(for_video(self.conf, take.spec.settings), self.bundle, take.spec)

    def _refusal(self, take: Take, error: ValueError) -> ApiError:
        """A bundle calls each text that it cannot read a prompt: here it has the name of its field."""
        for name, text in _texts(take).items() if str(error).startswith("prompt") else ():
            try:
                self._words(replace(take, prompt=text or take.prompt, cues=(), negative_prompt=""))
            except ValueError as own:
                return invalid(f"{name}{str(own).removeprefix('prompt')}", name)
        return refused(error)

    def check_model(self, model: str | None) -> None:
        if model is not None and model != self.model:
            raise ApiError(404, "model_not_found", f"model={model!r}: the one that is served is {self.model}", "model")

    def _num_frames(self, request: VideoRequest | ExtensionRequest, fps: int) -> int:
        """Frames asked for in either way. Raises ApiError when both ways are used."""
        if request.num_frames is not None:
            if request.seconds is not None:
                raise invalid("seconds and num_frames exclude each other", "seconds")
            return request.num_frames
        seconds = request.seconds or DEFAULT_SECONDS
        num_frames = round(float(seconds) * fps)
        if num_frames < 1:
            raise invalid(f"seconds={seconds}: at {fps} frames a second that is less than one", "seconds")
        self._check_frames(num_frames, "seconds")
        return num_frames

    def _settings(self, request: VideoRequest) -> tuple[str, ...]:
        base, limit = self.conf.base, self.conf.serve.max_steps
        steps = request.num_inference_steps or base.num_inference_steps
        guidance = base.guidance_scale if request.guidance_scale is None else request.guidance_scale
        if steps > limit:
            raise invalid(f"num_inference_steps={steps}: at most {limit}", "num_inference_steps")
        return (f"base.num_inference_steps={steps}", f"base.guidance_scale={guidance!r}")

    def _check_texts(self, take: Take) -> None:
        limit, max_texts = self.conf.serve.max_prompt_chars, self.conf.serve.max_cues
        if len(take.cues) >= max_texts:
            raise invalid(f"prompt has {len(take.cues) + 1} texts: at most {max_texts}", "prompt")
        for name, text in _texts(take).items():
            if len(text) > limit:
                raise invalid(f"{name} has {len(text)} characters: at most {limit}", name)

    def _check_frames(self, num_frames: int, name: str = "num_frames") -> None:
        limit = self.conf.serve.max_frames
        if num_frames > limit:
            raise invalid(f"{name}: {num_frames} frames are asked for, and a video has at most {limit} here", name)

    def _size(self, request: VideoRequest) -> tuple[int, int]:
        """(width, height). Raises ApiError."""
        width, height = request.width, request.height
        if request.size is not None:
            if width is not None or height is not None:
                raise invalid("size and width, height exclude each other", "size")
            width, height = (int(part) for part in request.size.split("x"))
        elif (width is None) != (height is None):
            missing = "width" if width is None else "height"
            raise invalid(f"{missing} is missing: width and height go together", missing, "missing_parameter")
        if width is None or height is None:
            return self.conf.refiner.width, self.conf.refiner.height
        self._check_size(width, height, request.size is not None)
        return width, height

    def _check_size(self, width: int, height: int, together: bool) -> None:
        many, limit = self.size_multiple, self.conf.serve.max_pixels
        for side, value in (("width", width), ("height", height)):
            if value % many or value < many:
                param = "size" if together else side
                raise invalid(f"{param}: {side} {value} has to be a multiple of {many}, and not 0", param)
        if width * height > limit:
            param = "size" if together else "width"
            raise invalid(f"{param}: {width}x{height} has more than {limit} pixels", param)


def _texts(take: Take) -> dict[str, str]:
    """All texts of a take by the names that a request has for them."""
    later = {f"prompt[{i}].prompt": cue.prompt for i, cue in enumerate(take.cues, 1)}
    return {"prompt": take.prompt, **later, "negative_prompt": take.negative_prompt}


def seconds_of(num_frames: int, fps: int) -> str:
    return f"{num_frames / fps:.6f}".rstrip("0").rstrip(".")


def base_of(conf: Conf, settings: Sequence[str]) -> tuple[int, float]:
    """(num_inference_steps, guidance_scale) of the base model with these settings."""
    base = for_video(conf, settings).base
    return base.num_inference_steps, base.guidance_scale


def with_only(take: Take, prompt: str) -> Take:
    """To check a prompt that may become one of its."""
    return replace(take, prompt=prompt, cues=())
