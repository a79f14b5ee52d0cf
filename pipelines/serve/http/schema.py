"""Requests and responses. The OpenAPI document is generated from these classes.

The names are those of the videos API that existing clients use; fields beyond it are marked as extensions.
"""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from longtake.models.domain.scheduler import Coupling
from longtake.models.nets.sizes import SideRule
from longtake.models.video.fit import Fit
from longtake.pipelines.serve.http.request_fields import (
    PROMPT,
    Count,
    CouplingField,
    FitField,
    Fps,
    Guidance,
    One,
    PictureField,
    PromptField,
    Seconds,
    Seed,
    Side,
    Size,
    Text,
    VideoField,
)

VIDEO_ID = "video_0123456789abcdef0123456789abcdef"
ID_PATTERN = r"^video_[0-9a-f]{32}$"
IGNORED = "Accepted because some clients send it, but ignored."


class RequestModel(BaseModel):
    """A request in which a field that is null counts as absent."""

    model_config = ConfigDict(extra="forbid")
    file_field: ClassVar[str | None] = None  # the one that may be a file of a form

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else value


class ClientRequest(RequestModel):
    """Fields that clients of the videos API add to any request."""

    user: Any = Field(None, description=IGNORED)
    safety_identifier: Any = Field(None, description=IGNORED)
    metadata: Any = Field(None, description=IGNORED)
    extra_headers: Any = Field(None, description=IGNORED)
    extra_query: Any = Field(None, description=IGNORED)
    extra_body: Any = Field(None, description=IGNORED)
    timeout: Any = Field(None, description=IGNORED)
    response_format: Any = Field(None, description=IGNORED)

    @property
    def warnings(self) -> list[str]:
        """About fields that would change the video if they stood elsewhere."""
        return ["extra_body is ignored: its fields belong beside prompt."] if self.extra_body else []


class VideoRequest(ClientRequest):
    """A new video. Give `size` or `width` and `height`, and `seconds` or `num_frames`."""

    model_config = ConfigDict(json_schema_extra={"dependentRequired": {"width": ["height"], "height": ["width"]}})
    file_field: ClassVar[str | None] = "input_reference"

    prompt: PromptField
    model: Text | None = Field(None, description="Id of the model served, as in `GET /v1/models`; may be omitted.")
    seconds: Seconds | None = Field(None, description="Length; 4 if neither this nor `num_frames` is given.")
    size: Size = Field(None, description="Width and height in pixels; `auto`, the default, is the bundle's own size.")
    input_reference: PictureField | None = Field(
        None,
        description="A picture that the video begins with, PNG, JPEG or WebP: a file of a form in parts, or a `data:` "
        "URL in base64, alone or as `image_url` of an object. Other URLs are not fetched.",
    )
    num_frames: Count | None = Field(None, description="Exact length in frames. (Extension.)")
    fps: Fps | None = Field(None, description="Frames per second. (Extension.)")
    width: Side | None = Field(None, description="In pixels; requires `height`. (Extension.)")
    height: Side | None = Field(None, description="In pixels; requires `width`. (Extension.)")
    fit: FitField | None = Field(
        None,
        description="How the base model's frames get into another shape: `cover` cuts them to their middle, `contain` "
        "adds black bars, `stretch` distorts. (Extension.)",
    )
    base_width: Side | None = Field(None, description="Of the base model's frames, in pixels. (Extension.)")
    base_height: Side | None = Field(None, description="Of the base model's frames, in pixels. (Extension.)")
    num_inference_steps: Count | None = Field(
        None, description="Denoising steps of the base model; the refiner keeps its own. (Extension.)"
    )
    guidance_scale: Guidance | None = Field(
        None, description="How strictly the beginning of the video follows the prompt; 1 is no guidance. (Extension.)"
    )
    negative_prompt: Text = Field("", description="Content to avoid. (Extension.)")
    seed: Seed | None = Field(
        None, description="The same request with the same seed gives the same bytes. (Extension.)"
    )
    coupling: CouplingField | None = Field(
        None, description="`causal` delivers frames early; `symmetric`, the paper's, delivers them late. (Extension.)"
    )
    n: One = Field(1, description="A request makes one video.")
    quality: Literal["auto", "standard"] = Field("auto", description="There is one quality.")


