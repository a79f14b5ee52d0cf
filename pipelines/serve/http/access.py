"""Checks before every request, and headers on every response.

1. Without API keys the endpoint serves this machine alone, under loopback names: a web page could point a domain of its
   own at this address (DNS rebinding).
2. A request that changes something, and a WebSocket, has to come from our own page, an allowed origin, or no page.
3. With API keys every request needs one, except the page, `/health`, `/login`, `/logout` and the OpenAPI document.
4. Requests per minute are limited for each key, and for each address where there is no key or an unknown one. Headers
   that name another address are believed only from `serve.trusted_proxies`.
5. A body is read up to its limit, whatever its Content-Length says. On a route that takes a file the limit is higher
   (one that is not a form in parts may have an eighth of it, because it is in memory), and a body beyond that of the
   other routes needs a place while it comes in: from its first bytes beyond it on, not as long as it is only announced.
6. An internal error becomes a 500 that does not reveal the cause; the log has it. A client that leaves, and a response
   that is cut as it should be, are a line each.
"""

import logging
from collections.abc import Collection
from contextlib import closing
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longtake.pipelines.serve.http.client_address import TrustedProxies, comes_from_elsewhere
from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.form_body import MULTIPART, media_type
from longtake.pipelines.serve.http.keys import Keys, RateLimiter
from longtake.pipelines.serve.http.uploads import UploadPlace, UploadPlaces
from longtake.pipelines.serve.settings import ServeParams, is_loopback

logger = logging.getLogger(__name__)
COOKIE = "longtake_key"
OPEN = {"/", "/health", "/login", "/logout", "/openapi.json"}
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "POST")
SAFE = {"GET", "HEAD", "OPTIONS"}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Ray Serve's proxy obeys it: a client that disconnects would not be noticed.
FORBIDDEN_HEADER = "x-request-disconnect-disabled"


