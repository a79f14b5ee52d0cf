"""What stands before every request, and round every answer.

1. Without keys, only this machine and only loopback names are served: a page could let its own name point here.
2. A request that changes something, and a WebSocket, comes from our own page, an allowed origin, or from no page.
3. Where there are keys, all but the page, `/health`, `/login`, `/logout` and the OpenAPI document needs one.
4. A key (an address, where there are none, and for a key that is not known) may ask so often a minute, and no more.
5. A body is read up to its limit, however it is sent.
6. An error of ours becomes a 500 without a word about its cause, which is in the log.
"""

import logging
from collections.abc import Awaitable, Callable, Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.keys import Keys, Rates
from longtake.pipelines.serve.settings import ServeParams, is_loopback

logger = logging.getLogger(__name__)
COOKIE = "longtake_key"
OPEN = {"/", "/health", "/login", "/logout", "/openapi.json"}
SAFE = {"GET", "HEAD", "OPTIONS"}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# The proxy of Ray Serve obeys it: a client that leaves would not be noticed.
FORBIDDEN_HEADER = "x-request-disconnect-disabled"


class Guard:
    """ASGI around the app; `scope["state"]["owner"]` tells the app who asks."""

    def __init__(self, app: ASGIApp, params: ServeParams, keys: Keys, open_paths: Collection[str] = ()) -> None:
        self._app, self._params, self._keys = app, params, keys
        self._open = OPEN | set(open_paths)
        self._rates = Rates(params.requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            headers = Headers(scope=scope)
            if not self._keys:
                _check_local(scope, headers)
            self._check_origin(scope, headers)
            scope.setdefault("state", {})["owner"] = self._admit(scope, headers)
            limited = self._limited(headers, receive) if scope["type"] == "http" else receive
            await self._app(scope, limited, answer)
        except ApiError as refusal:
            await _refuse(scope, receive, answer, refusal)
        except Exception:  # of ours, or of a library: whoever reads the log has to repair it
            logger.exception("request failed method=%s path=%s", scope.get("method", "WS"), scope["path"])
            await _refuse(
                scope, receive, answer, ApiError(500, "internal_error", "This failed, and not by your fault.")
            )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        if headers.get(FORBIDDEN_HEADER) is not None:
            raise ApiError(400, "invalid_value", f"{FORBIDDEN_HEADER}: it cannot be given here.", FORBIDDEN_HEADER)
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE
        if (
            changes
            and origin is not None
            and origin not in self._params.cors_origins
            and _host_of(origin) != headers.get("host")
        ):
            raise ApiError(403, "origin_not_allowed", f"Origin: {origin} may not ask here.")

    def _admit(self, scope: Scope, headers: Headers) -> str:
        """Whose request it is. Raises ApiError for one without a key that is known, or too many of them."""
        address = f"address {(scope.get('client') or ('unknown',))[0]}"
        if scope["path"] in self._open:
            if scope["method"] == "POST":  # keys are guessed there
                self._count(address)
            return ""
        key = _key_of(headers)
        owner = self._keys.owner(key or "") if self._keys else ""
        self._count(owner or address)
        if owner is None:
            said = "This key is not known." if key else "An API key is needed: `Authorization: Bearer KEY`."
            raise ApiError(401, "invalid_api_key" if key else "missing_api_key", said)
        return owner

    def _count(self, name: str) -> None:
        wait_s = self._rates.wait_s(name)
        if wait_s:
            limit = self._params.requests_per_minute
            raise ApiError(429, "rate_limit_exceeded", f"More than {limit} requests a minute.", retry_after_s=wait_s)

    def _limited(self, headers: Headers, receive: Receive) -> Receive:
        limit, read = self._params.max_body_bytes, 0
        refusal = ApiError(413, "body_too_large", f"The body has more than {limit} bytes.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > limit:
            raise refusal

        async def receive_limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise refusal
            return message

        return receive_limited


class _Answer:
    """`send` that adds the headers, and knows whether an answer has begun."""

    def __init__(self, send: Callable[[Message], Awaitable[None]]) -> None:
        self._send, self.begun = send, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        self.begun = self.begun or message["type"] in ("http.response.start", "websocket.accept", "websocket.close")
        await self._send(message)


async def _refuse(scope: Scope, receive: Receive, answer: _Answer, refusal: ApiError) -> None:
    if scope["type"] == "websocket":
        # Before it is accepted the client sees 403; after that, the code of the close frame.
        await answer(
            {"type": "websocket.close", "code": 1011 if refusal.status == 500 else 1008, "reason": refusal.code}
        )
    elif not answer.begun:
        await refusal.response()(scope, receive, answer)
    else:
        raise RuntimeError("the answer had begun")  # the server cuts the connection, so that nobody takes it for whole


def _key_of(headers: Headers) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie else None


def _check_local(scope: Scope, headers: Headers) -> None:
    host, client = headers.get("host", ""), scope.get("client")
    if not _is_local(host):
        raise ApiError(403, "host_not_allowed", f"Host: {host} is no name of this machine's loopback address.")
    if client and not is_loopback(client[0]):
        raise ApiError(403, "address_not_allowed", "Without keys only this machine may ask.")


def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
