"""Kafka's protocol through a fault proxy: frames with a length in front, an API key at byte 4.

A connection is one stream with one login, so a held request holds those behind it too, as a slow network would. When
its client goes away, the connection to the broker stays until what was held has been delivered and answered.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

from sandbox.proxy.rules import Held, Request

if TYPE_CHECKING:
    from sandbox.proxy.server import FaultProxy

_AHEAD_FRAMES = 64


class KafkaPipe:
    """One client connection and its connection to the broker."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client_in = reader
        self._client_out = writer
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD_FRAMES)
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._holding: Held | None = None
        self._gone = False
        self._mute = False

    async def run(self) -> None:
        """Pass frames both ways until a side closes."""
        broker_in, broker_out = await asyncio.open_connection(*self._proxy.upstream)
        read = asyncio.create_task(self._read())
        back = asyncio.create_task(self._back(broker_in))
        forward = asyncio.create_task(self._forward(broker_out))
        try:
            await asyncio.wait({forward, back}, return_when=asyncio.FIRST_COMPLETED)
            if forward.done():
                forward.result()
            else:
                back.result()
        finally:
            for task in (read, back, forward):
                task.cancel()
            await asyncio.gather(read, back, forward, return_exceptions=True)
            for answer in self._answers.values():
                answer.cancel()
            if self._holding is not None:
                self._holding.note(None, "the broker closed the connection before it answered")
            broker_out.close()

    async def _read(self) -> None:
        try:
            while True:
                size = await self._client_in.readexactly(4)
                frame = size + await self._client_in.readexactly(struct.unpack(">i", size)[0])
                await self._frames.put(frame)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._gone = True
            if self._holding is not None:
                self._holding.client_gone.set()
            await self._frames.put(None)

    async def _forward(self, broker_out: asyncio.StreamWriter) -> None:
        while (frame := await self._frames.get()) is not None:
            request = Request(raw=frame, api_key=struct.unpack(">h", frame[4:6])[0])
            rule = self._proxy.taken_by(request)
            held = rule if isinstance(rule, Held) else None
            if rule is not None and rule.action == "reset_before":
                raise ConnectionResetError
            if rule is not None and rule.action == "delay":
                await asyncio.sleep(rule.delay_s)
            if rule is None or rule.action == "delay":
                broker_out.write(frame)
                await broker_out.drain()
                continue
            if held is not None:
                self._holding = held
                if self._gone:
                    held.client_gone.set()
                await held.keep(request)
            correlation = struct.unpack(">i", frame[8:12])[0]
            answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            self._answers[correlation] = answer
            # From here on the client gets nothing more if it shall believe that the connection broke.
            self._mute = held is None
            broker_out.write(frame)
            await broker_out.drain()
            body = await answer
            if held is not None:
                self._holding = None
                held.note(body)
            else:
                raise ConnectionResetError

    async def _back(self, broker_in: asyncio.StreamReader) -> None:
        while True:
            size = await broker_in.readexactly(4)
            body = await broker_in.readexactly(struct.unpack(">i", size)[0])
            answer = self._answers.pop(struct.unpack(">i", body[:4])[0], None)
            if not (self._gone or self._mute):
                try:
                    self._client_out.write(size + body)
                    await self._client_out.drain()
                except ConnectionError:
                    self._gone = True
            if answer is not None:
                answer.set_result(body)
