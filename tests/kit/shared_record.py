"""Faked activities of operations on several Temporal servers over one real record: who holds it is for the code to say.

Taking, releasing and halting are the real activities over a control bucket in memory, and every other activity that
acts for a holder asks the real fence first, as the real ones do before each write.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import Client

from activities.contracts import CONTRACTS
from activities.registry import RegistryActivities
from activities.sites import Sites
from sandbox.fleet import fleet_text
from tests.kit.objects import MemoryStore
from tests.kit.temporal_world import World
from tidegate.cli.control import ControlBucket
from tidegate.model.record import DeploymentRecord
from tidegate.registry.fleet import publish
from tidegate.registry.ownership import Claim, Tenure
from tidegate.registry.records import RecordStore

BUCKET = "tidegate"
REAL = ("locate", "take", "release", "halt", "unhalt")


class Shared:
    """A control bucket with the sandbox's fleet file and the ledger's record: runs in the east, epoch 7."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.records = RecordStore(self.store, BUCKET)
        self.control = ControlBucket(self.store, BUCKET)

    async def set_up(self) -> None:
        await publish(self.store, BUCKET, fleet_text(27_000), "ana")
        first = await self.records.read_or_create("ledger")
        runs = World().record.model_copy(update={"seq": first.record.seq + 1, "write_id": "first"})
        await self.records.swap(first, runs)

    async def record(self) -> DeploymentRecord:
        found = await self.records.read("ledger")
        assert found is not None
        return found.record


class SharedWorld(World):
    """The world as one server's workers see it; what they called is in ``calls``, apart from that of the others."""

    def __init__(self, shared: Shared, cache: Path) -> None:
        super().__init__()
        self.shared = shared
        self.sites = Sites(shared.store, BUCKET, cache)
        self.client: Client | None = None

    def activities_of(self, client: Client) -> list[Callable[..., Any]]:
        self.client = client
        return self.activities()

    def _activity(self, name: str, act: Callable[[Any], Any]) -> Callable[..., Any]:
        assert self.client is not None
        registry = RegistryActivities(self.sites, self.client)

        async def run(request: Any) -> Any:
            self.calls.append((name, activity.info().task_queue, request))
            thing = self.plans[name].popleft() if self.plans[name] else self.always.get(name)
            if isinstance(thing, BaseException):
                raise thing
            if thing is not None:
                await thing()
            if name in REAL:
                return await getattr(registry, name)(request)
            return await self._fenced(name, request, act)

        types = activity._Definition.must_from_callable(CONTRACTS[name])
        assert types.arg_types is not None
        run.__annotations__ = {"request": types.arg_types[0], "return": types.ret_type}
        return activity.defn(name=name)(run)

    async def _fenced(self, name: str, request: Any, act: Callable[[Any], Any]) -> Any:
        held = getattr(request, "held", None)
        if held is None:
            self.record = await self.shared.record()
            return act(request)
        attempt = activity.info().attempt
        tenure = Tenure(self.shared.records, Claim(held.deployment, held.holder, held.fence), attempt=attempt)
        self.record = before = await tenure.read()
        answer = act(request)
        told = {"epoch": self.record.epoch, "writer": self.record.writer}
        if self.record != before:
            await tenure.change(name, getattr(request, "n", 0), lambda now: now.model_copy(update=told))
        return answer
