"""The fault proxy before a small server that speaks Kafka's framing."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import pytest

from sandbox.proxy import FaultProxy, KafkaMatch

END_TXN = 26


def frame(api_key: int, correlation: int, body: bytes = b"") -> bytes:
    payload = struct.pack(">hhi", api_key, 5, correlation) + body
    return struct.pack(">i", len(payload)) + payload


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    size = struct.unpack(">i", await reader.readexactly(4))[0]
    payload = await reader.readexactly(size)
    return struct.unpack(">i", payload[:4])[0], payload[4:]


class Broker:
    def __init__(self) -> None:
        self.frames: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = await reader.readexactly(4)
                payload = await reader.readexactly(struct.unpack(">i", size)[0])
                self.frames.append(size + payload)
                body = payload[4:8] + b"ok"
                writer.write(struct.pack(">i", len(body)) + body)
                await writer.drain()
        writer.close()


@pytest.fixture
async def broker() -> AsyncIterator[tuple[Broker, int]]:
    broker = Broker()
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    yield broker, server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@pytest.fixture
async def proxy(broker) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", broker[1], kind="kafka") as proxy:
        yield proxy


@pytest.fixture
async def connection(proxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield reader, writer
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_frames_pass_both_ways_also_in_pieces(broker, connection):
    reader, writer = connection
    sent = frame(3, 7, b"x" * 100_000)
    for start in range(0, len(sent), 9000):
        writer.write(sent[start : start + 9000])
        await writer.drain()
    assert await answer(reader) == (7, b"ok")
    assert broker[0].frames == [sent]


async def test_a_held_frame_is_delivered_with_those_before_it_after_its_client_has_gone(broker, proxy, connection):
    reader, writer = connection
    held = proxy.hold(KafkaMatch(END_TXN))
    login, late = frame(36, 1, b"login"), frame(END_TXN, 2, b"commit")
    writer.write(login + late)
    assert await answer(reader) == (1, b"ok")
    caught = await held.caught()
    assert caught.raw == late
    writer.close()
    await writer.wait_closed()
    await asyncio.wait_for(held.client_gone.wait(), 60)
    assert broker[0].frames == [login]
    held.release()
    response = await held.delivered()
    assert response == struct.pack(">i", 2) + b"ok"
    assert broker[0].frames == [login, late]


async def test_what_comes_behind_a_held_frame_waits_and_keeps_its_order(broker, proxy, connection):
    reader, writer = connection
    held = proxy.hold(KafkaMatch(END_TXN, body=b"mine"))
    writer.write(frame(END_TXN, 1, b"other") + frame(END_TXN, 2, b"mine") + frame(3, 3))
    assert await answer(reader) == (1, b"ok")
    await held.caught()
    assert len(broker[0].frames) == 1
    held.release()
    assert [await answer(reader), await answer(reader)] == [(2, b"ok"), (3, b"ok")]


async def test_reset_before_and_after(broker, proxy):
    for rule, delivered in ((proxy.reset_before, 0), (proxy.reset_after, 1)):
        rule(KafkaMatch(END_TXN))
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(frame(END_TXN, 1))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await answer(reader)
        assert len(broker[0].frames) == delivered
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_delay_and_cut(broker, proxy, connection):
    reader, writer = connection
    proxy.delay(KafkaMatch(30), 0.2)
    started = asyncio.get_running_loop().time()
    writer.write(frame(30, 1))
    await answer(reader)
    assert asyncio.get_running_loop().time() - started >= 0.2
    proxy.cut()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await answer(reader)
