"""The OpenAPI document: FastAPI's own, and what it cannot see in the signatures of routes: bodies and refusals."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from longtake.pipelines.serve.http.form_body import MULTIPART
from longtake.pipelines.serve.http.request_body import FORM, JSON
from longtake.pipelines.serve.http.schema import (
    ErrorBody,
    ExtensionRequest,
    LoginRequest,
    RemixRequest,
    RequestModel,
    UploadedExtension,
    VideoRequest,
)

BODIES: tuple[type[RequestModel], ...] = (
    VideoRequest,
    RemixRequest,
    ExtensionRequest,
    LoginRequest,
)
UPLOADS: tuple[type[RequestModel], ...] = (UploadedExtension,)  # forms in parts only
REF = "#/components/schemas/{model}"
ERROR = {"$ref": REF.format(model="ErrorBody")}
WAIT = {"Retry-After": {"description": "Seconds until a retry may succeed.", "schema": {"type": "integer"}}}
DESCRIPTIONS = {
    400: "The request is invalid; `param` names the field. `invalid_value`, `unknown_parameter`, `missing_parameter`, "
    "`invalid_json`, `invalid_form` or `missing_body`.",
    401: "The API key is missing or unknown. `missing_api_key` or `invalid_api_key`.",
    403: "The host, address or origin is not allowed. `host_not_allowed`, `address_not_allowed`, `origin_not_allowed`.",
    404: "The video, part or model does not exist. `video_not_found`, `not_found` or `model_not_found`.",
    409: "Not possible in the video's state: `video_not_ready` with `Retry-After`; `video_failed` or `video_finished`, "
    "which no retry changes.",
    412: "The file is not the one that `If-Match` or `If-Unmodified-Since` names. `precondition_failed`.",
    413: "The body is too large. `body_too_large`.",
    415: "The type or the encoding of the body is not supported. `unsupported_media_type`.",
    416: "The range is outside the file. `range_not_satisfiable`.",
    429: "Too many requests, videos or connections; the message says whose limit it is. `rate_limit_exceeded`, "
    "`too_many_videos`, `queue_full`, `too_many_streams` or `too_many_uploads`.",
    500: "The video failed. `generation_failed` or `storage_failed`.",
    503: "The endpoint is starting or stopping. `service_unavailable` or `interrupted`.",
}
HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}}},
    409: WAIT,
    416: {"Content-Range": {"description": "The size of the file.", "schema": {"type": "string"}}},
    429: WAIT,
    503: WAIT,
}
FILE_HEADERS = {
    "ETag": {"description": "It changes with the bytes.", "schema": {"type": "string"}},
    "Last-Modified": {"description": "Time of the last change.", "schema": {"type": "string"}},
}

UNUSED = ("HTTPValidationError", "ValidationError")  # FastAPI's 422: here it is a 400 of the form of all refusals
OPEN_PATHS = ("/health", "/login", "/logout")
TAGS = [
    {"name": "Videos", "description": "Create, list, inspect, delete, cancel, remix, extend and download videos."},
    {"name": "Streams", "description": "Watch a video while it is generated."},
    {"name": "Models", "description": "The model served here, with its defaults and limits."},
    {"name": "Service", "description": "For operators, and for the page."},
]


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The responses of the OpenAPI document for these statuses and for those that every request may get."""
    return {status: _refusal(status) for status in sorted({400, 401, 403, 429, 503, *statuses})}


def _refusal(status: int) -> dict[str, Any]:
    headers = {"headers": HEADERS[status]} if status in HEADERS else {}
    return {"description": DESCRIPTIONS[status], **headers, "content": {JSON: {"schema": ERROR}}}


def file_of(description: str, *media: str) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that sends a file or a part of it."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    whole = {"description": description, "headers": FILE_HEADERS, "content": dict.fromkeys(media, binary)}
    part = {**whole, "description": "The part that `Range` names.", "headers": {**FILE_HEADERS, **HEADERS[416]}}
    known = {"description": "Unchanged, as `If-None-Match` or `If-Modified-Since` says.", "headers": FILE_HEADERS}
    return {200: whole, 206: part, 304: known, **refusals(404, 409, 412, 416)}


