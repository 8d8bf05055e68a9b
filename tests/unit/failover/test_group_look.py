"""What a region's failover is told before it begins: who would come back, and whether the slots are as large."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.failover_regions import FLEET
from tests.kit.failover_world import FailoverWorld
from tests.kit.temporal_world_facts import AT
from tests.unit.failover.test_comeback import waits
from tests.unit.failover.test_room import HOLDER
from tidegate.failover.group import Lives, chosen, look_group
from tidegate.model.fleet import Fleet
from tidegate.model.record import MadeWay, SlotMemory
from tidegate.model.region import GroupSeen

SMALL = SlotMemory(managed_mib=16.0, heap_mib=128.0)


def a_fleet() -> Fleet:
    """``ledger``, and ``reports``, which reads and writes topics of its own."""
    ledger = FLEET.deployment("ledger")
    reports = ledger.model_copy(
        update={
            "tier": 3,
            "sources": tuple(one.model_copy(update={"topics": ("clicks",)}) for one in ledger.sources),
            "sinks": tuple(one.model_copy(update={"topics": ("reports",)}) for one in ledger.sinks),
        }
    )
    return FLEET.model_copy(update={"deployments": {"ledger": ledger, "reports": reports}})


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    async def proven(*_: object) -> tuple[str, ...]:
        return ()

    # This world has written in the east only, and never been to the west and back.
    monkeypatch.setattr("tidegate.failover.group.unproven", proven)
    return (await FailoverWorld.made(a_fleet())).patch(monkeypatch)


async def _look(world: FailoverWorld, way: MadeWay, *, unplanned: bool = False, **ledger: Any) -> GroupSeen:
    """West -> east, where ``ledger`` runs in the west and ``reports`` has made way there."""
    gone = waits("reports", slots=4, at="west/cell-1", made_way=way, since=AT)
    known = [
        Lives("ledger", "west", "west/cell-1", "east/cell-1", runs_with=2, **ledger),
        Lives("reports", "west", "west/cell-1", "east/cell-1", why_not="it is stopped", gave_way=gone),
    ]
    members = chosen(known, world.fleet, "west", "east", ())
    at = {"east/cell-1": world.site("east"), "west/cell-1": world.site("west")}
    return await look_group(HOLDER, "f" * 64, members, known, lambda _name, cell: at[cell], unplanned=unplanned)


WAY = MadeWay(operation="failover-region-east-1", came_from="east")


async def test_who_made_way_for_what_goes_home_now_is_told_with_the_slots_that_will_be_free(world: FailoverWorld):
    world.driver["west"].slots = (2, 8)
    seen = await _look(world, WAY)
    assert [(one.deployment, one.slots, one.problem) for one in seen.gave_way] == [("reports", 4, "")]
    world.driver["west"].slots = (1, 8)
    (one,) = (await _look(world, WAY)).gave_way
    assert one.problem == "4 slots are needed in west/cell-1, 3 are free"


async def test_who_made_way_for_others_waits_for_those(world: FailoverWorld):
    other = MadeWay(operation="failover-region-north-1", came_from="north")
    assert (await _look(world, other)).gave_way == ()


async def test_i6_a_region_that_is_given_up_is_not_asked_for_slots(world: FailoverWorld):
    world.driver["west"].down = True
    (one,) = (await _look(world, WAY, unplanned=True)).gave_way
    assert one.problem == "west is given up"


async def test_slots_that_are_smaller_are_told_by_flinks_word_or_by_the_records(world: FailoverWorld):
    assert (await _look(world, WAY)).memory == ()
    world.driver["east"].memory = SMALL
    (line,) = (await _look(world, WAY)).memory
    assert line.startswith("ledger: the slots in east/cell-1 have less memory than those in west/cell-1")
    assert "managed memory 16 MiB instead of 64 MiB" in line
    world.driver["west"].down = True
    began = SlotMemory(managed_mib=256.0, heap_mib=128.0)
    (line,) = (await _look(world, WAY, unplanned=True, slot_memory=began)).memory
    assert (
        "less memory than those that its job was started in, in west/cell-1: managed memory 16 MiB instead of" in line
    )