class AccessControl:
    """ASGI middleware around the app; `scope["state"]["owner"]` names the owner of the request's key."""

    def __init__(
        self,
        app: ASGIApp,
        params: ServeParams,
        keys: Keys,
        open_paths: Collection[str] = (),
        upload_paths: Collection[str] = (),
    ) -> None:
        self._app, self._params, self._keys = app, params, keys
        self._uploads, self._places = frozenset(upload_paths), UploadPlaces(params.max_uploads)
        self._open = OPEN | set(open_paths)
        self._limiter = RateLimiter(params.requests_per_minute)
        self._proxies = TrustedProxies(params.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        sender = _Sender(send, scope.get("method") == "HEAD")
        try:
            headers = Headers(scope=scope)
            if not self._keys:
                _check_local(scope, headers)
            self._check_origin(scope, headers)
            state, peer = scope.setdefault("state", {}), (scope.get("client") or (None,))[0]
            state["max_text_bytes"] = self._params.max_body_bytes
            state["is_https"] = self._proxies.is_https(peer, scope["scheme"], headers)
            state["owner"] = self._authenticate(scope, headers, self._proxies.client(peer, headers))
            if scope["type"] != "http":
                return await self._app(scope, receive, sender)
            with closing(
                _Body(receive, self._limit(scope, headers), self._params.max_body_bytes, self._places, state["owner"])
            ) as body:
                body.announce(headers.get("content-length", "0"))
                await self._app(scope, body.receive, sender)
        except ApiError as refusal:
            await _refuse(scope, receive, sender, refusal)
        except ClientDisconnect:  # in the middle of its body
            logger.info("client left method=%s path=%s", scope["method"], scope["path"])
        except Exception as error:
            method = scope.get("method", "WS")
            if isinstance(cause := error.__cause__, ApiError):  # raised when the response had started
                logger.info("response cut method=%s path=%s code=%s", method, scope["path"], cause.code)
            else:  # a bug of ours or of a library
                logger.exception("request failed method=%s path=%s", method, scope["path"])
            await _refuse(scope, receive, sender, ApiError(500, "internal_error", "Internal server error."))

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        if headers.get(FORBIDDEN_HEADER) is not None:
            message = f"The header {FORBIDDEN_HEADER} is not allowed."
            raise ApiError(400, "invalid_value", message, FORBIDDEN_HEADER)
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE
        if (
            changes
            and origin is not None
            and not {origin, "*"} & set(self._params.cors_origins)
            and _host_of(origin) != headers.get("host")
        ):
            raise ApiError(403, "origin_not_allowed", f"Origin {origin} is not allowed.")

    def _authenticate(self, scope: Scope, headers: Headers, client: str) -> str:
        """The owner of the request's key. Raises ApiError for a missing or unknown key, or too many requests."""
        address = f"address {client}"
        if (scope["path"].rstrip("/") or "/") in self._open:
            if scope["method"] == "POST":  # a login: keys could be guessed
                self._count(address)
            return ""
        key = _key_of(headers)
        owner = self._keys.owner(key or "") if self._keys else ""
        self._count(owner or address)
        if owner is None and key:
            raise ApiError(401, "invalid_api_key", "Unknown API key.")
        if owner is None:
            raise ApiError(401, "missing_api_key", "An API key is required: `Authorization: Bearer KEY`.")
        return owner

    def _count(self, name: str) -> None:
        wait_s = self._limiter.wait_s(name)
        if wait_s:
            whose = f"this {name}" if name.startswith("address ") else "this key"
            message = f"The limit of {whose} is {self._params.requests_per_minute} requests per minute."
            raise ApiError(429, "rate_limit_exceeded", message, retry_after_s=wait_s)

    def _limit(self, scope: Scope, headers: Headers) -> int:
        """The most bytes of a body: rule 5."""
        params = self._params
        if scope["method"] != "POST" or scope["path"].rstrip("/") not in self._uploads:
            return params.max_body_bytes
        if media_type(headers) == MULTIPART:
            return params.max_upload_bytes
        return max(params.max_body_bytes, params.max_upload_bytes // 8)


class _Body:
    """The body of a request, as it comes in: rule 5."""

    def __init__(self, receive: Receive, limit: int, small: int, places: UploadPlaces, owner: str) -> None:
        self._receive, self._limit, self._small, self._places, self._owner = receive, limit, small, places, owner
        self._num_bytes = 0
        self._place: UploadPlace | None = None

    def announce(self, length: str) -> None:
        """Takes in its Content-Length. Raises ApiError."""
        if not length.isdecimal() or int(length[:20]) > self._limit:
            raise self._refusal

    async def receive(self) -> Message:
        """The next message of the client. Raises ApiError."""
        message = await self._receive()
        self._num_bytes += len(message.get("body", b""))
        if self._num_bytes > self._limit:
            raise self._refusal
        if self._num_bytes > self._small and self._place is None:
            self._place = self._places.take(self._owner)
        if not message.get("more_body"):
            self.close()
        return message

    def close(self) -> None:
        if self._place is not None:
            self._place.close()

    @property
    def _refusal(self) -> ApiError:
        return ApiError(413, "body_too_large", f"The body has more than {self._limit} bytes.")


class _Sender:
    """An ASGI `send` that adds headers, sends no body to HEAD, and remembers whether the response has started."""

    def __init__(self, send: Send, is_head: bool) -> None:
        self._send, self._is_head, self.started = send, is_head, False

    async def __call__(self, message: Message) -> None:
        kind = message["type"].removeprefix("websocket.")
        if kind == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        if kind == "http.response.body" and self._is_head:
            message = {**message, "body": b""}
        self.started = self.started or kind in ("http.response.start", "accept", "close")
        await self._send(message)


async def _refuse(scope: Scope, receive: Receive, sender: _Sender, refusal: ApiError) -> None:
    if not sender.started:  # also the handshake of a WebSocket
        await refusal.response()(scope, receive, sender)
    elif scope["type"] == "websocket":
        code = 1011 if refusal.status == 500 else 1008
        await sender({"type": "websocket.close", "code": code, "reason": refusal.code})
    else:  # the server cuts the connection, so that no client takes the response for complete
        raise RuntimeError("the response has started")


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
        raise ApiError(403, "host_not_allowed", f"Host {host or '(none)'} is not a loopback name of this machine.")
    if (client and not is_loopback(client[0])) or comes_from_elsewhere(headers):
        raise ApiError(403, "address_not_allowed", "Without API keys only this machine has access.")


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