def body_of(kind: type[RequestModel], with_file: type[RequestModel] | None = None) -> dict[str, Any]:
    """The `requestBody` of a route that reads a body of this kind, or a form in parts of the other one."""
    uploaded = with_file or kind
    names = (kind.__name__, f"{kind.__name__}Form", f"{uploaded.__name__}{'Parts' if uploaded.file_field else 'Form'}")
    json, form, parts = ({"$ref": REF.format(model=name)} for name in names)
    both: dict[str, Any] = parts if with_file is None else {"anyOf": [form, parts]}
    content = {media: {"schema": schema} for media, schema in ((JSON, json), (MULTIPART, both), (FORM, form))}
    return {"requestBody": {"required": True, "content": content}}


def document(app: FastAPI) -> dict[str, Any]:
    """The document of `app`, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=TAGS
        )
        components = schema.setdefault("components", {}).setdefault("schemas", {})
        components |= schemas()
        for name in UNUSED:
            components.pop(name, None)
        for path, item in schema["paths"].items():
            for operation in item.values():
                operation["responses"].pop("422", None)
                operation["security"] = [] if path in OPEN_PATHS else [{"key": []}, {}]
        schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = schema
    return app.openapi_schema


def schemas() -> dict[str, Any]:
    """The schemas of all bodies and of the refusals, by their names."""
    found: dict[str, Any] = {}
    for body in (*BODIES, *UPLOADS):
        if body.file_field is not None:
            found[f"{body.__name__}Parts"] = _form_schema(body.model_json_schema(ref_template=REF), body.file_field)
    kinds: tuple[type[BaseModel], ...] = (*BODIES, ErrorBody)
    for kind in kinds:
        schema = kind.model_json_schema(ref_template=REF)
        found |= schema.pop("$defs", {})
        found[kind.__name__] = schema
    for kind in BODIES:
        found[f"{kind.__name__}Form"] = _form_schema(found[kind.__name__])
        found[kind.__name__]["properties"] = {
            name: field if name in found[kind.__name__].get("required", ()) else _nullable(field)
            for name, field in found[kind.__name__]["properties"].items()
        }
    return found


def _nullable(field: dict[str, Any]) -> dict[str, Any]:
    """A field that may be null, which counts as absent."""
    kinds = field.get("anyOf", [])
    if "type" not in field and "const" not in field and "enum" not in field and not kinds:
        return field  # it may be anything
    if {"type": "null"} in kinds:
        return field
    said: dict[str, Any] = {
        name: field[name] for name in ("title", "description", "default", "examples") if name in field
    }
    rest = {name: value for name, value in field.items() if name not in said}
    return {**said, "anyOf": [*(kinds or [rest]), {"type": "null"}]}


def _form_schema(schema: dict[str, Any], file_field: str | None = None) -> dict[str, Any]:
    """The schema of the same fields in a form, where there is neither null nor an object.

    With a `file_field` it is one of a form in parts.
    """
    schema.pop("$defs", None)
    names = {name: "video[id]" if name == "video" != file_field else name for name in schema["properties"]}
    fields = {names[name]: _text_field(one) for name, one in schema["properties"].items()}
    required = [names[name] for name in schema["required"]]
    if file_field is not None:
        fields[file_field] = {**_said(schema["properties"][file_field]), "type": "string", "format": "binary"}
    if "anyOf" in schema["properties"].get("prompt", {}):
        fields["prompt"]["description"] += " In a form the list is written as JSON."
    title = f"{schema['title']}{'Parts' if file_field else 'Form'}"
    return {**schema, "title": title, "properties": fields, "required": required}


def _said(field: dict[str, Any]) -> dict[str, Any]:
    return {name: field[name] for name in ("title", "description") if name in field}


def _text_field(field: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in _alternatives(field) if kind != {"type": "null"}]
    kind = next((kind for kind in kinds if kind.get("type") == "string"), kinds[0])
    if kind.get("$ref", "").endswith("Reference"):  # its field has a name of its own, such as video[id]
        kind = {"type": "string"}
    if kind.get("type") == "string" or not {"type", "enum", "const", "$ref"} & set(kind):
        kind = {"type": "string", **({} if "enum" in kind else {"minLength": 1}), **kind}
    return {**_rules(kind), **_said(field)}


def _alternatives(field: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for kind in field["anyOf"] for one in _alternatives(kind)] if "anyOf" in field else [field]


def _rules(kind: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kind.items() if name not in ("default", "examples")}
