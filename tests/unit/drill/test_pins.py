"""X10: who makes a copy of a snapshot pins it under a name of its own, and takes only that pin away."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.kit.failover_regions import AT, BUCKET
from tests.kit.failover_world import FailoverWorld
from tests.kit.mirror_world import holder
from tests.kit.temporal_world_facts import artifact
from tidegate.drill.copy import copy_for_drill
from tidegate.drill.forking import forked
from tidegate.drill.notes import ForkRecords
from tidegate.drill.teardown import TearDown
from tidegate.mirror.rebasing import Reach, links_by
from tidegate.model.drill import DrillStep
from tidegate.model.fleet import CellRef
from tidegate.model.steps import Held
from tidegate.operation.run import Run
from tidegate.registry.ownership import Tenure, take
from tidegate.snapshot.pins import Pin, pin, read_pins, unpin

FIRST, SECOND = "ledger-drill-1a2b3c4d", "ledger-drill-5e6f7a8b"


async def _copied(world: FailoverWorld, fork: str) -> tuple[Run, str]:
    """A drill as far as its copy; where that is."""
    west = world.site("west")
    site = replace(west, fleet=forked(world.fleet, "ledger", fork, CellRef("west", "cell-1")), deployment=fork)
    records = ForkRecords(west.control, BUCKET, control_wait_s=1.0)
    tenure = await take(world.records, fork, holder(fork, "DrillRecovery"), expected_fence=0)
    run = Run(site=site, tenure=Tenure(records, tenure.claim))
    claim = tenure.claim
    step = DrillStep(
        held=Held(deployment=fork, holder=claim.holder, fence=claim.fence), fleet_digest="f", at="west/cell-1",
        deployment="ledger", home="east/cell-1", epoch=7, job_id="j", artifact=artifact("v1"), parallelism=2,
        snapshot=world.shipped, point="e7-chk-12", began=AT,
    )  # fmt: skip
    kafkas = {name: world.site(name).kafka for name in ("east", "west")}
    copied = await copy_for_drill(run, Reach(site.snapshots, kafkas.__getitem__, links_by(world.fleet)), step)
    return run, copied.location


async def _torn_down(world: FailoverWorld, run: Run) -> int:
    return (await TearDown(run, "ledger", run.site.snapshots).all()).pins  # type: ignore[arg-type]


async def _pinned_for(world: FailoverWorld) -> list[str]:
    found = await read_pins(world.control, BUCKET, "ledger")
    assert {one.location for one in found} <= {world.shipped}
    return sorted(one.why for one in found)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    made = (await FailoverWorld.made()).patch(monkeypatch)
    await made.place_snapshot((3, 3))
    await made.place_points(made.point(3))
    return made


async def test_x10_two_drills_from_one_point_each_keep_it_until_they_are_gone(world: FailoverWorld) -> None:
    """The one that is torn down first took the pin along, and a sweep could take the files that the other copies."""
    first, at = await _copied(world, FIRST)
    second, there = await _copied(world, SECOND)
    assert await _pinned_for(world) == sorted(f"its files are named by {one}" for one in (at, there))
    assert await _torn_down(world, first) == 1
    assert await _pinned_for(world) == [f"its files are named by {there}"]
    assert await _torn_down(world, second) == 1
    assert await _pinned_for(world) == []


async def test_x10_what_a_person_pins_and_what_a_drill_needs_are_two_pins(world: FailoverWorld) -> None:
    by_hand = Pin(deployment="ledger", location=world.shipped, why="the audit of March", who="ana", at=AT)
    await pin(world.control, BUCKET, by_hand)
    run, at = await _copied(world, FIRST)
    assert await _pinned_for(world) == [f"its files are named by {at}", "the audit of March"]
    assert await unpin(world.control, BUCKET, "ledger", world.shipped) == by_hand
    assert await _pinned_for(world) == [f"its files are named by {at}"]
    await pin(world.control, BUCKET, by_hand)
    await _torn_down(world, run)
    assert await _pinned_for(world) == ["the audit of March"]


async def test_x10_a_pin_of_a_copy_that_a_failover_started_from_can_be_taken_away_by_hand(world: FailoverWorld) -> None:
    """Nobody else does: its copy stays, and may be gone on from."""
    wanted = {"deployment": "ledger", "location": world.shipped, "who": "failover-ledger-1", "at": datetime.now(UTC)}
    mine = Pin(**wanted, why="its files are named by s3://west/a", user="s3://west/a")  # type: ignore[arg-type]
    await pin(world.control, BUCKET, mine)
    assert await unpin(world.control, BUCKET, "ledger", world.shipped) == mine
    assert await unpin(world.control, BUCKET, "ledger", world.shipped) is None
