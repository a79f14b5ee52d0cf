"""The OpenAPI document: what FastAPI sees in the signatures, and what it cannot see there."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from longtake.pipelines.serve.http.schema import UNSEEN

NEVER = ("HTTPValidationError", "ValidationError")  # FastAPI's own 422: here it is a 400 of the form of all refusals
OPEN_PATHS = ("/health", "/login", "/logout")


def document(app: FastAPI) -> dict[str, Any]:
    """Made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=TAGS
        )
        components = schema.setdefault("components", {}).setdefault("schemas", {})
        for kind in UNSEEN:
            own = kind.model_json_schema(ref_template="#/components/schemas/{model}")
            components |= own.pop("$defs", {})
            components[kind.__name__] = own
        for name in NEVER:
            components.pop(name, None)
        for path, item in schema["paths"].items():
            for operation in item.values():
                operation["responses"].pop("422", None)
                operation["security"] = [] if path in OPEN_PATHS else [{"key": []}, {}]
        schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = schema
    return app.openapi_schema


TAGS = [
    {"name": "Videos", "description": "Make, list, look, delete, cancel, remix, extend, download."},
    {"name": "Streams", "description": "Watch a video while it is made."},
    {"name": "Models", "description": "What is served here, with its defaults and limits."},
    {"name": "Service", "description": "For those who run it, and for its page."},
]
