"""Every refusal has one form: `{"error": {"message", "type", "param", "code"}}`.

A client reads `code`, a person `message`; `param` is the field that was wrong, in the words of the request.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

# What a request calls the settings that its fields become.
FIELDS = {
    "video.fps": "fps",
    "refiner.width": "width",
    "refiner.height": "height",
    "refiner.coupling": "coupling",
    "base.num_inference_steps": "num_inference_steps",
    "base.guidance_scale": "guidance_scale",
}
_NAMED = re.compile(r"([a-z_][a-z0-9_.\[\]]*)(?==| is missing)")
MAX_CHARS = 400  # of a message: it repeats what was sent


class ApiError(Exception):
    """A request that is refused, or that could not be done."""

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
    """Also for a video of another key: who may not see it does not learn that it is there."""
    return ApiError(404, "video_not_found", f"There is no video {video_id[:80]!r}.", param)


def refused(error: ValueError) -> ApiError:
    """What a part of Longtake says of a value (`refiner.width=7: it has to be even`), in the words of the request."""
    text = " ".join(str(error).split())
    named = _NAMED.match(text)
    if named is None:
        return invalid(text)
    param = FIELDS.get(named[1], named[1])
    return invalid(f"{param}{text[len(named[1]) :]}", param)


def from_validation(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """The first of pydantic's errors."""
    first = errors[0]
    param = _place(first["loc"])
    if first["type"] == "extra_forbidden":
        return invalid(f"{param}: there is no field of this name here", param, "unknown_parameter")
    if first["type"] == "missing":
        return invalid(f"{param} is missing", param, "missing_parameter")
    if first["type"] == "json_invalid":
        return invalid("The body is no valid JSON.", None, "invalid_json")
    reason = str(first["msg"]).removeprefix("Value error, ")
    if _NAMED.match(reason):  # a rule of ours: it names its field
        return refused(ValueError(reason))
    return invalid(f"{param}{_value(first)}: {reason}" if param else reason, param or None)


def _short(text: str) -> str:
    """What a client sent may be long, and may be no valid Unicode."""
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


def _value(error: Mapping[str, Any]) -> str:
    value = error.get("input")
    if not isinstance(value, str | int | float):
        return ""
    text = repr(value)
    return f"={text if len(text) <= 60 else text[:57] + '...'}"


async def on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return from_validation(error.errors()).response()


async def on_http_error(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: unknown routes, methods, bodies that cannot be read."""
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
    messages = {404: "There is nothing at this address.", 405: f"{request.method} is not possible here."}
    message = messages.get(error.status_code, str(error.detail))
    refusal = ApiError(error.status_code, codes.get(error.status_code, "invalid_request"), message)
    refusal.headers |= dict(error.headers or {})
    return refusal.response()


HANDLERS: dict[Any, Any] = {
    ApiError: on_api_error,
    RequestValidationError: on_validation_error,
    HTTPException: on_http_error,
}
