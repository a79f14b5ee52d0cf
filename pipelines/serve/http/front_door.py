"""Limits on what a client may send to Serve's proxy before any app sees it.

uvicorn's parser has no limits: a header of 100 MB cost the proxy 300 MB and the replica 90, and a connection that sent
a byte now and then stayed open forever. Serve offers no choice of the protocol class, so `install` puts ours where
uvicorn looks up its own.

1. A request has at most MAX_URL_BYTES of URL (else 414), MAX_HEADERS headers, and MAX_HEAD_BYTES of both (else 431).
   Trailers count as headers and are dropped, because they come after all checks. Memory may hold one more read than
   that. A line of a WebSocket's request has at most MAX_SOCKET_LINE: `websockets` does not answer a longer one at all.
2. A request must be complete within RECEIVE_S of the connection, or of its first byte on a reused one (else 408). Each
   BODY_RATE bytes of its body give it another second: an upload may take long, if it does not stop.
3. The proxy holds at most MAX_INCOMPLETE connections without a complete request; one more closes the oldest.
4. A refusal looks like any other. What the client still sends is dropped for LINGER_S: closing at once would reset the
   connection, and the client might never see the answer.
5. A request of HTTP/1.1 names its host once (else 400), and no request names two. A body may come in chunks, not in
   another coding (else 501). A method that the parser does not know is 501 too, with those of the endpoint in
   `Allow`; which of them a path has, only the app knows.
6. The client of a connection is its peer. uvicorn would believe `X-Forwarded-For` from any client on this machine; the
   app believes it only from `serve.trusted_proxies`.
"""

import asyncio
import re
import sys
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi.responses import JSONResponse
from httptools import HttpParserInvalidMethodError
from uvicorn import config as uvicorn_config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from longtake.pipelines.serve.http.access import METHODS, SECURITY_HEADERS
from longtake.pipelines.serve.http.errors import ApiError

MAX_URL_BYTES, MAX_HEAD_BYTES, MAX_HEADERS = 2**13, 2**16, 100
MAX_SOCKET_LINE = 2**13 - 64
RECEIVE_S, LINGER_S = 30.0, 2.0
BODY_RATE = 2**15  # bytes per second
MAX_INCOMPLETE = 512
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,80}) \S+ HTTP/1\.[01]\r?\n")
_HOST = re.compile(rb"[\w.~!$&'()*+,;=%:\[\]-]+")


def install() -> None:
    """Makes FrontDoor the protocol of every uvicorn server that this process starts from now on."""
    uvicorn_config.HTTP_PROTOCOLS["auto"] = f"{FrontDoor.__module__}:{FrontDoor.__name__}"


def refusal_response(refusal: ApiError) -> JSONResponse:
    """The response of a refusal that no app adds headers to."""
    response = refusal.response()
    response.headers.update({**SECURITY_HEADERS, "Cache-Control": "no-store"})
    return response


