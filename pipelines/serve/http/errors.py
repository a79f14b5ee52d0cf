"""Refusals, all of one form: `{"error": {"message", "type", "param", "code"}}`.

Programs read `code`, people read `message`; `param` is the invalid field, by its name in the request.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from longtake.models.domain.checks import FieldError
from longtake.pipelines.serve.library.takes import SETTING_KEYS

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
REQUEST_FIELDS = {key: name for name, key in SETTING_KEYS.items()}  # of settings of the configuration
MAX_CHARS, MAX_SHOWN = 400, 60  # of a message, which repeats what a client sent, and of a value in it
RULES = {  # of pydantic's types of errors
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number with fewer digits",
    "int_from_float": "must be a whole number",
    "string_unicode": "must be valid Unicode text",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}
MEANT = {  # names that other tools use -> ours
    "duration": "seconds",
    "length": "seconds",
    "frames": "num_frames",
    "steps": "num_inference_steps",
    "cfg": "guidance_scale",
    "cfg_scale": "guidance_scale",
    "resolution": "size",
    "negative": "negative_prompt",
    "text": "prompt",
}


class ApiError(Exception):
    """A refused or failed request."""

    def __init__(
        self, status: int, code: str, message: str, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, _short(message), param and _short(param)
        self.headers: dict[str, str] = {}
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"

    @property
    def body(self) -> dict[str, Any]:
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


def invalid(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    return ApiError(400, code, message, param)


def not_found(video_id: str, param: str | None = None) -> ApiError:
    """The refusal for an unknown video, and for one of another key, whose existence is not revealed."""
    return ApiError(404, "video_not_found", f"There is no video {video_id[:80]!r}.", param)


def unavailable(state: str) -> ApiError:
    return ApiError(503, "service_unavailable", f"The endpoint is not ready: {state}.", retry_after_s=5)


def from_value_error(error: ValueError) -> ApiError:
    """The refusal for an invalid value. A FieldError keeps its problem, in names and spelling of the request."""
    if not isinstance(error, FieldError):
        return invalid(" ".join(str(error).split()))
    param = REQUEST_FIELDS.get(error.field, error.field)
    problem = error.problem if error.rule is None else f"={shown(error.value)}: {error.rule}"
    return invalid(" ".join(f"{param}{problem}".split()), param)


def from_validation(errors: Sequence[Mapping[str, Any]], fields: Collection[str] = ()) -> ApiError:
    """The refusal for the first of pydantic's errors, which come with their context. `fields` are those of the body.

    An unknown field comes before a missing one: it may be the same, mistyped.
    """
    first = next((error for error in errors if error["type"] != "missing"), errors[0])
    param = _place(first["loc"])
    if first["type"] == "extra_forbidden":
        return invalid(
            f"{param or shown(param)}: unknown field{_suggestion(param, fields)}", param, "unknown_parameter"
        )
    if first["type"] == "missing":
        return invalid(f"{param} is missing", param, "missing_parameter")
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, FieldError):  # it may name a place inside the field, such as prompt[1].from_frame
        return from_value_error(cause)
    what = f"{param}={shown(first.get('input'))}:" if param else "The name of a field"
    return invalid(f"{what} {_rule(first)}", param or None)


def _rule(error: Mapping[str, Any]) -> str:
    """The rule that a value breaks, in words."""
    rule, values = RULES.get(error["type"]), error.get("ctx", {})
    if rule is None:
        return str(error["msg"]).removeprefix("Value error, ")
    texts = {name: f"{one:g}" if isinstance(one, float) else str(one) for name, one in values.items()}
    return rule.format(**texts).replace("'", '"')  # of literals


def _suggestion(name: str, fields: Collection[str]) -> str:
    """A hint at the fields that a mistyped name may stand for, unless it names a place inside a field."""
    if "." in name:
        return ""
    close = get_close_matches(name.lower(), fields, n=2) or get_close_matches(MEANT.get(name.lower(), ""), fields, n=1)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _short(text: str) -> str:
    """`text`, which may repeat a long value or invalid Unicode from a client, fit for a message."""
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 3]}..."


def _place(loc: Sequence[str | int]) -> str:
    """`("prompt", 0, "from_frame")` as `prompt[0].from_frame`."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part not in ("body", "query", "path", "header"):
            text += f".{part}" if text else part
    return text


def shown(value: Any) -> str:
    """A value as JSON spells it, in at most MAX_SHOWN characters; a float as it was sent."""
    try:
        text = repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False, default=repr)
    except (ValueError, RecursionError):  # a number of thousands of digits
        text = "..."
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


async def on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return from_validation(error.errors()).response()


async def on_http_error(request: Request, error: Exception) -> Response:
    """Refusals of the framework: unknown routes, wrong methods, unreadable bodies."""
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
    messages = {404: "No such URL.", 405: f"The method {request.method} is not allowed here."}
    message = messages.get(error.status_code, str(error.detail))
    refusal = ApiError(error.status_code, codes.get(error.status_code, "invalid_request"), message)
    refusal.headers |= dict(error.headers or {})
    return refusal.response()


HANDLERS: dict[Any, Any] = {
    ApiError: on_api_error,
    RequestValidationError: on_validation_error,
    HTTPException: on_http_error,
}
