"""The listening side of a fault proxy: connections, rules, cuts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Literal, Self

from sandbox.layout import HOST
from sandbox.proxy.http import HttpPipe
from sandbox.proxy.kafka import KafkaPipe
from sandbox.proxy.rules import Held, Match, Request, Rule

Kind = Literal["http", "kafka"]


class FaultProxy:
    """A proxy on 127.0.0.1 before one upstream address; an async context manager.

    ``port`` 0 takes a free one: read it from ``port`` once it is entered. Requests that no rule takes pass unchanged.
    Of several rules the oldest active one takes a request.
    """

    def __init__(self, upstream_host: str, upstream_port: int, kind: Kind, port: int = 0) -> None:
        self.upstream = (upstream_host, upstream_port)
        self.kind = kind
        self.port = port
        self.rules: list[Rule] = []
        self.requests = 0
        """How many whole requests came, faulted or not."""
        self._cut = False
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address for HTTP clients."""
        return f"http://{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for client in list(self._clients):
            client.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def hold(self, match: Match, times: int | None = 1) -> Held:
        """Keep matching requests until they are released; they are delivered even if the client has gone."""
        held = Held(match, "hold", times)
        self.rules.append(held)
        return held

    def delay(self, match: Match, delay_s: float, times: int | None = None) -> Rule:
        """Deliver matching requests later."""
        return self._add(Rule(match, "delay", times, delay_s))

    def reset_before(self, match: Match, times: int | None = 1) -> Rule:
        """Close the client's connection with a reset, and deliver nothing."""
        return self._add(Rule(match, "reset_before", times))

    def reset_after(self, match: Match, times: int | None = 1) -> Rule:
        """Deliver, wait for the answer, and reset the client's connection instead of passing it on."""
        return self._add(Rule(match, "reset_after", times))

    def cut(self) -> None:
        """Reset every connection, those that come too, until `mend`. What is held stays held."""
        self._cut = True
        for client in list(self._clients):
            reset(client)

    def mend(self) -> None:
        """End a cut."""
        self._cut = False

    def may_take(self, request: Request) -> bool:
        """Of the pipes: whether a rule may take a request with this head."""
        return any(rule.active and rule.match.head(request) for rule in self.rules)

    def taken_by(self, request: Request) -> Rule | None:
        """Of the pipes: the rule that takes this whole request."""
        self.requests += 1
        return next((rule for rule in self.rules if rule.take(request)), None)

    def _add(self, rule: Rule) -> Rule:
        self.rules.append(rule)
        return rule

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._cut:
            reset(writer)
            return
        self._clients.add(writer)
        pipe = HttpPipe(self, reader, writer) if self.kind == "http" else KafkaPipe(self, reader, writer)
        try:
            await pipe.run()
        except (ConnectionError, asyncio.IncompleteReadError):
            # Either side has closed: so does the other. That is what a proxy has to pass on, not an error of its own.
            reset(writer)
        except asyncio.CancelledError:
            # The proxy is being left.
            reset(writer)
        finally:
            self._clients.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP reset, so that the other side cannot take it for an orderly end."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
