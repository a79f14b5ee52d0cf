"""The body of a request as one of the schema's classes: JSON, or a form as HTML and the `openai` package send it.

In a form, `video[id]=...` is a field of an object, `prompt[][prompt]=...` a field of the next object of a list, and a
`prompt` that reads as a JSON list of objects is one.
"""

import json
import re
from typing import Any, TypeVar

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from longtake.pipelines.serve.http.errors import ApiError, from_validation, invalid
from longtake.pipelines.serve.http.schema import _Request

R = TypeVar("R", bound=_Request)
JSON = "application/json"
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
MAX_FIELDS = 300
_KEY = re.compile(r"([^\[\]]+)(\[\])?(?:\[([^\[\]]+)\])?")


async def read(request: Request, kind: type[R]) -> R:
    """Raises ApiError naming the field that is wrong."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if media == JSON:
            return kind.model_validate_json(await request.body(), strict=True)
        if media in FORMS:
            return kind.model_validate(_fields(await _form(request)))
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False, include_context=False)) from None
    raise ApiError(415, "unsupported_media_type", f"Content-Type: it has to be {JSON} or {' or '.join(FORMS)}")


def described(kind: type[_Request]) -> dict[str, Any]:
    """The `requestBody` of the OpenAPI document: `read` is no parameter that FastAPI could see."""
    schema = {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}
    return {"requestBody": {"required": True, "content": dict.fromkeys((JSON, *FORMS), schema)}}


async def _form(request: Request) -> FormData:
    try:
        return await request.form(max_files=1, max_fields=MAX_FIELDS)
    except HTTPException as error:
        raise invalid(f"The form cannot be read: {error.detail}", None, "invalid_form") from None


def _fields(form: FormData) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in form.multi_items():
        if isinstance(value, UploadFile):
            raise invalid(f"{key[:80]}: no file can be given here", key[:80], "unknown_parameter")
        _put(fields, key, value)
    if isinstance(fields.get("prompt"), str):
        fields["prompt"] = _schedule(fields["prompt"])
    return fields


def _put(fields: dict[str, Any], key: str, value: str) -> None:
    parts = _KEY.fullmatch(key)
    name, is_list, sub = parts.groups() if parts else (key, None, None)
    if is_list and sub:
        items = fields.setdefault(name, [])
        if not isinstance(items, list):
            raise _twice(name)
        item = next((item for item in items if sub not in item), None)
        if item is None:
            items.append(item := {})
        item[sub] = _number(value) if sub == "from_frame" else value
        return
    inside = fields.setdefault(name, {}) if sub else fields
    if not isinstance(inside, dict) or (sub or name) in inside:
        raise _twice(name)
    inside[sub or name] = value


def _twice(name: str) -> ApiError:
    return invalid(f"{name[:80]} is given twice", name[:80])


def _schedule(text: str) -> Any:
    if text.lstrip().startswith("["):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            return value
    return text


def _number(text: str) -> Any:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else text


ERROR = {"$ref": "#/components/schemas/ErrorBody"}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": {JSON: {"schema": ERROR}}}
    for status, description in {
        400: "The request is wrong; `param` names the field.",
        401: "No API key, or one that is not known.",
        403: "It comes from a page or by a name that is not allowed.",
        404: "There is no such video.",
        405: "Not this method.",
        409: "Not in the state that the video is in.",
        413: "The body is too large.",
        415: "The body is of a type that is not read here.",
        416: "The range lies outside.",
        429: "Too many requests, videos or connections; `Retry-After` says when.",
        503: "It starts, or stops; `Retry-After` says when.",
    }.items()
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document: these, and those that any request may get."""
    return {status: REFUSALS[status] for status in sorted({400, 401, 403, 429, *statuses})}
