"""The body of a request as one of the schema's classes: JSON, or a form as HTML and the `openai` package send it.

In a form, `video[id]=...` is a field of an object, `prompt[][prompt]=...` a field of the next object of a list, and a
`prompt` that is a JSON list of objects is read as one; an empty value is an absent one. A body that can only be JSON is
taken for JSON when its type says nothing: `curl -d` calls every body a form.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from fastapi import Request
from pydantic import ValidationError

from longtake.models.domain.prompt import read_prompt_text
from longtake.pipelines.serve.http.errors import ApiError, from_validation, invalid
from longtake.pipelines.serve.http.form_body import MULTIPART, media_type, read_multipart, read_urlencoded
from longtake.pipelines.serve.http.json_text import SentNumber, begins_as_json, loads, parse_object, parse_with_file
from longtake.pipelines.serve.http.schema import ExtensionRequest, RequestModel, UploadedExtension
from longtake.pipelines.serve.http.uploads import Upload

R = TypeVar("R", bound=RequestModel)
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
VAGUE = ("", "text/plain", "application/octet-stream", FORM)  # what clients send if they were not told a type
_KEY = re.compile(r"([^\[\]]+)(\[\])?(?:\[([^\[\]]+)\])?")


class _Sent(NamedTuple):
    """The fields of a body, before they are checked."""

    fields: dict[str, Any]
    is_form: bool = False
    is_long: bool = False  # longer than a body without a file: handled in a thread, beside the event loop


async def read_body(request: Request, kind: type[R]) -> R:
    """The request's body. Raises ApiError naming the invalid field."""
    return await _checked(await _read_fields(request, kind.file_field), kind)


async def read_extension(request: Request) -> ExtensionRequest | UploadedExtension:
    """The body of an extension, of a video by its id or as a file. Raises ApiError as `read_body`."""
    sent = await _read_fields(request, UploadedExtension.file_field)
    if isinstance(sent.fields.get("video"), Upload):
        return await _checked(sent, UploadedExtension)
    return await _checked(sent, ExtensionRequest)


async def _read_fields(request: Request, file_field: str | None) -> _Sent:
    media, max_bytes = media_type(request.headers), request.state.max_text_bytes
    encoding = request.headers.get("content-encoding", "identity").strip()
    if encoding.lower() not in ("identity", ""):
        message = f"Content-Encoding: {encoding[:80]} is not supported; send the body as it is"
        raise ApiError(415, "unsupported_media_type", message, "Content-Encoding")
    if media == JSON or re.fullmatch(r"[a-z]+/([a-z.-]+\+)?json", media):
        return await _read_json(request, file_field)
    if media in VAGUE and begins_as_json(await request.body()):
        return await _read_json(request, file_field)
    if not media and not await request.body():
        raise invalid("The body is empty: send the fields as JSON or as a form.", None, "missing_body")
    if media not in (FORM, MULTIPART):
        problem = f"={media[:80]}: must be" if media else " is missing: send"
        message = f"Content-Type{problem} {JSON}, {MULTIPART} or {FORM}"
        raise ApiError(415, "unsupported_media_type", message, "Content-Type")
    if media == FORM:
        return _Sent(_fields(await read_urlencoded(request, max_bytes)), is_form=True)
    return _Sent(_fields(await read_multipart(request, max_bytes, file_field)), is_form=True, is_long=True)


async def _read_json(request: Request, file_field: str | None) -> _Sent:
    body, max_bytes = await request.body(), request.state.max_text_bytes
    if len(body) <= max_bytes:
        return _Sent(parse_object(body))
    return _Sent(await asyncio.to_thread(parse_with_file, body, file_field, max_bytes), is_long=True)


def from_fields(fields: dict[str, Any], kind: type[R]) -> R:
    """The fields of an object of JSON as `kind`. Raises ApiError naming the invalid field."""
    return _validated(fields, kind, form=False)


async def _checked(sent: _Sent, kind: type[R]) -> R:
    if sent.is_long:
        return await asyncio.to_thread(_validated, sent.fields, kind, sent.is_form)
    return _validated(sent.fields, kind, sent.is_form)


def _validated(fields: dict[str, Any], kind: type[R], form: bool) -> R:
    try:
        return kind.model_validate(fields, context={"form": True} if form else None)
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False), list(kind.model_fields)) from None


def _fields(form: Sequence[tuple[str, str | Upload]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in form:
        if value or "[]" in key:  # a list has no absent values: the next one would take its place
            _put(fields, key, value)
    if isinstance(fields.get("prompt"), str):
        fields["prompt"] = read_prompt_text(fields["prompt"], loads)
    return fields


def _put(fields: dict[str, Any], key: str, value: str | Upload) -> None:
    parts = _KEY.fullmatch(key)
    name, is_list, sub = parts.groups() if parts else (key, None, None)
    if is_list and sub:
        items = fields.setdefault(name, [])
        if not isinstance(items, list):
            raise _duplicate_field(name)
        item = next((item for item in items if sub not in item), None)
        if item is None:
            items.append(item := {})
        item[sub] = _number(value) if sub == "from_frame" and isinstance(value, str) else value
        return
    inside = fields.setdefault(name, {}) if sub else fields
    if not isinstance(inside, dict) or (sub or name) in inside:
        raise _duplicate_field(name)
    inside[sub or name] = value


def _duplicate_field(name: str) -> ApiError:
    return invalid(f"{name[:80]} is given twice", name[:80])


def _number(text: str) -> Any:
    """A frame of a schedule: whole, or as one that JSON would hold."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    return SentNumber(text) if re.fullmatch(r"[0-9]{1,9}\.0*", text) else text
