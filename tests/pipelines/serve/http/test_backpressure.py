"""A response at the pace of its client, through a proxy without flow control."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.pipelines.serve.http.backpressure import ACK_BYTES, WINDOW_BYTES, Acknowledge, FlowControl

PIECE = bytes(2**18)
SCOPE = {"type": "http", "headers": [(b"longtake-flow-control", b"sent by a client")]}


class Client:
    """Takes as many messages as `takes` allows."""

    def __init__(self):
        self.got, self.takes, self.leaves = [], asyncio.Semaphore(0), asyncio.Event()

    async def send(self, message):
        await self.takes.acquire()
        self.got.append(message)

    async def receive(self):
        await self.leaves.wait()
        return {"type": "http.disconnect"}


def proxied(app):
    """`app` behind a proxy with unbounded queues, like Serve's."""

    async def proxy(scope, receive, send):
        up, down = asyncio.Queue(), asyncio.Queue()

        async def pass_up():
            while True:
                up.put_nowait(await receive())

        async def pass_down():
            while (message := await down.get()) is not None:
                await send(message)

        async def answer():
            await app(scope, up.get, down.put)
            await down.put(None)

        upward = asyncio.create_task(pass_up())
        await asyncio.gather(answer(), pass_down())
        upward.cancel()

    return Acknowledge(proxy)


def run(main):
    return asyncio.run(asyncio.wait_for(main, 30))


async def settled():
    for _ in range(200):
        await asyncio.sleep(0)


def test_no_more_than_a_window_is_sent_to_a_client_that_reads_nothing():
    async def main():
        sent, client = [], Client()

        async def app(scope, receive, send):
            for _ in range(100):
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
                sent.append(len(PIECE))

        answer = asyncio.create_task(proxied(FlowControl(app))(SCOPE, client.receive, client.send))
        await settled()
        assert sum(sent) == WINDOW_BYTES
        for taken in range(1, 100):
            client.takes.release()
            await settled()
            assert sum(sent) <= taken * len(PIECE) + WINDOW_BYTES + ACK_BYTES
        client.takes.release()
        await answer
        assert len(client.got) == len(sent) == 100

    run(main())


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3 * ACK_BYTES), max_size=12))
def test_messages_of_any_size_arrive_in_order(sizes):
    async def main():
        client = Client()
        messages = [{"type": "http.response.body", "body": bytes([i % 251]) * size} for i, size in enumerate(sizes)]

        async def app(scope, receive, send):
            for message in messages:
                await send(message)

        client.takes = asyncio.Semaphore(len(sizes))
        await proxied(FlowControl(app))(SCOPE, client.receive, client.send)
        assert client.got == messages

    run(main())


def test_the_app_continues_when_a_client_disconnects_while_it_waits():
    async def main():
        client, heard = Client(), []

        async def app(scope, receive, send):
            for _ in range(WINDOW_BYTES // len(PIECE) + 1):
                await send({"type": "http.response.body", "body": PIECE})
            heard.extend([await receive(), await receive()])

        answer = asyncio.create_task(proxied(FlowControl(app))(SCOPE, client.receive, client.send))
        await settled()
        assert not heard
        client.leaves.set()
        await settled()
        assert heard == [{"type": "http.disconnect"}] * 2
        client.takes = asyncio.Semaphore(100)
        answer.cancel()

    run(main())


def test_messages_from_the_client_arrive():
    async def main():
        client, body = Client(), iter([b"a", b"b", b""])
        client.takes = asyncio.Semaphore(100)

        async def receive():
            part = next(body, None)
            if part is None:
                await client.leaves.wait()
            return {"type": "http.request", "body": part, "more_body": part != b""}

        async def app(scope, receive, send):
            parts = [await receive()]
            while parts[-1]["more_body"]:
                parts.append(await receive())
                await send({"type": "http.response.body", "body": PIECE * 5})
            await send({"type": "http.response.body", "body": b"".join(part["body"] for part in parts)})

        await proxied(FlowControl(app))(SCOPE, receive, client.send)
        assert client.got[-1]["body"] == b"ab"

    run(main())


def test_an_error_of_the_connection_is_raised_where_the_app_receives():
    async def main():
        async def receive():
            raise RuntimeError("the proxy is gone")

        async def app(scope, receive, send):
            await receive()

        with pytest.raises(RuntimeError, match="the proxy is gone"):
            await FlowControl(app)(SCOPE, receive, None)

    run(main())


@pytest.mark.parametrize("scope", [{"type": "lifespan"}, {"type": "http", "headers": []}])
def test_without_a_proxy_that_acknowledges_nothing_waits(scope):
    async def main():
        count = 0

        async def send(message):
            nonlocal count
            count += 1

        async def app(scope, receive, send):
            for _ in range(100):
                await send({"type": "http.response.body", "body": PIECE})

        await FlowControl(app)(scope, None, send)
        assert count == 100

    run(main())
