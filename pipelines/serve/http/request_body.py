"""The body of a request as one of the schema's classes: JSON, or a form as HTML and the `openai` package send it.

In a form, `video[id]=...` is a field of an object, `prompt[][prompt]=...` a field of the next object of a list, and a
`prompt` that is a JSON list of objects is read as one.
"""

import re
from typing import Any, TypeVar

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from longtake.models.domain.prompt import read_prompt_text
from longtake.pipelines.serve.http.errors import ApiError, from_validation, invalid
from longtake.pipelines.serve.http.schema import RequestModel

R = TypeVar("R", bound=RequestModel)
JSON = "application/json"
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
MAX_FIELDS = 300
_KEY = re.compile(r"([^\[\]]+)(\[\])?(?:\[([^\[\]]+)\])?")


async def read_body(request: Request, kind: type[R]) -> R:
    """The request's body. Raises ApiError naming the invalid field."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == JSON:
        return from_json(await request.body(), kind)
    if media not in FORMS:
        raise ApiError(415, "unsupported_media_type", f"Content-Type: must be {JSON} or {' or '.join(FORMS)}")
    try:
        return kind.model_validate(_fields(await _form(request)))
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False)) from None


def from_json(text: str | bytes, kind: type[R]) -> R:
    """An object of JSON as `kind`. Raises ApiError naming the invalid field."""
    try:
        return kind.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False)) from None


def body_schema(kind: type[RequestModel]) -> dict[str, Any]:
    """The `requestBody` of the OpenAPI document: FastAPI cannot derive it, as no parameter of the route is a body."""
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
            raise invalid(f"{key[:80]}: files are not accepted", key[:80], "unknown_parameter")
        _put(fields, key, value)
    if isinstance(fields.get("prompt"), str):
        fields["prompt"] = read_prompt_text(fields["prompt"])
    return fields


def _put(fields: dict[str, Any], key: str, value: str) -> None:
    parts = _KEY.fullmatch(key)
    name, is_list, sub = parts.groups() if parts else (key, None, None)
    if is_list and sub:
        items = fields.setdefault(name, [])
        if not isinstance(items, list):
            raise _duplicate_field(name)
        item = next((item for item in items if sub not in item), None)
        if item is None:
            items.append(item := {})
        item[sub] = _number(value) if sub == "from_frame" else value
        return
    inside = fields.setdefault(name, {}) if sub else fields
    if not isinstance(inside, dict) or (sub or name) in inside:
        raise _duplicate_field(name)
    inside[sub or name] = value


def _duplicate_field(name: str) -> ApiError:
    return invalid(f"{name[:80]} is given twice", name[:80])


def _number(text: str) -> Any:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else text


ERROR = {"$ref": "#/components/schemas/ErrorBody"}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": {JSON: {"schema": ERROR}}}
    for status, description in {
        400: "The request is invalid; `param` names the field.",
        401: "The API key is missing or unknown.",
        403: "The host, address or origin is not allowed.",
        404: "The video does not exist.",
        405: "The method is not allowed.",
        409: "Not possible in the video's present state.",
        413: "The body is too large.",
        415: "The type of the body is not supported.",
        416: "The range is outside the file.",
        429: "Too many requests, videos or connections; retry after `Retry-After` seconds.",
        503: "The endpoint is starting or stopping; retry after `Retry-After` seconds.",
    }.items()
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The responses of the OpenAPI document for these statuses and for those that every request may get."""
    return {status: REFUSALS[status] for status in sorted({400, 401, 403, 429, *statuses})}
