"""The OpenAPI document: FastAPI's own, and the parts that it cannot see in the signatures of routes."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from longtake.pipelines.serve.http.route_docs import schemas

UNUSED = ("HTTPValidationError", "ValidationError")  # FastAPI's 422: here it is a 400 of the form of all refusals
OPEN_PATHS = ("/health", "/login", "/logout")


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


TAGS = [
    {"name": "Videos", "description": "Create, list, inspect, delete, cancel, remix, extend and download videos."},
    {"name": "Streams", "description": "Watch a video while it is generated."},
    {"name": "Models", "description": "The model served here, with its defaults and limits."},
    {"name": "Service", "description": "For operators, and for the page."},
]
