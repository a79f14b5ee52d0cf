"""Requests and responses. The OpenAPI document is generated from these classes.

The names are those of the videos API that existing clients use; fields beyond it are marked as extensions.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from longtake.models.domain.prompt import Cue, read_prompt
from longtake.models.domain.scheduler import Coupling

PROMPT = "a large red circle moves right over a plain navy background"
VIDEO_ID = "video_0123456789abcdef0123456789abcdef"
ID_PATTERN = r"^video_[0-9a-f]{32}$"
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")

PROMPT_SCHEMA = {
    "description": "The content of the video. A list changes the prompt along the way: each text takes effect at the "
    "first chunk that begins at or after its `from_frame`; the first text begins at frame 0.",
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["from_frame", "prompt"],
                "properties": {
                    "from_frame": {"type": "integer", "minimum": 0},
                    "prompt": {"type": "string", "minLength": 1},
                },
            },
        },
    ],
    "examples": [PROMPT, [{"from_frame": 0, "prompt": PROMPT}, {"from_frame": 24, "prompt": "a blue square"}]],
}
SECONDS_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,6})?$"},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 999999},
    ],
    "examples": ["4", 2.5],
}


def _text(value: str) -> str:
    """`value`. Raises ValueError for half a surrogate pair, which no file could hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("it is not valid Unicode text") from None
    return value


def _prompt(value: Any) -> tuple[str, tuple[Cue, ...]]:
    text, cues = read_prompt(value)
    for prompt in (text, *(cue.prompt for cue in cues)):
        _text(prompt)
    return text, cues


def _seconds(value: Any) -> Any:
    text = f"{value:f}" if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _SECONDS.fullmatch(text):
        raise ValueError("must be a number of seconds, such as 4 or 2.5")
    return text


PromptField = Annotated[Any, AfterValidator(_prompt), WithJsonSchema(PROMPT_SCHEMA)]
Seconds = Annotated[str, BeforeValidator(_seconds), WithJsonSchema(SECONDS_SCHEMA)]
Text = Annotated[str, AfterValidator(_text)]


class RequestModel(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class VideoRequest(RequestModel):
    """A new video. Give `size` or `width` and `height`, and `seconds` or `num_frames`."""

    prompt: PromptField
    model: Text | None = Field(None, description="Id of the model served, as in `GET /v1/models`; may be omitted.")
    seconds: Seconds | None = Field(None, description="Length; 4 if neither this nor `num_frames` is given.")
    size: str | None = Field(
        None,
        pattern=r"^[0-9]{1,5}x[0-9]{1,5}$",
        description="Width and height in pixels; the bundle's own size by default.",
        examples=["128x128"],
    )
    num_frames: int | None = Field(None, ge=1, description="Exact length in frames. (Extension.)")
    fps: int | None = Field(None, ge=1, le=240, description="Frames per second. (Extension.)")
    width: int | None = Field(None, ge=2, description="In pixels; requires `height`. (Extension.)")
    height: int | None = Field(None, ge=2, description="In pixels; requires `width`. (Extension.)")
    num_inference_steps: int | None = Field(
        None, ge=1, description="Denoising steps of the base model; the refiner keeps its own. (Extension.)"
    )
    guidance_scale: float | None = Field(
        None,
        ge=1,
        le=100,
        description="How strictly the beginning of the video follows the prompt; 1 is none. (Extension.)",
    )
    negative_prompt: Text = Field("", description="Content to avoid. (Extension.)")
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="The same request with the same seed gives the same bytes. (Extension.)"
    )
    coupling: Coupling | None = Field(
        None, description="`causal` delivers frames early; `symmetric`, the paper's, delivers them late. (Extension.)"
    )


class RemixRequest(RequestModel):
    """The same video, seed included, with another prompt."""

    prompt: PromptField


class VideoReference(RequestModel):
    id: str = Field(description="The id of a completed video.", examples=[VIDEO_ID])


class ExtensionRequest(RequestModel):
    """A continuation of a completed video by `seconds` or `num_frames`."""

    prompt: Text = Field(description="The prompt of the continuation.", examples=[PROMPT])
    video: VideoReference
    seconds: Seconds | None = Field(None, description="Seconds to add; 4 if neither this nor `num_frames` is given.")
    num_frames: int | None = Field(None, ge=1, description="Frames to add. (Extension.)")


class PromptChange(RequestModel):
    """A message of the WebSocket that changes the prompt."""

    type: Literal["prompt"]
    prompt: Text = Field(description="The prompt from the next chunk on.")


class LoginRequest(RequestModel):
    key: str = Field(description="An API key. The response sets it as a cookie that scripts cannot read.")


class VideoError(BaseModel):
    code: str
    message: str


class PromptAt(BaseModel):
    from_frame: int
    prompt: str


class PlanSizes(BaseModel):
    """The sizes of the pieces in which a video is generated, in frames."""

    chunk_frames: int = Field(description="Output of the first call of the base model.")
    condition_frames: int = Field(description="Frames of the previous chunk that each later call repeats.")
    window_frames: int = Field(description="Input of a call of the refiner.")
    overlap_frames: int = Field(description="Frames of a window that belong to the previous one too.")


class Video(BaseModel):
    """A video: its request and its progress."""

    id: str = Field(examples=[VIDEO_ID])
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int = Field(ge=0, le=100)
    created_at: int = Field(description="Unix time in seconds, as are the other times.")
    completed_at: int | None
    expires_at: int | None = Field(description="Time at which its files are deleted.")
    prompt: str = Field(description="The prompt at frame 0.")
    size: str = Field(examples=["128x128"])
    seconds: str = Field(examples=["4"])
    remixed_from_video_id: str | None
    error: VideoError | None
    num_frames: int
    fps: int
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    negative_prompt: str
    seed: int
    coupling: Coupling
    prompts: list[PromptAt] = Field(description="All prompts, with their first frames.")
    extends_video_id: str | None
    plan: PlanSizes
    warnings: list[str] = Field([], description="For a new video: unknown words, and prompts without effect.")


class VideoList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(BaseModel):
    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class Defaults(BaseModel):
    """Defaults for fields that a request leaves out."""

    seconds: str
    fps: int
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    coupling: Coupling
    plan: PlanSizes


class Limits(BaseModel):
    """Upper limits for the fields of a request."""

    max_frames: int
    max_prompt_chars: int
    max_cues: int
    max_pixels: int
    max_side: int
    max_aspect: float = Field(description="Of the longer side to the shorter one.")
    max_steps: int
    max_cost: int = Field(description="Pixels of a frame x frames x denoising steps, those of both stages added.")
    size_multiple: int = Field(description="Width and height must be multiples of this.")


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "longtake"
    defaults: Defaults
    limits: Limits


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    status: Literal["ready"] = "ready"


class ErrorDetail(BaseModel):
    message: str
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(description="The invalid field.", examples=["num_frames"])
    code: str = Field(examples=["invalid_value"])


class ErrorBody(BaseModel):
    """The body of every error response."""

    error: ErrorDetail


# They appear in no signature that FastAPI inspects.
EXTRA_SCHEMAS: tuple[type[BaseModel], ...] = (VideoRequest, RemixRequest, ExtensionRequest, LoginRequest, ErrorBody)
