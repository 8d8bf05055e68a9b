"""What a fault proxy does to which requests."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Literal

Action = Literal["hold", "delay", "reset_before", "reset_after"]


@dataclass(frozen=True)
class HttpMatch:
    """Which HTTP requests: regular expressions on method (whole), path with query (from its start), body (anywhere).

    With ``body`` the proxy must read a whole request before it knows, so nothing of it is passed on until then.
    """

    method: str | None = None
    path: str = ""
    body: str | None = None

    def head(self, request: Request) -> bool:
        """Whether method and path match."""
        if self.method is not None and re.fullmatch(self.method, request.method) is None:
            return False
        return re.match(self.path, request.target) is not None

    def whole(self, request: Request) -> bool:
        """Whether all of it matches."""
        found = self.body is None or re.search(self.body.encode(), request.body, re.DOTALL) is not None
        return self.head(request) and found


@dataclass(frozen=True)
class KafkaMatch:
    """Which Kafka requests: by API key (EndTxn 26, InitProducerId 22, CreateAcls 30, Produce 0); ``body`` as bytes."""

    api_key: int
    body: bytes | None = None

    def head(self, request: Request) -> bool:
        """Whether the API key matches."""
        return request.api_key == self.api_key

    def whole(self, request: Request) -> bool:
        """Whether all of it matches."""
        return self.head(request) and (self.body is None or self.body in request.raw)


Match = HttpMatch | KafkaMatch


@dataclass
class Request:
    """One request as the proxy sees it. ``raw`` are its bytes as they came, framing included."""

    raw: bytes = b""
    method: str = ""
    target: str = ""
    body: bytes = b""
    api_key: int = -1


@dataclass
class Rule:
    """A fault for matching requests, ``times`` of them (None: all) until it is removed."""

    match: Match
    action: Action
    times: int | None = 1
    delay_s: float = 0.0
    seen: int = 0
    removed: bool = False

    def remove(self) -> None:
        """Let further requests pass."""
        self.removed = True

    @property
    def active(self) -> bool:
        """Whether it would still take a request."""
        return not self.removed and (self.times is None or self.seen < self.times)

    def take(self, request: Request) -> bool:
        """Whether it takes this request; if so it counts."""
        if not self.active or not self.match.whole(request):
            return False
        self.seen += 1
        return True


@dataclass
class Held(Rule):
    """Requests that are kept until they are released, and then delivered even if the client has gone.

    ``requests`` are the caught ones in order; ``responses`` what the upstream answered to each that was delivered: HTTP
    status, or for Kafka the API key's answer as raw bytes.
    """

    requests: list[Request] = field(default_factory=list)
    responses: list[int | bytes] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    client_gone: asyncio.Event = field(default_factory=asyncio.Event)
    _caught: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _delivered: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def response(self) -> int | bytes | None:
        """The answer to the first, once it was delivered."""
        return self.responses[0] if self.responses else None

    async def caught(self, timeout_s: float = 30.0) -> Request:
        """Wait for the first request to be caught.

        Raises:
            TimeoutError: none came.
        """
        async with asyncio.timeout(timeout_s):
            await self._caught.wait()
        return self.requests[0]

    def release(self) -> None:
        """Deliver what is held, and let what comes later pass."""
        self.removed = True
        self._released.set()

    async def delivered(self, timeout_s: float = 30.0) -> int | bytes | None:
        """Wait until the upstream has answered each released request; returns the answer to the first.

        Raises:
            TimeoutError: it has not answered.
            ConnectionError: the upstream could not be reached, or closed without an answer.
        """
        async with asyncio.timeout(timeout_s):
            await self._delivered.wait()
        if self.errors:
            raise ConnectionError("; ".join(self.errors))
        return self.response

    async def keep(self, request: Request) -> None:
        """Of the proxy: note a caught request and wait for its release."""
        self.requests.append(request)
        self._caught.set()
        await self._released.wait()

    def note(self, answer: int | bytes | None, error: str = "") -> None:
        """Of the proxy: note what became of a released request."""
        if answer is None:
            self.errors.append(error)
        else:
            self.responses.append(answer)
        if len(self.responses) + len(self.errors) == len(self.requests):
            self._delivered.set()
