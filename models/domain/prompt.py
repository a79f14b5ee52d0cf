"""What is asked of Longtake: one video, whose prompt may change on the way.

frames    0       8       16      24      32      40
chunks    |---------------|-------|-------|-------|
asked     a red circle        a blue ring                 prompt "a red circle", Cue(20, "a blue ring")
prompts   |-- a red circle -------|-- a blue ring ----    a chunk has one prompt, the one at its first new frame
"""

import reprlib
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace

from longtake.models.domain.plan import Plan

MAX_FRAMES = 1_000_000  # 35 hours at 8 frames a second; a plan takes about 100 bytes a frame


@dataclass(frozen=True, slots=True)
class Cue:
    """From this frame on, another prompt. Raises ValueError, with the field, its value and the rule."""

    from_frame: int
    prompt: str

    def __post_init__(self) -> None:
        _require_whole("from_frame", self.from_frame)
        _require(self.from_frame >= 1, "from_frame", self.from_frame, "a later prompt begins at frame 1 or after it")
        _require_text("prompt", self.prompt)


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """One video that somebody wants. The same spec gives the same frames, on every machine.

    Raises ValueError, with the field, its value and the rule, when it asks for something that cannot be.
    """

    video_id: str  # names the video in tasks, files and manifests; unique among the videos that run at once
    prompt: str  # from frame 0
    negative_prompt: str = ""
    num_frames: int = 80  # this many frames come out, neither more nor fewer
    seed: int = 0
    settings: tuple[str, ...] = ()  # `section.key=value`: the configuration, for this video alone
    cues: tuple[Cue, ...] = ()  # later prompts, in the order of their frames

    def __post_init__(self) -> None:
        _require_text("video_id", self.video_id)
        _require_text("prompt", self.prompt)
        _require(isinstance(self.negative_prompt, str), "negative_prompt", self.negative_prompt, "it has to be a text")
        _require_whole("num_frames", self.num_frames)
        _require_whole("seed", self.seed)
        _require(self.num_frames >= 1, "num_frames", self.num_frames, "a video has at least 1 frame")
        _require(self.num_frames <= MAX_FRAMES, "num_frames", self.num_frames, f"at most {MAX_FRAMES} frames")
        _require(0 <= self.seed < 2**63, "seed", self.seed, "it has to be at least 0 and less than 2**63")
        are_cues = isinstance(self.cues, tuple) and all(isinstance(cue, Cue) for cue in self.cues)
        _require(are_cues, "cues", self.cues, "it has to be a tuple of Cues")
        before = 0
        for cue in self.cues:
            frame, rule = cue.from_frame, f"it has to be later than the prompt before it, which begins at {before}"
            _require(frame > before, "from_frame", frame, rule)
            _require(frame < self.num_frames, "from_frame", frame, f"the video ends before it, at {self.num_frames}")
            before = frame

    def prompt_at(self, frame: int) -> str:
        """The prompt that is asked for at `frame`. What a frame is made with is that of its chunk: `chunk_prompt`."""
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
        raise ValueError(f"prompt={prompt!r}: it comes too late, all frames of the video are made or being made")
    return frame, with_prompt(spec, frame, prompt)


def chunk_prompt(spec: PromptSpec, plan: Plan, index: int) -> str:
    """The one prompt of chunk `index`, and of all its frames in both stages: that at its first new frame."""
    return spec.prompt_at(plan.chunks[index].start)


def never_shown(spec: PromptSpec, plan: Plan) -> list[Cue]:
    """The cues that change no frame: no chunk begins between them and the next one, or the end of the video."""
    starts = [chunk.start for chunk in plan.chunks if chunk.start < spec.num_frames]
    stops = [*(cue.from_frame for cue in spec.cues[1:]), spec.num_frames]
    return [
        cue
        for cue, stop in zip(spec.cues, stops, strict=False)
        if bisect_left(starts, cue.from_frame) == bisect_left(starts, stop)
    ]


def read_prompt(value: object) -> tuple[str, tuple[Cue, ...]]:
    """(prompt, cues) of what stands in a request: a text, or a list of {from_frame, prompt}, the first from frame 0.

    Raises ValueError naming what is wrong, such as `prompt[1].from_frame`. It does not know how long the video is.
    """
    if isinstance(value, str):
        return value, ()
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"prompt={reprlib.repr(value)}: it has to be a text, or a list of {{from_frame, prompt}}")
    entries = [_entry(f"prompt[{i}]", one) for i, one in enumerate(value)]
    first, prompt = entries[0]
    _require(first == 0, "prompt[0].from_frame", first, "the first prompt begins at frame 0")
    for i, (frame, _) in enumerate(entries[1:], 1):
        before = entries[i - 1][0]
        rule = f"it has to be later than the prompt before it, which begins at {before}"
        _require(frame > before, f"prompt[{i}].from_frame", frame, rule)
    return prompt, tuple(Cue(*entry) for entry in entries[1:])


def _entry(name: str, value: object) -> tuple[int, str]:
    fields = ("from_frame", "prompt")
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}={reprlib.repr(value)}: it has to have the fields from_frame and prompt")
    for field in value:
        _require(field in fields, f"{name}.{field}", value[field], "there is no such field; from_frame and prompt are")
    for field in fields:
        if field not in value:
            raise ValueError(f"{name}.{field} is missing")
    frame, prompt = value["from_frame"], value["prompt"]
    _require_whole(f"{name}.from_frame", frame)
    _require(frame >= 0, f"{name}.from_frame", frame, "it has to be at least 0")
    _require_text(f"{name}.prompt", prompt)
    return frame, prompt


def _require(holds: bool, field: str, value: object, rule: str) -> None:
    if not holds:
        raise ValueError(f"{field}={reprlib.repr(value)}: {rule}")


def _require_text(field: str, value: object) -> None:
    _require(isinstance(value, str), field, value, "it has to be a text")
    _require(bool(str(value).strip()), field, value, "it must not be empty or blank")
    is_utf8 = not any("\ud800" <= letter <= "\udfff" for letter in str(value))  # half characters: bytes of other codes
    _require(is_utf8, field, value, "it has to be a text in UTF-8")


def _require_whole(field: str, value: object) -> None:
    # bool is an int in Python, but `num_frames=True` is a mistake
    _require(isinstance(value, int) and not isinstance(value, bool), field, value, "it has to be a whole number")
