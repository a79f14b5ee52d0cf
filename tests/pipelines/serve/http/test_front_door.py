"""A real uvicorn with the proxy's protocol class, and clients that send too much or too slowly."""

import json
import select
import socket
import time
import tracemalloc
from contextlib import ExitStack, closing, suppress

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from uvicorn.config import HTTP_PROTOCOLS
from websockets.sync.client import connect

from longtake.pipelines.serve.http import front_door
from tests.support.http_kit import served, wait_for

pytestmark = pytest.mark.report("A6")
HEAD = "GET /health HTTP/1.1\r\nHost: a\r\n"


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": f"{len(scope['headers'])} headers"})
        await receive()
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    request = Request(scope, receive)
    body = await request.body()
    names = [name.decode() for name, _ in scope["headers"]]
    await JSONResponse({"bytes": len(body), "client": scope["client"][0], "headers": names})(scope, receive, send)


@pytest.fixture(scope="module")
def door():
    """(host, port) of the server; a request has a second to arrive, and 8 connections may be without one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(HTTP_PROTOCOLS, "auto", HTTP_PROTOCOLS["auto"])
        patch.setattr(front_door, "RECEIVE_S", 1.0)
        patch.setattr(front_door, "LINGER_S", 0.5)
        patch.setattr(front_door, "MAX_INCOMPLETE", 8)
        front_door.install()
        with served(app) as url:
            yield "127.0.0.1", int(url.rpartition(":")[2])


def answer(connection):
    """(status, headers, body) of all that the server sends."""
    connection.settimeout(30)
    data = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            data += piece
    if not data:
        return None, {}, b""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def refusal(connection):
    """(status, code), after checks of the form."""
    status, headers, body = answer(connection)
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert headers["connection"] == "close" and headers["x-content-type-options"] == "nosniff"
    return status, error["code"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{HEAD}X: {'a' * 2**17}\r\n\r\n", (431, "headers_too_large")),
        (HEAD + "".join(f"X-{i}: {'a' * 1000}\r\n" for i in range(70)) + "\r\n", (431, "headers_too_large")),
        (HEAD + "X: a\r\n" * 101 + "\r\n", (431, "headers_too_large")),
        (f"{HEAD}{'X' * 2**17}: a\r\n\r\n", (431, "headers_too_large")),
        (f"GET /{'a' * 8200} HTTP/1.1\r\nHost: a\r\n\r\n", (414, "url_too_long")),
        (f"GET /?{'a' * 10**6} HTTP/1.1\r\nHost: a\r\n\r\n", (414, "url_too_long")),
        ("A" * 10**6, (400, "invalid_request")),
        ("\x16\x03\x01\x02\x00", (400, "invalid_request")),
        (f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: {'a' * 2**18}", None),
        (f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;{'a' * 2**19}", None),
    ],
    ids=["value", "sum", "count", "name", "url", "query", "garbage", "tls", "trailer", "extension"],
)
def test_what_is_too_long_is_refused_in_our_form(door, text, expected):
    with closing(socket.create_connection(door)) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(text.encode("latin-1"))
        assert refusal(connection) == (expected or (431, "headers_too_large"))


@pytest.mark.report("A10")
@pytest.mark.parametrize(
    ("version", "hosts", "problem"),
    [
        ("1.1", [], "is missing"),
        ("1.1", ["a", "a"], "is given twice"),
        ("1.0", ["a", "b"], "is given twice"),
        ("1.1", [""], "is not a host and a port"),
        ("1.1", ["a b"], "is not a host and a port"),
        ("1.1", ["a/b"], "is not a host and a port"),
        ("1.1", ["u@a"], "is not a host and a port"),
        ("1.0", [], None),
        ("1.1", [" [::1]:8000 "], None),
        ("1.1", ["example.org:80"], None),
    ],
)
def test_a_request_names_its_host_once(door, version, hosts, problem):
    for more in ("", "Connection: Upgrade\r\nUpgrade: websocket\r\n") if problem else ("Connection: close\r\n",):
        with closing(socket.create_connection(door)) as connection:
            lines = "".join(f"Host:{host}\r\n" for host in hosts)
            connection.sendall(f"GET / HTTP/{version}\r\n{lines}{more}\r\n".encode())
            status, _, body = answer(connection)
        assert status == (200 if problem is None else 400)
        if problem:
            error = json.loads(body)["error"]
            assert (error["message"], error["param"]) == (f"The header Host {problem}.", "Host")


@pytest.mark.report("A10")
@pytest.mark.parametrize("method", ["FOO", "get", "GET-", "M" * 80])
def test_an_unknown_method_is_refused_with_those_there_are(door, method):
    with closing(socket.create_connection(door)) as connection:
        connection.sendall(f"{method} /v1/videos HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        status, headers, body = answer(connection)
    error = json.loads(body)["error"]
    assert (status, headers["allow"]) == (501, "delete, get, head, options, post")
    assert error["code"] == "unknown_method" and error["message"].startswith(f"{method[:20]} is no method")


@pytest.mark.report("A10")
@pytest.mark.parametrize(
    ("coding", "expected"),
    [
        ("gzip, chunked", (501, "unknown_coding")),
        ("gzip", (501, "unknown_coding")),
        ("chunked, chunked", (400, "invalid_request")),
    ],
)
def test_a_body_in_another_coding_is_refused(door, coding, expected):
    with closing(socket.create_connection(door)) as connection:
        head = f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n"
        connection.sendall(f"{head}1\r\na\r\n0\r\n\r\n".encode())
        assert refusal(connection) == expected


@pytest.mark.report("A10")
def test_a_method_that_others_know_is_left_to_the_app(door):
    with closing(socket.create_connection(door)) as connection:
        connection.sendall(b"PROPFIND / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert answer(connection)[0] == 200


def test_a_later_request_of_a_connection_is_refused_too(door):
    with closing(socket.create_connection(door)) as connection:
        connection.sendall(f"{HEAD}\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(f"{HEAD}X: {'a' * 10**5}\r\n\r\n".encode())
        assert refusal(connection) == (431, "headers_too_large")


@pytest.mark.parametrize(("path", "length"), [("/", 9000), ("/", 60_000), (f"/{'a' * 8170}", 1)])
def test_a_socket_with_long_lines_gets_an_answer_too(door, path, length):
    text = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: {'a' * length}\r\n\r\n"
    with closing(socket.create_connection(door)) as connection:
        connection.sendall(text.encode())
        assert refusal(connection) == (431, "headers_too_large")


def test_a_header_that_never_ends_costs_no_memory(door):
    piece = b"a" * 10**6
    with closing(socket.create_connection(door)) as connection:
        connection.sendall(f"{HEAD}X: ".encode())
        tracemalloc.start()
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(100):
                    connection.sendall(piece)
            assert tracemalloc.get_traced_memory()[1] < 4 * 10**6
        finally:
            tracemalloc.stop()
        assert refusal(connection) == (431, "headers_too_large")


def test_an_upload_may_take_longer_than_other_requests_while_it_goes_on(door, monkeypatch):
    monkeypatch.setattr(front_door, "BODY_RATE", 1000)
    with closing(socket.create_connection(door)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 6000\r\n\r\n")
        for _ in range(6):
            connection.sendall(bytes(1000))
            time.sleep(0.3)
        status, _, body = answer(connection)
    assert (status, json.loads(body)["bytes"]) == (200, 6000)


def test_who_sends_a_byte_now_and_then_is_cut(door):
    post = "POST / HTTP/1.1\r\nHost: a\r\n"
    slow = {  # what is sent at first, and then again and again
        "": "",
        "G": "",
        HEAD: "X",
        "GET /": "a",
        "\r\n": "\r\n",
        f"{post}Content-Length: 100\r\n\r\n": "X",
        f"{post}Transfer-Encoding: chunked\r\n\r\n": "1\r\na\r\n",
    }
    began, statuses = time.monotonic(), {}
    with ExitStack() as stack:
        waiting = {stack.enter_context(closing(socket.create_connection(door))): text for text in slow}
        for connection, text in waiting.items():
            connection.sendall(text.encode())
        while waiting and time.monotonic() - began < 10:
            for connection in select.select(list(waiting), [], [], 0.2)[0]:
                statuses[waiting.pop(connection)] = answer(connection)[0]
            for connection, text in waiting.items():
                connection.sendall(slow[text].encode())
    assert time.monotonic() - began < 5
    assert statuses == {text: 408 if text else None for text in slow}, "a browser that connects in advance is only cut"


def test_connections_that_send_nothing_do_not_keep_others_out(door):
    silent = [socket.create_connection(door) for _ in range(20)]
    with httpx2.Client(base_url=f"http://{door[0]}:{door[1]}") as client:
        assert client.get("/").status_code == 200
    wait_for(lambda: len(front_door.FrontDoor._incomplete) <= 8, 5)
    for connection in silent:
        connection.close()
    wait_for(lambda: not front_door.FrontDoor._incomplete, 5)


def test_half_requests_on_connections_that_had_a_whole_one_do_not_keep_others_out(door):
    with ExitStack() as stack:
        connections = []
        for _ in range(20):
            connection = stack.enter_context(closing(socket.create_connection(door)))
            connection.sendall(f"{HEAD}\r\n".encode())
            data = b""
            while not data.endswith(b"}"):
                data += connection.recv(65536)
            connections.append(connection)
        for connection in connections:
            connection.sendall(b"GET /hea")
        statuses = [answer(connection)[0] for connection in connections]
    assert statuses.count(None) >= 12 and set(statuses) <= {None, 408}


def test_half_a_request_in_the_same_packet_as_a_whole_one_is_late_too(door):
    with closing(socket.create_connection(door)) as connection:
        connection.sendall(f"{HEAD}\r\nGET /hea".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert refusal(connection) == (408, "request_timeout")


def test_ordinary_requests_pass(door):
    with httpx2.Client(base_url=f"http://{door[0]}:{door[1]}", timeout=30) as client:
        for _ in range(3):  # on one connection
            assert client.post("/", content=bytes(10**5)).json()["bytes"] == 10**5
        assert client.post("/", content=(bytes(100) for _ in range(1000))).json()["bytes"] == 10**5
        assert "x" in client.get("/", headers={"X": "a" * 60000}).json()["headers"]
        assert client.get(f"/{'a' * 8000}").status_code == 200
        time.sleep(1.2)  # longer than a request has
        assert client.get("/").status_code == 200
    with connect(f"ws://{door[0]}:{door[1]}/") as ws:
        assert ws.recv(10).endswith("headers")
        time.sleep(1.2)
        ws.send("later")
        assert ws.recv(10) == "later"


def test_trailers_are_no_headers(door):
    with closing(socket.create_connection(door)) as connection:
        head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(f"{head}1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n".encode())
        status, _, body = answer(connection)
    assert status == 200 and "authorization" not in json.loads(body)["headers"]


@pytest.mark.report("A12")
def test_a_client_of_this_machine_cannot_claim_another_address(door):
    with httpx2.Client(base_url=f"http://{door[0]}:{door[1]}") as client:
        assert client.get("/", headers={"X-Forwarded-For": "1.2.3.4"}).json()["client"] == "127.0.0.1"
