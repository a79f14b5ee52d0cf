"""Types of the fields of requests: whatever clients send becomes one type, and refusals are in plain words.

In an HTML form every value is text; `context={"form": True}` tells the validation so.
"""

import math
import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from longtake.models.domain.prompt import Cue, read_prompt
from longtake.models.domain.scheduler import Coupling
from longtake.models.video.fit import Fit
from longtake.pipelines.serve.http.json_text import SentNumber
from longtake.pipelines.serve.http.uploads import UNKNOWN, Upload, from_data_url

PROMPT = "a large red circle moves right over a plain navy background"
_NUMBER = re.compile(r"[+-]?([0-9]{1,400}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,9})?")
_SIZE = re.compile(r"\s*([0-9]{1,9})\s*[xX\u00d7*]\s*([0-9]{1,9})\s*")
MAX_EXACT = 2**53  # from here on several whole numbers are the same float
AUTO = "auto"  # a size, or a quality: the default


def _entry(from_frame: dict[str, Any]) -> dict[str, Any]:
    """The schema of one prompt of a list."""
    properties = {"from_frame": from_frame, "prompt": PROMPT_TEXT}
    return {"type": "object", "additionalProperties": False, "required": [*properties], "properties": properties}


PROMPT_TEXT = {"type": "string", "minLength": 1, "pattern": r"\S"}
PROMPT_SCHEMA = {
    "description": "The content of the video. A list changes the prompt along the way: each text takes effect at the "
    "first chunk that begins at or after its `from_frame`; the first text begins at frame 0.",
    "anyOf": [
        PROMPT_TEXT,
        {
            "type": "array",
            "minItems": 1,
            "prefixItems": [_entry({"const": 0})],
            "items": _entry({"type": "integer", "minimum": 1}),
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
PICTURE_TYPES = ("image/png", "image/jpeg", "image/webp")
_DATA_URL_SCHEMA = {"type": "string", "pattern": "^data:image/(png|jpeg|webp);base64,([A-Za-z0-9+/]{4})+$"}
_IMAGE_URL_SCHEMA = {"required": ["image_url"], "properties": {"image_url": _DATA_URL_SCHEMA}}
PICTURE_SCHEMA = {"anyOf": [_DATA_URL_SCHEMA, {"type": "object", "additionalProperties": False, **_IMAGE_URL_SCHEMA}]}
SIZE_SCHEMA = {"type": "string", "pattern": "^([0-9]{1,5}[xX\u00d7][0-9]{1,5}|auto)$", "examples": ["128x128", AUTO]}


def _text(value: Any) -> str:
    """`value`. Raises ValueError for half a surrogate pair, which no file could hold."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("it is not valid Unicode text") from None
    return value


def _prompt(value: Any) -> tuple[str, tuple[Cue, ...]]:
    entries = [_with_whole_frame(item) for item in value] if isinstance(value, list) else value
    text, cues = read_prompt(entries)
    for prompt in (text, *(cue.prompt for cue in cues)):
        _text(prompt)
    return text, cues


def _with_whole_frame(item: Any) -> Any:
    frame = item.get("from_frame") if isinstance(item, Mapping) else None
    if isinstance(frame, float) and abs(frame) < MAX_EXACT and frame == int(frame):
        return {**item, "from_frame": int(frame)}
    return item


def _read_number(value: Any, info: ValidationInfo, rule: str) -> int | float:
    """The number that was sent, as text if in a form. Raises ValueError(rule) for anything else."""
    if isinstance(value, str) and info.context and _NUMBER.fullmatch(value.strip()):
        return SentNumber(value.strip()) if re.search("[.eE]", value) else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # NaN
        raise ValueError(rule)
    return value


def _number(value: Any, info: ValidationInfo) -> float:
    number = _read_number(value, info, "must be a number")
    if abs(number) > sys.float_info.max and isinstance(number, int):
        raise ValueError("is too large")
    return number  # a SentNumber keeps its spelling for the message of a later check


def _whole(value: Any, info: ValidationInfo) -> int:
    rule = "must be a whole number"
    number = _read_number(value, info, rule)
    if isinstance(number, int):
        return number
    if abs(number) >= 2**63:
        raise ValueError("is too large")
    if abs(number) >= MAX_EXACT:
        raise ValueError(f"a whole number of {MAX_EXACT} or more must be written with all its digits")
    if number != int(number):
        raise ValueError(rule)
    return int(number)


def _seconds(value: Any) -> str:
    """Seconds as a text, spelled as they were sent."""
    text = value.strip() if isinstance(value, str) else repr(value)
    is_text = isinstance(value, str | int | float) and not isinstance(value, bool)
    if not is_text or not _NUMBER.fullmatch(text) or not 0 <= float(text) < math.inf:
        raise ValueError("must be a number of seconds, such as 4 or 2.5")
    return text


def _size(value: Any) -> tuple[int, int] | None:
    """(width, height), or None for the default."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and value.strip().lower() == AUTO:
        return None
    if match is None:
        raise ValueError("must be width x height in pixels, such as 128x128, or auto")
    return int(match[1]), int(match[2])


def _coupling(value: Any) -> Coupling:
    try:
        return Coupling(value)
    except ValueError:
        raise ValueError(f"must be {' or '.join(sorted(Coupling))}") from None


def _fit(value: Any) -> Fit:
    try:
        return Fit(value)
    except ValueError:
        raise ValueError(f"must be {' or '.join(Fit)}") from None


def _picture(value: Any) -> Upload:
    """The file of a picture, from a file or a `data:` URL."""
    if isinstance(value, Mapping):
        if [*value] != ["image_url"] or not isinstance(value["image_url"], str):
            raise ValueError('must be a file, or {"image_url": a data: URL}; files are not kept here under ids')
        value = value["image_url"]
    upload = from_data_url(value) if isinstance(value, str) else value
    if not isinstance(upload, Upload):
        raise ValueError("must be a file or a data: URL")
    if upload.media not in (*PICTURE_TYPES, *UNKNOWN):
        raise ValueError(f"its type is {upload.media[:80]}, and must be image/png, image/jpeg or image/webp")
    return _not_empty(upload)


def _video(value: Any) -> Upload:
    """The file of a video. Clients know few types of videos by the names of files; decoding tells what it is."""
    assert isinstance(value, Upload), "else it is an ExtensionRequest"
    return _not_empty(value)


def _not_empty(upload: Upload) -> Upload:
    if upload.num_bytes == 0:
        raise ValueError("the file is empty")
    return upload


PromptField = Annotated[Any, AfterValidator(_prompt), WithJsonSchema(PROMPT_SCHEMA)]
Seconds = Annotated[str, BeforeValidator(_seconds), WithJsonSchema(SECONDS_SCHEMA)]
Size = Annotated[tuple[int, int] | None, BeforeValidator(_size), WithJsonSchema(SIZE_SCHEMA)]
Text = Annotated[str, BeforeValidator(_text)]
Count = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
Fps = Annotated[int, Field(ge=1, le=240), BeforeValidator(_whole)]
Side = Annotated[int, Field(ge=2), BeforeValidator(_whole)]  # pixels
Seed = Annotated[int, Field(ge=0, lt=2**63), BeforeValidator(_whole)]
Guidance = Annotated[float, Field(ge=1, le=100), BeforeValidator(_number)]
One = Annotated[Literal[1], BeforeValidator(_whole)]
CouplingField = Annotated[Coupling, BeforeValidator(_coupling)]
FitField = Annotated[Fit, BeforeValidator(_fit)]
PictureField = Annotated[Any, BeforeValidator(_picture), WithJsonSchema(PICTURE_SCHEMA)]
VideoField = Annotated[Any, BeforeValidator(_video), WithJsonSchema({"type": "string", "format": "binary"})]
