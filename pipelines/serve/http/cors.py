"""CORS: pages of the allowed origins may use the API; other pages get the same answers as requests from no page.

Starlette's middleware tells other origins which headers and methods there are, and its refusals are not in our format.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from longtake.pipelines.serve.http.errors import invalid


class Cors(CORSMiddleware):
    """Allows every header that a page of an allowed origin asks for: clients add their own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = Headers(scope=scope).get("origin") if scope["type"] == "http" else None
        if origin is None or self.is_allowed_origin(origin):
            await super().__call__(scope, receive, send)
            return

        async def send_varying(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).add_vary_header("Origin")
            await send(message)

        await self.app(scope, receive, send_varying)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        method = request_headers["access-control-request-method"]
        allowed = ", ".join(self.allow_methods)
        refusal = invalid(f"Access-Control-Request-Method={method[:20]}: must be one of {allowed}")
        refusal.headers |= {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return refusal.response()
