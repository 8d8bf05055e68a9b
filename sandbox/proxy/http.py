"""HTTP/1.1 through a fault proxy: requests are told apart with h11, and passed on as the bytes that came.

A request that a rule may take is read whole, and delivered on a connection of its own: so it can outlive its client.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import h11

from sandbox.proxy.rules import Held, Request

if TYPE_CHECKING:
    from sandbox.proxy.server import FaultProxy

_CHUNK = 256 * 1024


class HttpPipe:
    """One client connection."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client_in = reader
        self._client_out = writer
        self._ahead = b""
        self._eof = False

    async def run(self) -> None:
        """Serve requests until the client closes."""
        try:
            while await self._one():
                pass
        except h11.ProtocolError as error:
            raise ConnectionResetError(f"not HTTP/1.1: {error}") from error

    async def _one(self) -> bool:
        parser = h11.Connection(h11.SERVER)
        request = Request()
        raw, body = bytearray(), bytearray()
        upstream: _Upstream | None = None
        try:
            if self._ahead:  # no bytes would mean the end of the stream to h11
                parser.receive_data(self._ahead)
                raw += self._ahead
            while True:
                event = parser.next_event()
                if event is h11.NEED_DATA:
                    if parser.they_are_waiting_for_100_continue:
                        # The server's own "continue" may come too late: answers are read when the request is whole.
                        parser.send(h11.InformationalResponse(status_code=100, headers=[]))
                        self._client_out.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                        await self._client_out.drain()
                    data = await self._client_in.read(_CHUNK)
                    if not data:
                        return False
                    parser.receive_data(data)
                    if upstream is None:
                        raw += data
                    else:
                        await upstream.send(data)
                elif isinstance(event, h11.Request):
                    request.method, request.target = event.method.decode(), event.target.decode()
                    if not self._proxy.may_take(request):
                        upstream = await _Upstream.open(self._proxy.upstream, request.method)
                        await upstream.send(bytes(raw))
                elif isinstance(event, h11.Data):
                    if upstream is None:
                        body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return False
            # What came after the end belongs to the next request. (Clients that pipeline do not mix with streaming.)
            self._ahead = parser.trailing_data[0]
            if upstream is not None:
                self._proxy.requests += 1
                keep = await self._answer(upstream)
            else:
                request.raw = bytes(raw[: len(raw) - len(self._ahead)])
                request.body = bytes(body)
                keep = await self._judge(request)
        finally:
            if upstream is not None:
                upstream.close()
        return keep

    async def _judge(self, request: Request) -> bool:
        rule = self._proxy.taken_by(request)
        held = rule if isinstance(rule, Held) else None
        if rule is not None and rule.action == "reset_before":
            raise ConnectionResetError
        if rule is not None and rule.action == "delay":
            await asyncio.sleep(rule.delay_s)
        if held is not None:
            watch = asyncio.create_task(self._watch(held))
            try:
                await held.keep(request)
            finally:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
        try:
            upstream = await _Upstream.open(self._proxy.upstream, request.method)
            try:
                await upstream.send(request.raw)
                if rule is not None and rule.action == "reset_after":
                    await upstream.answer(None)
                    raise ConnectionResetError
                return await self._answer(upstream, held)
            finally:
                upstream.close()
        except OSError as error:
            if held is not None:
                held.note(None, str(error) or type(error).__name__)
            raise

    async def _answer(self, upstream: _Upstream, held: Held | None = None) -> bool:
        status, keep = await upstream.answer(None if self._eof else self._client_out)
        if held is not None:
            held.note(status)
        return keep and not self._eof

    async def _watch(self, held: Held) -> None:
        # A client that has gone must not end its request: notice it here, go on there.
        try:
            while data := await self._client_in.read(_CHUNK):
                self._ahead += data
        except ConnectionError:
            pass
        self._eof = True
        held.client_gone.set()


class _Upstream:
    """One request to the upstream, on a connection of its own, and its answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str) -> None:
        self._in = reader
        self._out = writer
        self._method = method

    @classmethod
    async def open(cls, address: tuple[str, int], method: str) -> _Upstream:
        reader, writer = await asyncio.open_connection(*address)
        return cls(reader, writer, method)

    async def send(self, data: bytes) -> None:
        self._out.write(data)
        await self._out.drain()

    def close(self) -> None:
        self._out.close()

    async def answer(self, client: asyncio.StreamWriter | None) -> tuple[int, bool]:
        """Read the answer to its end and pass its bytes on; (status, whether the connection may be used again).

        Raises:
            ConnectionError: the upstream closed without one.
        """
        parser = h11.Connection(h11.CLIENT)
        # The parser must know what was asked: an answer to HEAD has no body. The host is of no matter to it.
        parser.send(h11.Request(method=self._method, target="/", headers=[("Host", "upstream")]))
        parser.send(h11.EndOfMessage())
        status, keep = 0, True
        waiting = bytearray()
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                if status:
                    client = await _pass(client, bytes(waiting))
                    waiting.clear()
                data = await self._in.read(_CHUNK)
                if not data and not status:
                    raise ConnectionResetError("the upstream closed without an answer")
                parser.receive_data(data)
                waiting += data
            elif isinstance(event, h11.InformationalResponse):
                # The client has had its "100 Continue" from the proxy, if it asked for one.
                del waiting[: len(waiting) - len(parser.trailing_data[0])]
            elif isinstance(event, h11.Response):
                status = event.status_code
                keep = not any(k == b"connection" and v.lower() == b"close" for k, v in event.headers)
                keep = keep and event.http_version != b"1.0"
            elif isinstance(event, h11.EndOfMessage):
                await _pass(client, bytes(waiting))
                return status, keep and parser.their_state is h11.DONE
            elif not isinstance(event, h11.Data):
                raise ConnectionResetError("the upstream closed in the middle of an answer")


async def _pass(client: asyncio.StreamWriter | None, data: bytes) -> asyncio.StreamWriter | None:
    """Pass bytes on; None once the client has gone."""
    if client is None or not data:
        return client
    with contextlib.suppress(ConnectionError):
        client.write(data)
        await client.drain()
        return client
    return None
