"""What a failover asks of a region: its Kafka, Connect and Flink in memory, each call past the gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx

from tests.kit.connect_fake import FakeConnect
from tests.kit.world_gate import Gate, GatedKafka
from tidegate.clients.flink_types import JobState
from tidegate.errors import Unavailable
from tidegate.model.record import SlotMemory

T = TypeVar("T")
ACTS = {
    "end_transaction", "abort_by_markers", "deny_transactional_prefix", "lift_denied_prefix", "deny_topic_writes",
    "lift_topic_writes", "create_topic", "put_group_offsets",
}  # fmt: skip


class OpenKafka(GatedKafka):
    """As `GatedKafka`, with the acts of a failover; a log is read as one call."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._kafka, name)

        async def call(*args: Any, **named: Any) -> Any:
            said = f"{name} {' '.join(map(str, args[:2])) if name in ACTS else ''}"
            return await self._gate("kafka", said, lambda: method(*args, **named), mutating=name in ACTS)

        return call


class GatedConnect(FakeConnect):
    """A `FakeConnect` behind the gate. ``offsets_set``: what it was told counts as mirrored, each time."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate
        self.offsets_set: list[dict[tuple[str, str, int], int]] = []

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        act = super()._handle

        async def apply() -> httpx.Response:
            answer = await act(request)
            if request.method == "PATCH" and answer.status_code == 200:
                self.offsets_set.append(dict(next(iter(self.connectors.values())).offsets))
            return answer

        said = f"{request.method} {request.url.path}"
        return await self.gate("connect", said, apply, mutating=request.method != "GET")


@dataclass
class Driver:
    """Flink's word on jobs, behind the gate."""

    gate: Gate
    jobs: dict[str, JobState] = field(default_factory=dict)
    down: bool = False
    slots: tuple[int, int] = (4, 8)
    memory: SlotMemory | None = field(default_factory=lambda: SlotMemory(managed_mib=64.0, heap_mib=128.0))
    waiting: set[str] = field(default_factory=set)
    """Jobs that run by their state, and have no slots yet."""

    async def _ask(self, name: str, answer: Callable[[], T], *, mutating: bool = False) -> T:
        async def apply() -> T:
            if self.down:
                raise Unavailable("Flink does not answer")
            return answer()

        return await self.gate("flink", name, apply, mutating=mutating)

    async def state(self, job_id: str) -> JobState | None:
        return await self._ask("state", lambda: self.jobs.get(job_id))

    async def observe(self, job_id: str) -> Any:
        def view() -> Any:
            state = self.jobs.get(job_id)
            runs = state is JobState.RUNNING and job_id not in self.waiting
            return SimpleNamespace(state=state, all_running=runs)

        return await self._ask("observe", view)

    async def capacity(self) -> Any:
        return await self._ask("capacity", lambda: SimpleNamespace(slots_free=self.slots[0], slots_total=self.slots[1]))

    async def slot_memory(self) -> SlotMemory | None:
        return await self._ask("slot_memory", lambda: self.memory)

    async def cancel(self, job_id: str) -> None:
        await self._ask("cancel", lambda: self.jobs.update({job_id: JobState.CANCELED}), mutating=True)
