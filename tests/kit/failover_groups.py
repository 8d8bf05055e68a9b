"""A deployment whose output consumer groups read, before its failover, and the step that moves them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.failover_regions import FLEET
from tests.kit.failover_world import FailoverWorld
from tidegate.clients.kafka_types import TopicPartition
from tidegate.failover import groups as groups_module
from tidegate.model.fleet import Consumer
from tidegate.model.groups import GroupFact
from tidegate.model.operation import ReplayRange

B0, B1 = TopicPartition("balances", 0), TopicPartition("balances", 1)
PLANNED = ["close", "stop", "cut", "rebase", "started"]
UNPLANNED = ["lost", "close", "shut", "cut", "rebase", "started"]


def _fleet(*consumers: Consumer) -> Any:
    named = consumers or (Consumer(group="shop", topics=("balances",)),)
    return FLEET.model_copy(
        update={"deployments": {"ledger": FLEET.deployment("ledger").model_copy(update={"consumers": named})}}
    )


async def made(monkeypatch: pytest.MonkeyPatch, *consumers: Consumer) -> FailoverWorld:
    monkeypatch.setattr(groups_module, "REST_S", 0.05)
    monkeypatch.setattr(groups_module, "PAUSE_S", 0.01)
    return (await FailoverWorld.made(_fleet(*consumers))).patch(monkeypatch)


async def groups_moved(world: FailoverWorld, *superseded: ReplayRange) -> tuple[GroupFact, ...]:
    return (await world.groups(world.sides(), superseded)).groups
