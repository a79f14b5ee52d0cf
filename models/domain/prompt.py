"""The request for one video, whose prompt may change along the way.

frames    0       8       16      24      32      40
chunks    |---------------|-------|-------|-------|
request   a red circle        a blue ring                 prompt "a red circle", Cue(20, "a blue ring")
prompts   |-- a red circle -------|-- a blue ring ----    a chunk has one prompt, the one at its first new frame
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from longtake.models.domain.checks import FieldError, require
from longtake.models.domain.plan import Plan

Value = bool | int | float | str | None | tuple["Value", ...]
Settings = tuple[tuple[str, Value], ...]  # dotted keys of the configuration and plain values

MAX_FRAMES = 1_000_000  # 35 hours at 8 frames per second; a plan takes about 100 bytes per frame


@dataclass(frozen=True, slots=True)
class Cue:
    """Another prompt from this frame on. Raises FieldError for an invalid value."""

    from_frame: int
    prompt: str

    def __post_init__(self) -> None:
        _require_whole("from_frame", self.from_frame)
        require(self.from_frame >= 1, "from_frame", self.from_frame, "a later prompt begins at frame 1 or after it")
        _require_text("prompt", self.prompt)


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """The request for one video. The same spec gives the same frames on every machine.

    Raises FieldError for an invalid value.
    """

    video_id: str  # names the video in tasks, files and manifests; unique among the videos that run at once
    prompt: str  # from frame 0
    negative_prompt: str = ""
    num_frames: int = 80  # this many frames come out, neither more nor fewer
    seed: int = 0
    settings: Settings = ()  # changes to the configuration for this video alone: (("refiner.strength", 0.5),)
    cues: tuple[Cue, ...] = ()  # later prompts, in the order of their frames

    def __post_init__(self) -> None:
        _require_text("video_id", self.video_id)
        _require_text("prompt", self.prompt)
        require(isinstance(self.negative_prompt, str), "negative_prompt", self.negative_prompt, "must be a string")
        _require_whole("num_frames", self.num_frames)
        _require_whole("seed", self.seed)
        require(self.num_frames >= 1, "num_frames", self.num_frames, "a video has at least 1 frame")
        require(self.num_frames <= MAX_FRAMES, "num_frames", self.num_frames, f"at most {MAX_FRAMES} frames")
        require(0 <= self.seed < 2**63, "seed", self.seed, "must be at least 0 and less than 2**63")
        are_pairs = isinstance(self.settings, tuple) and all(map(_is_setting, self.settings))
        require(are_pairs, "settings", self.settings, "must be a tuple of pairs of a dotted key and a plain value")
        are_cues = isinstance(self.cues, tuple) and all(isinstance(cue, Cue) for cue in self.cues)
        require(are_cues, "cues", self.cues, "must be a tuple of Cues")
        before = 0
        for i, cue in enumerate(self.cues, 1):
            name, frame = f"prompt[{i}].from_frame", cue.from_frame  # as in a request
            require(frame > before, name, frame, f"must be later than the prompt before it, which begins at {before}")
            require(frame < self.num_frames, name, frame, f"the video ends before it, at {self.num_frames}")
            before = frame

    @property
    def texts(self) -> dict[str, str]:
        """All prompts by their names in a request, where `prompt[1].prompt` belongs to the first cue."""
        later = {f"prompt[{i}].prompt": cue.prompt for i, cue in enumerate(self.cues, 1)}
        return {"prompt": self.prompt, **later, "negative_prompt": self.negative_prompt}

    def prompt_at(self, frame: int) -> str:
        """The requested prompt at `frame`. A frame is generated with the prompt of its chunk: `chunk_prompt`."""
        place = bisect_right(self.cues, frame, key=lambda cue: cue.from_frame)
        return self.cues[place - 1].prompt if place else self.prompt


def with_prompt(spec: PromptSpec, frame: int, prompt: str) -> PromptSpec:
    """`spec` with another prompt from `frame` up to its next cue. Raises ValueError for an invalid prompt."""
    if frame == 0:
        return replace(spec, prompt=prompt)
    cues = (*(cue for cue in spec.cues if cue.from_frame != frame), Cue(frame, prompt))
    return replace(spec, cues=tuple(sorted(cues, key=lambda cue: cue.from_frame)))


def change_prompt(spec: PromptSpec, plan: Plan, num_reached: int, prompt: str) -> tuple[int, PromptSpec]:
    """(frame, `spec` with another prompt from this frame on): the first one after `num_reached` chunks.

    Raises ValueError when no frame is left, and for an invalid prompt.
    """
    frame = next((chunk.start for chunk in plan.chunks[num_reached:]), spec.num_frames)
    if frame >= spec.num_frames:  # the base model may run past the end
        raise FieldError.of("prompt", prompt, "too late: every frame has been generated or is being generated")
    return frame, with_prompt(spec, frame, prompt)


def chunk_prompt(spec: PromptSpec, plan: Plan, index: int) -> str:
    """The prompt of chunk `index`, and of all its frames in both stages: the one at its first new frame."""
    return spec.prompt_at(plan.chunks[index].start)


def never_shown(spec: PromptSpec, plan: Plan, num_existing: int = 0) -> list[Cue]:
    """The cues that change no frame: no chunk begins between such a cue and the next one, or the end of the video.

    The first `num_existing` chunks are not made, but have the frames of an existing video.
    """
    starts = [chunk.start for chunk in plan.chunks[num_existing:] if chunk.start < spec.num_frames]
    stops = [*(cue.from_frame for cue in spec.cues[1:]), spec.num_frames]
    return [
        cue
        for cue, stop in zip(spec.cues, stops, strict=False)
        if bisect_left(starts, cue.from_frame) == bisect_left(starts, stop)
    ]


def read_prompt(value: object) -> tuple[str, tuple[Cue, ...]]:
    """(prompt, cues) of a request's prompt: a text, or a list of {from_frame, prompt} that begins at frame 0.

    Raises FieldError naming the place, such as `prompt[1].from_frame`. The length of the video is checked elsewhere.
    """
    if isinstance(value, str):
        return value, ()
    if not isinstance(value, list | tuple) or not value:
        raise FieldError.of("prompt", value, "must be a string, or a list of {from_frame, prompt}")
    entries = [_entry(f"prompt[{i}]", item) for i, item in enumerate(value)]
    first, prompt = entries[0]
    require(first == 0, "prompt[0].from_frame", first, "the first prompt begins at frame 0")
    for i, (frame, _) in enumerate(entries[1:], 1):
        before = entries[i - 1][0]
        rule = f"must be later than the prompt before it, which begins at {before}"
        require(frame > before, f"prompt[{i}].from_frame", frame, rule)
    return prompt, tuple(Cue(*entry) for entry in entries[1:])


def read_prompt_text(text: str, loads: Callable[[str], object] = json.loads) -> object:
    """The list that `text` holds, if it is a list of objects in JSON; any other text is a prompt and stays as it is."""
    try:
        value = loads(text) if text.lstrip().startswith("[") else None
    except (ValueError, RecursionError):
        return text
    is_list = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    return value if is_list else text


def _entry(name: str, value: object) -> tuple[int, str]:
    fields = ("from_frame", "prompt")
    if not isinstance(value, Mapping):
        raise FieldError.of(name, value, "must have the fields from_frame and prompt")
    for field in value:
        require(field in fields, f"{name}.{field}", value[field], "no such field; the fields are from_frame and prompt")
    for field in fields:
        if field not in value:
            raise FieldError(f"{name}.{field}", " is missing")
    frame, prompt = value["from_frame"], value["prompt"]
    _require_whole(f"{name}.from_frame", frame)
    require(frame >= 0, f"{name}.from_frame", frame, "must be at least 0")
    _require_text(f"{name}.prompt", prompt)
    return frame, prompt


def _is_setting(pair: object) -> bool:
    return isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and _is_plain(pair[1])


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _require_text(field: str, value: object) -> None:
    require(isinstance(value, str), field, value, "must be a string")
    require(bool(str(value).strip()), field, value, "must not be empty or blank")
    is_utf8 = not any("\ud800" <= letter <= "\udfff" for letter in str(value))  # lone surrogates: undecodable bytes
    require(is_utf8, field, value, "must be valid UTF-8")


def _require_whole(field: str, value: object) -> None:
    # bool is an int in Python, but `num_frames=True` is a mistake
    require(isinstance(value, int) and not isinstance(value, bool), field, value, "must be a whole number")
