"""The fault proxy before a small HTTP server that keeps every byte it gets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import h11
import httpx
import pytest

from sandbox.proxy import FaultProxy, HttpMatch


class Recorder:
    """An HTTP/1.1 server: answers 200 with the path, keeps the raw bytes of each request in order of arrival."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = b""
        parser = h11.Connection(h11.SERVER)
        target = method = b""
        with contextlib.suppress(ConnectionError):
            while True:
                event = parser.next_event()
                if event is h11.NEED_DATA:
                    if parser.they_are_waiting_for_100_continue:
                        parser.send(h11.InformationalResponse(status_code=100, headers=[]))
                        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    data = await reader.read(65536)
                    if not data:
                        break
                    raw += data
                    parser.receive_data(data)
                elif isinstance(event, h11.Request):
                    target, method = event.target, event.method
                elif isinstance(event, h11.EndOfMessage):
                    self.requests.append(raw)
                    body = b"" if method == b"HEAD" else target
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(target) + body)
                    await writer.drain()
                    raw, parser = b"", h11.Connection(h11.SERVER)
        writer.close()


@pytest.fixture
async def upstream() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0)
    recorder.port = server.sockets[0].getsockname()[1]
    yield recorder
    server.close()
    await server.wait_closed()


@pytest.fixture
async def proxy(upstream: Recorder) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", upstream.port, kind="http") as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=proxy.url, trust_env=False, timeout=60) as client:
        yield client


async def test_without_rules_all_passes_on_one_connection(client, proxy, upstream):
    for number in range(3):
        answer = await client.post(f"/a/{number}", content=b"x" * 700_000)
        assert (answer.status_code, answer.text) == (200, f"/a/{number}")
    assert (await client.head("/h")).headers["content-length"] == "2"
    assert proxy.requests == 4
    assert upstream.requests[0].endswith(b"x" * 700_000)


async def test_a_held_request_is_delivered_byte_for_byte_after_its_client_has_gone(proxy, upstream):
    head = b"POST /jars/j.jar/run?x=1 HTTP/1.1\r\nhOsT: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    held = proxy.hold(HttpMatch(method="POST", path="/jars/.*/run"))
    _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    for byte in (raw[:30], raw[30:80], raw[80:]):
        writer.write(byte)
        await writer.drain()
    caught = await held.caught()
    assert (caught.method, caught.target, caught.body) == ("POST", "/jars/j.jar/run?x=1", b"abcde")
    writer.close()
    await writer.wait_closed()
    await asyncio.wait_for(held.client_gone.wait(), 60)
    # Another client comes and goes meanwhile: the held one is late, not lost.
    async with httpx.AsyncClient(base_url=proxy.url, trust_env=False) as other:
        assert (await other.post("/jars/j.jar/run", content=b"new")).status_code == 200
    assert len(upstream.requests) == 1
    assert held.response is None
    held.release()
    assert await held.delivered() == 200
    assert upstream.requests[1] == raw


async def test_a_held_request_is_answered_if_the_client_has_waited(client, proxy, upstream):
    held = proxy.hold(HttpMatch(path="/slow"))
    call = asyncio.create_task(client.get("/slow"))
    await held.caught()
    assert upstream.requests == []
    assert not held.client_gone.is_set()
    held.release()
    assert (await call).text == "/slow"
    assert (await client.get("/slow")).text == "/slow"


async def test_a_client_time_out_is_not_the_end_of_the_request(client, proxy, upstream):
    held = proxy.hold(HttpMatch(method="PUT", path="/own/ledger.json"))
    with pytest.raises(httpx.ReadTimeout):
        await client.put("/own/ledger.json", content=b"late", timeout=httpx.Timeout(60, read=0.2))
    held.release()
    assert await held.delivered() == 200
    assert upstream.requests[0].endswith(b"late")


async def test_rules_look_at_method_path_and_body(client, proxy, upstream):
    held = proxy.hold(HttpMatch(method="POST", path="/jobs/.*/savepoints", body='"cancel-job":\\s*true'))
    await client.post("/jobs/1/savepoints", json={"cancel-job": False})
    await client.get("/jobs/1/savepoints")
    await client.post("/x/jobs/1/savepoints", json={"cancel-job": True})
    assert len(upstream.requests) == 3
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/jobs/1/savepoints", json={"cancel-job": True}, timeout=httpx.Timeout(60, read=0.2))
    assert len(held.requests) == 1
    assert len(upstream.requests) == 3


async def test_reset_before_delivers_nothing_and_reset_after_delivers(client, proxy, upstream):
    proxy.reset_before(HttpMatch(path="/before"))
    proxy.reset_after(HttpMatch(path="/after"))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await client.post("/before")
    assert upstream.requests == []
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await client.post("/after")
    assert len(upstream.requests) == 1
    assert (await client.post("/before")).status_code == 200


async def test_delay(client, proxy, upstream):
    rule = proxy.delay(HttpMatch(path="/d"), 0.2)
    started = asyncio.get_running_loop().time()
    await client.get("/d")
    assert asyncio.get_running_loop().time() - started >= 0.2
    rule.remove()
    await client.get("/d")
    assert rule.seen == 1


async def test_cut_and_mend_and_what_was_held_is_delivered_all_the_same(client, proxy, upstream):
    held = proxy.hold(HttpMatch(path="/held"))
    call = asyncio.create_task(client.post("/held", content=b"1"))
    await held.caught()
    await client.get("/fine")
    proxy.cut()
    with pytest.raises(httpx.TransportError):
        await call
    with pytest.raises(httpx.TransportError):
        await client.get("/fine")
    held.release()
    assert await held.delivered() == 200
    proxy.mend()
    assert (await client.get("/fine")).status_code == 200
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("rule", [False, True])
async def test_expect_100_continue(proxy, upstream, rule):
    if rule:
        proxy.delay(HttpMatch(path="/b/k"), 0.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"PUT /b/k HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"body")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    assert head.startswith(b"HTTP/1.1 200")
    assert await reader.readexactly(4) == b"/b/k"
    assert upstream.requests[0].endswith(b"body")
    writer.close()
    await writer.wait_closed()


async def test_an_upstream_that_is_away_is_told_to_who_waits_for_delivery(client, proxy, upstream):
    held = proxy.hold(HttpMatch(path="/x"))
    call = asyncio.create_task(client.get("/x"))
    await held.caught()
    proxy.upstream = ("127.0.0.1", 1)
    held.release()
    with pytest.raises(ConnectionError):
        await held.delivered()
    with pytest.raises(httpx.TransportError):
        await call
