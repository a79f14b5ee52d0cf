"""What is asked of Longtake: one video."""

from dataclasses import dataclass

MAX_FRAMES = 1_000_000  # 35 hours at 8 frames a second; a plan takes about 100 bytes a frame


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """One video that somebody wants. The same spec gives the same frames, on every machine.

    Raises ValueError, with the field, its value and the rule, when it asks for something that cannot be.
    """

    video_id: str  # names the video in tasks, files and manifests; unique among the videos that run at once
    prompt: str
    negative_prompt: str = ""
    num_frames: int = 80  # this many frames come out, neither more nor fewer
    seed: int = 0
    settings: tuple[str, ...] = ()  # `section.key=value`: the configuration, for this video alone

    def __post_init__(self) -> None:
        for field in ("video_id", "prompt", "negative_prompt"):
            value = getattr(self, field)
            _require(isinstance(value, str), field, value, "it has to be a text")
            _require(bool(value.strip()) or field == "negative_prompt", field, value, "it must not be empty or blank")
        for field in ("num_frames", "seed"):
            value = getattr(self, field)
            # bool is an int in Python, but `num_frames=True` is a mistake
            _require(
                isinstance(value, int) and not isinstance(value, bool), field, value, "it has to be a whole number"
            )
        _require(self.num_frames >= 1, "num_frames", self.num_frames, "a video has at least 1 frame")
        _require(self.num_frames <= MAX_FRAMES, "num_frames", self.num_frames, f"at most {MAX_FRAMES} frames")
        _require(0 <= self.seed < 2**63, "seed", self.seed, "it has to be at least 0 and less than 2**63")


def _require(holds: bool, field: str, value: object, rule: str) -> None:
    if not holds:
        raise ValueError(f"{field}={value!r}: {rule}")
