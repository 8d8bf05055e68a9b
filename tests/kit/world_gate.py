"""Every call of the machine to the world passes one gate, where processes die, bytes get lost, wait, or come twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from tests.kit.flink_fake_net import FlinkNet
from tests.kit.flink_fake_rest import Request
from tests.kit.kafka_fake import FakeKafka
from tests.kit.objects import MemoryStore
from tidegate.clients.flink import FlinkClient
from tidegate.clients.flink_errors import FlinkError, flink_error
from tidegate.clients.s3 import ObjectInfo, S3Uri
from tidegate.errors import Unavailable

T = TypeVar("T")

ACTOR: ContextVar[str] = ContextVar("actor", default="test")
"""Which process makes the call: one attempt of one step of one operation."""


class Died(BaseException):
    """The process has ended in the middle of what it did. Nothing of it runs on."""


class Fault(Enum):
    NONE = "none"
    DIE_BEFORE = "the process dies, the call never left"
    DIE_AFTER = "the call was carried out, and the process dies"
    DIE_HELD = "the process dies, the call is on its way and comes when it is delivered"
    LOSE_REQUEST = "the call never arrives"
    LOSE_ANSWER = "the call was carried out, its answer is lost"
    HOLD = "no answer; the call comes when it is delivered"
    DOUBLE = "the call is carried out twice"


@dataclass
class Call:
    """One call. ``part`` is flink, kafka, snapshots or control."""

    n: int
    actor: str
    part: str
    name: str
    mutating: bool

    def __str__(self) -> str:
        return f"#{self.n} {self.actor}: {self.part} {self.name}"


@dataclass
class Late:
    """A call that is on its way, its sender gone or told that nobody answered."""

    call: Call
    apply: Callable[[], Awaitable[Any]]

    async def deliver(self) -> str:
        """Carry it out; what came of it, for the trace."""
        try:
            return f"{await self.apply()}"
        except Exception as error:  # noqa: BLE001 - its sender is gone: nobody hears it
            return f"{type(error).__name__}: {error}"


@dataclass
class Gate:
    """``fault`` decides on each call; ``each`` runs before each (the world goes on meanwhile)."""

    fault: Callable[[Call], Fault] = lambda call: Fault.NONE
    each: Callable[[Call], None] = lambda call: None
    pause: Callable[[Call], float | None] = lambda call: None
    calls: list[Call] = field(default_factory=list)
    late: list[Late] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)
    _count: Counter[str] = field(default_factory=Counter)

    def of(self, actor: str) -> list[Call]:
        return [call for call in self.calls if call.actor == actor]

    async def __call__(self, part: str, name: str, apply: Callable[[], Awaitable[T]], *, mutating: bool) -> T:
        actor = ACTOR.get()
        self._alive(actor)
        call = Call(self._count[actor], actor, part, name, mutating)
        self._count[actor] += 1
        self.calls.append(call)
        self.each(call)
        waits_s = self.pause(call)
        if waits_s is not None:
            await asyncio.sleep(waits_s)
            self._alive(actor)
        match self.fault(call):
            case Fault.NONE:
                answer = await apply()
            case Fault.DIE_BEFORE:
                self._die(actor)
            case Fault.DIE_AFTER:
                await apply()
                self._die(actor)
            case Fault.DIE_HELD:
                self.late.append(Late(call, apply))
                self._die(actor)
            case Fault.LOSE_REQUEST:
                raise Unavailable(f"{part} did not answer ({name})", details={"sent": False})
            case Fault.LOSE_ANSWER:
                await apply()
                raise Unavailable(f"{part} did not answer ({name}): it may have acted", details={"sent": True})
            case Fault.HOLD:
                self.late.append(Late(call, apply))
                raise Unavailable(f"{part} did not answer ({name}): it may have acted", details={"sent": True})
            case Fault.DOUBLE:
                answer = await apply()
                await Late(call, apply).deliver()
        self._alive(actor)
        return answer

    def _alive(self, actor: str) -> None:
        if actor in self.dead:
            raise Died(actor)

    def _die(self, actor: str) -> None:
        self.dead.add(actor)
        raise Died(actor)


class GatedFlink(FlinkClient):
    """The client as it is, without the HTTP between it and the fake cluster."""

    def __init__(self, net: FlinkNet, gate: Gate) -> None:
        super().__init__("http://fake-flink", transport=httpx.MockTransport(lambda request: httpx.Response(500)))
        self._net = net
        self._gate = gate

    async def request(self, method, path, query=None, *, json_body=None, files=None, slow=False, what=None):
        assert files is None
        body = b"" if json_body is None else json.dumps(json_body).encode()
        request = Request(method, quote(path, safe="/:"), query or {}, body, "application/json")
        mutating = method != "GET" and not path.endswith("/plan")

        async def apply() -> bytes | FlinkError:
            status, answer = self._net.receive(request)
            content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            if status < 300:
                return content
            return flink_error(self.base_url, what or request.line, httpx.Response(status, content=content))

        return await self._gate("flink", request.line, apply, mutating=mutating)

    async def upload_jar(self, path: Path, name: str) -> str:
        flink = self._net.flink

        async def apply() -> str:
            jar_id = f"{len(flink.jars):08x}-{flink.incarnation}_{name}"
            flink.jars[jar_id] = (name, b"", flink.now_ms())
            return jar_id

        return await self._gate("flink", f"upload {name}", apply, mutating=True)


_KAFKA_ACTS = {
    "end_transaction", "abort_by_markers", "deny_transactional_prefix", "lift_denied_prefix", "create_topic",
    "remove_topic", "remove_group",
}  # fmt: skip


class GatedKafka:
    """A `FakeKafka` behind the gate."""

    def __init__(self, kafka: FakeKafka, gate: Gate) -> None:
        self._kafka = kafka
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._kafka, name)

        async def call(*args: Any, **named: Any) -> Any:
            said = f"{name} {args[0] if args and name in _KAFKA_ACTS else ''}"
            return await self._gate("kafka", said, lambda: method(*args, **named), mutating=name in _KAFKA_ACTS)

        return call

    async def records(self, *args: Any, **named: Any) -> AsyncIterator[Any]:
        await self._gate("kafka", "records", _nothing, mutating=False)
        async for record in self._kafka.records(*args, **named):
            yield record

    async def batches(self, *args: Any) -> AsyncIterator[Any]:
        await self._gate("kafka", "batches", _nothing, mutating=False)
        async for batch in self._kafka.batches(*args):
            yield batch


async def _nothing() -> None:
    """A log is read as one call."""


_STORE_ACTS = {"put", "create", "replace", "delete", "upload_file"}


class GatedStore:
    """A `MemoryStore` behind the gate."""

    def __init__(self, part: str, store: MemoryStore, gate: Gate) -> None:
        self._part = part
        self._store = store
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(uri: Any, *args: Any, **named: Any) -> Any:
            return await self._gate(
                self._part, f"{name} {uri}", lambda: method(uri, *args, **named), mutating=name in _STORE_ACTS
            )

        return call

    async def list(self, uri_prefix: S3Uri | str) -> AsyncIterator[ObjectInfo]:
        async def apply() -> list[ObjectInfo]:
            return [info async for info in self._store.list(uri_prefix)]

        for info in await self._gate(self._part, f"list {uri_prefix}", apply, mutating=False):
            yield info