class RemixRequest(ClientRequest):
    """The same video, seed included, with another prompt."""

    prompt: PromptField


class VideoReference(RequestModel):
    id: Text = Field(description="The id of a completed video.", examples=[VIDEO_ID])


class ExtensionRequest(ClientRequest):
    """A continuation of a completed video by `seconds` or `num_frames`."""

    prompt: Text = Field(description="The prompt of the continuation.", examples=[PROMPT])
    video: VideoReference
    seconds: Seconds | None = Field(None, description="Seconds to add; 4 if neither this nor `num_frames` is given.")
    num_frames: Count | None = Field(None, description="Frames to add. (Extension.)")


class UploadedExtension(ClientRequest):
    """A continuation of a video that the request brings along, by `seconds` or `num_frames`.

    The result keeps the video's frames, shape and rate; in the file, its sound too.
    """

    model_config = ConfigDict(json_schema_extra={"dependentRequired": {"width": ["height"], "height": ["width"]}})
    file_field: ClassVar[str | None] = "video"

    prompt: Text = Field(description="The prompt of the continuation.", examples=[PROMPT])
    video: VideoField = Field(description="The video, in any format that FFmpeg reads.")
    seconds: Seconds | None = Field(None, description="Seconds to add; 4 if neither this nor `num_frames` is given.")
    num_frames: Count | None = Field(None, description="Frames to add. (Extension.)")
    width: Side | None = Field(
        None, description="Pixels in which new frames are made, before they are stretched to the video's. (Extension.)"
    )
    height: Side | None = Field(None, description="As `width`, which it requires. (Extension.)")
    num_inference_steps: Count | None = Field(None, description="Denoising steps of the base model. (Extension.)")
    guidance_scale: Guidance | None = Field(None, description="As for a new video. (Extension.)")
    negative_prompt: Text = Field("", description="Content to avoid. (Extension.)")
    seed: Seed | None = Field(None, description="As for a new video. (Extension.)")


class PromptChange(RequestModel):
    """A message of the WebSocket that changes the prompt."""

    type: Literal["prompt"]
    prompt: Text = Field(description="The prompt from the next chunk on.")


class LoginRequest(RequestModel):
    key: Text = Field(description="An API key. The response sets it as a cookie that scripts cannot read.")


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
    shift_frames: int = Field(0, description="The number of the video's first frame, if it continues an uploaded one.")


class Input(BaseModel):
    """A file that a client sent: the picture that a video begins with, or the video that it continues."""

    kind: Literal["image", "video"]
    width: int
    height: int
    num_frames: int
    notes: list[str] = Field(description="What was left out or converted.")


class Video(BaseModel):
    """A video: its request and its progress."""

    id: str = Field(examples=[VIDEO_ID])
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    queue_position: int | None = Field(description="Its place in the queue while it is `queued`; 1 is the next.")
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
    fps: int | float
    width: int
    height: int
    fit: Fit
    base_width: int
    base_height: int
    num_inference_steps: int
    guidance_scale: float
    negative_prompt: str
    seed: int
    coupling: Coupling
    prompts: list[PromptAt] = Field(description="All prompts, with their first frames.")
    extends_video_id: str | None
    input: Input | None
    plan: PlanSizes
    warnings: list[str] = Field(
        [], description="For a new video: unknown words, prompts without effect, and notes on its input."
    )


class VideoCheck(BaseModel):
    """What a valid request would become."""

    object: Literal["video.check"] = "video.check"
    unknown_words: list[str] = Field(description="Words of the prompts that the model does not know.")
    warnings: list[str] = Field(description="The warnings that the video of this request would have.")
    num_frames: int
    fps: int
    seconds: str = Field(examples=["4"])
    width: int
    height: int
    size: str = Field(examples=["128x128"])
    plan: PlanSizes


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
    fit: Fit
    base_width: int
    base_height: int
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
    max_aspect: float = Field(description="The longer side divided by the shorter one.")
    max_steps: int
    max_cost: int = Field(description="Frames x (computed pixels of a frame x denoising steps), of both stages.")
    height: SideRule
    width: SideRule
    base_height: SideRule
    base_width: SideRule


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
