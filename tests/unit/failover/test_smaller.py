"""What runs with fewer subtasks in the other region is made ready with so many: the fleet file's would not fit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.flink import FlinkActivities
from tests.kit.failover_world import FailoverWorld
from tests.kit.temporal_world_facts import artifact
from tidegate.driver.base import ArtifactFile
from tidegate.errors import Refused
from tidegate.model.steps import Held, PrepareFact, PrepareInput


class Slots:
    """A Flink with this many free slots."""

    def __init__(self, free: int) -> None:
        self.free = free

    async def prepare(self, _: Any, *, parallelism: int, **_named: Any) -> Any:
        if parallelism > self.free:
            raise Refused(f"{parallelism} slots are needed, {self.free} are free")
        return SimpleNamespace(handle="jar", slots_needed=parallelism)

    async def capacity(self) -> Any:
        return SimpleNamespace(slots_free=self.free, slots_total=4)


class _Site:
    def __init__(self, world: FailoverWorld, driver: Slots) -> None:
        self._site, self.driver = world.site("west"), driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._site, name)

    async def artifact_file(self, _: Any) -> ArtifactFile:
        return ArtifactFile(path=Path("v1.jar"), sha256="0", name="v1")


async def test_who_runs_smaller_there_needs_no_more_slots_to_be_made_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a plan that found too few has advised it: ``--parallelism 1``."""
    world = (await FailoverWorld.made()).patch(monkeypatch)
    site: Any = _Site(world, Slots(1))

    async def site_of(*_: Any) -> Any:
        return site

    assert world.fleet.deployment("ledger").parallelism > 1
    assert world.tenure is not None
    claim = world.tenure.claim
    request = PrepareInput(
        held=Held(deployment="ledger", holder=claim.holder, fence=claim.fence),
        fleet_digest="f", n=1, at="west/cell-1", artifact=artifact("v1"), parallelism=1,
    )  # fmt: skip
    acts = FlinkActivities(SimpleNamespace(site_of=site_of, records=world.records))  # type: ignore[arg-type]
    fact: PrepareFact = await asyncio.wait_for(ActivityEnvironment().run(acts.prepare, request), 5)
    assert fact.slots_free == 1