class FrontDoor(HttpToolsProtocol):
    """A connection of the proxy."""

    _incomplete: ClassVar[dict["FrontDoor", None]] = {}  # connections without a complete request, the oldest first

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.app, ProxyHeadersMiddleware):
            self.app = self.app.app
        self._refusal: ApiError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._began_s = 0.0  # of the request, by the loop's clock
        self._is_silent = True  # nothing was ever sent
        self._method: bytes | None = None  # in a request line at the start of the last read
        self._begin()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:  # rule 4
            return
        self._is_silent = False
        self._wait()
        self._num_raw += len(data)
        line = _REQUEST_LINE.match(data)
        self._method = None if line is None else line[1]
        super().data_received(data)
        if self._num_raw > MAX_HEAD_BYTES and self._refusal is None:  # a header, or trailer, that has not ended yet
            self._refuse(_too_long("The headers", MAX_HEAD_BYTES))

    def handle_websocket_upgrade(self) -> None:
        self._stop_waiting()
        if max(len(self.url), *(len(name) + len(value) for name, value in self.headers)) > MAX_SOCKET_LINE:
            self._refuse(_too_long("A header of a WebSocket", MAX_SOCKET_LINE))
        else:
            super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Replaces uvicorn's answer to what its parser refuses; our refusals in the parser's callbacks end here too."""
        if self._method is not None and isinstance(sys.exception(), HttpParserInvalidMethodError):
            self._refuse(_unknown_method(self._method.decode()))
        else:
            self._refuse(self._refusal or ApiError(400, "invalid_request", msg))

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        self._wait()  # it may have come together with the end of the one before
        self._begin()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if len(self.url) + len(url) > MAX_URL_BYTES:
            self._stop_parser(_too_long("The URL", MAX_URL_BYTES, 414))
        self._num_named += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._num_named += len(name) + len(value)
        self._num_headers += 1
        if self._num_named > MAX_HEAD_BYTES:
            self._stop_parser(_too_long("The headers", MAX_HEAD_BYTES))
        if self._num_headers > MAX_HEADERS:
            message = f"The request has more than {MAX_HEADERS} headers."
            self._stop_parser(ApiError(431, "headers_too_large", message))
        if not self._head_complete:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_complete, self._num_raw = True, 0
        hosts = [value.strip() for name, value in self.headers if name == b"host"]
        if len(hosts) > 1:
            self._stop_parser(_invalid_host("is given twice"))
        if not hosts and self.parser.get_http_version() != "1.0":
            self._stop_parser(_invalid_host("is missing"))
        if hosts and not _HOST.fullmatch(hosts[0]):
            self._stop_parser(_invalid_host("is not a host and a port"))
        codings = b", ".join(value for name, value in self.headers if name == b"transfer-encoding").lower()
        if codings.strip() not in (b"", b"chunked"):
            message = "The only Transfer-Encoding here is chunked."
            self._stop_parser(ApiError(501, "unknown_coding", message, "Transfer-Encoding"))
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        self._num_raw = 0

    def on_body(self, body: bytes) -> None:
        self._num_raw = 0
        self._num_body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._stop_waiting()
        super().on_message_complete()

    # Our own.

    def _begin(self) -> None:
        self._num_named = self._num_headers = 0  # bytes of the URL and of whole headers; headers
        self._num_raw = 0  # bytes read since then, or since the last piece of the body
        self._num_body = 0  # bytes of the body
        self._head_complete = False

    def _wait(self) -> None:
        if self._timer is not None:
            return
        self._incomplete[self] = None
        self._began_s = self.loop.time()
        self._timer = self.loop.call_later(RECEIVE_S, self._late)
        if len(self._incomplete) > MAX_INCOMPLETE:
            next(iter(self._incomplete))._cut()

    def _stop_waiting(self) -> None:
        self._incomplete.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self._is_silent:  # a browser connects in advance
            return self._cut()
        until_s = self._began_s + RECEIVE_S + self._num_body / BODY_RATE
        if until_s > self.loop.time() + 0.01:
            self._timer = self.loop.call_at(until_s, self._late)
            return
        message = f"The request was not complete within {self.loop.time() - self._began_s:.0f} seconds."
        self._refuse(ApiError(408, "request_timeout", message))

    def _stop_parser(self, refusal: ApiError) -> None:
        self._refusal = refusal
        raise ValueError(refusal.message)

    def _refuse(self, refusal: ApiError) -> None:
        self._refusal = refusal
        self._stop_waiting()
        cycle = None if self.cycle is None or self.cycle.response_complete else self.cycle
        if self.transport.is_closing() or (cycle is not None and cycle.response_started):
            return self._cut()
        self.transport.write(_as_bytes(refusal))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if cycle is not None:
            cycle.disconnected = True  # the app hears that its client has gone, and its answer is dropped
            cycle.message_event.set()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def _cut(self) -> None:
        """Ends the connection without an answer."""
        self._stop_waiting()
        self.transport.abort()


def _too_long(what: str, limit: int, status: int = 431) -> ApiError:
    code = "headers_too_large" if status == 431 else "url_too_long"
    return ApiError(status, code, f"{what} must have at most {limit} bytes.")


def _invalid_host(problem: str) -> ApiError:
    return ApiError(400, "invalid_value", f"The header Host {problem}.", "Host")


def _unknown_method(method: str) -> ApiError:
    allowed = ", ".join(METHODS)
    refusal = ApiError(501, "unknown_method", f"{method[:20]} is no method of this endpoint; it has {allowed}.")
    refusal.headers["Allow"] = allowed
    return refusal


def _as_bytes(refusal: ApiError) -> bytes:
    response = refusal_response(refusal)
    lines = [f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}".encode()]
    lines += [name + b": " + value for name, value in (*response.raw_headers, (b"connection", b"close"))]
    return b"\r\n".join([*lines, b"", bytes(response.body)])
