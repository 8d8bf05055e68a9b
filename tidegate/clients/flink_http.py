"""One request to Flink's REST: its body, Flink's own word on a refusal, or Unavailable. No retries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Self, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from tidegate.clients.flink_errors import FlinkError, as_ours, flink_error, unavailable
from tidegate.errors import Unavailable

T = TypeVar("T")

_SLOW_FACTOR = 6
"""Upload, plan and run load classes and wait for a job's initialization: they get this many times ``timeout_s``."""

_AT_ONCE = 32
"""Requests to one cluster at a time. The rest wait their turn here: a wait that is ours is no silence of Flink's."""


class FlinkHttp:
    """The connections to one REST endpoint, kept alive between requests."""

    def __init__(
        self, base_url: str, *, timeout_s: float = 10.0, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._slow = httpx.Timeout(timeout_s * _SLOW_FACTOR, connect=timeout_s)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._http = httpx.AsyncClient(
            base_url=self.base_url,
            timeout=httpx.Timeout(timeout_s),
            transport=transport,
            limits=httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE, keepalive_expiry=30.0),
            trust_env=False,  # a proxy of the environment must not come between a worker and its Flink unasked
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        *,
        json_body: dict[str, object] | None = None,
        files: Mapping[str, tuple[str, IO[bytes], str]] | None = None,
        slow: bool = False,
        what: str | None = None,
    ) -> bytes | FlinkError:
        """One request: the body of a success, Flink's word on a refusal, or Unavailable."""
        what = what or f"{method} {path}"
        timeout = self._slow if slow else httpx.USE_CLIENT_DEFAULT
        try:
            async with self._turns:
                response = await self._http.request(
                    method, path, params=query, json=json_body, files=files, timeout=timeout
                )
        except httpx.TransportError as error:
            raise unavailable(self.base_url, what, error) from error
        if response.is_success:
            return response.content
        return flink_error(self.base_url, what, response)

    async def tail(self, path: str, *, tail_bytes: int) -> bytes | FlinkError:
        """The last ``tail_bytes`` of a long answer: REST knows no ranges, so the rest is read and dropped."""
        kept = bytearray()
        try:
            async with self._turns, self._http.stream("GET", path, timeout=self._slow) as response:
                if not response.is_success:
                    await response.aread()
                    return flink_error(self.base_url, f"GET {path}", response)
                async for chunk in response.aiter_bytes():
                    kept += chunk
                    del kept[:-tail_bytes]
        except httpx.TransportError as error:
            raise unavailable(self.base_url, f"GET {path}", error) from error
        return bytes(kept)

    async def get(self, path: str, query: dict[str, str] | None = None) -> bytes:
        """GET; any refusal raises."""
        return self.or_raise(f"GET {path}", await self.request("GET", path, query))

    async def of_job(self, path: str, query: dict[str, str] | None = None) -> bytes | None:
        """GET of something below a job; None if this JobManager does not know the job."""
        answer = await self.request("GET", path, query)
        if isinstance(answer, FlinkError) and answer.job_not_found:
            return None
        return self.or_raise(f"GET {path}", answer)

    def or_raise(self, what: str, answer: bytes | FlinkError) -> bytes:
        """The body, or the typed error for a refusal that the caller has no word of its own for."""
        if isinstance(answer, FlinkError):
            raise as_ours(self.base_url, what, answer)
        return answer

    def parse(self, kind: type[T], body: bytes) -> T:
        """The body as a type; Unavailable if it is not of that form."""
        try:
            return TypeAdapter(kind).validate_json(body)
        except ValidationError as error:
            # Not Flink, or a Flink that is not known: a proxy's page with status 200, say.
            first = error.errors()[0]
            raise Unavailable(
                f"Flink at {self.base_url} gave an answer that is not {kind}: {first['loc']} {first['msg']}",
                details={"sent": True},
            ) from error
